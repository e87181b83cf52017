"""Resampling of a section that is cut through a volume, tile by tile."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tomostain.geometry.pixel_area import PixelArea
from tomostain.geometry.section import interpolate
from tomostain.geometry.surfaces import Cut
from tomostain.integers import to_integers
from tomostain.progress import Progress, silent, track

Block = Callable[[Sequence[int], Sequence[int]], NDArray[Any]]
Blending = Literal["density", "colour"]
Slices = Callable[[int, int], NDArray[Any]]
TILE_PX = 128
MAX_SLICES = 32
"""Slices that `sample_nearest` reads at once: as many as a chunk of a label volume has."""
_MAX_VOXELS = 2**28


def depths(thickness_um: float, step_um: float) -> NDArray[np.float64]:
    """Return the sampling depths across a section: the centres of equal layers, each at most one voxel thick.

    Examples
    --------
    >>> depths(40, 10).tolist(), depths(0, 10).tolist()
    ([-15.0, -5.0, 5.0, 15.0], [0.0])
    """
    layers = max(1, int(np.ceil(thickness_um / step_um - 1e-9)))
    return np.asarray((np.arange(layers) - (layers - 1) / 2) * thickness_um / layers)


def sample_section(
    block: Block,
    shape: Sequence[int],
    voxel_um: Sequence[float],
    cut: Cut,
    thickness_um: float = 0.0,
    blending: Blending = "density",
    progress: Progress = silent,
) -> NDArray[np.float32]:
    """Resample a section tile by tile, so that memory depends on the section and not on the volume.

    A pixel that is larger than the voxels is the mean of n × n samples in its area, about one for each voxel, so that
    fine detail and noise are averaged and not aliased.

    Parameters
    ----------
    block : callable
        Takes the first and the end index (z, y, x) and returns these voxels, shape (Z, Y, X) or (Z, Y, X, C).
    shape : sequence of int
        Shape of the whole volume (z, y, x).
    voxel_um : sequence of float
    cut : Cut
    thickness_um : float
        0: a single layer.
    blending : str
        ``density``: the mean of the optical densities -log((v + 1) / 256) over the thickness: each layer of a section
        absorbs light (Beer-Lambert). The mean and not the sum is used, because the colour of each voxel already
        represents a whole section. ``colour``: the mean of the values. Over the area of a pixel the mean of the values
        is used in both cases, as a camera averages light (`tomostain.geometry.section.resample_slide`).
    progress : Progress
        Called for every tile.

    Returns
    -------
    ndarray of float32, shape (rows, columns, C)
        Trilinear interpolation, averaged over the part of the thickness and of the pixel that is inside the volume. NaN
        where no layer of the centre of the pixel is inside.
    """
    rows, columns = cut.places_um.shape[:2]
    layers = depths(thickness_um, min(voxel_um))
    area = PixelArea.of(cut, voxel_um)
    high, wide = (max(1, TILE_PX // len(offsets)) for offsets in area.offsets)
    corners = product(range(0, rows, high), range(0, columns, wide))
    tiles = [np.s_[row : row + high, column : column + wide] for row, column in corners]
    sampled = []
    for tile in track(tiles, "cutting", progress):
        places, normals = area.samples(cut, tile)
        index = (places + layers[:, None, None, None] * normals) / np.asarray(voxel_um)
        values = area.means(_sample(block, shape, index, blending))
        if area.is_averaged:
            middle = (cut.places_um[tile] + layers[:, None, None, None] * cut.normals[tile]) / np.asarray(voxel_um)
            inside = _inside(middle, shape).any(axis=0)
            values[~inside] = np.nan
            lost = np.asarray(
                inside & np.isnan(values).all(axis=-1)
            )  # all samples miss a volume that is thinner than the pixel
            if lost.any():
                centres = _sample(block, shape, middle, blending)
                values = np.where(lost[..., None], centres, values)
        sampled.append(values)
    # A tile outside the volume has one channel of NaN.
    result = np.full((rows, columns, max(values.shape[-1] for values in sampled)), np.nan, np.float32)
    for tile, values in zip(tiles, sampled, strict=True):
        result[tile] = values
    return result


def sample_nearest(
    read: Slices, shape: Sequence[int], voxel_um: Sequence[float], cut: Cut, progress: Progress = silent
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Take the nearest voxel at each pixel of a section: for labels, which have no mean.

    Parameters
    ----------
    read : callable
        Takes a half-open range of slices and returns them, shape (Z, Y, X). Each slice near the section is read once;
        at most `MAX_SLICES` of them, or 256 MB, are in memory.
    shape : sequence of int
        Shape of the whole volume (z, y, x).
    voxel_um : sequence of float
    cut : Cut
    progress : Progress
        Called for every part.

    Returns
    -------
    values : ndarray, shape (rows, columns)
        Of the type of the voxels. 0 outside the volume.
    inside : ndarray of bool, shape (rows, columns)
        Which pixels lie in a voxel: up to half a voxel beyond the centres of the outermost ones, where
        `sample_section` gives no value.
    """
    positions = cut.places_um / np.asarray(voxel_um)
    inside = _inside(positions, shape, beyond=0.5)
    nearest = np.clip(to_integers(positions[inside], np.int64, "positions"), 0, np.asarray(shape) - 1)
    step = max(1, min(MAX_SLICES, _MAX_VOXELS // (shape[1] * shape[2])))
    parts = np.unique(nearest[:, 0] // step).tolist()
    values: NDArray[Any] | None = None
    for part in track(parts, "cutting labels", progress):
        chosen = nearest[:, 0] // step == part
        z, y, x = nearest[chosen].T
        slices = read(int(z.min()), int(z.max()) + 1)
        values = np.zeros(len(nearest), slices.dtype) if values is None else values
        values[chosen] = slices[z - z.min(), y, x]
    result = np.zeros(inside.shape, np.uint8 if values is None else values.dtype)
    if values is not None:
        result[inside] = values
    return result, inside


def _inside(index: NDArray[np.float64], shape: Sequence[int], beyond: float = 0.0) -> NDArray[np.bool_]:
    """Return whether positions in voxels, shape (..., 3), are between the centres of the first and the last voxel.

    `beyond`: or at most this much beyond them, voxels.
    """
    slack = beyond + 1e-6
    return np.asarray(((index > -slack) & (index < np.asarray(shape) - 1 + slack)).all(axis=-1))


def _sample(block: Block, shape: Sequence[int], index: NDArray[np.float64], blending: Blending) -> NDArray[np.float32]:
    """Return the mean over the first axis of positions in voxels, shape (layers, rows, columns, 3)."""
    inside = _inside(index, shape)
    if not inside.any():
        return np.full((*index.shape[1:3], 1), np.nan, np.float32)
    index = np.clip(index, 0, np.asarray(shape) - 1)
    first = to_integers(np.floor(index[inside].min(axis=0)), np.int64, "positions")
    end = np.minimum(to_integers(np.floor(index[inside].max(axis=0)), np.int64, "positions") + 2, shape)
    values = block(first.tolist(), end.tolist())
    values = values.reshape(*values.shape[:3], -1)
    # Positions outside were moved to the border, possibly beyond the block. They are not counted.
    counted, means = inside.sum(axis=0), []
    for channel in range(values.shape[3]):
        sampled = interpolate(values[..., channel].astype(np.float32), index - first)
        if blending == "density":
            sampled = np.log(sampled + 1)
        total = np.where(inside, sampled, 0).sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = total / counted
        means.append(np.exp(mean) - 1 if blending == "density" else mean)
    return np.stack(means, axis=-1).astype(np.float32)
