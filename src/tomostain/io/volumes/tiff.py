"""Volumes in one TIFF with many slices."""

import logging
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.image_size import check_decoded_size
from tomostain.io.imagej import imagej_placement
from tomostain.io.metadata.ome_files import OmeFiles, announced_files
from tomostain.io.metadata.placement import Placement
from tomostain.io.metadata.units import Spacing, check_pixels, contradict, format_spacing, unit_um, unknown_unit
from tomostain.io.parallel import in_parallel, in_pool
from tomostain.io.tiff import (
    TIFF_SUFFIXES,
    check_complete,
    has_empty_parts,
    opened_tiff,
    stated_spacing,
    stated_units,
    tiff_errors,
)
from tomostain.io.tiff_images import grey_values, ome_pixels, significant_bits, upright_shape
from tomostain.io.tiff_model import least_page_bytes, page_model, page_orientation
from tomostain.io.volumes.base import ReadSlices, Source
from tomostain.io.volumes.missing import NOTHING_MISSING, MissingData, format_slices, ranges_of
from tomostain.io.volumes.registry import register_reader
from tomostain.io.volumes.rescale import IDENTITY, Rescale, rescale_of, rescaled
from tomostain.io.volumes.tiff_sets import PageSet, find_page_set

logger = logging.getLogger("tomostain.io")

_NOT_SPACE = {"T": "time points", "C": "channels"}
_UNCALIBRATED = 20

TURNED = 5
"""Orientations of TIFF from this one on exchange rows and columns."""

PLAIN_SLICE = 2**28
"""Slices up to this size before compression, in bytes, may all be empty; of larger ones, one must have content."""


@register_reader(suffixes=TIFF_SUFFIXES, label="TIFF")
def open_tiff(path: Path, dataset: str | None = None) -> Source:
    """Open one TIFF or OME-TIFF with many slices. Every page is checked; no image data are read.

    Raises
    ------
    InputError
        If it is damaged, in colour, has more than one channel or time point, or holds several sets of images and it is
        ambiguous which is the volume.
    """
    with opened_tiff(path) as tif:
        announced = announced_files(path, tif.ome_metadata) if tif.is_ome and tif.ome_metadata else None
        if announced is not None:
            _check_own_files(path, announced)
        volume = find_page_set(path, tif)
        _check_grey(path, volume, is_imagej=tif.is_imagej)
        pages = [page for page in volume.pages if page is not None]
        check_complete(path, tif, [page for page in pages if page.parent is tif])
        if volume.offset is not None:
            _check_contiguous(path, tif, volume)
        stored = max((sum(page.databytecounts) for page in pages), default=0) if volume.offset is None else None
        page = pages[0] if pages else tif.pages.first
        min_bytes = least_page_bytes(page.keyframe, plain=PLAIN_SLICE)
        check_decoded_size(path, volume.plane[0] * volume.plane[1], volume.dtype.itemsize, stored, min_bytes)
        plane, dtype = upright_shape(path, page), _dtype(path, volume, page)
        spacing = _spacing(tif, page, volume)
        conflict = _conflict(tif, pages)
        unit = unknown_unit(*stated_units(tif, _pixels(tif, volume)))
        rescale = imagej_rescale(path, tif)
        placement, step = imagej_placement(tif, spacing)
        placement = placement or _stage_position(_pixels(tif, volume))
        missing = _missing(volume, announced)
        model = page_model(path, page, significant_bits(_pixels(tif, volume)))
        if model.white_is_zero and page.keyframe.bitspersample == 1:
            logger.warning(
                "%s: states that white is 0, in one bit, and is inverted; if tifffile wrote it from a boolean array, "
                "save it as uint8 (mask * 255)",
                path,
            )
    read = _paged(path, volume, plane, dtype) if volume.offset is None else _mapped(path, volume)
    source = Source(
        (volume.depth, *plane),
        dtype,
        spacing,
        read,
        missing=missing,
        bits=model.bits,
        conflict=conflict,
        unknown_unit=unit,
        placement=placement,
        step=step,
        is_concurrent=True,
    )
    return rescaled(source, rescale)


def _dtype(path: Path, volume: PageSet, page: Any) -> np.dtype[Any]:
    """Return the type of the grey values: that of the stored values, or of the palette."""
    return grey_values(path, np.zeros((1, 1), volume.dtype), page).dtype


