"""The computation of a regional reference from training pairs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from tomostain.ood.grey_limits import GREY_LIMITS
from tomostain.ood.nearest_places import Float32, Float64, distance_score, nearest_places, smooth_density, whiten
from tomostain.ood.regional_reference import Augmentation, RegionalReference, Scores
from tomostain.ood.residual import DIMENSIONS, Features, TextureModel
from tomostain.ood.texture import describe

_MAX_PLACES, _MAX_PER_PAIR = 2600, 400
_FIT_PER_VIEW, _CALIBRATION_PER_PAIR = 800, 800
_FOLDS, _AUGMENTED_VIEWS = 6, 2
# Quantile of the distances of a training pair from the others; its median over the pairs, times the factor, has novelty
# 1. With the median, a single unusual pair does not raise it. Chosen on phantoms: studies/novelty/RECORD.md.
_USUAL_QUANTILE, _USUAL_FACTOR = 0.98, 1.15
# In a narrow field of view, the window holds fewer places, and distances are larger. So they are calibrated on crops of
# the training pairs, too: several of each pair, with these sides, px.
_CROP_SIDES_PX, _CROPS = (64, 96, 128, 192), 4
# The usual distance in crops of at least 128 px is at most this multiple of that in the whole pairs. Crops of air alone
# would raise it so much that nothing is novel.
_CAPPED_FROM_PX, _CAP = 128, 1.3
# Features of training pairs of up to so many pixels are kept, about 80 MB.
_KEPT_PX = 4_000_000


def fit_reference(
    slices: Sequence[NDArray[Any]],
    seed: int = 0,
    augmentation: Augmentation | None = None,
    limits: tuple[float, float] = GREY_LIMITS,
) -> RegionalReference:
    """Sample the texture of the training data, and calibrate the distances between its slices.

    Parameters
    ----------
    slices : sequence of ndarray, shape (Y, X)
        Normalised µCT of each training pair, at least one.
    seed : int
    augmentation : Augmentation, optional
        Of the training: the reference includes augmented views.
    limits : (float, float)
        Lowest and highest grey value that is distinguished.

    Returns
    -------
    RegionalReference
        At most about 0.25 MB.
    """
    if len(slices) == 1:
        slices = _halves(slices[0])
    ranges, folds = augmentation or Augmentation(), min(len(slices), _FOLDS)

    def compute(number: int) -> Iterator[Features]:
        rng = np.random.default_rng([seed, number])
        return (describe(ct, limits) for ct in _views(slices[number], rng, ranges, limits))

    # They are needed twice. The features of many pairs at once would need gigabytes, and are computed again.
    is_small = sum(ct.size for ct in slices) <= _KEPT_PX
    views = cache(lambda number: list(compute(number))) if is_small else compute

    rng = np.random.default_rng(seed)
    samples = [[_some(features, _FIT_PER_VIEW, rng) for features in views(n)] for n in range(len(slices))]
    whole = TextureModel.fit([sample for each in samples for sample in each])
    # Residuals out of fold: those of the training data itself would be smaller than those of a new volume.
    models = [
        TextureModel.fit([sample for n, each in enumerate(samples) if n % folds != fold for sample in each])
        for fold in range(folds)
    ]
    regional, cropped = [], []
    for number in range(len(slices)):
        model = models[number % folds]
        regional.append(_choose(_places(views(number), model), _CALIBRATION_PER_PAIR, rng))
        cropped.append({side: _places(crops, model) for side, crops in _crops(slices[number], rng, limits)})
    reference, scores = _reference(whole, regional, rng)
    side = float(np.median([min(ct.shape) for ct in slices]))
    return replace(_calibrated(reference, scores, cropped, side), limits=limits)


def _places(views: Iterable[Features], model: TextureModel) -> Float64:
    """Return the regional features of some views of a slice, on the grid of `GRID_PX`, shape (n, 21)."""
    return np.concatenate([model.regional(features, 2).reshape(-1, DIMENSIONS) for features in views])


def _crops(
    ct: NDArray[Any], rng: np.random.Generator, limits: tuple[float, float]
) -> Iterator[tuple[int, list[Features]]]:
    """Yield each side that is smaller than the slice, with the features of square crops at random positions."""
    for side in _CROP_SIDES_PX:
        if side < min(ct.shape):
            corners = rng.integers(0, np.array(ct.shape) - side + 1, (_CROPS, 2))
            yield side, [describe(ct[row : row + side, column : column + side], limits) for row, column in corners]


def _calibrated(
    reference: RegionalReference, scores: Scores, cropped: Sequence[Mapping[int, Float64]], side: float
) -> RegionalReference:
    """Return the reference with the usual distances in smaller slices too; `side` is that of the training pairs."""
    usual = {side: float(reference.usual[0])}
    for small in reversed(_CROP_SIDES_PX):
        quantiles = [scores(number, places[small]) for number, places in enumerate(cropped) if small in places]
        if quantiles and small < side:
            limit = _USUAL_FACTOR * float(np.median(quantiles))
            limit = min(limit, _CAP * usual[side]) if small >= _CAPPED_FROM_PX else limit
            usual[small] = max(limit, *usual.values())
    sides = sorted(usual)
    return replace(
        reference, sides=np.array(sides, np.float32), usual=np.array([usual[each] for each in sides], np.float32)
    )


def _reference(
    model: TextureModel, regional: Sequence[Float64], rng: np.random.Generator
) -> tuple[RegionalReference, Scores]:
    """Build the reference from the regression and the regional features of each pair.

    Also return a function of the number of a pair and of features of it: the quantile of their distances from the
    other pairs.
    """
    per_pair = max(1, min(_MAX_PER_PAIR, _MAX_PLACES // len(regional)))
    sampled = [_choose(places, per_pair, rng) for places in regional]
    pair_of = np.repeat(np.arange(len(sampled)), [len(places) for places in sampled])
    pooled = np.concatenate(sampled)
    mean = pooled.mean(axis=0).astype(np.float32)
    whitening = _whitening(pooled, pair_of)
    places = whiten(pooled, mean, whitening).astype(np.float32)
    apart = np.concatenate(
        [nearest_places(places[pair_of == n], places[pair_of != n])[0].mean(axis=1) for n in range(len(sampled))]
    )
    density = smooth_density(places, np.maximum(apart, 1e-6))

    def scores(number: int, features: Float64) -> float:
        others = pair_of != number
        score = distance_score(whiten(features, mean, whitening), places[others], density[others])
        return float(np.quantile(score, _USUAL_QUANTILE))

    quantiles = [scores(number, features) for number, features in enumerate(regional)]
    usual = np.array([max(_USUAL_FACTOR * np.median(quantiles), 1e-3)], np.float32)
    side = np.ones(1, np.float32)
    parts = (model.content, model.expected, model.spread, mean, whitening, places, density, side, usual)
    return RegionalReference(*parts), scores


def _halves(ct: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the halves of a slice along its longer axis, to compare a single pair with itself."""
    return list(np.array_split(ct, 2, axis=int(np.argmax(ct.shape))))


