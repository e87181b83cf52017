"""Where does a slice look like nothing that training saw? By grey value and texture, at five scales.

Models of one recipe share their ignorance: what none of them has seen they may paint wrongly, and agree on it. So a
sample of what training saw is kept with the model, and a slice is held against it without any network: the distance of
each neighbourhood from the nearest one that training saw, in units of how far training pairs are from one another. Such
nearest-neighbour detectors of the unknown need no assumption on what it looks like (Sun et al. 2022, ICML,
arXiv:2204.06507, there with features of a network).
"""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from tomostain.dataset.pair import Pair
from tomostain.errors import InputError, OutOfDistributionWarning
from tomostain.imaging.network_range import CT_BACKGROUND, CT_BONE, CT_WINDOW

Float32 = NDArray[np.float32]
SIGMAS_PX = (1.0, 2.0, 4.0, 8.0, 16.0)
FEATURES = 2 * len(SIGMAS_PX)
# Neighbourhoods overlap: every fourth pixel along each axis tells as much.
STEP_PX = 4
# Deviations below this, in steps from background to bone, are the scanner's noise and tell nothing of the tissue.
_NOISE = 0.02
_FROM_PAIR, _FROM_ALL = 400, 8000
# As far as the farthest hundredth of the training pairs is from the others is usual.
_USUAL = 0.99
_PLACES = 4096
# A slice of which more is new than this is warned of. Set on phantoms: docs/explanation/trust.md.
SHARE = 0.10


@dataclass(frozen=True, eq=False)
class TrainingReference:
    """What training saw.

    Attributes
    ----------
    neighbourhoods : ndarray of float32, shape (N, 10)
        Some of what `describe` makes of the training pairs, divided by `scale`.
    scale : ndarray of float32, shape (10,)
        Standard deviation of each feature over them.
    usual : float
        The distance that 99 of 100 of them have from the nearest of another pair.
    """

    neighbourhoods: Float32
    scale: Float32
    usual: float

    def to_arrays(self) -> dict[str, Float32]:
        """Return it as it lies in a model folder."""
        return {
            "neighbourhoods": self.neighbourhoods,
            "scale": self.scale,
            "usual": np.array([self.usual], np.float32),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], source: str) -> "TrainingReference":
        """Read what `to_arrays` returned.

        Raises
        ------
        InputError
            Naming `source`, if it is something else.
        """
        wanted = {"neighbourhoods": (None, FEATURES), "scale": (FEATURES,), "usual": (1,)}
        found = {name: np.asarray(arrays.get(name, ())) for name in wanted}
        good = all(
            array.dtype == np.float32
            and array.ndim == len(shape)
            and len(array) > 0
            and all(size in (None, there) for size, there in zip(shape, array.shape, strict=True))
            and np.isfinite(array).all()
            for array, shape in zip(found.values(), wanted.values(), strict=True)
        )
        if not good or not (found["scale"] > 0).all() or found["usual"][0] <= 0:
            raise InputError(
                f"{source}: does not hold what training saw as this version writes it; export the model again"
            )
        return cls(found["neighbourhoods"], found["scale"], float(found["usual"][0]))


def describe(ct: NDArray[Any]) -> Float32:
    """Describe the neighbourhood of every fourth pixel by mean and spread at five scales.

    Parameters
    ----------
    ct : ndarray, shape (Y, X)
        Normalised µCT: background 10000, bone 30000.

    Returns
    -------
    ndarray of float32, shape (ceil(Y / 4), ceil(X / 4), 10)
        Means in Gaussian windows of σ 1, 2, 4, 8 and 16 px, in steps from background to bone, within what the networks
        see; after each the logarithm of the standard deviation there, with 0.02 of noise added in squares.
    """
    grey = (np.clip(ct.astype(np.float64), *CT_WINDOW) - CT_BACKGROUND) / (CT_BONE - CT_BACKGROUND)
    features = []
    for sigma in SIGMAS_PX:
        mean, square = (ndimage.gaussian_filter(image, sigma)[::STEP_PX, ::STEP_PX] for image in (grey, grey * grey))
        features += [mean, 0.5 * np.log(np.maximum(square - mean * mean, 0.0) + _NOISE**2)]
    return np.stack(features, axis=-1).astype(np.float32)


