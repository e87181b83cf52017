"""The µCT at the resolutions that registration uses. A volume larger than memory is read once, in parts."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from tomostain.deprecation import renamed
from tomostain.geometry.section import Section, grid_um, interpolate
from tomostain.imaging.intensity import IntensityReference
from tomostain.integers import to_integers
from tomostain.io.volumes.base import VolumeLike
from tomostain.progress import Progress, silent

_SLICES = 32


@dataclass(frozen=True, eq=False)
class ResolutionLevel:
    """A volume in memory, scaled to background 0 and bone 1.

    Attributes
    ----------
    values : Tensor of float32, shape (Z, Y, X)
        Clipped to `CLIP`.
    voxel_um : Tensor, shape (3,)
        (z, y, x), µm.
    origin_um : Tensor, shape (3,)
        Centre of its first voxel in the coordinates of the whole volume, µm.
    holes : bool
        Whether some values are NaN, where the scan covers nothing.
    """

    values: Tensor
    voxel_um: Tensor
    origin_um: Tensor
    holes: bool = False

    @property
    def strides(self) -> tuple[int, int, int]:
        """Index steps between neighbours along z, y and x in the flat array."""
        _, rows, columns = self.values.shape
        return rows * columns, columns, 1

    # Made once: a copy of numbers to a GPU, or from it, makes the host wait.
    @cached_property
    def size(self) -> Tensor:
        """The shape as a tensor (3,) of int64 on the device."""
        return torch.tensor(self.values.shape, device=self.voxel_um.device)

    @cached_property
    def stride(self) -> Tensor:
        """The strides as a tensor (3,) of int64 on the device."""
        return torch.tensor(self.strides, device=self.voxel_um.device)

    @cached_property
    def voxel_range_um(self) -> tuple[float, float]:
        """The shortest and the longest side of a voxel, µm."""
        return float(self.voxel_um.min()), float(self.voxel_um.max())

    @cached_property
    def _copies(self) -> dict[torch.device, "ResolutionLevel"]:
        return {}

    @property
    def side_um(self) -> Tensor:
        """Lengths of the sides (z, y, x), µm, from the centre of the first voxel to the centre of the last one."""
        return (self.size - 1) * self.voxel_um

    @property
    def middle_um(self) -> Tensor:
        """Centre of the volume in volume coordinates, µm."""
        return self.origin_um + self.side_um / 2

    def to(self, device: torch.device) -> "ResolutionLevel":
        """Return the volume on a device; itself if it is there already. The copy is made once."""
        if self.values.device == device:
            return self
        if device not in self._copies:
            parts = (self.values.to(device), self.voxel_um.to(device), self.origin_um.to(device))
            copy = ResolutionLevel(*parts, self.holes)
            vars(copy)["voxel_range_um"] = self.voxel_range_um
            self._copies[device] = copy
        return self._copies[device]

    @classmethod
    def of(
        cls, values: NDArray[np.float32], voxel_um: NDArray[np.float64], origin_um: NDArray[np.float64]
    ) -> "ResolutionLevel":
        """Make a resolution level from arrays."""
        return cls(
            torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)),
            torch.tensor(np.asarray(voxel_um), dtype=torch.float32),
            torch.tensor(np.asarray(origin_um), dtype=torch.float32),
            bool(np.isnan(values).any()),
        )


# Values above bone are clipped: titanium would dominate the correlation.
CLIP = (-0.25, 1.2)


def coarser(resolution: ResolutionLevel, voxel_um: float) -> ResolutionLevel:
    """Return the volume smoothed and resampled to about `voxel_um` (isotropic), or itself if it is not finer.

    A Gaussian of 0.45 new voxels replaces averaging over a box, so that the gradient is smooth.
    """
    zoom = np.maximum(voxel_um / resolution.voxel_um.numpy().astype(float), 1.0)
    if (zoom < 1.05).all():
        return resolution
    values = resolution.values.numpy()
    for axis, factor in enumerate(zoom):
        if factor > 1.05:
            values = ndimage.gaussian_filter1d(values, 0.45 * factor, axis=axis, mode="nearest")
    shape = [max(1, int((n - 1) / f) + 1) for n, f in zip(values.shape, zoom, strict=True)]
    # Centred, so that the remainder is the same on both sides.
    first = [((n - 1) - (m - 1) * f) / 2 for n, m, f in zip(values.shape, shape, zoom, strict=True)]
    small = ndimage.affine_transform(values, zoom, offset=first, output_shape=shape, order=1, mode="nearest")
    fine = resolution.voxel_um.numpy().astype(float)
    return ResolutionLevel.of(small, fine * zoom, resolution.origin_um.numpy() + np.array(first) * fine)


def scale_to_bone(values: NDArray[np.generic], intensity: IntensityReference) -> NDArray[np.float32]:
    """Scale grey values to background 0 and bone 1, clipped to `CLIP`."""
    scale = 1.0 / (intensity.bone - intensity.background)
    return np.clip((values.astype(np.float32) - np.float32(intensity.background)) * np.float32(scale), *CLIP)


def read_coarse(
    volume: VolumeLike, intensity: IntensityReference, max_voxels: int = 256, progress: Progress = silent
) -> ResolutionLevel:
    """Read a volume once and average blocks of voxels, so that no side is longer than about `max_voxels`.

    Parameters
    ----------
    volume : VolumeLike
        Such as `tomostain.io.Volume`.
    intensity : IntensityReference
        Grey values of background and bone.
    max_voxels : int
        Longest side of the result. Memory is that of its cube and of a few slices of the volume.
    progress : Progress
    """
    voxel = np.array(volume.voxel_um)
    target = float(max(voxel.min(), (np.array(volume.shape) * voxel).max() / max_voxels))
    factor = np.maximum(1, to_integers(target / voxel - 0.25, np.int64, "voxel sizes"))
    shape = np.array(volume.shape)
    while (too_long := -(-shape // factor) > 1.1 * max_voxels).any():
        factor = factor + too_long
    factor = np.minimum(factor, volume.shape)
    depth, rows, columns = np.array(volume.shape) // factor
    small = np.empty((depth, rows, columns), np.float32)
    at_once = max(1, 32 // factor[0])
    for first in range(0, depth, at_once):
        progress("reading the volume", int(first), int(depth))
        last = min(first + at_once, depth)
        slices = scale_to_bone(volume.read(int(first * factor[0]), int(last * factor[0])), intensity)
        slices = slices[:, : rows * factor[1], : columns * factor[2]]
        blocks = slices.reshape(last - first, factor[0], rows, factor[1], columns, factor[2])
        # Innermost axis first, for contiguous memory access.
        small[first:last] = blocks.mean(axis=5).mean(axis=3).mean(axis=1)
    progress("reading the volume", int(depth), int(depth))
    return ResolutionLevel.of(small, voxel * factor, voxel * (factor - 1) / 2)


def read_slab(
    volume: VolumeLike,
    intensity: IntensityReference,
    section: Section,
    shape: tuple[int, int],
    pixel_um: float,
    half_um: float,
    progress: Progress = silent,
) -> ResolutionLevel:
    """Read a thin oblique slab around a plane at full resolution, slice by slice.

    Parameters
    ----------
    volume : VolumeLike
    intensity : IntensityReference
        Grey values of background and bone.
    section : Section
        The middle plane. Its affine is not used.
    shape : tuple of int
        (rows, columns) of the slab.
    pixel_um : float
        Pixel size and distance of the planes of the slab, µm.
    half_um : float
        Half the thickness of the slab, µm.

    Returns
    -------
    ResolutionLevel
        Axes (normal, row, column), in coordinates of the slab: its middle plane is at 0. NaN outside the volume.
    """
    n = int(np.ceil(half_um / pixel_um))
    voxel = np.array(volume.voxel_um)
    flat = section.to_volume_um(grid_um(shape, pixel_um)).reshape(-1, 3)
    order = np.argsort(flat[:, 0])
    z = flat[order, 0]
    slab = np.full((2 * n + 1, shape[0] * shape[1]), np.nan, np.float32)
    reach = n * pixel_um * abs(section.normal[0])
    for first in range(0, volume.shape[0], _SLICES):
        progress("reading around the section", first, volume.shape[0])
        last = min(first + _SLICES + 1, volume.shape[0])
        low, high = np.searchsorted(z, [(first * voxel[0]) - reach - voxel[0], (last * voxel[0]) + reach])
        if low == high:
            continue
        values = scale_to_bone(volume.read(first, last), intensity)
        columns = order[low:high]
        for k in range(-n, n + 1):
            index = (flat[columns] + k * pixel_um * section.normal) / voxel
            covered = (index[:, 0] >= first) & (index[:, 0] < max(last - 1, first + 1))
            index = index[covered]
            index[:, 0] -= first
            slab[k + n, columns[covered]] = interpolate(values, index, fill=np.nan)
    progress("reading around the section", volume.shape[0], volume.shape[0])
    return ResolutionLevel.of(
        slab.reshape(2 * n + 1, *shape), np.full(3, pixel_um), np.array([-n * pixel_um, 0.0, 0.0])
    )


__getattr__ = renamed(__name__, {"scaled": "scale_to_bone"})
