"""The layers of the plane view from files: stain, µCT, uncertainty and tissue labels on one grid."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from tomostain.deprecation import renamed
from tomostain.errors import InputError
from tomostain.io import Volume
from tomostain.io.metadata.placement import Placement
from tomostain.io.ome_zarr.levels import ZarrLevels, open_levels
from tomostain.paths import StrPath
from tomostain.view.browser.plane_site import PlaneLayer
from tomostain.view.browser.pyramid import BrickCache, Pyramid, Shape, Triple, relative_um, slices_level, zarr_levels
from tomostain.view.label_input import label_volume

__getattr__ = renamed(__name__, {"PathLike": "tomostain.paths:StrPath"})


@dataclass(frozen=True)
class Overlays:
    """Volumes that the plane view can draw over µCT and stain.

    Attributes
    ----------
    uncertainty : path, optional
        An OME-Zarr of 8 bits, as ``stain`` writes it.
    labels : path, optional
        A label volume in OME-Zarr, or the folder that ``measure`` wrote.
    """

    uncertainty: StrPath | None = None
    labels: StrPath | None = None


@dataclass(frozen=True)
class PlaneGrid:
    """The voxels that a layer must cover.

    Attributes
    ----------
    shape : tuple of int
        (Z, Y, X), voxels.
    voxel_um : tuple of float
        (z, y, x), µm.
    placement : Placement
        Where the first voxel lies.
    cache : BrickCache
        Shared by all layers.
    """

    shape: Shape
    voxel_um: Triple
    placement: Placement
    cache: BrickCache


def stain_layer(path: Path, grid: PlaneGrid) -> PlaneLayer:
    """Return the layer of a stained volume."""
    return PlaneLayer("stain", "stain", Pyramid(zarr_levels(open_levels(path), grid.placement), 3, grid.cache))


def ct_layer(
    volume: Volume, copy: Path, placement: Placement, grid: PlaneGrid, window: tuple[float, float]
) -> PlaneLayer:
    """Return the layer of a µCT volume: its copy, and for planes across z the volume itself if the copy is binned.

    Parameters
    ----------
    volume : Volume
    copy : Path
        As `grey_copy` wrote it.
    placement : Placement
        Of the first voxel of the volume, as it was stated for the copy.
    grid : PlaneGrid
    window : tuple of float
        The grey values that are 0 and 255 in the copy.
    """
    levels = zarr_levels(open_levels(copy), grid.placement)
    if levels[0].shape != volume.shape:
        z, y, x = relative_um(placement, grid.placement)
        levels = (slices_level(volume, window, (z, y, x)), *levels)
    return PlaneLayer("ct", "ct", Pyramid(levels, 1, grid.cache), window)


def overlay_layer(kind: Literal["uncertainty", "labels"], path: StrPath, grid: PlaneGrid) -> PlaneLayer:
    """Return the layer of a map of the uncertainty, or of a label volume.

    Raises
    ------
    InputError
        If it is not one, or does not cover the volume.
    """
    volume = open_levels(label_volume(Path(path)) if kind == "labels" else path)
    if volume.dtype != np.uint8:
        raise InputError(f"`{kind}` {path}: holds {volume.dtype}; give a volume of 8 bits", parameter=kind)
    if kind == "labels" and not volume.labels:
        raise InputError(
            f"`labels` {path}: states no names and colours of its values; give labels.ome.zarr, as measure writes it",
            parameter="labels",
        )
    _check_channels(kind, volume)
    _check_extent(kind, volume, grid)
    nearest = kind == "labels"
    pyramid = Pyramid(zarr_levels(volume, grid.placement, channels=1), 1, grid.cache, nearest=nearest)
    return PlaneLayer(kind, kind, pyramid, labels=volume.labels)


def _check_channels(kind: str, volume: ZarrLevels) -> None:
    """Raise if a volume has colours. ``stain`` writes a map of the uncertainty with three equal channels."""
    if volume.channels == 1:
        return
    depth, height, width = volume.levels[-1].shape
    middle = volume.block(len(volume.levels) - 1, (depth // 2, 0, 0), (depth // 2 + 1, height, width))
    if kind == "labels" or (middle != middle[..., :1]).any():
        raise InputError(f"`{kind}` {volume.path}: holds colours; give a volume of one channel", parameter=kind)


def _check_extent(kind: str, volume: ZarrLevels, grid: PlaneGrid) -> None:
    """Raise if a volume begins or ends elsewhere. Labels have other voxels, so one of them may be missing."""
    finest = volume.levels[0]
    slack = np.maximum(finest.voxel_um, grid.voxel_um) * 1.01
    start = np.subtract(finest.placement.origin_um, grid.placement.origin_um) @ np.asarray(grid.placement.direction)
    start = start - np.asarray(finest.voxel_um) / 2 + np.asarray(grid.voxel_um) / 2
    sides = np.multiply(finest.shape, finest.voxel_um), np.multiply(grid.shape, grid.voxel_um)
    if (np.abs(start) > slack).any() or (np.abs(start + sides[0] - sides[1]) > slack).any():
        extent, other = (" × ".join(f"{side:g}" for side in each) for each in sides)
        raise InputError(
            f"`{kind}` {volume.path}: covers {extent} µm from ({', '.join(f'{value:g}' for value in start)}) µm, the "
            f"volume {other} µm; give the {kind} of this volume",
            parameter=kind,
        )
