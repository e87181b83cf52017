"""Volumes whose values say where they are: for tests of viewers."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomostain.io import create_ome_zarr, create_stained, write_stack
from tomostain.measure.label_files import create_labels

SIDE = 60
STEP_UM = 5.0
FACTOR = 4
"""A colour is this many times the index of the voxel."""


def colours_of_position() -> NDArray[np.uint8]:
    """Return a volume whose red is z, green y and blue x, times `FACTOR`."""
    index = np.stack(np.meshgrid(*(np.arange(SIDE),) * 3, indexing="ij"), axis=-1)
    return (index * FACTOR).astype(np.uint8)


def classes_of_position() -> NDArray[np.uint8]:
    """Return labels: class 1 in the first half of x, 2 in the second; 0 in the first ten slices."""
    labels = np.ones((SIDE,) * 3, np.uint8)
    labels[:, :, SIDE // 2 :] = 2
    labels[:10] = 0
    return labels


def write_view(top: Path) -> Path:
    """Write ``stained``, ``uncertainty`` and ``labels`` as OME-Zarr, and a µCT ``ct`` of grey values 1000 + 100 x."""
    colours = colours_of_position()
    with_z = np.repeat(colours[..., :1], 3, axis=-1)
    for name, values in (("stained", colours), ("uncertainty", with_z)):
        writer = create_stained(top / f"{name}.ome.zarr", (SIDE,) * 3, STEP_UM, z_chunk=16, provenance={})
        for start, stop in writer.pending():
            writer.write(start, values[start:stop])
        writer.finish()
    labels = create_labels(top / "labels.ome.zarr", (SIDE,) * 3, (STEP_UM,) * 3)
    for start, stop in labels.z_chunks():
        labels.write(start, classes_of_position()[start:stop])
    labels.finish()
    grey = np.broadcast_to(1000 + 100 * np.arange(SIDE, dtype=np.uint16), (SIDE,) * 3)
    write_stack(top / "ct", np.ascontiguousarray(grey), voxel_um=(STEP_UM,) * 3)
    return top


def write_grey(path: Path, values: NDArray[np.generic], voxel_um: float = STEP_UM) -> Path:
    """Write a volume of one channel with its pyramid."""
    writer = create_ome_zarr(path, values.shape, voxel_um, z_chunk=16, provenance={}, dtype=values.dtype)
    for start, stop in writer.pending():
        writer.write(start, values[start:stop])
    writer.finish()
    return path
