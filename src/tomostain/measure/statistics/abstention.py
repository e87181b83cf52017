"""Abstention: how the error of the accepted voxels falls as the most uncertain voxels are refused.

The risk-coverage curve (El-Yaniv & Wiener 2010, J. Mach. Learn. Res. 11, 1605; Geifman & El-Yaniv 2017, NeurIPS) is
computed from histograms that are filled block by block, so that no volume is held or sorted.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.integers import to_integers
from tomostain.measure.classes import Labels, TissueClass

Uncertainty = NDArray[np.uint8] | NDArray[np.floating]
"""uint8: 0 to 255 stand for 0 to 1."""
Errors = NDArray[np.bool_] | NDArray[np.integer] | NDArray[np.floating]
BINS = 255
"""Intervals of the uncertainty between 0 and 1: the steps of an 8-bit map, so that such a map loses nothing."""
_MAX_ERROR_BINS = 1024


@dataclass(frozen=True)
class RiskCoverage:
    """Error of the accepted voxels against their share.

    Attributes
    ----------
    threshold : ndarray of float, shape (K,)
        Uncertainties 0 to 1, rising. Voxels that are at most as uncertain are accepted.
    kept : ndarray of float, shape (K,)
        Share of the voxels that each threshold keeps, 0 to 1.
    error : ndarray of float, shape (K,)
        Mean error of these voxels; NaN where none is accepted.
    area : float
        Area under the curve over the accepted share, 0 to 1: the mean error over all shares. Lower is better.
    area_random : float
        The same if voxels were refused at random: the mean error of all.
    area_oracle : float
        The same if the voxels with the largest errors were refused first: no uncertainty can be better.
    """

    threshold: NDArray[np.float64]
    kept: NDArray[np.float64]
    error: NDArray[np.float64]
    area: float
    area_random: float
    area_oracle: float

    @property
    def gain(self) -> float:
        """How far the area is on the way from random (0) to the oracle (1); NaN if these are equal."""
        span = self.area_random - self.area_oracle
        return (self.area_random - self.area) / span if span > 0 else math.nan

    def threshold_for_share(self, share: float) -> float:
        """Return the lowest threshold that keeps at least this share of the voxels.

        Parameters
        ----------
        share : float
            Between 0 and 1.

        Raises
        ------
        InputError
            If it is not between 0 and 1.
        """
        if not 0 <= share <= 1:
            raise InputError(f"`share` is {share:g}; give a number from 0 to 1", parameter="share")
        return float(self.threshold[np.flatnonzero(self.kept >= share - 1e-12)[0]])

    def threshold_for_error(self, error: float) -> float:
        """Return the highest threshold at which the mean error of the accepted voxels is at most `error`.

        Raises
        ------
        InputError
            If no threshold reaches it. The message states the lowest error.
        """
        fitting = np.flatnonzero(self.error <= error)
        if not len(fitting):
            raise InputError(
                f"no threshold keeps voxels with a mean error of at most {error:g}; the lowest is "
                f"{np.nanmin(self.error):.3g}",
                parameter="error",
            )
        return float(self.threshold[fitting[-1]])

    def at(self, threshold: float) -> tuple[float, float]:
        """Return the accepted share and the mean error at a threshold."""
        index = int(np.searchsorted(self.threshold, threshold + 1e-9, side="right")) - 1
        return (float(self.kept[index]), float(self.error[index])) if index >= 0 else (0.0, math.nan)


class AbstentionCounter:
    """Counts voxels by uncertainty and by error, block by block.

    Parameters
    ----------
    max_error : float
        Errors are between 0 and this. 1 for misclassified voxels.

    Examples
    --------
    >>> counter = AbstentionCounter()
    >>> counter.add(np.array([0, 0, 255, 255], np.uint8), np.array([False, False, False, True]))
    >>> curve = counter.curve()
    >>> curve.at(0.0), curve.at(1.0)
    ((0.5, 0.0), (1.0, 0.25))
    """

    def __init__(self, max_error: float = 1.0) -> None:
        if not (math.isfinite(max_error) and max_error > 0):
            raise InputError(f"`max_error` is {max_error}; give a number above 0", parameter="max_error")
        self._max_error = max_error
        self._count = np.zeros(BINS + 1)
        self._sum = np.zeros(BINS + 1)
        self._errors = np.zeros(_MAX_ERROR_BINS + 1)

    def add(self, uncertainty: Uncertainty, error: Errors, mask: NDArray[np.bool_] | None = None) -> None:
        """Add voxels.

        Parameters
        ----------
        uncertainty : ndarray of uint8 (0 to 255) or float (0 to 1)
            NaN counts as 1.
        error : ndarray of bool or float, the same shape
            True where a voxel is wrong, or its error.
        mask : ndarray of bool, optional
            The voxels to count; by default all.

        Raises
        ------
        InputError
            If the shapes differ, or an error is not between 0 and `max_error`.
        """
        if uncertainty.shape != error.shape or (mask is not None and mask.shape != error.shape):
            raise InputError(f"abstention: uncertainty {uncertainty.shape} and error {error.shape} differ in shape")
        chosen = slice(None) if mask is None else mask
        index = _bins_of(uncertainty[chosen].ravel())
        values = error[chosen].ravel().astype(np.float64)
        if not np.all((values >= 0) & (values <= self._max_error)):
            raise InputError(f"abstention: an error is not between 0 and {self._max_error:g}", parameter="max_error")
        self._count += np.bincount(index, minlength=BINS + 1)
        self._sum += np.bincount(index, weights=values, minlength=BINS + 1)
        bins = to_integers(values * (_MAX_ERROR_BINS / self._max_error), np.intp, "errors")
        self._errors += np.bincount(bins, minlength=_MAX_ERROR_BINS + 1)

    def curve(self) -> RiskCoverage:
        """Return the curve of what was added.

        Raises
        ------
        InputError
            If nothing was added.
        """
        total = self._count.sum()
        if not total:
            raise InputError("abstention: no voxel was counted; the mask is empty")
        count, error = np.cumsum(self._count), np.cumsum(self._sum)
        mean = np.divide(error, count, out=np.full(len(count), np.nan), where=count > 0)
        levels = np.arange(_MAX_ERROR_BINS + 1) * (self._max_error / _MAX_ERROR_BINS)
        return RiskCoverage(
            threshold=np.arange(BINS + 1) / BINS,
            kept=count / total,
            error=mean,
            area=_area(self._count, self._sum),
            area_random=float(error[-1] / total),
            area_oracle=_area(self._errors, self._errors * levels),
        )


def refuse(labels: Labels, uncertainty: Uncertainty, threshold: float) -> Labels:
    """Return labels in which the voxels with a high uncertainty are not measured.

    Parameters
    ----------
    labels : ndarray of uint8
        Values of `TissueClass`.
    uncertainty : ndarray of uint8 (0 to 255) or float (0 to 1), the same shape
        NaN is refused.
    threshold : float
        Between 0 and 1. Voxels with a higher uncertainty become `TissueClass.NOT_MEASURED`.

    Returns
    -------
    ndarray of uint8
        A copy.

    Raises
    ------
    InputError
        If the shapes differ, or the threshold is not between 0 and 1.

    Examples
    --------
    >>> refuse(np.array([2, 2, 5], np.uint8), np.array([0, 200, 128], np.uint8), 0.6).tolist()
    [2, 255, 5]
    """
    if labels.shape != uncertainty.shape:
        raise InputError(f"labels {labels.shape} and uncertainty {uncertainty.shape} differ in shape")
    if not 0 <= threshold <= 1:
        raise InputError(f"`max_uncertainty` is {threshold:g}; give a number from 0 to 1", parameter="max_uncertainty")
    if uncertainty.dtype == np.uint8:
        is_refused = (np.arange(256) / 255 > threshold)[uncertainty]
    else:
        is_refused = ~(uncertainty <= threshold)
    return np.where(is_refused, np.uint8(TissueClass.NOT_MEASURED), labels)


def _bins_of(uncertainty: Uncertainty) -> NDArray[np.intp]:
    """Return the first threshold k / BINS that keeps each voxel, as k."""
    if uncertainty.dtype == np.uint8:
        return uncertainty.astype(np.intp)
    filled = np.nan_to_num(uncertainty.astype(np.float64), nan=1.0)
    return to_integers(np.ceil(np.clip(filled, 0, 1) * BINS - 1e-6), np.intp, "uncertainty")


def _area(count: NDArray[np.float64], total_error: NDArray[np.float64]) -> float:
    """Return the area under the curve. Voxels of one interval are refused in random order.

    Within an interval of n voxels with the sum of errors e, after N voxels with the sum E, the mean error of what is
    kept is (E + t e) / (N + t n), t from 0 to 1. Its integral has a closed form.
    """
    used = count > 0
    n, e = count[used], total_error[used]
    before_n, before_e = np.cumsum(n) - n, np.cumsum(e) - e
    mean = e / n
    logarithm = np.log1p(np.divide(n, before_n, out=np.zeros_like(n), where=before_n > 0))
    return float(np.sum(e + (before_e - mean * before_n) * logarithm) / n.sum())
