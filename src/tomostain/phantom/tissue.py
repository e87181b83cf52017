"""Tissue at points, with the attributes that the two imaging methods need."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from tomostain.phantom.noise import Float32


class Label(IntEnum):
    """Tissue or material at a point of the specimen."""

    AIR = 0
    TUBE = 1
    SOFT = 2
    MARROW = 3
    ADIPOCYTE = 4
    BONE = 5
    WOVEN = 6
    LACUNA = 7
    CANAL = 8
    DEGRADATION = 9
    SCREW = 10


# Names of the arrays of `Tissue`.
ATTRIBUTES = ("label", "mineral", "youth", "fibre")


@dataclass
class Tissue:
    """Tissue at points.

    Attributes
    ----------
    label : ndarray of uint8
        Values of `Label`.
    mineral : ndarray of float32
        Mineral density relative to the densest bone, 0 to 1, of bone, woven bone and degradation layer. Else 0.
    youth : ndarray of float32
        Youth of bone, 0 to 1. 1 is the youngest woven bone, at the implant. Else 0.
    fibre : ndarray of float32
        Texture of soft tissue (along its fibres), marrow and degradation layer, 0 to 1. Else 0.
    """

    label: NDArray[np.uint8]
    mineral: Float32
    youth: Float32
    fibre: Float32

    @classmethod
    def blank(cls, n: int) -> "Tissue":
        """Return `n` points of air."""
        zeros = [np.zeros(n, dtype=np.float32) for _ in range(3)]
        return cls(np.zeros(n, dtype=np.uint8), *zeros)
