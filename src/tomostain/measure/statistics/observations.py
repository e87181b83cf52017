"""Values of groups of specimens, with the animal of each."""

from dataclasses import dataclass

import numpy as np

from tomostain.measure.statistics.rank_tests import Array


@dataclass(frozen=True)
class Observations:
    """Values of one measure.

    Attributes
    ----------
    values : ndarray of float, shape (N,)
        Finite.
    groups, subjects : tuple of str, length N
        The group of each specimen, and its animal.
    """

    values: Array
    groups: tuple[str, ...]
    subjects: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The groups, in the order in which they first occur."""
        return tuple(dict.fromkeys(self.groups))

    def of(self, group: str) -> Array:
        """Return the mean of each animal of a group, in the order in which they first occur."""
        sums: dict[str, list[float]] = {}
        for value, name, subject in zip(self.values, self.groups, self.subjects, strict=True):
            if name == group:
                sums.setdefault(subject, []).append(float(value))
        return np.array([np.mean(each) for each in sums.values()])

    def per_animal_and_group(self) -> "Observations":
        """Return the mean of each animal in each of its groups, as one observation."""
        cells: dict[tuple[str, str], list[float]] = {}
        for value, name, subject in zip(self.values, self.groups, self.subjects, strict=True):
            cells.setdefault((name, subject), []).append(float(value))
        names, subjects = zip(*cells, strict=True)
        return Observations(np.array([np.mean(each) for each in cells.values()]), names, subjects)

    def animals(self, group: str) -> set[str]:
        """Return the animals of a group."""
        return {subject for name, subject in zip(self.groups, self.subjects, strict=True) if name == group}
