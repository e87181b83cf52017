"""Detectors that were tried: features of a place, and a score of how unlike those of the training pairs they are.

The last of `VARIANTS` is what `tomostain.ood.regional_reference` does. Here it is computed with the same blocks as the
others, so that only one part differs between two rows of the table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from tomostain.ood import nearest_places, neighbourhoods, reference_fit, residual, texture
from tomostain.ood.grey_limits import GREY_LIMITS
from tomostain.ood.regional_reference import Augmentation

Float = NDArray[np.floating[Any]]
Describe = Callable[[Float], Float]
PLACES, SAMPLE = 2600, 600


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Attributes
    ----------
    name : str
    features : {"old", "texture", "network"}
    window_px : float
        Window in which features are averaged; 0: none.
    regress : bool
        Subtract the texture that is expected for the content first.
    score : {"nearest", "density", "mahalanobis", "pca"}
        Mean distance from the five nearest places; the same, by the root of the density there; Mahalanobis distance;
        distance from the plane of the principal components with 90 % of the variance.
    """

    name: str
    features: str = "texture"
    window_px: float = 0.0
    regress: bool = False
    score: str = "nearest"


VARIANTS = (
    Variant("mean and spread at 5 scales, nearest (older models)", "old"),
    Variant("texture, Mahalanobis", score="mahalanobis"),
    Variant("texture, PCA residual", score="pca"),
    Variant("texture, nearest"),
    Variant("texture averaged in 48 px, nearest", window_px=48.0),
    Variant("texture given content, 48 px, Mahalanobis", window_px=48.0, regress=True, score="mahalanobis"),
    Variant("texture given content, 16 px, nearest", window_px=16.0, regress=True),
    Variant("texture given content, 48 px, nearest", window_px=48.0, regress=True),
    Variant("texture given content, 16 px, nearest by density", window_px=16.0, regress=True, score="density"),
    Variant("texture given content, 48 px, nearest by density", window_px=48.0, regress=True, score="density"),
)
NETWORK_VARIANTS = (
    Variant("network, 4 px grid, averaged in 48 px", "network-1", 48.0, score="density"),
    Variant("network, 16 px grid, averaged in 48 px", "network-3", 48.0, score="density"),
)