def _spacing(tif: tifffile.TiffFile, page: Any, volume: PageSet) -> Spacing:
    elements = ome_pixels(tif)
    if elements and (volume.series is None or len(elements) != len(tif.series)):
        return (None, None, None)  # the XML does not describe these pages
    z, y, x = stated_spacing(tif, page, _pixels(tif, volume))
    return (z, x, y) if page_orientation(page) >= TURNED else (z, y, x)


def _stage_position(pixels: ElementTree.Element | None) -> Placement | None:
    """Return the position of the stage at the first slice, if OME-XML states it with units of length."""
    planes = [] if pixels is None else [element for element in pixels if element.tag.endswith("}Plane")]
    first = next((plane for plane in planes if all(plane.get(f"The{axis}", "0") == "0" for axis in "ZCT")), None)
    if first is None:
        return None
    position = []
    for axis in "ZYX":
        factor = unit_um(first.get(f"Position{axis}Unit"))  # by default a frame of reference, not a length
        try:
            value = float(first.get(f"Position{axis}", "0"))
        except ValueError:
            return None
        if not math.isfinite(value) or (factor is None and value):
            return None
        position.append(value * (factor or 0.0))
    return Placement((position[0], position[1], position[2]))


def _conflict(tif: tifffile.TiffFile, pages: Sequence[Any]) -> str:
    """Return which page of a file without OME-XML states another pixel size than the first one."""
    if tif.is_ome or not pages:
        return ""
    first = stated_spacing(tif, pages[0])
    for number, page in enumerate(pages):
        other = stated_spacing(tif, page) if page.parent is tif and hasattr(page, "tags") else first
        if contradict(first, other):
            return f"slice {number} states voxels of {format_spacing(other)}, slice 0 of {format_spacing(first)}"
    return ""


def imagej_rescale(path: Path, tif: tifffile.TiffFile) -> Rescale:
    """Return the calibration of grey values that ImageJ states: a straight line, as for signed 16-bit values.

    Sources: ij/io/FileSaver.java and ij/measure/Calibration.java (``cf``: 0 is a straight line, 20 is none).
    """
    metadata = (tif.imagej_metadata or {}) if tif.is_imagej else {}
    if "cf" not in metadata or metadata["cf"] == _UNCALIBRATED:
        return IDENTITY
    coefficients = sorted(key for key in metadata if re.fullmatch(r"c\d", key))
    if metadata["cf"] != 0 or coefficients != ["c0", "c1"]:
        logger.warning("%s: the calibration function of its grey values is not applied; they are read as stored", path)
        return IDENTITY
    return rescale_of(path, metadata["c1"], metadata["c0"], "calibration of ImageJ")


def _pixels(tif: tifffile.TiffFile, volume: PageSet) -> ElementTree.Element | None:
    """Return the Pixels element of OME-XML that describes a volume."""
    elements = ome_pixels(tif)
    return elements[volume.series] if volume.series is not None and volume.series < len(elements) else None


def _check_own_files(path: Path, announced: OmeFiles) -> None:
    """Raise if a file is one of several of an OME-TIFF and its own name is not among them."""
    if len(announced.files) > 1 and path.name not in announced.files:
        raise InputError(
            f"{path}: is a part of an OME-TIFF of {len(announced.files)} files, but its metadata do not name it; "
            "restore the names, or open the folder"
        )


def _check_grey(path: Path, volume: PageSet, *, is_imagej: bool) -> None:
    """Raise unless the images are a grey stack with one long axis, which is z.

    In ImageJ the axis of a stack is often called time or channels by mistake; other programs mean it.
    """
    if volume.samples != 1:
        raise InputError(f"{path}: a colour image ({volume.samples} samples per pixel); a µCT volume is grey")
    if len(volume.axes) > 1 or (volume.axes == "C" and volume.depth <= 4):
        raise InputError(f"{path}: has axes {volume.layout}; a µCT volume has z, y, x only")
    if volume.axes in _NOT_SPACE:
        what = f"{volume.depth} {_NOT_SPACE[volume.axes]}"
        if not is_imagej:
            raise InputError(
                f"{path}: its metadata state {what} and one slice; if they are slices, store them with the axis Z "
                "(Fiji: Image > Hyperstacks > Re-order Hyperstack)"
            )
        logger.warning("%s: its metadata state %s; they are read as slices", path, what)
    if volume.offset is None and len(volume.pages) != volume.depth:
        raise InputError(f"{path}: {volume.depth} slices in {len(volume.pages)} pages; save it as a plain TIFF stack")
    page = next((page for page in volume.pages if page is not None), None)
    if page is not None and (page.dtype is None or page.imagedepth != 1):
        raise InputError(f"{path}: a kind of TIFF that is not read; save it as 8- or 16-bit or float32 slices")
    check_pixels(path, volume.plane)


