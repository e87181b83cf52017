"""Squared distances inside a phase, in a window of slices that moves through the volume in the order of z."""

import numpy as np
from numpy.typing import NDArray

from tomostain.measure.classes import Labels, TissueClass
from tomostain.measure.label_source import LabelSource
from tomostain.measure.morphometry.slice_window import SliceWindow
from tomostain.measure.morphometry.squared_distances import Metric, Squared, squared_distances

Phase = tuple[TissueClass, ...]

PIECE_BYTES_PER_VOXEL = 10.0
"""Memory of the slices that are computed at once, with their overlap: labels, mask, counts and distances."""
_LEAST_PIECE = 8


class RollingDistances:
    """Squared distances in a phase, of successive windows of slices. Each slice is computed once.

    Parameters
    ----------
    labels : LabelSource
    phase : tuple of TissueClass
        The classes that form the phase.
    metric : Metric
    limit : float
        Larger squared distances are reported as this one, squared units.
    max_bytes : int
        Memory for the slices that are computed at once. It is exceeded if eight slices with their overlap need more.

    Attributes
    ----------
    piece : int
        How many slices are computed at once.
    """

    def __init__(self, labels: LabelSource, phase: Phase, metric: Metric, limit: float, *, max_bytes: int) -> None:
        self._labels, self._phase, self._metric, self._limit = labels, phase, metric, limit
        self._overlap = metric.reach(0, limit) + 1
        _, rows, columns = labels.shape
        affordable = int(max_bytes / (rows * columns * PIECE_BYTES_PER_VOXEL)) - 2 * self._overlap
        self.piece = max(affordable, _LEAST_PIECE)
        self._window = SliceWindow((rows, columns), metric.dtype(limit))

    def window(self, first: int, last: int) -> Squared:
        """Return the slices from `first` to `last` (exclusive).

        Parameters
        ----------
        first, last : int
            Neither is smaller than in the call before.

        Returns
        -------
        ndarray of int16, int32 or float32, shape (last - first, Y, X)
            Squared units, 0 outside of the phase. It is valid until the next call.
        """
        missing = self._window.move(first, last)
        for start in range(missing.start, missing.stop, self.piece):
            stop = min(start + self.piece, last)
            self._window.slices[start - first : stop - first] = self._compute(start, stop)
        squared: Squared = self._window.slices
        return squared

    def _compute(self, start: int, stop: int) -> Squared:
        low, high = max(start - self._overlap, 0), min(stop + self._overlap, self._labels.shape[0])
        squared = phase_distances(self._labels.read(low, high), self._phase, self._metric, self._limit)
        return squared[start - low : stop - low]


def phase_distances(labels: Labels, phase: Phase, metric: Metric, limit: float) -> Squared:
    """Return squared distances in a phase. Voxels that are not measured bound no sphere and are centre of none.

    Parameters
    ----------
    labels : ndarray of uint8, of two or three dimensions
        Values of `TissueClass`.
    phase : tuple of TissueClass
    metric : Metric
    limit : float
        Larger squared distances are reported as this one, squared units.

    Returns
    -------
    ndarray of int16, int32 or float32
        Squared units, 0 outside of the phase.
    """
    inside = _table(phase)[labels]
    squared = squared_distances(_table((*phase, TissueClass.NOT_MEASURED))[labels], metric, limit)
    squared *= inside
    return squared


def _table(classes: Phase) -> NDArray[np.bool_]:
    table = np.zeros(256, bool)
    table[list(classes)] = True
    return table
