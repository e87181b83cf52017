"""Reading a stained volume (OME-Zarr 0.5) by slices, at any level of its pyramid."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomostain.errors import DamagedDataWarning, InputError, warn_user
from tomostain.io.array_source import ArraySource, SizeUm, split_source
from tomostain.io.metadata.placement import Placement
from tomostain.io.metadata.units import check_voxel_um, format_sides
from tomostain.io.ome_zarr.metadata import read_level_scales, read_placements
from tomostain.io.ome_zarr.opening import check_finished, naming_damage, open_arrays, read_window
from tomostain.io.ome_zarr.origin import offset_between, stated_origin_um
from tomostain.io.ome_zarr.provenance import checked_provenance
from tomostain.io.ome_zarr.pyramid import Shape
from tomostain.io.ome_zarr.verify import ShardVerifier
from tomostain.io.volumes.indexing import SliceIndexing
from tomostain.io.volumes.volume import Volume
from tomostain.io.volumes.zarr_blosc import BloscCheck
from tomostain.paths import StrPath
from tomostain.progress import Progress, silent, track


class StainedVolume(SliceIndexing):
    """A finished stained volume; `open_stained` and `StainedVolume.from_array` make one.

    ``stained[z]``, ``stained[z0:z1, y0:y1]``, ``len(stained)``, ``numpy.asarray(stained)`` and ``stained.to_dask()``
    read the finest level, colours last.

    Attributes
    ----------
    path : Path
        The OME-Zarr folder; of a volume from an array its name.
    shape : tuple of int
        (Z, Y, X), voxels.
    dtype : numpy.dtype
        uint8.
    voxel_um : tuple of float
        Voxel size (z, y, x), µm.
    levels : tuple
        ``((Z, Y, X), (z, y, x) voxel size in µm)`` of each level, finest first.
    provenance : dict
        Model, input and options it was made with (empty if it was not written by this package).
    placements : tuple of (Placement or None)
        Where each level lies in the coordinates of the µCT; None if it begins at 0.
    """

    def __init__(
        self,
        path: StrPath,
        arrays: Sequence[Any],
        scales: Sequence[Any],
        provenance: dict[str, Any],
        placements: Sequence[Placement | None] = (),
        verifier: ShardVerifier | None = None,
    ) -> None:
        self.path = path = Path(path)
        self._arrays = list(arrays)
        self._blosc = [BloscCheck(path / array.path, array) for array in self._arrays]
        self.levels: tuple[tuple[Shape, tuple[float, float, float]], ...] = tuple(
            (tuple(array.shape[1:]), tuple(scale)) for array, scale in zip(arrays, scales, strict=True)
        )
        self.shape, self.voxel_um = self.levels[0]
        self.dtype = np.dtype(np.uint8)
        self.provenance = provenance
        self.placements = tuple(placements) or (None,) * len(self.levels)
        self._verifier = verifier or ShardVerifier(path, arrays, [str(level) for level in range(len(arrays))])

    def __repr__(self) -> str:
        levels = f"{len(self.levels)} level{'s' if len(self.levels) > 1 else ''}"
        sizes = f"{format_sides(self.shape)} voxels of {format_sides(self.voxel_um)} µm (z, y, x)"
        return f"StainedVolume({str(self.path)!r}, {sizes}, {levels})"

    @classmethod
    def from_array(
        cls, array: ArrayLike, voxel_um: SizeUm, name: str = "array", *, placement: Placement | None = None
    ) -> "StainedVolume":
        """Make a stained volume with one level of an array.

        Parameters
        ----------
        array : array-like of uint8, shape (Z, Y, X, 3)
            Colours, such as `stain_volume` returns. It is not copied.
        voxel_um : float or sequence of float
            Voxel size, or (z, y, x), µm.
        name : str
            Used in messages and as `path`.
        placement : Placement, optional
            Where the volume lies in the coordinates of the µCT.

        Raises
        ------
        InputError
            If the array has another shape or type, or the voxel size is not a length.

        Examples
        --------
        >>> stained = StainedVolume.from_array(np.zeros((2, 4, 6, 3), np.uint8), voxel_um=5)
        >>> stained.shape, stained.voxel_um, stained[1, :, ::2].shape
        ((2, 4, 6), (5.0, 5.0, 5.0), (4, 3, 3))
        """
        return _StainedArray(array, voxel_um, name, placement)

    @property
    def placement(self) -> Placement | None:
        """Where the finest level lies in the coordinates of the µCT; None if at 0."""
        return self.placements[0]

    @property
    def resampling_offset_um(self) -> tuple[float, float, float]:
        """Centre of the first voxel (z, y, x), µm from that of the stained µCT: not 0 if the µCT was resampled."""
        return stated_origin_um(self.provenance.get("resampled"))

    @property
    def offset_um(self) -> tuple[float, float, float]:
        """Centre of the first voxel (z, y, x), µm from that of the whole µCT: not 0 of a region or after resampling."""
        region = stated_origin_um(self.provenance.get("region"))
        z, y, x = (a + b for a, b in zip(self.resampling_offset_um, region, strict=True))
        return z, y, x

    def offset_from(
        self,
        volume_origin_um: Sequence[float] | NDArray[np.float64] | None,
        region_um: Sequence[float] | NDArray[np.float64] | None = None,
        volume_voxel_um: Sequence[float] | NDArray[np.float64] | None = None,
    ) -> tuple[float, float, float]:
        """Return the centre of the first voxel (z, y, x), µm from that of the µCT that a section lies in.

        Parameters
        ----------
        volume_origin_um : sequence of float, optional
            Where that µCT begins (`tomostain.geometry.section.Section.volume_origin_um`), which is compared with the
            placement of this volume. By default, and if this volume states no placement, it is the whole µCT that was
            stained: `offset_um`.
        region_um : sequence of float, optional
            The part of `volume_origin_um` that is due to a region (`tomostain.geometry.section.Section.region_um`).
        volume_voxel_um : sequence of float, optional
            Voxel size of that µCT (`tomostain.geometry.section.Section.volume_voxel_um`). With it and `region_um`, a
            resampled copy is recognised by its voxel size.
        """
        if volume_origin_um is None or self.placement is None:
            return self.offset_um
        resampled_um = None
        if region_um is not None and volume_voxel_um is not None:
            resampled_um = np.subtract(self.voxel_um, volume_voxel_um) / 2 - self.resampling_offset_um
        recorded_um = self.offset_um
        return offset_between(self.placement, recorded_um, volume_origin_um, region_um, self.voxel_um, resampled_um)

    @property
    def array_shape(self) -> tuple[int, ...]:
        """(Z, Y, X, 3)."""
        return (*self.shape, 3)

    def verify(self, levels: Iterable[int] | None = None, progress: Progress = silent) -> None:
        """Compare the shards of some levels, by default all, with their checksums. Reading always compares them.

        Parameters
        ----------
        levels : iterable of int, optional
        progress : Progress
            Called for each shard.

        Raises
        ------
        InputError
            If a shard is missing or altered. The message names it. A volume without checksums passes, with a warning.
        """
        if getattr(self._verifier, "sums", {}) is None:
            warn_user(
                f"{self.path}: has no checksums (0/SHA256SUMS), so altered colours cannot be detected",
                DamagedDataWarning,
            )
        for level in range(len(self.levels)) if levels is None else levels:
            self._verifier.verify(level, progress=progress)

    def verify_present(self) -> None:
        """Look for every shard that has a checksum, without reading it.

        Raises
        ------
        InputError
            If one is missing.
        """
        self._verifier.verify_present()

    def verify_file(self, name: str) -> None:
        """Compare one file of the folder, named relative to it, with its checksum, if it is a shard.

        Raises
        ------
        InputError
            As `verify`.
        """
        self._verifier.verify_file(name)

    def read(self, start: int, stop: int, level: int = 0) -> NDArray[np.uint8]:
        """Read the slices `start` to `stop` (half-open) of a level.

        Returns
        -------
        ndarray of uint8, shape (stop - start, y, x, 3)

        Raises
        ------
        InputError
            If a shard differs from its checksum, or the stored data are damaged.
        """
        if not 0 <= level < len(self.levels) or not 0 <= start < stop <= self.levels[level][0][0]:
            raise ValueError(f"slices {start} to {stop} of level {level} requested; the levels are {self.levels}")
        self._verifier.verify(level, [(start, stop)])
        self._blosc[level].check((slice(None), slice(start, stop), slice(None), slice(None)))
        try:
            block = np.asarray(self._arrays[level][:, start:stop])
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{self.path}: slices {start} to {stop - 1} of level {level} cannot be read ({str(error)[:120]}); "
                "the volume is damaged, stain it again with `overwrite=True`"
            ) from None
        return np.ascontiguousarray(np.moveaxis(block, 0, -1))

    def damaged_shards(self, progress: Progress = silent) -> list[str] | None:
        """Return the shards that differ from their checksums; None if the volume has no checksums."""
        if self._verifier.sums is None:
            return None
        names = [name for level in range(len(self.levels)) for name in self._verifier.names(level)]
        return [name for name in track(names, "checking", progress) if self._verifier.damaged([name])]

    def block(self, first: Sequence[int], end: Sequence[int], level: int = 0) -> NDArray[np.uint8]:
        """Read the voxels from `first` to `end` (z, y, x; half-open) of a level, and no other chunks.

        Returns
        -------
        ndarray of uint8, shape (z, y, x, 3)

        Raises
        ------
        InputError
            If the stored data are damaged.
        """
        window = tuple(slice(a, b) for a, b in zip(first, end, strict=True))
        self._verifier.verify(level, list(zip(first, end, strict=True)))
        self._blosc[level].check((slice(None), *window))
        return read_window(self._arrays[level], window, f"{self.path}: voxels {list(first)} to {list(end)}")


class _StainedArray(StainedVolume):
    """A stained volume with one level in memory, or in an array that is read by slices. It has no checksums."""

    def __init__(self, array: ArrayLike, voxel_um: SizeUm, name: str, placement: Placement | None) -> None:
        values: Any = array if hasattr(array, "shape") and hasattr(array, "dtype") else np.asarray(array)
        if len(values.shape) != 4 or values.shape[3] != 3 or values.dtype != np.uint8 or 0 in values.shape:
            raise InputError(
                f"{name}: a stained volume is a uint8 array (Z, Y, X, 3), found {values.dtype} {tuple(values.shape)}"
            )
        self.path, self._values = Path(name), values
        z, y, x = (int(side) for side in values.shape[:3])
        self.levels = (((z, y, x), check_voxel_um(voxel_um)),)
        self.shape, self.voxel_um = self.levels[0]
        self.dtype = np.dtype(np.uint8)
        self.provenance = {}
        self.placements = (placement,)

    def verify(self, levels: Iterable[int] | None = None, progress: Progress = silent) -> None:
        """Do nothing: an array has no checksums."""

    def verify_present(self) -> None:
        """Do nothing: an array has no files."""

    def verify_file(self, name: str) -> None:
        """Do nothing: an array has no files."""

    def damaged_shards(self, progress: Progress = silent) -> list[str] | None:
        """Return None: an array has no checksums."""
        return None

    def read(self, start: int, stop: int, level: int = 0) -> NDArray[np.uint8]:
        """Return the slices `start` to `stop` (half-open), uint8, shape (stop - start, Y, X, 3)."""
        if level != 0 or not 0 <= start < stop <= self.shape[0]:
            raise ValueError(f"slices {start} to {stop} of level {level} requested; the levels are {self.levels}")
        return np.ascontiguousarray(self._values[start:stop])

    def block(self, first: Sequence[int], end: Sequence[int], level: int = 0) -> NDArray[np.uint8]:
        """Return the voxels from `first` to `end` (z, y, x; half-open), uint8, shape (z, y, x, 3)."""
        if level != 0:
            raise ValueError(f"level {level} requested; an array has level 0 only")
        return np.asarray(self._values[tuple(slice(a, b) for a, b in zip(first, end, strict=True))])


StainedSource: TypeAlias = StrPath | StainedVolume | ArraySource
"""A path, an open stained volume, an array, or (array, voxel_um)."""


def open_stained(path: "StainedSource", *, voxel_um: SizeUm | None = None) -> StainedVolume:
    """Open a stained volume: an OME-Zarr image with axes c z y x and three 8-bit channels.

    Parameters
    ----------
    path : path, StainedVolume, array-like or tuple (array, voxel_um)
        The OME-Zarr folder. An open volume is returned as it is; a uint8 array (Z, Y, X, 3) becomes one
        (`StainedVolume.from_array`).
    voxel_um : float or sequence of float, optional
        Voxel size of an array, or (z, y, x), µm. A file states its own.

    Returns
    -------
    StainedVolume
        Its colours are read by slices.

    Raises
    ------
    InputError
        If it is missing, not a stained volume, or not finished.
    """
    if isinstance(path, StainedVolume):
        return path
    if isinstance(path, Volume):
        raise InputError(f"{path.path}: is a µCT volume, not a stained one; stain it first")
    if (array := split_source(path, voxel_um, "voxel_um")) is not None:
        return StainedVolume.from_array(*array)
    path = Path(path)  # type: ignore[arg-type]  # no array
    advice = "a stained volume is an OME-Zarr folder, as 'tomostain stain' writes it"
    check_finished(path, advice, "staining was not finished; run the same command again to continue")
    with naming_damage(path, "a stained volume", "; give the OME-Zarr folder that stain wrote"):
        attributes, names, arrays = open_arrays(path)
        _, scales = read_level_scales(attributes)
        placements = read_placements(attributes)
    provenance = checked_provenance(path, attributes, arrays)
    return StainedVolume(path, arrays, scales, provenance, placements, ShardVerifier(path, arrays, names))


def check_stained(path: StrPath, progress: Progress = silent) -> list[str] | None:
    """Return the shards of a finished stained volume that differ from their checksums; None if it has no checksums.

    Raises
    ------
    InputError
        As `open_stained`, and if the list of checksums is damaged.
    """
    return open_stained(path).damaged_shards(progress)
