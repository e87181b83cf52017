"""The area of the pixels of a section: where it is sampled if a pixel is larger than the voxels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.geometry.surfaces import Cut, Float64, axes_of

MAX_SAMPLES = 127
"""Samples across a pixel, at most. In pixels that are more voxels wide they are farther apart than voxels. The number
is odd, so that the centre of a pixel that is larger than the volume is a sample."""
# Rounding tolerance of the number of voxels in a pixel.
_SLACK = 1e-6


@dataclass(frozen=True)
class PixelArea:
    """Where the pixels of a section are sampled within their area.

    Attributes
    ----------
    offsets : tuple of ndarray
        Positions of the samples along the rows' and the columns' direction, pixels from the centre.
    steps_um : tuple of ndarray
        From each pixel to the next row and to the next column (z, y, x), µm, shape (rows, columns, 3).
    """

    offsets: tuple[Float64, Float64]
    steps_um: tuple[Float64, Float64] | None = None

    @classmethod
    def of(cls, cut: Cut, voxel_um: Sequence[float]) -> "PixelArea":
        """Choose the samples: the centre alone if the pixels are not larger than the voxels."""
        centre = np.zeros(1)
        if cut.pixel_um <= min(voxel_um) * (1 + _SLACK):
            return cls((centre, centre))
        steps = _steps_um(cut)
        widths = [float(np.linalg.norm(step / np.asarray(voxel_um), axis=-1).max()) for step in steps]
        return cls((_offsets(widths[0]), _offsets(widths[1])), steps)

    @property
    def is_averaged(self) -> bool:
        """Whether a pixel has several samples."""
        return max(map(len, self.offsets)) > 1

    def samples(self, cut: Cut, tile: Any) -> tuple[Float64, Float64]:
        """Return positions and normals of the samples of a tile, shape (rows * n, columns * m, 3)."""
        places, normals = cut.places_um[tile], cut.normals[tile]
        for axis, offsets in enumerate(self.offsets):
            if len(offsets) == 1 or self.steps_um is None:
                continue
            step = self.steps_um[axis][tile]
            if axis == 1:  # the rows have been repeated
                step = np.repeat(step, len(self.offsets[0]), axis=0)
            shifts = np.tile(offsets, places.shape[axis]).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
            places = np.repeat(places, len(offsets), axis) + shifts * np.repeat(step, len(offsets), axis)
            normals = np.repeat(normals, len(offsets), axis)
        return places, normals

    def means(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mean of the samples of each pixel that are not NaN."""
        if not self.is_averaged:
            return values
        rows, columns = (len(offsets) for offsets in self.offsets)
        parts = values.reshape(values.shape[0] // rows, rows, values.shape[1] // columns, columns, values.shape[2])
        counted = np.isfinite(parts)
        total = np.where(counted, parts, 0).sum(axis=(1, 3), dtype=np.float64)
        with np.errstate(invalid="ignore"):
            return (total / counted.sum(axis=(1, 3))).astype(np.float32)


def _offsets(width: float) -> Float64:
    """Return evenly spaced samples across a pixel that is `width` voxels wide, pixels from its centre.

    Their variance and that of a voxel, 1 / 12, add up to that of the pixel: width² / 12. So a pixel of a whole number
    of voxels has one sample for each, and the average begins smoothly with pixels that are a little wider than a voxel.

    Examples
    --------
    >>> _offsets(4.0).tolist(), _offsets(1.0).tolist()
    ([-0.375, -0.125, 0.125, 0.375], [0.0])
    """
    count = min(MAX_SAMPLES, max(1, int(np.ceil(width - _SLACK))))
    if count == 1:
        return np.zeros(1)
    spacing = np.sqrt((width**2 - 1) / (count**2 - 1)) / width
    return np.asarray((np.arange(count) - (count - 1) / 2) * spacing)


def _steps_um(cut: Cut) -> tuple[Float64, Float64]:
    """Return the steps from pixel to pixel along rows' and columns' direction, shape (rows, columns, 3)."""
    down, right = (_step_um(cut, axis) for axis in (0, 1))
    # A single row or column has no neighbour: its other direction is perpendicular to the normal of the section.
    if right is None:
        across = axes_of(cut.normals[0, 0])[1] * cut.pixel_um
        right = np.broadcast_to(across, cut.places_um.shape) if down is None else np.cross(cut.normals, down)
    return np.cross(right, cut.normals) if down is None else down, right


def _step_um(cut: Cut, axis: int) -> Float64 | None:
    """Return the steps along an axis of the section; None if it has a single pixel there."""
    places = cut.places_um
    if places.shape[axis] == 1:
        return None
    if cut.stretch == 1.0:  # a plane: all steps are the same
        last = places[-1, 0] if axis == 0 else places[0, -1]
        return np.broadcast_to((last - places[0, 0]) / (places.shape[axis] - 1), places.shape)
    return np.asarray(np.gradient(places, axis=axis))
