"""Label volumes and maps on disk: OME-Zarr that opens next to the stained volume, and label volumes of the user."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tomostain.errors import InputError
from tomostain.integers import refuse_not_finite
from tomostain.io import OmeZarrWriter, Volume, create_ome_zarr, open_volume
from tomostain.io.metadata.placement import Placement
from tomostain.io.metadata.units import format_sides
from tomostain.io.ome_zarr.metadata import LabelStyle
from tomostain.io.volumes.volume import VolumeSource
from tomostain.measure.classes import COLOURS, TITLES, Labels, TissueClass
from tomostain.measure.label_source import LabelSource, Shape, VoxelSize, check_classes, refuse_values
from tomostain.paths import StrPath
from tomostain.progress import Progress, silent, track

SIZE_TOLERANCE = 0.01
"""Maximum relative difference of the voxel sizes of two volumes on one grid."""
Z_CHUNK = 32

STYLES: tuple[LabelStyle, ...] = tuple(
    LabelStyle(value=int(each), name=TITLES[each], rgb=COLOURS[each]) for each in TissueClass
)
"""Names and colours of the tissue classes, as a label volume states them."""


class VoxelGrid(Protocol):
    """What a label volume is compared with: a stained volume, a µCT volume or another label source."""

    @property
    def shape(self) -> Shape:
        """(Z, Y, X), voxels."""

    @property
    def voxel_um(self) -> VoxelSize:
        """Voxel size (z, y, x), µm."""


@dataclass(frozen=True)
class LabelVolume:
    """Tissue classes in a file or folder, read by slices: a `LabelSource`.

    Attributes
    ----------
    path : Path
    shape : tuple of int
        (Z, Y, X), voxels.
    voxel_um : tuple of float
        Voxel size (z, y, x), µm.
    placement : Placement or None
        Where the file says that the volume lies.
    """

    path: Path
    shape: Shape
    voxel_um: VoxelSize
    placement: Placement | None
    _volume: Volume

    def read(self, start: int, stop: int) -> Labels:
        """Return the slices `start` to `stop` (half-open), uint8.

        Raises
        ------
        InputError
            If a value is no tissue class. The message names the file and the values.
        """
        return _as_classes(self._volume.read(start, stop), str(self.path))


def create_labels(
    path: StrPath,
    shape: Shape,
    voxel_um: VoxelSize,
    *,
    placement: Placement | None = None,
    provenance: Mapping[str, Any] | None = None,
    z_chunk: int = Z_CHUNK,
    overwrite: bool = False,
) -> OmeZarrWriter:
    """Begin a label volume in OME-Zarr 0.5: uint8, with the names and colours of the classes.

    The coarser levels take one of eight voxels, not their mean, so that they hold no other classes.

    Parameters
    ----------
    path : str or os.PathLike
        The OME-Zarr folder.
    shape : tuple of int
        (Z, Y, X), voxels.
    voxel_um : tuple of float
        Voxel size (z, y, x), µm.
    placement : Placement, optional
        Where the volume lies: that of the stained volume, so that both open at one place.
    provenance : mapping, optional
        What the labels are made of, as JSON can hold.
    z_chunk : int
        Slices that are written at a time.
    overwrite : bool
        Replace an existing volume.

    Returns
    -------
    OmeZarrWriter
        ``write(z0, labels)`` for each of ``z_chunks()``, then ``finish()``.

    Raises
    ------
    InputError
        If the folder exists and `overwrite` is False.
    """
    return create_ome_zarr(
        path,
        shape,
        voxel_um,
        placement=placement,
        provenance=dict(provenance or {}),
        z_chunk=z_chunk,
        overwrite=overwrite,
        reduction="nearest",
        labels=STYLES,
    )


def write_labels(
    path: StrPath,
    source: LabelSource,
    *,
    placement: Placement | None = None,
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Path:
    """Write a label source as OME-Zarr; see `create_labels`.

    Raises
    ------
    InputError
        If the folder exists and `overwrite` is False, or a value is no tissue class.
    """
    writer = create_labels(
        path, source.shape, source.voxel_um, placement=placement, provenance=provenance, overwrite=overwrite
    )
    for start, stop in track(writer.z_chunks(), "labels", progress):
        labels = source.read(start, stop)
        check_classes(labels, str(path))
        writer.write(start, labels)
    writer.finish()
    return Path(path)


def write_map(
    path: StrPath,
    read: Callable[[int, int], NDArray[np.floating]],
    grid: VoxelGrid,
    *,
    dtype: DTypeLike = np.float32,
    placement: Placement | None = None,
    provenance: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> Path:
    """Write a map of lengths, such as the thickness or the distance from the implant, as OME-Zarr.

    Coarser levels are means.

    Parameters
    ----------
    path : str or os.PathLike
        The OME-Zarr folder.
    read : callable
        Takes a half-open range of slices, and returns their values, µm, of shape (stop - start, Y, X).
    grid : VoxelGrid
        Shape and voxel size: the labels or the stained volume.
    dtype : numpy dtype
        float32, or uint16 for whole µm (at most 65535).
    placement, provenance, progress
        As for `write_labels`.

    Raises
    ------
    InputError
        If the folder exists, or a value is not finite.
    """
    path, kind = Path(path), np.dtype(dtype)
    writer = create_ome_zarr(
        path,
        grid.shape,
        grid.voxel_um,
        placement=placement,
        provenance=dict(provenance or {}),
        z_chunk=Z_CHUNK,
        dtype=kind,
    )
    for start, stop in track(writer.z_chunks(), path.name.partition(".")[0], progress):
        values = np.asarray(read(start, stop))
        refuse_not_finite(values, str(path))
        if kind.kind == "u":
            values = np.clip(np.rint(values), 0, np.iinfo(kind).max)
        writer.write(start, values.astype(kind))
    writer.finish()
    return path


def open_labels(
    path: VolumeSource,
    like: VoxelGrid | None = None,
    *,
    voxel_um: VoxelSize | None = None,
    same_grid: bool = True,
) -> LabelVolume:
    """Open a label volume: one that tomostain wrote, or one of the user in any format of `tomostain.io.open_volume`.

    Parameters
    ----------
    path : path, Volume, array-like or tuple (array, voxel_um)
    like : VoxelGrid, optional
        The volume that the labels belong to. Shape and voxel size are compared with it. A file without a voxel size
        has that of `like`.
    voxel_um : tuple of float, optional
        Voxel size (z, y, x), µm, instead of that of the file.
    same_grid : bool
        False: the labels may have larger or smaller voxels than `like`, and must have the same extent.

    Returns
    -------
    LabelVolume

    Raises
    ------
    InputError
        If it cannot be opened, or its shape, voxel size or extent differs from that of `like`. Values are checked when
        they are read.
    """
    volume = open_with_default(path, None if like is None else like.voxel_um, voxel_um)
    if like is not None:
        (check_grid if same_grid else check_extent)(volume.path, volume, like)
    return LabelVolume(volume.path, volume.shape, volume.voxel_um, volume.placement, volume)


def check_grid(path: StrPath, volume: VoxelGrid, like: VoxelGrid) -> None:
    """Raise unless a volume has the shape and the voxel size of another one, and lies there if both state a position.

    A volume without directions is compared by its position only: many formats cannot hold directions.

    Raises
    ------
    InputError
        The message states both.
    """
    if tuple(volume.shape) != tuple(like.shape):
        raise InputError(
            f"{path}: has {format_sides(volume.shape)} voxels, but the measured volume has {format_sides(like.shape)}; "
            "give a volume on the same grid"
        )
    pairs = zip(volume.voxel_um, like.voxel_um, strict=True)
    if any(abs(size - other) > SIZE_TOLERANCE * other for size, other in pairs):
        raise InputError(
            f"{path}: has voxels of {format_sides(volume.voxel_um)} µm, but the measured volume has "
            f"{format_sides(like.voxel_um)} µm; correct the voxel size, or give a volume on the same grid"
        )
    mine, other = (getattr(each, "placement", None) for each in (volume, like))
    if mine is None or other is None:
        return
    turned = mine.is_turned and not np.allclose(mine.direction, other.direction, atol=1e-3)
    if turned or (np.abs(np.subtract(mine.origin_um, other.origin_um)) > max(like.voxel_um)).any():
        raise InputError(
            f"{path}: has another position or direction ({mine.describe()}) than the measured volume "
            f"({other.describe()}); give a volume on the same grid, with its voxels in the same order"
        )


def check_extent(path: StrPath, volume: VoxelGrid, like: VoxelGrid) -> None:
    """Raise unless a volume has the extent of another one: along each axis within one of the larger voxels.

    Raises
    ------
    InputError
        The message states both.
    """
    sides = np.multiply(volume.shape, volume.voxel_um), np.multiply(like.shape, like.voxel_um)
    if (np.abs(sides[0] - sides[1]) > np.maximum(volume.voxel_um, like.voxel_um) * 1.01).any():
        extent, other = (format_sides(tuple(float(side) for side in each)) for each in sides)
        raise InputError(
            f"{path}: has an extent of {extent} µm, but the other volume one of {other} µm; give the volume that "
            "belongs to it, or correct its voxel size"
        )


def open_with_default(path: VolumeSource, default_um: VoxelSize | None, voxel_um: VoxelSize | None = None) -> Volume:
    """Open a volume. `default_um` is its voxel size where no file states one."""
    if isinstance(path, Volume):
        return path
    if voxel_um is not None or default_um is None:
        return open_volume(path, voxel_um=voxel_um)
    with_default = open_volume(path, voxel_um=default_um)
    try:
        return open_volume(path)
    except InputError:  # no file states the voxel size; any other error would have been raised before
        return with_default


def _as_classes(values: NDArray[Any], source: str) -> Labels:
    """Return values of any type as uint8, if they are tissue classes."""
    if values.dtype == np.uint8:
        check_classes(values, source)
        return values
    refuse_values(np.setdiff1d(values, [int(each) for each in TissueClass]), source)
    return values.astype(np.uint8)
