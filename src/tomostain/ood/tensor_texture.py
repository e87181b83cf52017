"""Texture and content of slices on any device: `tomostain.ood.texture` and `tomostain.ood.residual` with tensors.

The filters sum in float64 and round to float32 at the same places as SciPy. Logarithms, exponentials and roots may
differ in the last place.
"""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from tomostain.imaging.network_range import CT_BACKGROUND, CT_BONE
from tomostain.imaging.tensor_filters import TensorFilters
from tomostain.ood.residual import CHOSEN_CONTENT, CONTENT_WINDOW_PX, MAX_RESIDUAL, WINDOW_PX, TextureModel
from tomostain.ood.texture import (
    AMPLITUDE_FLOOR,
    CLASS_LIMITS,
    CONTENT,
    ENERGY_FLOOR,
    GRADIENT_FLOOR,
    POOL_PX,
    STEP_PX,
    TRANSITION,
    WIDE_POOL_PX,
    band_pool_px,
)

Features = tuple[Tensor, Tensor]
# Places whose terms of the regression, of 624 bytes each, are in memory together.
_PLACES = 2**17


def grey_of(ct: Tensor, limits: tuple[float, float]) -> Tensor:
    """Return grey values, clipped, as fractions of the step from background to bone, float64."""
    # A GPU multiplies by the reciprocal of a number; in float64 this has no effect on the float32.
    return (ct.clip(*limits).double() - CT_BACKGROUND) / (CT_BONE - CT_BACKGROUND)


def describe(ct: Tensor, limits: tuple[float, float], filters: TensorFilters) -> Features:
    """Describe the neighbourhood of every fourth pixel, as `tomostain.ood.texture.describe`.

    Parameters
    ----------
    ct : Tensor of float32, shape (N, Y, X)
        Normalised µCT: background 10000, bone 30000.
    limits : (float, float)
        Lowest and highest grey value that is distinguished.
    filters : TensorFilters
        Of the device of the slices.

    Returns
    -------
    content : Tensor of float32, shape (N, 11, ceil(Y / 4), ceil(X / 4))
    texture : Tensor of float32, shape (N, 16, ceil(Y / 4), ceil(X / 4))
    """
    fine = filters.gaussian(grey_of(ct, limits).float(), 1.0)
    two = filters.gaussian(fine, np.sqrt(3.0))
    half_two = two[:, ::2, ::2]
    half_four = filters.gaussian(half_two, np.sqrt(3.0))
    four = half_four[:, ::2, ::2]
    eight = filters.gaussian(four, np.sqrt(3.0))
    sixteen = filters.gaussian(eight, np.sqrt(12.0))
    wide = _pool(filters, (eight - sixteen).square(), 1, WIDE_POOL_PX)
    texture = [
        *_band(filters, fine - two, 4),
        *_band(filters, half_two - half_four, 2),
        *_band(filters, four - eight, 1),
        _log_size(wide, ENERGY_FLOOR),
        *_gradient(filters, fine, 4),
        *_gradient(filters, half_two, 2),
        *_gradient(filters, four, 1),
    ]
    content = torch.stack([two[:, ::STEP_PX, ::STEP_PX], eight, sixteen], dim=1)
    return torch.cat([content, _class_shares(filters, half_two)], dim=1), torch.stack(texture, dim=1)


def _pool(filters: TensorFilters, images: Tensor, step: int, pool_px: float = POOL_PX) -> Tensor:
    """Average in a Gaussian window, and sample at every fourth pixel of the slice, as in `tomostain.ood.texture`."""
    first_px = 0.0 if step == 1 else 2.0
    if first_px:
        images = filters.gaussian(images, first_px * step / STEP_PX, step)
    return filters.gaussian(images, float(np.sqrt(pool_px**2 - first_px**2)) / STEP_PX)


def _log_size(mean_square: Tensor, floor: float) -> Tensor:
    return (mean_square.clamp_min(0.0) + floor).log() * 0.5


