"""Compare the grey values of a volume with those of the training data, where the volume is solid.

The amount of air and soft tissue depends on the field of view. So only voxels above a quarter of the step from
background to bone count: bone, new bone, degradation layer, screw. Wrong grey values of background and bone, a screw of
another material, or another instrument shift their distribution.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomostain.deprecation import renamed
from tomostain.imaging.intensity import IntensityReference, normalise_ct
from tomostain.imaging.network_range import CT_BACKGROUND, CT_BONE
from tomostain.integers import to_integers
from tomostain.io.volumes.base import VolumeLike, read_each
from tomostain.io.volumes.missing import present_slices
from tomostain.ood.grey_limits import GREY_LIMITS

Float = NDArray[np.float64]
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SOLID = CT_BACKGROUND + 0.25 * (CT_BONE - CT_BACKGROUND)
# The limit is this multiple of the median distance between neighbouring training pairs, within these bounds. Chosen on
# phantoms, so that the training data stays below it (docs/explanation/trust.md).
TIMES, LIMITS = 2.5, (0.06, 0.12)
_MAX_PAIRS = 500
_SLICES = 8


def solid_quantiles(ct: NDArray[Any]) -> Float:
    """Return the quantiles of the grey values of the solid voxels.

    Parameters
    ----------
    ct : ndarray, any shape
        Normalised µCT: background 10000, bone 30000.

    Returns
    -------
    ndarray of float64, shape (5,)
        At `QUANTILES`, clipped to `GREY_LIMITS`; NaN if nothing is solid.
    """
    solid = ct[ct > SOLID]
    if not solid.size:
        return np.full(len(QUANTILES), np.nan)
    return np.asarray(np.quantile(np.minimum(solid, GREY_LIMITS[1]), QUANTILES), dtype=np.float64)


def distance(a: ArrayLike, b: ArrayLike) -> float:
    """Return the distance of two sets of quantiles, as a fraction of the step from background to bone.

    The mean absolute difference of the quantiles approximates the Wasserstein distance of the two distributions.

    Examples
    --------
    >>> distance([15000, 20000], [17000, 24000])
    0.15
    """
    return float(np.abs(np.asarray(a, float) - np.asarray(b, float)).mean() / (CT_BONE - CT_BACKGROUND))


def distance_limit(known: Sequence[Sequence[float]]) -> float:
    """Return the distance above which a volume is out of distribution, for a model with these training pairs.

    It is 2.5 times the median distance of a training pair from its nearest neighbour, within bounds. With the median,
    a single unusual pair does not raise the limit.

    Examples
    --------
    >>> distance_limit([[16000.0], [16600.0], [17200.0], [30000.0]])
    0.075
    """
    rows = np.asarray(known[:_MAX_PAIRS], dtype=np.float64)
    if len(rows) < 2:
        return LIMITS[0]
    apart = np.abs(rows[:, None] - rows[None]).mean(axis=2) / (CT_BONE - CT_BACKGROUND)
    np.fill_diagonal(apart, np.inf)
    return float(np.clip(TIMES * np.median(apart.min(axis=1)), *LIMITS))


def is_covered(stored: float | None, known: Sequence[Sequence[float]]) -> bool:
    """Return whether the distance of a volume, as it is stored with a stained volume, is within the limit.

    Parameters
    ----------
    stored : float or None
        None: nothing in the volume was solid.
    known : sequence of sequence of float
        The quantiles of the training pairs.

    Examples
    --------
    >>> is_covered(0.01, [[15000.0]]), is_covered(None, [[15000.0]])
    (True, False)
    """
    return stored is not None and stored <= distance_limit(known)


def grey_distance(ct: NDArray[np.generic], known: Sequence[Sequence[float]]) -> float:
    """Return the distance of a volume from the nearest training pair; infinite if nothing in it is solid.

    Parameters
    ----------
    ct : ndarray, any shape
        Normalised µCT.
    known : sequence of five float
        `solid_quantiles` of each training pair, at least one.
    """
    quantiles = solid_quantiles(ct)
    return float("inf") if np.isnan(quantiles).any() else min(distance(quantiles, pair) for pair in known)


def sample_slices(volume: VolumeLike, intensity: IntensityReference | None) -> NDArray[np.generic]:
    """Return eight slices of a volume, evenly spaced and normalised.

    Parameters
    ----------
    volume : VolumeLike
    intensity : IntensityReference or None
        Grey values of background and bone; None if the volume is normalised.

    Returns
    -------
    ndarray, shape (N, Y, X)
        N is 8, or less for a thinner volume.
    """
    present = present_slices(volume, volume.shape[0])
    n = len(present)
    chosen = np.unique(to_integers((np.arange(_SLICES) + 0.5) * n / _SLICES, np.int64, "slices", rounded=False))
    slices = np.stack(read_each(volume, [present[z] for z in chosen]))
    return slices if intensity is None else normalise_ct(slices, intensity)


__getattr__ = renamed(__name__, {"limit": "distance_limit", "strangeness": "grey_distance", "sample": "sample_slices"})
