"""The implant of a label volume: metal with its degradation layer, without specks and with filled cavities."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.measure.classes import IMPLANT, TITLES, TissueClass
from tomostain.measure.label_source import GridOfLabels, LabelSource
from tomostain.measure.morphometry.components import Components, find_components
from tomostain.measure.morphometry.z_blocks import BLOCK_BYTES, z_blocks

Mask = NDArray[np.bool_]
Float = NDArray[np.float64]
MIN_VOXELS = 64
"""An implant of fewer voxels is refused: its surface is not resolved."""
FACES = ("-z", "+z", "-y", "+y", "-x", "+x")


@dataclass(frozen=True)
class Implant(GridOfLabels):
    """The implant of a label volume, found by `find_implant`. It is held as one bit for each voxel.

    Attributes
    ----------
    labels : LabelSource
        The volume.
    voxels, metal_voxels : int
        Size of the implant, and of its metal.
    filled_voxels : int
        Voxels of `voxels` that have another label: cavities and cracks inside the implant.
    ignored_voxels : int
        Voxels of metal or degradation layer that are not connected to the implant.
    axis : ndarray of float64, shape (3,)
        Unit vector (z, y, x) of its axis of rotation; its largest component is positive. Of the principal axes of the
        voxels, it is the one whose moment differs most from the other two. It is arbitrary for a body without axis.
    centre_um : ndarray of float64, shape (3,)
        Centroid (z, y, x), µm. The centre of the first voxel of the volume is (0, 0, 0).
    box : tuple of slice
        Bounding box (z, y, x), voxels.
    touches : tuple of str
        The faces of the volume that it reaches, such as ``-z`` (the first slice) and ``+x``. Empty if it lies inside.
    """

    labels: LabelSource
    voxels: int
    metal_voxels: int
    filled_voxels: int
    ignored_voxels: int
    axis: Float
    centre_um: Float
    box: tuple[slice, slice, slice]
    touches: tuple[str, ...]
    _bits: NDArray[np.uint8] = field(repr=False)

    @property
    def volume_um3(self) -> float:
        """Volume of the implant with its degradation layer, µm³."""
        return float(self.voxels * np.prod(self.voxel_um))

    def read(self, start: int, stop: int) -> Mask:
        """Return whether the voxels of slices `start` to `stop` (half-open) are implant, shape (stop - start, Y, X)."""
        return np.unpackbits(self._bits[start:stop], axis=-1, count=self.shape[2]).view(bool)

    def metal(self, start: int, stop: int) -> Mask:
        """Return which voxels of slices `start` to `stop` are metal of the implant, shape (stop - start, Y, X)."""
        return self.read(start, stop) & (self.labels.read(start, stop) == TissueClass.METAL)


WITHOUT = "; `implant` none measures a volume without an implant"


def find_implant(labels: LabelSource, *, max_bytes: int = BLOCK_BYTES) -> Implant:
    """Find the implant.

    It is the largest connected component (through faces) of `METAL` and `DEGRADATION` together, with its cavities:
    voxels of any label from which no path leads to a face of the volume outside the implant. Specks elsewhere are
    ignored. An implant of metal only, or of a degradation layer only, is found as well.

    Parameters
    ----------
    labels : LabelSource
    max_bytes : int
        Memory of a z block, 12 bytes per voxel. In addition, one bit per voxel of the volume is held.

    Returns
    -------
    Implant

    Raises
    ------
    InputError
        If there is neither metal nor degradation layer (the message lists the classes that occur), or fewer than 64
        voxels of them are connected.

    Examples
    --------
    >>> from tomostain.measure.label_source import LabelArray
    >>> volume = np.ones((20, 20, 20), np.uint8)
    >>> volume[2:18, 8:12, 8:12] = TissueClass.METAL
    >>> implant = find_implant(LabelArray(volume, 10.0))
    >>> implant.voxels, implant.axis.tolist(), implant.touches
    (256, [1.0, 0.0, 0.0], ())
    """
    shape = labels.shape
    parts = find_components(_reader(labels), shape, max_bytes=max_bytes)
    largest = _select_largest(parts, labels)
    bits = np.zeros((shape[0], shape[1], -(-shape[2] // 8)), np.uint8)
    for number, block in enumerate(parts.blocks):
        bits[block.start : block.stop] = np.packbits(parts.read(number, largest), axis=-1)

    def outside(start: int, stop: int) -> Mask:
        return ~np.unpackbits(bits[start:stop], axis=-1, count=shape[2]).view(bool)

    cavities = find_components(outside, shape, max_bytes=max_bytes)
    if not cavities.at_border.all():
        for number, block in enumerate(cavities.blocks):
            bits[block.start : block.stop] |= np.packbits(cavities.read(number, ~cavities.at_border), axis=-1)
    filled = int(cavities.voxels[~cavities.at_border].sum())
    ignored = int(parts.voxels[~largest].sum())
    return _describe(labels, bits, [slice(part.start, part.stop) for part in parts.blocks], filled, ignored)


def implant_of_region(
    labels: LabelSource, read: Callable[[int, int], Mask], *, max_bytes: int = BLOCK_BYTES
) -> Implant:
    """Return an implant whose region is known from elsewhere, such as a body that was fitted.

    Parameters
    ----------
    labels : LabelSource
        The classes, for the tissue around the implant and its metal.
    read : callable
        ``read(start, stop)`` returns which voxels of these slices belong to the implant, shape (stop - start, Y, X).
    max_bytes : int
        Memory of a z block, 12 bytes per voxel.

    Returns
    -------
    Implant
        Metal and degradation layer outside the region count as ignored.

    Raises
    ------
    InputError
        If the region has fewer than 64 voxels in the volume.
    """
    shape = labels.shape
    bits = np.zeros((shape[0], shape[1], -(-shape[2] // 8)), np.uint8)
    voxels = ignored = 0
    parts = list(z_blocks(shape, bytes_per_voxel=12.0, max_bytes=max_bytes))
    is_implant = _reader(labels)
    for block in parts:
        inside = read(block.start, block.stop)
        bits[block.start : block.stop] = np.packbits(inside, axis=-1)
        voxels += int(np.count_nonzero(inside))
        ignored += int(np.count_nonzero(is_implant(block.start, block.stop) & ~inside))
    if voxels < MIN_VOXELS:
        raise InputError(f"the implant has {voxels} voxels in the volume; at least {MIN_VOXELS} are needed")
    return _describe(labels, bits, [slice(part.start, part.stop) for part in parts], 0, ignored)


def _reader(labels: LabelSource) -> Callable[[int, int], Mask]:
    """Return a function that reads which voxels are metal or degradation layer."""
    table = np.zeros(256, bool)
    table[list(IMPLANT)] = True

    def read(start: int, stop: int) -> Mask:
        return np.asarray(table[labels.read(start, stop)], dtype=bool)

    return read


def _select_largest(parts: Components, labels: LabelSource) -> Mask:
    """Return which component is the implant."""
    if not len(parts.voxels):
        present = np.zeros(256, bool)
        for block in parts.blocks:
            present[np.unique(labels.read(block.start, block.stop))] = True
        listed = ", ".join(TITLES[TissueClass(int(value))] for value in np.flatnonzero(present))
        raise InputError(
            f"the labels contain no implant: neither metal nor degradation layer occurs, but {listed}; "
            f"check the labels, or the values of their classes{WITHOUT}"
        )
    selected = np.zeros(len(parts.voxels), bool)
    selected[np.argmax(parts.voxels)] = True
    voxels = int(parts.voxels[selected][0])
    if voxels < MIN_VOXELS:
        raise InputError(
            f"the implant has {voxels} connected voxels of metal and degradation layer; at least {MIN_VOXELS} are "
            f"needed: check the labels, or measure at a finer resolution{WITHOUT}"
        )
    return selected


def _describe(labels: LabelSource, bits: NDArray[np.uint8], parts: list[slice], filled: int, ignored: int) -> Implant:
    """Measure size, moments and bounding box of the implant."""
    voxel_um = np.array(labels.voxel_um)
    metal, profiles, cross = _project(labels, bits, parts)
    voxels = int(profiles[0].sum())
    centre = np.array([np.arange(len(each)) @ each for each in profiles]) / voxels
    squares = np.array([np.arange(len(each)) ** 2 @ each for each in profiles])
    moments = (cross + cross.T + np.diag(squares)) / voxels - np.outer(centre, centre)
    occupied = [np.flatnonzero(each) for each in profiles]
    z_box, y_box, x_box = (slice(int(each[0]), int(each[-1]) + 1) for each in occupied)
    ends = [end for each in profiles for end in (each[0], each[-1])]
    return Implant(
        labels=labels,
        voxels=voxels,
        metal_voxels=metal,
        filled_voxels=filled,
        ignored_voxels=ignored,
        axis=_axis_of_rotation(moments * np.outer(voxel_um, voxel_um)),
        centre_um=centre * voxel_um,
        box=(z_box, y_box, x_box),
        touches=tuple(face for face, count in zip(FACES, ends, strict=True) if count),
        _bits=bits,
    )


def _project(
    labels: LabelSource, bits: NDArray[np.uint8], parts: list[slice]
) -> tuple[int, list[NDArray[np.int64]], Float]:
    """Return the voxels of metal, the profiles of the implant along z, y and x, and the sums of zy, zx and yx."""
    _, rows, columns = labels.shape
    metal, profiles, cross = 0, [np.zeros(side, np.int64) for side in labels.shape], np.zeros((3, 3))
    y, x = np.arange(rows), np.arange(columns)
    for part in parts:
        mask = np.unpackbits(bits[part], axis=-1, count=columns).view(bool)
        if not mask.any():
            continue
        metal += int(np.count_nonzero(mask & (labels.read(part.start, part.stop) == TissueClass.METAL)))
        along_x, along_y, along_z = (mask.sum(axis=axis, dtype=np.int64) for axis in (2, 1, 0))
        z = np.arange(part.start, part.stop)
        profiles[0][part] += along_x.sum(axis=1)
        profiles[1] += along_x.sum(axis=0)
        profiles[2] += along_y.sum(axis=0)
        cross[0, 1] += z @ along_x @ y
        cross[0, 2] += z @ along_y @ x
        cross[1, 2] += y @ along_z @ x
    return metal, profiles, cross


def _axis_of_rotation(moments: Float) -> Float:
    """Return the principal axis whose second moment differs most, as a ratio, from the middle one."""
    values, vectors = np.linalg.eigh(moments)
    low, middle, high = np.maximum(values, 1e-12)
    axis = vectors[:, 2] if high / middle >= middle / low else vectors[:, 0]
    largest = int(np.argmax(np.abs(axis)))
    return np.asarray(axis * np.sign(axis[largest]) + 0.0)
