"""Signed distance to the surface of the implant, by slices, exact up to a stated maximum.

The distance is separable: a distance transform in each slice (`scipy.ndimage.distance_transform_edt`), then the minimum
over the neighbouring slices, as in Saito and Toriwaki 1994 (Pattern Recognition 27, 1551,
doi:10.1016/0031-3203(94)90133-3). Only the slices within the maximum are held.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.errors import InputError
from tomostain.measure.morphometry.implant import Implant
from tomostain.measure.morphometry.slice_window import SliceWindow
from tomostain.measure.morphometry.z_blocks import ZBlock, z_blocks
from tomostain.memory import format_bytes
from tomostain.progress import Progress, silent

Float32 = NDArray[np.float32]
DISTANCE_BYTES = 2_000_000_000
"""Memory for distances, bytes, unless another budget is given: the overlap alone can need 1 GB."""
_LEAST_SLICES = 8
BYTES_PER_VOXEL = 16.0
"""The result and the intermediate arrays of a z block, in addition to the squared distances."""


class ImplantDistance:
    """The signed distance of voxels to the implant, read by slices.

    Outside, it is the distance of the centre of a voxel to that of the nearest voxel of the implant, less a quarter of
    a voxel (of its smallest side), because the surface lies between the two; negative inside, in the same way. For
    surfaces of random direction, the mean error is then below 0.1 voxels from the second voxel on; for flat surfaces
    along the axes it is 0.25 voxels. Absolute values above `max_um` are replaced by `max_um`. Where the implant is cut
    by a face of the volume, the distance is to the surface within the volume.

    Parameters
    ----------
    implant : Implant
    max_um : float
        The largest distance, µm.
    inside : bool
        False: the value inside the implant is minus a quarter of a voxel, which is faster.

    Raises
    ------
    InputError
        If `max_um` is not positive.
    """

    def __init__(self, implant: Implant, max_um: float, *, inside: bool = True) -> None:
        if not (np.isfinite(max_um) and max_um > 0):
            raise InputError(f"`max_um` is {max_um}; give a positive length, µm", parameter="max_um")
        self.implant = implant
        self.max_um = float(max_um)
        self.inside = inside
        self.offset_um = min(implant.voxel_um) / 4
        reach = self.max_um + self.offset_um
        self.overlap = int(reach / implant.voxel_um[0])
        """Slices on both sides on which the distances in a slice depend."""
        margins = [int(reach / size) + 1 for size in implant.voxel_um]
        self._box = tuple(
            slice(max(0, side.start - margin), min(length, side.stop + margin))
            for side, margin, length in zip(implant.box, margins, implant.shape, strict=True)
        )
        shape = tuple(side.stop - side.start for side in self._box[1:])
        self._squares = tuple(SliceWindow(shape, np.float32) for _ in range(2 if inside else 1))

    def z_blocks(self, *, max_bytes: int = DISTANCE_BYTES) -> list[ZBlock]:
        """Divide the volume so that `read` of a z block takes at most `max_bytes`.

        A block of n slices needs ``16 * n * Y * X + k * (n + 2 * overlap) * A`` bytes. A is the area (voxels) of the
        bounding box of the implant with a margin of `max_um`, in a slice; k is 8, or 4 without the inside.

        Raises
        ------
        InputError
            If one slice needs more.
        """
        overlap_bytes, slice_bytes = self._needs()
        if max_bytes < overlap_bytes + slice_bytes:
            raise InputError(
                f"distances up to {self.max_um:g} µm need {format_bytes(overlap_bytes + slice_bytes)} of memory for "
                f"one slice; raise `memory_gb` (now {format_bytes(max_bytes)}), or lower the largest distance",
                parameter="memory_gb",
            )
        budget = max_bytes - overlap_bytes
        area = self.implant.shape[1] * self.implant.shape[2]
        return list(z_blocks(self.implant.shape, bytes_per_voxel=slice_bytes / area, max_bytes=budget))

    def budget(self, max_bytes: int) -> int:
        """Return a budget for `z_blocks`: `max_bytes`, or what eight slices need, which is at most `DISTANCE_BYTES`."""
        overlap_bytes, slice_bytes = self._needs()
        return max(max_bytes, min(int(overlap_bytes + _LEAST_SLICES * slice_bytes) + 1, DISTANCE_BYTES))

    def _needs(self) -> tuple[int, float]:
        """Return the memory of the overlap and that of one slice, bytes."""
        rows, columns = (side.stop - side.start for side in self._box[1:])
        square_bytes = rows * columns * (8 if self.inside else 4)
        area = self.implant.shape[1] * self.implant.shape[2]
        overlap_bytes = min(2 * self.overlap, self.implant.shape[0]) * square_bytes
        return overlap_bytes, BYTES_PER_VOXEL * area + square_bytes

    def read(self, start: int, stop: int) -> Float32:
        """Return the distances of slices `start` to `stop` (half-open), µm.

        Slices that were computed for the last call are used again, so read in the order of z.

        Returns
        -------
        ndarray of float32, shape (stop - start, Y, X)
        """
        result = np.full((stop - start, *self.implant.shape[1:]), self.max_um, np.float32)
        low, high = max(start, self._box[0].start), min(stop, self._box[0].stop)
        if low >= high:
            return result
        first, last = max(0, low - self.overlap), min(self.implant.shape[0], high + self.overlap)
        missing = range(0)
        for window in self._squares:
            missing = window.move(first, last)
        with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
            for _ in pool.map(self._in_slice, missing):
                pass
            for z, values in zip(range(low, high), pool.map(self._at, range(low, high)), strict=True):
                result[z - start, self._box[1], self._box[2]] = values
        return result

    def _in_slice(self, z: int) -> None:
        """Compute the squared distances within a slice, µm²: outside, to the implant; inside, to its border."""
        mask = self.implant.read(z, z + 1)[0, self._box[1], self._box[2]]
        sampling = self.implant.voxel_um[1:]
        self._squares[0][z] = _squared(~mask, sampling)
        if self.inside:
            self._squares[1][z] = _squared(mask, sampling)

    def _at(self, z: int) -> Float32:
        """Return the signed distances of one slice."""
        mask = self.implant.read(z, z + 1)[0, self._box[1], self._box[2]]
        outside = np.sqrt(self._over_slices(z, 0)) - np.float32(self.offset_um)
        inside = np.sqrt(self._over_slices(z, 1)) - np.float32(self.offset_um) if self.inside else self.offset_um
        return np.clip(np.where(mask, -inside, outside), -self.max_um, self.max_um).astype(np.float32)

    def _over_slices(self, z: int, side: int) -> Float32:
        """Return the minimum over the slices within the maximum, µm²."""
        window = self._squares[side]
        best = np.array(window[z], np.float32, copy=True)
        for step in range(1, self.overlap + 1):
            height = np.float32((step * self.implant.voxel_um[0]) ** 2)
            if best.max() <= height:
                break
            for neighbour in (z - step, z + step):
                if neighbour in window:
                    np.minimum(best, window[neighbour] + height, out=best)
        return best


def _squared(mask: NDArray[np.bool_], sampling: tuple[float, ...]) -> Float32:
    """Return the squared distance of the True pixels to the nearest False one, µm²; infinite if there is none."""
    if mask.all():
        return np.full(mask.shape, np.inf, np.float32)
    return np.asarray(ndimage.distance_transform_edt(mask, sampling) ** 2, dtype=np.float32)


def write_distances(
    implant: Implant,
    max_um: float,
    write: Callable[[int, Float32], None],
    *,
    max_bytes: int = DISTANCE_BYTES,
    progress: Progress = silent,
) -> None:
    """Compute the signed distance to the implant block by block, and pass each block on.

    Parameters
    ----------
    implant : Implant
    max_um : float
        The largest distance, µm; see `ImplantDistance`.
    write : callable
        Called with the first slice of each block and its distances (float32, µm, shape (n, Y, X)), in the order of z.
    max_bytes : int
        Memory of a z block; see `ImplantDistance.z_blocks`.
    progress : Progress
        Called for every block.

    Raises
    ------
    InputError
        If `max_um` is not positive, or `max_bytes` is too small for it.
    """
    distance = ImplantDistance(implant, max_um)
    parts = distance.z_blocks(max_bytes=max_bytes)
    for number, block in enumerate(parts):
        write(block.start, distance.read(block.start, block.stop))
        progress("distance", number + 1, len(parts))
