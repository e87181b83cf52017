"""The texture that is usual for some content, and how far the texture of a place is from it.

The texture of a place depends mostly on what is there: air, marrow, bone, an edge. A regression on the content removes
that. The rest depends on noise, blur, rings, voxel size and the architecture of the tissue.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tomostain.imaging.gaussian import gaussian_samples
from tomostain.io.parallel import in_parallel
from tomostain.ood.texture import CONTENT, STEP_PX, TEXTURE

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Features = tuple[Float32, Float32]
TERMS = 1 + CONTENT + CONTENT * (CONTENT + 1) // 2
# Standard deviation of the window in which residuals are averaged, px. Larger windows detect smaller changes of noise
# or voxel size, and show less exactly where they are: studies/novelty/RECORD.md.
WINDOW_PX = 48.0
_RIDGE = 1e-3
MAX_RESIDUAL = 8.0
_BLOCK_ROWS = 8
# Content that is stored in addition to the residuals: the mean in 8 px, and the classes air, marrow, bone, metal.
CHOSEN_CONTENT, CONTENT_WINDOW_PX = (1, 3, 5, 7, 10), 6.0
DIMENSIONS = TEXTURE + len(CHOSEN_CONTENT)


@dataclass(frozen=True, eq=False)
class TextureModel:
    """Quadratic regression of the texture, and of its spread, on the content.

    Attributes
    ----------
    content : ndarray of float32, shape (2, 11)
        Mean and standard deviation of the content.
    expected : ndarray of float32, shape (78, 16)
        Coefficients of the expected texture.
    spread : ndarray of float32, shape (78, 16)
        Coefficients of the logarithm of the absolute residual.
    """

    content: Float32
    expected: Float32
    spread: Float32

    @classmethod
    def fit(cls, samples: Sequence[Features]) -> Self:
        """Fit the regression to content and texture of places, each of shape (n, 11) and (n, 16)."""
        content, texture = (np.concatenate(parts).astype(np.float64) for parts in zip(*samples, strict=True))
        statistics = np.stack([content.mean(axis=0), content.std(axis=0) + 1e-3]).astype(np.float32)
        terms = _quadratic(content, statistics)
        normal = terms.T @ terms / len(terms) + _RIDGE * np.eye(TERMS)
        expected = np.linalg.solve(normal, terms.T @ texture / len(terms)).astype(np.float32)
        size = np.log(np.abs(texture - terms @ expected) + 0.02)
        spread = np.linalg.solve(normal, terms.T @ size / len(terms)).astype(np.float32)
        return cls(statistics, expected, spread)

    def regional(self, features: Features, step: int = 1) -> Float64:
        """Return the residuals of the texture, averaged in a window of 48 px, and the content.

        Parameters
        ----------
        features : (content, texture)
            Of `tomostain.ood.texture.describe`.
        step : int
            Return every `step`-th row and column.

        Returns
        -------
        ndarray of float64, shape (rows, columns, 21)
        """
        content, texture = features
        residual = np.empty(texture.shape, np.float64)

        def fill(first: int) -> None:
            rows = slice(first, first + _BLOCK_ROWS)
            residual[rows] = self._residual(content[rows], texture[rows])

        in_parallel(fill, range(0, len(content), _BLOCK_ROWS))  # the terms of all places need ten times the memory
        chosen = ((content - self.content[0]) / self.content[1])[..., list(CHOSEN_CONTENT)]
        averaged = _average(residual, WINDOW_PX, step)
        return np.concatenate([averaged, _average(chosen, CONTENT_WINDOW_PX, step)], axis=-1)

    def _residual(self, content: Float32, texture: Float32) -> Float64:
        """Return how far the texture of places is from the expected one, in units of its spread, clipped."""
        terms = _quadratic(content, self.content)
        # `einsum` does not depend on the number of threads, so neither does the map.
        expected, spread = (
            np.einsum("...i,ij->...j", terms, c.astype(np.float64)) for c in (self.expected, self.spread)
        )
        residual: Float64 = (texture - expected) / np.exp(np.clip(spread, -4.0, 2.0))
        return residual.clip(-MAX_RESIDUAL, MAX_RESIDUAL)


def _average(values: NDArray[np.floating], window_px: float, step: int) -> Float64:
    sigma, (rows, columns, features) = window_px / STEP_PX, values.shape
    averaged = np.empty((-(-rows // step), -(-columns // step), features), np.float64)

    def fill(feature: int) -> None:
        image = values[..., feature].astype(np.float64)
        averaged[..., feature] = gaussian_samples(image, sigma, step, truncate=3.0)

    in_parallel(fill, range(values.shape[-1]))
    return averaged


def _quadratic(content: NDArray[np.floating], statistics: Float32) -> Float64:
    """Return 1, the standardised content, and the products of any two of its parts, shape (..., 78)."""
    scaled = (content - statistics[0].astype(np.float64)) / statistics[1]
    terms = np.ones((*scaled.shape[:-1], TERMS))
    terms[..., 1 : 1 + CONTENT] = scaled
    place = 1 + CONTENT
    for index in range(CONTENT):
        np.multiply(
            scaled[..., index : index + 1], scaled[..., index:], out=terms[..., place : place + CONTENT - index]
        )
        place += CONTENT - index
    return terms
