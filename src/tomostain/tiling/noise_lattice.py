"""The lattice of the noise input: hashed integers, and their Gaussian weights along an axis.

Random integers on a lattice (a hash of their coordinates: the finaliser of SplitMix64, Steele et al. 2014, DOI
10.1145/2660193.2660195) are weighted by a Gaussian around the voxel. Integers and weights are so small that all sums
are exact in float64. They do not depend on the order of summation, and NumPy and PyTorch give the same bits.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

A = TypeVar("A", NDArray[Any], "Tensor")
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

# Sums of 13-bit integers, weighted by 10 bits along three axes, stay below 2**53.
_LATTICE_BITS, _MAX_WEIGHT = 13, 1023
LATTICE_STD = math.sqrt((4**_LATTICE_BITS - 1) / 3)
# Distance at which a weight is rounded to 0, in units of σ.
_RADIUS = math.sqrt(2 * math.log(2 * _MAX_WEIGHT))
_GOLDEN = -0x61C8864680B583EB


@dataclass(frozen=True)
class Kernel:
    """The weights of lattice points by their distance from a voxel.

    A sum with Gaussian weights of σ has the correlation exp(-d² / 4σ²). With a spacing of at most σ the lattice does
    not show: the sum of the squared weights varies by 2 exp(-π²).

    Attributes
    ----------
    correlation_px : float
        Distance at which the correlation falls to 1 / e, voxels.
    """

    correlation_px: float

    @property
    def sigma(self) -> float:
        """Standard deviation of the Gaussian, voxels."""
        return self.correlation_px / 2

    @property
    def spacing(self) -> int:
        """Distance between lattice points, voxels."""
        return max(1, math.floor(self.sigma))

    @property
    def radius(self) -> int:
        """Distance from which all weights are 0, voxels."""
        return math.ceil(_RADIUS * self.sigma)

    def weights(self, distance: Int64) -> Float64:
        """Return the weights at distances in voxels: whole numbers."""
        return np.rint(_MAX_WEIGHT * np.exp(-0.5 * (distance / self.sigma) ** 2))

    def first_point(self, start: Int64) -> Int64:
        """Return the index of the first lattice point that has a weight for a voxel or one after it."""
        return (start - self.radius) // self.spacing

    def last_point(self, end: Int64) -> Int64:
        """Return the index of the last lattice point that has a weight for a voxel or one before it."""
        return (end + self.radius) // self.spacing


def step(points: A) -> A:
    """Return the number that is added to a hash before it is mixed, for indices of lattice points."""
    return (points + 1) * _GOLDEN


def mixed(hashed: A, added: A) -> A:
    """Return the finaliser of SplitMix64 for the sum of a state and of a `step`; int64 that wraps around."""
    state = hashed + added
    state ^= (state >> 30) & (2**34 - 1)
    state *= -0x40A7B892E31B1A47
    state ^= (state >> 27) & (2**37 - 1)
    state *= -0x6B2FB644ECCEEE15
    state ^= (state >> 31) & (2**33 - 1)
    return state


def lattice_integers(hashed: A) -> A:
    """Return the highest bits of hashes as odd numbers: symmetric about 0."""
    return ((hashed >> (64 - _LATTICE_BITS)) & (2**_LATTICE_BITS - 1)) * 2 - (2**_LATTICE_BITS - 1)
