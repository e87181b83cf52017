"""Options of a sphere fitting, and its result: mean and standard deviation of the values of a thickness map."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.measure.morphometry.spheres import RELATIVE_WIDTH


@dataclass(frozen=True)
class ThicknessOptions:
    """Limits of a sphere fitting.

    Attributes
    ----------
    max_um : float
        Larger diameters are reported as this one, µm. The time increases with it.
    max_bytes : int
        Memory of a z block. It is exceeded if one slice with its overlap needs more.
    threads : int
        Blocks that are computed at once.
    """

    max_um: float = 2000.0
    max_bytes: int = 1_000_000_000
    threads: int = 2

    def __post_init__(self) -> None:
        if not (self.max_um > 0 and math.isfinite(self.max_um)):
            raise InputError(f"`max_um` is {self.max_um}; give a positive length, µm", parameter="max_um")
        if self.threads < 1:
            raise InputError(f"`threads` is {self.threads}; give at least 1", parameter="threads")


@dataclass(frozen=True)
class Thickness:
    """The local thickness of a phase.

    Attributes
    ----------
    mean_um, sd_um : float
        Over the voxels of the phase; NaN if there are none.
    largest_um : float
    voxels : int
    capped : float
        Share of the voxels whose thickness is at least `ThicknessOptions.max_um`.
    """

    mean_um: float
    sd_um: float
    largest_um: float
    voxels: int
    capped: float


class ThicknessCounts:
    """Counts of the values of a thickness map. There are few different ones."""

    def __init__(self) -> None:
        self.counts: dict[float, int] = {}

    def add(self, values: NDArray[np.float32]) -> None:
        """Count the values above 0."""
        for part in values if values.ndim > 1 else [values]:  # Sorting a whole block would take 12 bytes per voxel.
            distinct, counts = np.unique(part[part > 0], return_counts=True)
            for value, count in zip(distinct.tolist(), counts.tolist(), strict=True):
                self.counts[value] = self.counts.get(value, 0) + count

    def summary(self, max_um: float) -> Thickness:
        """Return mean and standard deviation."""
        if not self.counts:
            return Thickness(math.nan, math.nan, math.nan, 0, 0.0)
        values = np.array(list(self.counts), float)
        counts = np.array(list(self.counts.values()), float)
        mean = float(np.average(values, weights=counts))
        sd = float(np.sqrt(np.average((values - mean) ** 2, weights=counts)))
        capped = float(counts[values >= max_um * (1 - RELATIVE_WIDTH / 2)].sum() / counts.sum())
        return Thickness(mean, sd, float(values.max()), int(counts.sum()), capped)
