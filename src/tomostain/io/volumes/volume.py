"""µCT volumes of any common format. Shape and voxel size are read first, slices when they are needed."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomostain.deprecation import renamed
from tomostain.errors import InputError
from tomostain.io.array_source import ArraySource
from tomostain.io.images import as_grey, grey_dtype
from tomostain.io.metadata.placement import Placement
from tomostain.io.metadata.units import check_voxel_um, format_sides
from tomostain.io.parallel import in_parallel
from tomostain.io.volumes.base import Source
from tomostain.io.volumes.fingerprint import fingerprint_of, fingerprint_slices
from tomostain.io.volumes.indexing import SliceIndexing
from tomostain.io.volumes.missing import Ranges, clipped, format_slices
from tomostain.io.volumes.stated import check_size, describe_given, placement_of
from tomostain.io.volumes.voxel_size import find_voxel
from tomostain.paths import StrPath

logger = logging.getLogger("tomostain.io")


@dataclass(frozen=True)
class Volume(SliceIndexing):
    """A µCT volume on disk or in memory; `open_volume` and `Volume.from_array` make one.

    ``volume[z]``, ``volume[z0:z1, y0:y1]``, ``len(volume)``, ``numpy.asarray(volume)`` and ``volume.to_dask()`` read
    only what they need.

    Attributes
    ----------
    path : Path
        The file or folder; of a volume from an array its name.
    shape : tuple of int
        (Z, Y, X), voxels.
    dtype : numpy.dtype
        Type of what `read` returns: uint8, uint16 or float32.
    voxel_um : tuple of float
        Voxel size (z, y, x), µm.
    voxel_from : str
        Source of that size: "given" (with the size that the files state, where it differs), or the name of the file or
        log that states it.
    origin : tuple of int
        (z, y, x) of the first voxel in the volume that this is a `region` of; (0, 0, 0) for a whole volume.
    placement : Placement or None
        Position and directions that the file states, µm; of a region its position in the volume. None if it states
        none. Staining and `export` pass it on.
    missing : tuple of (start, stop)
        Slices of which data are missing and were filled with zeros, as half-open ranges.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    voxel_um: tuple[float, float, float]
    voxel_from: str
    _source: Source = field(repr=False)
    origin: tuple[int, int, int] = (0, 0, 0)
    placement: Placement | None = None
    missing: Ranges = ()

    @classmethod
    def from_array(
        cls,
        array: ArrayLike,
        voxel_um: float | Sequence[float],
        name: str = "array",
        *,
        placement: Placement | None = None,
    ) -> "Volume":
        """Make a volume of an array.

        Parameters
        ----------
        array : array-like, shape (Z, Y, X)
            Grey values. It is not copied. NumPy, memory-mapped, Zarr, HDF5 and dask arrays are read when slices are
            asked for.
        voxel_um : float or sequence of float
            Voxel size, or (z, y, x), µm.
        name : str
            Named in messages and in provenance.
        placement : Placement, optional
            Where the volume lies.

        Returns
        -------
        Volume

        Raises
        ------
        InputError
            If the array is not three-dimensional or empty, its values are not real numbers, or the voxel size is not
            a length.

        Examples
        --------
        >>> volume = Volume.from_array(np.zeros((4, 6, 8), np.uint16), voxel_um=5)
        >>> volume.shape, volume.voxel_um, volume[1:3, :, ::2].shape
        ((4, 6, 8), (5.0, 5.0, 5.0), (2, 6, 4))
        """
        values: Any = array if hasattr(array, "shape") and hasattr(array, "dtype") else np.asarray(array)
        shape = tuple(int(n) for n in values.shape)

        def read(start: int, stop: int) -> NDArray[Any]:
            return np.array(values[start:stop])

        voxel = check_voxel_um(voxel_um)
        source = Source(
            shape,
            np.dtype(values.dtype),
            (None, None, None),
            read,
            placement=placement,
            step=voxel,
            is_concurrent=isinstance(values, np.ndarray),
        )
        return volume_of_source(Path(name), source, voxel)

    @property
    def bits(self) -> int | None:
        """Significant bits of unsigned values, where the file states fewer than the type has (12 of 16)."""
        return self._source.bits

    @property
    def is_concurrent(self) -> bool:
        """Whether `read` is faster in several threads: for TIFF, slices in files, and arrays in memory."""
        return self._source.is_concurrent

    def describe(self) -> str:
        """Return one line that describes the volume for a person.

        Returns
        -------
        str
            Shape, voxel size and its source, type and, for a folder, the first and last slice.
        """
        shape, voxel = (format_sides(values) for values in (self.shape, self.voxel_um))
        ends = self._source.ends
        slices = f"; {ends[0].name} to {ends[1].name}" if ends else ""
        size = f"voxel size {self.voxel_from if self.voxel_from.startswith('given') else f'from {self.voxel_from}'}"
        place = "" if self.placement is None else f"; {self.placement.describe()}"
        missing = f"; {format_slices(self.missing)} filled with zeros" if self.missing else ""
        return f"{shape} voxels of {voxel} µm (z, y, x), {self.dtype}{slices}; {size}{place}{missing}"

    def missing_record(self) -> dict[str, list[list[int]]]:
        """Return what the metadata of a result state: the first and last slice of each missing range; {} without.

        Examples
        --------
        >>> volume = Volume.from_array(np.zeros((9, 4, 4), np.uint8), voxel_um=5)
        >>> volume.missing_record(), replace(volume, missing=((2, 3), (5, 9))).missing_record()
        ({}, {'missing_slices': [[2, 2], [5, 8]]})
        """
        return {"missing_slices": [[start, stop - 1] for start, stop in self.missing]} if self.missing else {}

    def region_record(self) -> dict[str, dict[str, list[Any]]]:
        """Return what the metadata of a result state: where a region begins in the whole volume; {} of a whole volume.

        Examples
        --------
        >>> volume = Volume.from_array(np.zeros((9, 4, 4), np.uint8), voxel_um=5)
        >>> volume.region((2, 0, 1), (9, 4, 4)).region_record()
        {'region': {'origin': [2, 0, 1], 'origin_um': [10.0, 0.0, 5.0]}}
        """
        if not any(self.origin):
            return {}
        origin_um = [index * size for index, size in zip(self.origin, self.voxel_um, strict=True)]
        return {"region": {"origin": list(self.origin), "origin_um": origin_um}}

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Read the slices `start` to `stop` (half-open), and no others.

        Parameters
        ----------
        start, stop : int
            ``0 <= start < stop <= shape[0]``.

        Returns
        -------
        ndarray of uint8, uint16 or float32, shape (stop - start, Y, X)
            Grey values as stored, in native byte order; other number types (int16, int32, float64 …) as float32.

        Raises
        ------
        InputError
            If a slice is damaged or holds NaN or infinite values (the message names the slices).
        """
        if not 0 <= start < stop <= self.shape[0]:
            raise ValueError(f"slices {start} to {stop} requested of a volume of {self.shape[0]} slices")
        values = as_grey(np.asarray(self._source.read(start, stop)), self.path)
        if values.shape != (stop - start, *self.shape[1:]):
            raise InputError(
                f"{self.path}: slices {start} to {stop - 1} have shape {values.shape}, "
                f"the header says {(stop - start, *self.shape[1:])}; the file is damaged"
            )
        if values.dtype == np.float32:
            self._refuse_not_finite(values, start)
        return values

    def block(self, first: Sequence[int], end: Sequence[int]) -> NDArray[Any]:
        """Read the voxels from `first` to `end` (z, y, x; half-open), slice by slice, so that only they stay in memory.

        Returns
        -------
        ndarray of uint8, uint16 or float32, shape (z, y, x)

        Raises
        ------
        InputError
            As `read`.
        """
        window = np.s_[first[1] : end[1], first[2] : end[2]]
        return np.stack([self.read(z, z + 1)[0][window] for z in range(first[0], end[0])])

    def region(self, first: Sequence[int], end: Sequence[int]) -> "Volume":
        """Return the voxels from `first` to `end` (z, y, x; half-open) as a volume; nothing is read yet.

        A model with a noise input stains a region with the noise that the whole volume has there. Away from the borders
        the colours are then those of the whole volume, if the model is tile-invariant and `first` is a multiple of its
        `size_multiple`.

        Raises
        ------
        InputError
            If the region is empty or extends beyond the volume.

        Examples
        --------
        >>> volume = Volume.from_array(np.zeros((4, 6, 8), np.uint16), voxel_um=5)
        >>> region = volume.region((1, 0, 2), (3, 6, 7))
        >>> region.shape, region.origin
        ((2, 6, 5), (1, 0, 2))
        """
        if not all(0 <= low < high <= side for low, high, side in zip(first, end, self.shape, strict=True)):
            raise InputError(
                f"{self.path}: the region from {tuple(first)} to {tuple(end)} is empty, or not inside the volume of "
                f"{self.shape} voxels"
            )
        (z0, y0, x0), (z1, y1, x1) = first, end

        def read(start: int, stop: int) -> NDArray[Any]:
            return self.read(z0 + start, z0 + stop)[:, y0:y1, x0:x1]

        z, y, x = self.origin
        shape = (z1 - z0, y1 - y0, x1 - x0)
        source = Source(
            shape, self.dtype, self.voxel_um, read, bits=self.bits, is_concurrent=self._source.is_concurrent
        )
        offset = [index * step for index, step in zip((z0, y0, x0), self.voxel_um, strict=True)]
        placement = (self.placement or Placement()).moved(offset)
        return replace(
            self,
            shape=shape,
            _source=source,
            origin=(z + z0, y + y0, x + x0),
            placement=None if placement.is_default else placement,
            missing=clipped(self.missing, z0, z1),
        )

    def _refuse_not_finite(self, values: NDArray[np.float32], start: int) -> None:
        are_finite = in_parallel(lambda image: bool(np.isfinite(image).all()), values)
        bad = [start + i for i, is_finite in enumerate(are_finite) if not is_finite]
        if bad:
            named = ", ".join(str(i) for i in bad[:5]) + (", …" if len(bad) > 5 else "")
            raise InputError(
                f"{self.path}: NaN or infinite values in slice{'s' if len(bad) > 1 else ''} {named}; "
                "replace them (by the grey value of air) or reconstruct again"
            )

    def fingerprint(self) -> str:
        """Return the sha256 of shape, type, voxel size and the first, middle and last slice (so three slices are read).

        Returns
        -------
        str
            64 hexadecimal digits; the same content gives the same digits whatever the file format.
        """
        slices = (self.read(index, index + 1) for index in fingerprint_slices(self.shape[0]))
        return fingerprint_of(self.shape, self.dtype.name, self.voxel_um, slices)


VolumeSource: TypeAlias = StrPath | Volume | ArraySource
"""A path, an open volume, an array, or (array, voxel_um)."""


def volume_of_source(path: Path, source: Source, voxel_um: tuple[float, float, float] | None) -> Volume:
    """Check what a source states and look for the voxel size unless it is given."""
    check_size(path, source)
    dtype = grey_dtype(source.dtype.kind, source.dtype.itemsize, path)
    shape = (source.shape[0], source.shape[1], source.shape[2])
    voxel, voxel_from = (voxel_um, describe_given(path, source, voxel_um)) if voxel_um else find_voxel(path, source)
    sizes = format_sides(voxel)
    logger.info("%s: voxel size %s µm %s", path, sizes, "given" if voxel_um else f"from {voxel_from}")
    return Volume(path, shape, dtype, voxel, voxel_from, source, placement=placement_of(path, source, voxel))


__getattr__ = renamed(
    __name__,
    {
        "open_volume": "tomostain.io.volumes.opening:open_volume",
    },
)