def _views(
    ct: NDArray[Any], rng: np.random.Generator, ranges: Augmentation, limits: tuple[float, float]
) -> Iterator[NDArray[Any]]:
    """Yield the µCT as it is, and augmented: linear interpolation at another scale, other contrast and brightness."""
    yield ct
    low, high = limits
    for _ in range(_AUGMENTED_VIEWS):
        scale = rng.uniform(*ranges.scale)
        contrast, brightness = rng.uniform(1 - ranges.jitter, 1 + ranges.jitter, 2)
        shape = tuple(max(1, int(side * scale)) for side in ct.shape)
        scaled = ndimage.affine_transform(
            ct.astype(np.float32), [1 / scale, 1 / scale], output_shape=shape, order=1, mode="nearest"
        )
        window = (np.clip(scaled, low, high) - low) / (high - low)
        yield np.clip(brightness * (0.5 + contrast * (window - 0.5)), 0, 1) * (high - low) + low


def _some(features: Features, count: int, rng: np.random.Generator) -> Features:
    content, texture = (part.reshape(-1, part.shape[-1]) for part in features)
    chosen = rng.choice(len(content), min(count, len(content)), replace=False)
    return content[chosen], texture[chosen]


def _choose(places: Float64, count: int, rng: np.random.Generator) -> Float64:
    chosen: Float64 = places[rng.choice(len(places), min(count, len(places)), replace=False)]
    return chosen


def _whitening(places: Float64, pair_of: NDArray[np.intp]) -> Float32:
    """Return the matrix that makes differences of nearest neighbours in different pairs white, shape (21, 21)."""
    deviation = places.std(axis=0) + 1e-3
    scaled = places / deviation
    differences = []
    for number in range(int(pair_of[-1]) + 1):
        inside, others = scaled[pair_of == number], scaled[pair_of != number]
        differences.append(inside - others[cKDTree(others).query(inside)[1]])
    covariance = np.cov(np.concatenate(differences).T)
    # A small share of the variances alone, and a floor, keep the inverse stable where there are few places.
    covariance = 0.9 * covariance + 0.1 * np.diag(np.diag(covariance)) + 1e-4 * np.eye(DIMENSIONS)
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors / np.sqrt(values)) / deviation[:, None], dtype=np.float32)