def _band(filters: TensorFilters, band: Tensor, step: int) -> list[Tensor]:
    """Return mean log amplitude, log root mean square and skewness of band-pass images (N, Y, X)."""
    square = band * band
    images = torch.stack([square, square * band, (band.abs() + AMPLITUDE_FLOOR).log()])
    square, cube, amplitude = _pool(filters, images, step, band_pool_px(step))
    root = (cube.double().abs().pow(1 / 3) * cube.sign()).float()
    skewness = root / (square.clamp_min(0.0) + ENERGY_FLOOR).sqrt()
    return [amplitude, _log_size(square, ENERGY_FLOOR), skewness]


def _gradient(filters: TensorFilters, images: Tensor, step: int) -> list[Tensor]:
    """Return the logarithm of the gradient and its coherence, from the structure tensor."""
    rows, columns = (filters.sobel(images, axis) * 0.125 for axis in (-2, -1))
    rr, cc, rc = _pool(filters, torch.stack([rows * rows, columns * columns, rows * columns]), step)
    trace = (rr + cc).clamp_min(0.0)
    coherence = ((rr - cc).square() + 4 * rc.square()).sqrt() / (trace + ENERGY_FLOOR)
    return [_log_size(trace, GRADIENT_FLOOR), coherence]


def _class_shares(filters: TensorFilters, images: Tensor) -> Tensor:
    """Return the square root of the share of each class of grey values, shape (N, 8, Y, X)."""
    above = [torch.ones_like(images)]
    for limit in CLASS_LIMITS:
        above.append(1 / (1 + (-((images - limit) * (4 / TRANSITION)).clip(-30, 30)).exp()))
    above.append(torch.zeros_like(images))
    shares = torch.stack([larger - smaller for larger, smaller in pairwise(above)], dim=1)
    return _pool(filters, shares, 2).clamp_min(0.0).sqrt()


class TensorTextureModel:
    """The regression of the texture on the content, on a device.

    Parameters
    ----------
    model : TextureModel
    filters : TensorFilters
    """

    def __init__(self, model: TextureModel, filters: TensorFilters) -> None:
        self.filters = filters
        self._mean, self._deviation = (filters.constant(row[:, None, None]) for row in model.content)
        self._expected, self._spread = (
            filters.constant(c.T.astype(np.float64)) for c in (model.expected, model.spread)
        )
        self._first, self._second = map(filters.constant, np.triu_indices(CONTENT))
        self._chosen = filters.constant(np.array(CHOSEN_CONTENT))

    def regional(self, features: Features, step: int) -> Tensor:
        """Return the residuals of the texture, averaged in a window of 48 px, and the content.

        Parameters
        ----------
        features : (content, texture)
            Of `describe`.
        step : int
            Return every `step`-th row and column.

        Returns
        -------
        Tensor of float64, shape (N, 21, rows, columns)
        """
        content, texture = features
        together = max(1, _PLACES // (content.shape[2] * content.shape[3]))
        parts = zip(content.split(together), texture.split(together), strict=True)
        residual = torch.cat([self._residual(*part) for part in parts])
        chosen = ((content - self._mean) / self._deviation).index_select(1, self._chosen).double()
        averaged = self.filters.gaussian(residual, WINDOW_PX / STEP_PX, step)
        return torch.cat([averaged, self.filters.gaussian(chosen, CONTENT_WINDOW_PX / STEP_PX, step)], dim=1)

    def _residual(self, content: Tensor, texture: Tensor) -> Tensor:
        """Return how far the texture is from the expected one, in units of its spread, clipped; float64."""
        scaled = ((content.double() - self._mean) / self._deviation).flatten(2)
        products = scaled.index_select(1, self._first).mul_(scaled.index_select(1, self._second))
        terms = torch.cat([torch.ones_like(scaled[:, :1]), scaled, products], dim=1)
        expected, spread = self._expected @ terms, (self._spread @ terms).clip_(-4.0, 2.0)
        residual = (texture.flatten(2) - expected).div_(spread.exp_())
        return residual.clip_(-MAX_RESIDUAL, MAX_RESIDUAL).view(texture.shape)
