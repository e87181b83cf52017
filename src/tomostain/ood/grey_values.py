"""Does a scan look like those that a model was trained on? By the grey values of what is solid in it.

Air and soft tissue fill a scan as much as its field of view lets them, so only what is denser than a quarter of the way
from background to bone counts: bone, new bone, degradation layer, screw. Wrong grey levels, a screw of a material that
training never saw, or another instrument shift their distribution.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomostain.errors import OutOfDistributionWarning
from tomostain.imaging.intensity import IntensityReference, SlicedVolume, normalise_ct
from tomostain.imaging.network_range import CT_BACKGROUND, CT_BONE, CT_WINDOW

Float = NDArray[np.float64]
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SOLID = CT_BACKGROUND + 0.25 * (CT_BONE - CT_BACKGROUND)
# Farther from the nearest training pair than so many times what one training pair is from the next, within these
# bounds, is strange. Set on phantoms: what training saw stays below (docs/explanation/trust.md).
TIMES, LIMITS = 2.5, (0.06, 0.12)
_MOST_PAIRS = 500
_SLICES = 8


def solid_quantiles(ct: NDArray[Any]) -> Float:
    """Return the quantiles of the grey values of what is solid.

    Parameters
    ----------
    ct : ndarray, any shape
        Normalised µCT: background 10000, bone 30000.

    Returns
    -------
    ndarray of float64, shape (5,)
        At `QUANTILES`, clipped to what the networks see; NaN where nothing is solid.
    """
    solid = ct[ct > SOLID]
    if not solid.size:
        return np.full(len(QUANTILES), np.nan)
    return np.asarray(np.quantile(np.minimum(solid, CT_WINDOW[1]), QUANTILES), dtype=np.float64)


def distance(a: ArrayLike, b: ArrayLike) -> float:
    """Return how far two sets of quantiles are apart, in units of the step from background to bone.

    The mean difference of quantiles is, but for the few that are taken, the distance by which grey values would have
    to be moved to turn one distribution into the other (Wasserstein's).

    Examples
    --------
    >>> distance([15000, 20000], [17000, 24000])
    0.15
    """
    return float(np.abs(np.asarray(a, float) - np.asarray(b, float)).mean() / (CT_BONE - CT_BACKGROUND))


def limit(known: Sequence[Sequence[float]]) -> float:
    """Return the distance beyond which a scan is strange to a model that knows these training pairs.

    Two and a half times the median distance of a training pair from the next, within bounds: one odd pair among them
    must not make everything usual.

    Examples
    --------
    >>> limit([[16000.0], [16600.0], [17200.0], [30000.0]])
    0.075
    """
    rows = np.asarray(known[:_MOST_PAIRS], dtype=np.float64)
    if len(rows) < 2:
        return LIMITS[0]
    apart = np.abs(rows[:, None] - rows[None]).mean(axis=2) / (CT_BONE - CT_BACKGROUND)
    np.fill_diagonal(apart, np.inf)
    return float(np.clip(TIMES * np.median(apart.min(axis=1)), *LIMITS))


def strangeness(ct: NDArray[np.generic], known: Sequence[Sequence[float]]) -> float:
    """Return the distance of a scan from the nearest training pair; infinite where nothing in it is solid.

    Parameters
    ----------
    ct : ndarray, any shape
        Normalised µCT.
    known : sequence of five float
        `solid_quantiles` of each training pair, at least one.
    """
    found = solid_quantiles(ct)
    return float("inf") if np.isnan(found).any() else min(distance(found, pair) for pair in known)


def sample(volume: SlicedVolume, levels: IntensityReference | None) -> NDArray[np.generic]:
    """Return some slices of a volume, normalised, shape (N, Y, X); `levels` None: they are normalised already."""
    n = volume.shape[0]
    chosen = np.unique(((np.arange(_SLICES) + 0.5) * n / _SLICES).astype(int))
    slices = np.stack([volume.read(int(z), int(z) + 1)[0] for z in chosen])
    return slices if levels is None else normalise_ct(slices, levels)


def warn_if_grey_values_differ(ct: NDArray[np.generic], known: Sequence[Sequence[float]], source: str) -> float | None:
    """Warn, with `OutOfDistributionWarning`, if a scan is far from what a model was trained on.

    Parameters
    ----------
    ct : ndarray, any shape
        Normalised µCT.
    known : sequence of five float
        See `strangeness`; nothing is said if it is empty (older models).
    source : str
        Named in the warning.

    Returns
    -------
    float or None
        The distance, rounded to 0.001; None where the model does not tell.
    """
    if not known:
        return None
    found, most = strangeness(ct, known), limit(known)
    if found > most:
        warnings.warn(
            f"{source}: its grey values are unlike all that the model was trained on (distance {found:.2f} of the step "
            f"from background to bone, usual up to {most:.2f}): wrong grey levels, another instrument, or a material "
            "it never saw; what it draws there is a guess. Check --background and --bone",
            OutOfDistributionWarning,
            stacklevel=2,
        )
    return round(found, 3) if np.isfinite(found) else None
