"""The voxels of cavities in bone, and which share of their surface is bone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.errors import InputError
from tomostain.measure.classes import MINERALISED, Labels, TissueClass
from tomostain.measure.label_source import LabelSource
from tomostain.measure.morphometry.components import Components
from tomostain.measure.morphometry.z_blocks import BLOCK_BYTES

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class CavityOptions:
    """What lacunae and canals are.

    Attributes
    ----------
    lacuna_um3 : tuple of float
        Smallest and largest volume of a lacuna, µm³.
    canal_um : float
        Canals are narrower than this, µm.
    canal_um3 : float
        Smallest volume of a canal, µm³.
    enclosed : float
        Least share of the surface of a canal that is bone. The rest leads to wide spaces, or to the implant.
    max_bytes : int
        Memory of a z block, 12 bytes per voxel.
    """

    lacuna_um3: tuple[float, float] = (100.0, 1000.0)
    canal_um: float = 100.0
    canal_um3: float = 10_000.0
    enclosed: float = 0.92
    max_bytes: int = BLOCK_BYTES

    def __post_init__(self) -> None:
        low, high = self.lacuna_um3
        if not 0 < low < high:
            raise InputError(
                f"`lacuna_um3` is {self.lacuna_um3}; give the smallest and the largest volume, µm³",
                parameter="lacuna_um3",
            )
        for name in ("canal_um", "canal_um3"):
            if not getattr(self, name) > 0:
                raise InputError(f"`{name}` is {getattr(self, name)}; give a positive number", parameter=name)
        if not 0 <= self.enclosed <= 1:
            raise InputError(f"`enclosed` is {self.enclosed}; give a share from 0 to 1", parameter="enclosed")


_LAYERS = 32
"""Slices that are read at once to count voxels."""


def bone_mask(labels: Labels) -> Mask:
    """Return where labels are mineralised bone."""
    return _is_any(labels, MINERALISED)


def cavity_mask(labels: Labels) -> Mask:
    """Return where labels are soft tissue or void."""
    return _is_any(labels, (TissueClass.SOFT, TissueClass.VOID))


def _is_any(labels: Labels, classes: tuple[TissueClass, ...]) -> Mask:
    table = np.zeros(256, bool)
    table[list(classes)] = True
    return np.asarray(table[labels])


def count_bone(labels: LabelSource, options: CavityOptions) -> int:
    """Return the number of voxels of mineralised bone."""
    depth, rows, columns = labels.shape
    layers = min(max(1, options.max_bytes // (10 * rows * columns)), _LAYERS)
    starts = range(0, depth, layers)
    return sum(int(np.count_nonzero(bone_mask(labels.read(start, min(start + layers, depth))))) for start in starts)


def surface_shares(labels: LabelSource, parts: Components) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the area of each component towards bone, and in all, without the border of the volume."""
    n, depth = len(parts.voxels), labels.shape[0]
    bone, total = np.zeros(n), np.zeros(n)
    voxel = np.array(labels.voxel_um)
    areas = np.prod(voxel) / voxel
    for block, table in zip(parts.blocks, parts.tables, strict=True):
        local, _ = ndimage.label(parts.read_mask(block.start, block.stop))
        numbers = table[local]
        first, last = max(block.start - 1, 0), min(block.stop + 1, depth)
        tissue = labels.read(first, last)
        same = np.zeros(tissue.shape, bool)
        same[block.start - first : block.stop - first] = numbers >= 0
        for edge in (first, last - 1):  # Slices of the blocks next to this one.
            if not block.start <= edge < block.stop:
                same[edge - first] = parts.read_mask(edge, edge + 1)[0]
        padded = np.full(tissue.shape, -1, np.int64)
        padded[block.start - first : block.stop - first] = numbers
        is_bone = bone_mask(tissue)
        for axis in range(3):
            low, high = [slice(None)] * 3, [slice(None)] * 3
            low[axis], high[axis] = slice(None, -1), slice(1, None)
            for body, beyond in ((tuple(low), tuple(high)), (tuple(high), tuple(low))):
                face = (padded[body] >= 0) & ~same[beyond]
                bone += areas[axis] * np.bincount(padded[body][face & is_bone[beyond]], minlength=n)
                total += areas[axis] * np.bincount(padded[body][face], minlength=n)
    return bone, total