def remember(pairs: Iterable[Pair], seed: int = 0) -> TrainingReference:
    """Take a sample of what there is in the training pairs.

    Parameters
    ----------
    pairs : iterable of Pair
        At least one. Within the masks, where µCT and histology correspond, four times as many places are taken as
        outside, where there is mostly air.
    seed : int
        Draws the places.

    Returns
    -------
    TrainingReference
    """
    rng, found = np.random.default_rng(seed), []
    for pair in pairs:
        features, inside = describe(pair.ct), pair.mask[::STEP_PX, ::STEP_PX]
        some = [_some(features[where], most, rng) for where, most in ((inside, _FROM_PAIR), (~inside, _FROM_PAIR // 4))]
        found.append(np.concatenate(some))
    most = max(1, _FROM_ALL // len(found))
    found = [_some(features, most, rng) for features in found]
    scale = np.maximum(np.concatenate(found).std(axis=0), 1e-3).astype(np.float32)
    scaled = [features / scale for features in found]
    return TrainingReference(np.concatenate(scaled), scale, _usual(scaled))


def _some(features: Float32, most: int, rng: np.random.Generator) -> Float32:
    return features[np.sort(rng.choice(len(features), min(most, len(features)), replace=False))]


def _usual(scaled: list[Float32]) -> float:
    """Return how far what is in one pair may be from the nearest in the others; of a lone pair, within it."""
    if len(scaled) == 1:
        apart = cKDTree(scaled[0]).query(scaled[0], k=2)[0][:, -1]
    else:
        others = (np.concatenate(scaled[:i] + scaled[i + 1 :]) for i in range(len(scaled)))
        apart = np.concatenate([cKDTree(rest).query(own)[0] for rest, own in zip(others, scaled, strict=True)])
    finite = apart[np.isfinite(apart)]
    # As a model folder keeps it.
    return float(np.float32(max(np.quantile(finite, _USUAL), 1e-3))) if finite.size else 1.0


def novelty(ct: NDArray[Any], seen: TrainingReference) -> Float32:
    """Return how unlike everything that training saw each place of a slice is.

    Parameters
    ----------
    ct : ndarray, shape (Y, X)
        Normalised µCT: background 10000, bone 30000.
    seen : TrainingReference

    Returns
    -------
    ndarray of float32, shape (Y, X)
        0 where training saw just that; below 1 usual; from there on new.
    """
    coarse = _distance(describe(ct), cKDTree(seen.neighbourhoods), seen)
    rows, columns = (np.minimum(np.arange(n) / STEP_PX, m - 1) for n, m in zip(ct.shape, coarse.shape, strict=True))
    places = np.meshgrid(rows, columns, indexing="ij")
    return ndimage.map_coordinates(coarse, places, order=1, mode="nearest").astype(np.float32)


def _distance(features: Float32, tree: cKDTree, seen: TrainingReference) -> Float32:
    """Return how far features (..., 10) are from the nearest that training saw, in units of what is usual."""
    apart, _ = tree.query(features.reshape(-1, FEATURES) / seen.scale)
    return (apart / seen.usual).reshape(features.shape[:-1]).astype(np.float32)


def new_share(slices: NDArray[Any], seen: TrainingReference) -> float:
    """Return how much of some slices is unlike all that training saw: novelty above 1.

    Parameters
    ----------
    slices : ndarray, shape (N, Y, X)
        Normalised µCT. Of each some thousand places are looked at.
    seen : TrainingReference
    """
    tree, shares = cKDTree(seen.neighbourhoods), []
    for ct in slices:
        features = describe(ct)
        step = max(1, int(np.sqrt(features[..., 0].size / _PLACES)))
        shares.append((_distance(features[::step, ::step], tree, seen) > 1.0).mean())
    return float(np.mean(shares))


def warn_if_novel(slices: NDArray[Any], seen: TrainingReference | None, source: str) -> float | None:
    """Warn, with `OutOfDistributionWarning`, if much of a scan is unlike everything that training saw.

    Parameters
    ----------
    slices : ndarray, shape (N, Y, X)
        Normalised µCT.
    seen : TrainingReference or None
        None: an older model that remembers nothing; then nothing is said.
    source : str
        Named in the warning.

    Returns
    -------
    float or None
        The share of new places, rounded to 0.001.
    """
    if seen is None:
        return None
    share = new_share(slices, seen)
    if share > SHARE:
        warnings.warn(
            f"{source}: {share:.0%} of it is unlike all that the model was trained on (usual up to {SHARE:.0%}): "
            "another tissue or implant material, resolution, noise or artefacts; what it draws there is a guess. See "
            "where with --doubt",
            OutOfDistributionWarning,
            stacklevel=2,
        )
    return round(share, 3)