class Detector:
    """A variant, fitted to slices of the training pairs.

    Parameters
    ----------
    variant : Variant
    slices : sequence of ndarray, shape (Y, X)
    network : dict of callable, optional
        Features of a network by name, for the variants that use them.
    """

    def __init__(self, variant: Variant, slices: Sequence[Float], network: dict[str, Describe] | None = None) -> None:
        self.variant, self.network = variant, network or {}
        rng, number = np.random.default_rng(0), len(slices)
        ranges = Augmentation()
        views = [[self.features(v) for v in reference_fit._views(ct, rng, ranges, GREY_LIMITS)] for ct in slices]
        folds = min(number, 6)
        self.model: Any = None
        models: list[Any] = [None] * folds
        if variant.regress:
            sampled = [[reference_fit._some(f, 800, rng) for f in each] for each in views]
            self.model = residual.TextureModel.fit([s for each in sampled for s in each])
            for fold in range(folds):
                models[fold] = residual.TextureModel.fit(
                    [s for n, each in enumerate(sampled) if n % folds != fold for s in each]
                )
        regional = [
            np.concatenate([self.regional(f, models[n % folds]).reshape(-1, self.width) for f in each])
            for n, each in enumerate(views)
        ]
        regional = [reference_fit._choose(places, SAMPLE, rng) for places in regional]
        parts = [places[: max(1, PLACES // number)] for places in regional]
        pair_of = np.repeat(np.arange(number), [len(part) for part in parts])
        pooled = np.concatenate(parts)
        self.mean, self.whitening = pooled.mean(axis=0), _whitening(pooled, pair_of)
        self.places = self.white(pooled)
        apart = np.concatenate(
            [_nearest(self.places[pair_of == n], self.places[pair_of != n])[0].mean(axis=1) for n in range(number)]
        )
        self.density = nearest_places.smooth_density(self.places.astype(np.float32), np.maximum(apart, 1e-6))
        quantiles = [np.quantile(self.score(self.white(regional[n]), pair_of != n), 0.98) for n in range(number)]
        self.usual = 1.15 * float(np.median(quantiles))

    def features(self, ct: Float) -> Any:
        """Return the features on a grid of 4 px; for `regress`, content and texture apart."""
        kind = self.variant.features
        if kind == "old":
            return neighbourhoods.describe(ct)
        if kind.startswith("network"):
            return self.network[kind](ct)
        described = texture.describe(ct)
        return described if self.variant.regress else np.concatenate(described, axis=-1)

    def regional(self, features: Any, model: Any) -> Float:
        """Average features in the window; every second place."""
        sigma = self.variant.window_px / texture.STEP_PX
        if self.variant.regress:
            saved, residual.WINDOW_PX = residual.WINDOW_PX, self.variant.window_px
            try:
                values = model.regional(features)
            finally:
                residual.WINDOW_PX = saved
        else:
            values = ndimage.gaussian_filter(features, (sigma, sigma, 0), truncate=3.0) if sigma else features
        self.width = values.shape[-1]
        return np.asarray(values[::2, ::2])

    def white(self, places: Float) -> Float:
        """Return whitened features."""
        return np.asarray((places - self.mean) @ self.whitening)

    def score(self, white: Float, known: NDArray[np.bool_] | None = None) -> Float:
        """Return the score of places, against all or some of the reference."""
        places = self.places if known is None else self.places[known]
        density = self.density if known is None else self.density[known]
        if self.variant.score in ("nearest", "density"):
            distances, nearest = _nearest(white, places)
            by = np.sqrt(density[nearest].mean(axis=1)) if self.variant.score == "density" else 1.0
            return np.asarray(distances.mean(axis=1) / by)
        centred, covariance = white - places.mean(axis=0), np.cov(places.T)
        if self.variant.score == "mahalanobis":
            covariance = covariance + 0.02 * np.diag(np.diag(covariance))
            return np.asarray(np.sqrt(np.einsum("ij,jk,ik->i", centred, np.linalg.inv(covariance), centred)))
        values, vectors = np.linalg.eigh(covariance)
        main = vectors[:, ::-1][:, : 1 + int(np.searchsorted(np.cumsum(values[::-1]) / values.sum(), 0.9))]
        return np.asarray(np.linalg.norm(centred - centred @ main @ main.T, axis=1))

    def grid(self, ct: Float) -> Float:
        """Return the novelty on a grid of 8 px: above 1 is novel."""
        regional = self.regional(self.features(ct), self.model)
        score = self.score(self.white(regional.reshape(-1, self.width))) / self.usual
        return np.asarray(score.reshape(regional.shape[:2]))


def _nearest(places: Float, reference: Float, count: int = 5) -> tuple[Float, NDArray[np.intp]]:
    distances, nearest = cKDTree(reference).query(places, k=list(range(1, min(count, len(reference)) + 1)))
    return distances, nearest


def _whitening(places: Float, pair_of: NDArray[np.intp]) -> Float:
    """Return the matrix that makes differences of nearest neighbours in different pairs white."""
    deviation = places.std(axis=0) + 1e-3
    scaled, differences = places / deviation, []
    edges = np.searchsorted(pair_of, np.arange(pair_of[-1] + 2))
    for start, stop in pairwise(edges):
        inside = scaled[start:stop]
        others = np.concatenate([scaled[:start], scaled[stop:]])
        differences.append(inside - others[cKDTree(others).query(inside)[1]])
    covariance = np.cov(np.concatenate(differences).T)
    covariance = 0.9 * covariance + 0.1 * np.diag(np.diag(covariance)) + 1e-4 * np.eye(len(covariance))
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors / np.sqrt(values)) / deviation[:, None])
