"""The training reference of older models: grey value and spread at five scales, compared with the nearest place.

Models that were exported before `tomostain.ood.regional_reference` hold this reference and keep it. It detects another
implant material, but neither another tissue nor another voxel size: studies/novelty/RECORD.md.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from tomostain.dataset.pair import Pair
from tomostain.errors import InputError
from tomostain.imaging.network_range import CT_BACKGROUND, CT_BONE
from tomostain.ood.grey_limits import GREY_LIMITS

Float32 = NDArray[np.float32]
SIGMAS_PX = (1.0, 2.0, 4.0, 8.0, 16.0)
FEATURES = 2 * len(SIGMAS_PX)
# Neighbourhoods overlap, so every fourth pixel along each axis is enough.
STEP_PX = 4
# Deviations below this fraction of the step from background to bone are noise of the scanner, not structure.
NOISE = 0.02
_MAX_PER_PAIR, _MAX_IN_ALL = 400, 8000
# Quantile of the distances between training pairs that has novelty 1.
_USUAL = 0.99
_MAX_POSITIONS = 4096


@dataclass(frozen=True, eq=False)
class NeighbourhoodReference:
    """A sample of the training data, for the novelty.

    Attributes
    ----------
    neighbourhoods : ndarray of float32, shape (N, 10)
        Features of neighbourhoods in the training pairs (`describe`), divided by `scale`.
    scale : ndarray of float32, shape (10,)
        Standard deviation of each feature over them.
    usual : float
        99 % of the neighbourhoods are nearer than this to a neighbourhood of another pair.
    """

    neighbourhoods: Float32
    scale: Float32
    usual: float

    # A larger novel share of a volume is out of distribution.
    share_limit: ClassVar[float] = 0.10
    grid_px: ClassVar[int] = STEP_PX

    def to_arrays(self) -> dict[str, Float32]:
        """Return the arrays that a model folder stores."""
        return {
            "neighbourhoods": self.neighbourhoods,
            "scale": self.scale,
            "usual": np.array([self.usual], np.float32),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], source: str) -> "NeighbourhoodReference":
        """Build the reference from the arrays of `to_arrays`.

        Raises
        ------
        InputError
            If the arrays have other names, shapes or values; the message names `source`.
        """
        shapes = {"neighbourhoods": (None, FEATURES), "scale": (FEATURES,), "usual": (1,)}
        values = {name: np.asarray(arrays.get(name, ())) for name in shapes}
        valid = all(
            array.dtype == np.float32
            and array.ndim == len(shape)
            and len(array) > 0
            and all(expected in (None, size) for expected, size in zip(shape, array.shape, strict=True))
            and np.isfinite(array).all()
            for array, shape in zip(values.values(), shapes.values(), strict=True)
        )
        if not valid or not (values["scale"] > 0).all() or values["usual"][0] <= 0:
            raise InputError(
                f"{source}: does not hold a training reference of this version of tomostain; export the model again"
            )
        return cls(values["neighbourhoods"], values["scale"], float(values["usual"][0]))

    def grid(self, ct: NDArray[Any]) -> Float32:
        """Return the novelty of every fourth pixel of a slice, shape (ceil(Y / 4), ceil(X / 4))."""
        return _distance(describe(ct), cKDTree(self.neighbourhoods), self)

    def sample(self, ct: NDArray[Any]) -> Float32:
        """Return the novelty of some thousand pixels of a slice, evenly spaced."""
        features = describe(ct)
        step = max(1, int(np.sqrt(features[..., 0].size / _MAX_POSITIONS)))
        return _distance(features[::step, ::step], cKDTree(self.neighbourhoods), self)


def describe(ct: NDArray[Any]) -> Float32:
    """Describe the neighbourhood of every fourth pixel by mean and spread at five scales.

    Parameters
    ----------
    ct : ndarray, shape (Y, X)
        Normalised µCT: background 10000, bone 30000.

    Returns
    -------
    ndarray of float32, shape (ceil(Y / 4), ceil(X / 4), 10)
        For each Gaussian window of σ 1, 2, 4, 8 and 16 px: the mean, as a fraction of the step from background to
        bone and clipped to `GREY_LIMITS`; and the logarithm of the standard deviation, to which 0.02 of
        noise is added in quadrature.
    """
    grey = (np.clip(ct.astype(np.float64), *GREY_LIMITS) - CT_BACKGROUND) / (CT_BONE - CT_BACKGROUND)
    features = []
    for sigma in SIGMAS_PX:
        mean, square = (ndimage.gaussian_filter(image, sigma)[::STEP_PX, ::STEP_PX] for image in (grey, grey * grey))
        features += [mean, 0.5 * np.log(np.maximum(square - mean * mean, 0.0) + NOISE**2)]
    return np.stack(features, axis=-1).astype(np.float32)


def neighbourhood_reference(pairs: Iterable[Pair], seed: int = 0) -> NeighbourhoodReference:
    """Draw a sample of neighbourhoods from the training pairs.

    Parameters
    ----------
    pairs : iterable of Pair
        At least one. Inside the masks, where µCT and histology correspond, four times as many neighbourhoods are drawn
        as outside, where there is mostly air.
    seed : int

    Returns
    -------
    NeighbourhoodReference
    """
    rng, samples = np.random.default_rng(seed), []
    for pair in pairs:
        features, inside = describe(pair.ct), pair.mask[::STEP_PX, ::STEP_PX]
        parts = ((inside, _MAX_PER_PAIR), (~inside, _MAX_PER_PAIR // 4))
        samples.append(np.concatenate([_some(features[where], count, rng) for where, count in parts]))
    per_pair = max(1, _MAX_IN_ALL // len(samples))
    samples = [_some(features, per_pair, rng) for features in samples]
    scale = np.maximum(np.concatenate(samples).std(axis=0), 1e-3).astype(np.float32)
    scaled = [features / scale for features in samples]
    return NeighbourhoodReference(np.concatenate(scaled), scale, _usual(scaled))


def _some(features: Float32, count: int, rng: np.random.Generator) -> Float32:
    return features[np.sort(rng.choice(len(features), min(count, len(features)), replace=False))]


def _usual(scaled: list[Float32]) -> float:
    """Return the usual distance from the nearest neighbourhood of another pair; of a single pair, within it."""
    if len(scaled) == 1:
        apart = cKDTree(scaled[0]).query(scaled[0], k=2)[0][:, -1]
    else:
        others = (np.concatenate(scaled[:i] + scaled[i + 1 :]) for i in range(len(scaled)))
        apart = np.concatenate(
            [cKDTree(reference).query(pair)[0] for reference, pair in zip(others, scaled, strict=True)]
        )
    finite = apart[np.isfinite(apart)]
    # Rounded as in a model folder.
    return float(np.float32(max(np.quantile(finite, _USUAL), 1e-3))) if finite.size else 1.0


def _distance(features: Float32, tree: cKDTree, reference: NeighbourhoodReference) -> Float32:
    """Return the distance of features (..., 10) from the nearest in the training data, relative to the usual one."""
    distances, _ = tree.query(features.reshape(-1, FEATURES) / reference.scale)
    return (distances / reference.usual).reshape(features.shape[:-1]).astype(np.float32)
