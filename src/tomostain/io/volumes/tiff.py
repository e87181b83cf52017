"""Volumes in TIFF: a folder of slices, or one file with many."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.metadata.units import check_pixels
from tomostain.io.tiff import TIFF_SUFFIXES, check_complete, opened_tiff, stated_spacing, tiff_errors
from tomostain.io.tiff_images import grey_values, upright_shape
from tomostain.io.volumes.base import ReadSlices, Source
from tomostain.io.volumes.registry import Reader, register_reader


def natural_slices(folder: Path) -> list[Path]:
    """Return the TIFF slices of a folder, sorted by the number in which their names differ.

    Parameters
    ----------
    folder : Path
        Hidden files, other formats, folders, and the previews ``*_spr.tif`` of Bruker's NRecon are ignored.

    Returns
    -------
    list of Path

    Raises
    ------
    InputError
        If there is no TIFF, the names differ in more than one number, two slices have one number, or a number is
        missing.
    """
    files = [
        file
        for file in sorted(folder.iterdir())
        if file.name.lower().endswith(TIFF_SUFFIXES)
        and not file.name.startswith(".")
        and not file.stem.lower().endswith("_spr")
        and file.is_file()
    ]
    if not files:
        inside = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())[:3]
        hint = f"; it has the folder(s) {', '.join(inside)}; give one of them" if inside else ""
        raise InputError(f"{folder}: no TIFF slices in this folder{hint or '; give the folder that holds them'}")
    if len(files) == 1:
        return files
    numbered: dict[int, Path] = {}
    for file, number in zip(files, _slice_numbers(files), strict=True):
        if number in numbered:
            raise InputError(f"{file}: has the same slice number {number} as {numbered[number].name}; remove one")
        numbered[number] = file
    order = sorted(numbered)
    for number, following in pairwise(order):
        if following != number + 1:
            raise InputError(
                f"{folder}: slice number {number + 1} is missing ({numbered[number].name} is followed by "
                f"{numbered[following].name}); restore it, or renumber the slices"
            )
    return [numbered[number] for number in order]


def _slice_numbers(files: list[Path]) -> list[int]:
    """Return the numbers in which the names differ."""
    parts = [re.split(r"(\d+)", file.stem) for file in files]
    usual = max((tuple(p[::2]) for p in parts), key=[tuple(p[::2]) for p in parts].count)
    for file, part in zip(files, parts, strict=True):
        if tuple(part[::2]) != usual:
            pattern = "#".join(usual)
            raise InputError(
                f"{file}: its name differs from the others' ({pattern}); keep only the slices in the folder"
            )
    varying = [i for i in range(1, len(parts[0]), 2) if len({int(part[i]) for part in parts}) > 1]
    if len(varying) > 1:
        first, last = files[0].name, files[-1].name
        raise InputError(
            f"{files[0].parent}: the names differ in more than one number ({first} … {last}); name the slices by one"
        )
    # Names that differ by leading zeros only (1, 01) are the same number: the caller reports the duplicate.
    index = varying[0] if varying else len(parts[0]) - 2
    return [int(part[index]) for part in parts]


def open_tiff_folder(path: Path, dataset: str | None = None) -> Source:
    """Open a folder of TIFF slices. Every header is checked; no image data are read.

    Raises
    ------
    InputError
        As `natural_slices`; also for colour or multi-page files, truncated files, and slices that differ in
        shape or type (the first odd file is named).
    """
    files = natural_slices(path)
    first = _slice_header(files[0])
    with opened_tiff(files[0]) as tif:
        spacing = stated_spacing(tif)
    for file in files[1:]:
        header = _slice_header(file)
        if header != first:
            is_shape = header[0] != first[0]
            kind, value, other = ("shape", header[0], first[0]) if is_shape else ("type", header[1], first[1])
            raise InputError(f"{file}: its {kind} is {value}, that of {files[0].name} is {other}; all must be the same")
    shape, dtype = first

    def read(start: int, stop: int) -> NDArray[Any]:
        slab = np.empty((stop - start, *shape), dtype.newbyteorder("="))
        for image, file in zip(slab, files[start:stop], strict=True):
            with opened_tiff(file) as tif:
                check_complete(file, tif)
                image[...] = _page_image(file, tif.pages[0], shape)
        return slab

    return Source((len(files), *shape), dtype, spacing, read, (files[0], files[-1]))


TIFF_FOLDER = Reader(open_tiff_folder, "a folder of TIFF slices")
"""The reader of folders that no other reader takes."""


def _slice_header(file: Path) -> tuple[tuple[int, int], np.dtype[Any]]:
    """Return the shape and type of a slice from its header, after a check that the file is one complete grey image."""
    with opened_tiff(file) as tif:
        page: Any = tif.pages[0]
        if len(tif.pages) > 1 and sum(not p.is_reduced for p in tif.pages) > 1:  # type: ignore[union-attr]
            raise InputError(
                f"{file}: holds {len(tif.pages)} images, but a slice has one; open the file instead of the folder"
            )
        shape = _grey_shape(file, page)
        check_complete(file, tif)
        return shape, np.dtype(page.dtype)


def _grey_shape(path: Path, page: Any) -> tuple[int, int]:
    if page.samplesperpixel != 1:
        raise InputError(f"{path}: a colour image ({page.samplesperpixel} samples per pixel); a µCT volume is grey")
    if page.dtype is None or page.imagedepth != 1:
        raise InputError(f"{path}: a kind of TIFF that is not read; save it as 8- or 16-bit or float32 slices")
    shape = upright_shape(path, page)
    check_pixels(path, shape)
    return shape


def _page_image(path: Path, page: Any, shape: tuple[int, int]) -> NDArray[Any]:
    image = grey_values(path, np.asarray(page.asarray()), page)
    if image.shape != shape:
        raise InputError(f"{path}: an image of shape {image.shape}, not {shape} as when it was opened")
    return image


@register_reader(suffixes=TIFF_SUFFIXES, label="TIFF")
def open_tiff(path: Path, dataset: str | None = None) -> Source:
    """Open one TIFF or OME-TIFF with many slices.

    Raises
    ------
    InputError
        If it is damaged, in colour, or has more than one channel or time point.
    """
    with opened_tiff(path) as tif:
        series = tif.series[0]
        sizes = dict(zip(series.axes, series.shape, strict=True))
        first: Any = tif.pages[0]
        plane = _grey_shape(path, first)
        stacked = {axis: int(size) for axis, size in sizes.items() if axis not in "YX" and size > 1}
        # Programs label the axis of a stack differently (ImageJ also as time or channels): one long axis is z.
        if len(stacked) > 1 or "S" in stacked or stacked.get("C", 5) <= 4:
            raise InputError(f"{path}: has axes {series.axes} of {series.shape}; a µCT volume has z, y, x only")
        depth = next(iter(stacked.values()), 1)
        pages = [page for page in series.pages if page is not None]
        contiguous = series.dataoffset is not None and len(pages) < depth
        if not contiguous and len(series.pages) != depth:
            raise InputError(f"{path}: {depth} slices in {len(series.pages)} pages; save it as a plain TIFF stack")
        if len(pages) < len(series.pages) and not contiguous:
            raise InputError(f"{path}: {len(series.pages) - len(pages)} of its slices are in other files or missing")
        _check_pages(path, tif, pages, plane, depth if contiguous else None, series.dataoffset)
        spacing, dtype, offset = stated_spacing(tif), np.dtype(series.dtype), series.dataoffset
    if contiguous:
        return Source((depth, *plane), dtype, spacing, _mapped(path, (depth, *plane), dtype, offset))
    return Source((depth, *plane), dtype, spacing, _paged(path, plane, dtype))


def _check_pages(
    path: Path, tif: tifffile.TiffFile, pages: list[Any], plane: tuple[int, int], depth: int | None, offset: int | None
) -> None:
    """Check the end of the data: of every page, or of the contiguous values that ImageJ writes for a large stack."""
    check_complete(path, tif, pages)
    if depth is not None and offset is not None:
        needed = offset + depth * plane[0] * plane[1] * np.dtype(pages[0].dtype).itemsize
        if needed > tif.filehandle.size:
            raise InputError(
                f"{path}: truncated TIFF ({tif.filehandle.size} bytes, but {needed} are stated); copy it again"
            )


def _mapped(path: Path, shape: tuple[int, int, int], dtype: np.dtype[Any], offset: int | None) -> ReadSlices:
    with opened_tiff(path) as tif:
        stored = dtype.newbyteorder(tif.byteorder)
        page: Any = tif.pages[0]

    def read(start: int, stop: int) -> NDArray[Any]:
        with tiff_errors(path):
            values = np.memmap(path, stored, mode="r", offset=offset or 0, shape=shape)
            return grey_values(path, np.array(values[start:stop]), page)

    return read


def _paged(path: Path, plane: tuple[int, int], dtype: np.dtype[Any]) -> ReadSlices:
    def read(start: int, stop: int) -> NDArray[Any]:
        slab = np.empty((stop - start, *plane), dtype.newbyteorder("="))
        with opened_tiff(path) as tif:
            pages = tif.series[0].pages
            for image, index in zip(slab, range(start, stop), strict=True):
                image[...] = _page_image(path, pages[index], plane)
        return slab

    return read