def _check_contiguous(path: Path, tif: tifffile.TiffFile, volume: PageSet) -> None:
    """Check the end of the values that ImageJ writes one after another for a large stack."""
    assert volume.offset is not None
    needed = volume.offset + volume.values * volume.dtype.itemsize
    if needed > tif.filehandle.size:
        raise InputError(
            f"{path}: truncated TIFF ({tif.filehandle.size} bytes, but {needed} are stated); copy it again"
        )


def _missing(volume: PageSet, announced: OmeFiles | None) -> MissingData:
    """Return the slices without a page, and those with a strip or tile that was never written."""
    if volume.offset is not None:
        return NOTHING_MISSING
    absent = [index for index, page in enumerate(volume.pages) if page is None]
    empty = [index for index, page in enumerate(volume.pages) if page is not None and has_empty_parts(page)]
    reasons = []
    if absent:
        slices = ranges_of(absent)
        names = [] if announced is None else sorted({announced.names[z] for z in absent if z in announced.names})
        files = f" (file {names[0]}{', …' if len(names) > 1 else ''})" if names else ""
        verb = "is" if len(absent) == 1 else "are"
        reasons.append(f"{format_slices(slices)} of {volume.depth} that its metadata announce {verb} missing{files}")
    if empty:
        reasons.append(f"strips or tiles of {format_slices(ranges_of(empty))} were never written (0 bytes)")
    if not reasons:
        return NOTHING_MISSING
    return MissingData(ranges_of([*absent, *empty]), ", and ".join(reasons))


def _mapped(path: Path, volume: PageSet) -> ReadSlices:
    page, shape = volume.pages[0], (volume.depth, *volume.plane)
    stored = volume.dtype.newbyteorder(page.parent.byteorder)

    def read(start: int, stop: int) -> NDArray[Any]:
        with tiff_errors(path):
            values = np.memmap(path, stored, mode="r", offset=volume.offset or 0, shape=shape)
            return grey_values(path, np.array(values[start:stop]), page)

    return read


def _paged(path: Path, volume: PageSet, plane: tuple[int, int], dtype: np.dtype[Any]) -> ReadSlices:
    # The pages are those of a closed file: only their positions are needed to read them again.
    native = dtype.newbyteorder("=")
    in_one_file = all(page is None or page.parent is volume.pages[0].parent for page in volume.pages if volume.pages[0])
    indices = [None if page is None else page.index for page in volume.pages]
    series = volume.series

    def read(start: int, stop: int) -> NDArray[Any]:
        block = np.empty((stop - start, *plane), native)
        with opened_tiff(path) as tif:
            tif.filehandle.set_lock(True)  # for threads
            pages = tif.pages if series is None or in_one_file else tif.series[series].pages
            numbers = [indices[z] if pages is tif.pages else z for z in range(start, stop)]
            chosen = [None if number is None else pages[number] for number in numbers]

            def decode(image_and_page: tuple[NDArray[Any], Any]) -> None:
                image, page = image_and_page
                with tiff_errors(path):
                    if page is None:
                        image[...] = 0
                    else:
                        read_page(path, page, image)

            # tifffile opens and closes further files of an OME-TIFF while it reads them.
            run = in_parallel if in_one_file else map
            list(run(decode, zip(block, chosen, strict=True)))
        return block

    return read


def read_page(path: Path, page: Any, image: NDArray[Any]) -> None:
    """Decode a grey page into an image; where nothing is converted, without a copy.

    Parameters
    ----------
    path : Path
        Named in messages.
    page : tifffile.TiffPage or TiffFrame
    image : ndarray, shape (rows, columns)
        Of the type of the grey values, C-contiguous.

    Raises
    ------
    InputError
        If its shape is not that with which it was opened.
    """
    fits = page.dtype == image.dtype and page.size == image.size
    # tifffile changes the shape of the array that it is given.
    stored = page.asarray(out=image.view() if fits else None, maxworkers=1 if in_pool() else None)
    values = grey_values(path, np.asarray(stored), page)
    if values.shape != image.shape:
        raise InputError(f"{path}: an image of shape {values.shape}, not {image.shape} as when it was opened")
    if _layout(values) != _layout(image):
        image[...] = values


def _layout(image: NDArray[Any]) -> tuple[int, tuple[int, ...], np.dtype[Any]]:
    return image.__array_interface__["data"][0], image.strides, image.dtype
