"""The µCT at the resolutions that registration works at; a volume larger than memory is read in strides, once."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from tomostain.geometry.section import Section, grid_um, interpolate
from tomostain.imaging.intensity import IntensityReference
from tomostain.io.volumes.base import VolumeLike
from tomostain.progress import Progress, silent

_SLICES = 32


@dataclass(frozen=True, eq=False)
class ResolutionLevel:
    """A volume in memory on the scale background 0, bone 1.

    Attributes
    ----------
    values : Tensor of float32, shape (Z, Y, X)
        Clipped: see `CLIP`.
    voxel_um : Tensor, shape (3,)
        (z, y, x), µm.
    origin_um : Tensor, shape (3,)
        Centre of its first voxel in the coordinates of the whole volume, µm.
    holes : bool
        Whether some values are NaN: places that the scan does not cover.
    """

    values: Tensor
    voxel_um: Tensor
    origin_um: Tensor
    holes: bool = False

    @property
    def strides(self) -> tuple[int, int, int]:
        """Steps between neighbours along z, y and x in the flat array."""
        _, rows, columns = self.values.shape
        return rows * columns, columns, 1

    @property
    def side_um(self) -> Tensor:
        """Lengths of the sides (z, y, x), µm, from the first voxel's centre to the last one's."""
        return (torch.tensor(self.values.shape, device=self.voxel_um.device) - 1) * self.voxel_um

    @property
    def middle_um(self) -> Tensor:
        """The centre in volume coordinates, µm."""
        return self.origin_um + self.side_um / 2

    def to(self, device: torch.device) -> "ResolutionLevel":
        """Return the level in the memory of a device; itself where it is there."""
        if self.values.device == device:
            return self
        return ResolutionLevel(self.values.to(device), self.voxel_um.to(device), self.origin_um.to(device), self.holes)

    @classmethod
    def of(
        cls, values: NDArray[np.float32], voxel_um: NDArray[np.float64], origin_um: NDArray[np.float64]
    ) -> "ResolutionLevel":
        """Wrap arrays."""
        return cls(
            torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)),
            torch.tensor(np.asarray(voxel_um), dtype=torch.float32),
            torch.tensor(np.asarray(origin_um), dtype=torch.float32),
            bool(np.isnan(values).any()),
        )


# Denser than bone is all one: titanium would outshine everything else.
CLIP = (-0.25, 1.2)


def coarser(level: ResolutionLevel, voxel_um: float) -> ResolutionLevel:
    """Return the volume smoothed and resampled to about `voxel_um` (isotropic); finer ones are returned as they are.

    Area averaging (a box of one new voxel) with a light Gaussian, so that the gradient is smooth.
    """
    zoom = np.maximum(voxel_um / level.voxel_um.numpy().astype(float), 1.0)
    if (zoom < 1.05).all():
        return level
    values = level.values.numpy()
    for axis, factor in enumerate(zoom):
        if factor > 1.05:
            values = ndimage.gaussian_filter1d(values, 0.45 * factor, axis=axis, mode="nearest")
    shape = [max(1, int((n - 1) / f) + 1) for n, f in zip(values.shape, zoom, strict=True)]
    # Centred, so that what is left over is shared by both sides.
    first = [((n - 1) - (m - 1) * f) / 2 for n, m, f in zip(values.shape, shape, zoom, strict=True)]
    small = ndimage.affine_transform(values, zoom, offset=first, output_shape=shape, order=1, mode="nearest")
    fine = level.voxel_um.numpy().astype(float)
    return ResolutionLevel.of(small, fine * zoom, level.origin_um.numpy() + np.array(first) * fine)


def scaled(values: NDArray[np.generic], levels: IntensityReference) -> NDArray[np.float32]:
    """Return grey values on the scale background 0, bone 1, clipped to `CLIP`."""
    scale = 1.0 / (levels.bone - levels.background)
    return np.clip((values.astype(np.float32) - np.float32(levels.background)) * np.float32(scale), *CLIP)


def read_coarse(
    volume: VolumeLike, levels: IntensityReference, most: int = 256, progress: Progress = silent
) -> ResolutionLevel:
    """Read a volume once, averaging blocks on the way, so that no side is longer than `most` voxels.

    Parameters
    ----------
    volume : VolumeLike
        A `tomostain.io.Volume`.
    levels : IntensityReference
        Its grey values of background and bone.
    most : int
        Longest side of the result; memory is that of its cube and of a few slices.
    progress : Progress
    """
    voxel = np.array(volume.voxel_um)
    target = float(max(voxel.min(), (np.array(volume.shape) * voxel).max() / most))
    factor = np.maximum(1, np.round(target / voxel - 0.25).astype(int))
    shape = np.array(volume.shape)
    while (too_long := -(-shape // factor) > 1.1 * most).any():
        factor = factor + too_long
    factor = np.minimum(factor, volume.shape)
    depth, rows, columns = np.array(volume.shape) // factor
    small = np.empty((depth, rows, columns), np.float32)
    at_once = max(1, 32 // factor[0])
    for first in range(0, depth, at_once):
        progress("reading the volume", int(first), int(depth))
        last = min(first + at_once, depth)
        slab = scaled(volume.read(int(first * factor[0]), int(last * factor[0])), levels)
        slab = slab[:, : rows * factor[1], : columns * factor[2]]
        blocks = slab.reshape(last - first, factor[0], rows, factor[1], columns, factor[2])
        # Innermost first: the sums stay long runs in memory.
        small[first:last] = blocks.mean(axis=5).mean(axis=3).mean(axis=1)
    progress("reading the volume", int(depth), int(depth))
    return ResolutionLevel.of(small, voxel * factor, voxel * (factor - 1) / 2)


def read_slab(
    volume: VolumeLike,
    levels: IntensityReference,
    section: Section,
    shape: tuple[int, int],
    pixel_um: float,
    half_um: float,
    progress: Progress = silent,
) -> ResolutionLevel:
    """Read a thin oblique slab about a plane at full resolution, slice by slice.

    Parameters
    ----------
    volume : VolumeLike
    levels : IntensityReference
    section : Section
        The middle plane; its affine is not used.
    shape : tuple of int
        (rows, columns) of the slab.
    pixel_um : float
        Its pixel size and the distance of its planes, µm.
    half_um : float
        How far it reaches to either side, µm.

    Returns
    -------
    ResolutionLevel
        Axes (normal, row, column), in the slab's own coordinates: its middle plane lies at 0. NaN outside the volume.
    """
    n = int(np.ceil(half_um / pixel_um))
    voxel = np.array(volume.voxel_um)
    flat = section.to_volume_um(grid_um(shape, pixel_um)).reshape(-1, 3)
    order = np.argsort(flat[:, 0])
    z = flat[order, 0]
    slab = np.full((2 * n + 1, shape[0] * shape[1]), np.nan, np.float32)
    reach = n * pixel_um * abs(section.normal[0])
    for first in range(0, volume.shape[0], _SLICES):
        progress("reading about the section", first, volume.shape[0])
        last = min(first + _SLICES + 1, volume.shape[0])
        low, high = np.searchsorted(z, [(first * voxel[0]) - reach - voxel[0], (last * voxel[0]) + reach])
        if low == high:
            continue
        values = scaled(volume.read(first, last), levels)
        which = order[low:high]
        for k in range(-n, n + 1):
            index = (flat[which] + k * pixel_um * section.normal) / voxel
            here = (index[:, 0] >= first) & (index[:, 0] < max(last - 1, first + 1))
            index = index[here]
            index[:, 0] -= first
            slab[k + n, which[here]] = interpolate(values, index, fill=np.nan)
    progress("reading about the section", volume.shape[0], volume.shape[0])
    return ResolutionLevel.of(
        slab.reshape(2 * n + 1, *shape), np.full(3, pixel_um), np.array([-n * pixel_um, 0.0, 0.0])
    )
