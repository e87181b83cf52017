"""TIFF files: errors in one line, pixel sizes, and a check for complete data. Images are read in `tiff_images`."""

import logging
import math
import re
import struct
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tifffile

from tomostain.errors import InputError
from tomostain.io.content import what_it_is
from tomostain.io.metadata.units import Spacing, to_um

TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")
_INCH_UM = 25400.0
_CENTIMETRE_UM = 10000.0
# Resolutions that cameras, scanners and drawing programs write when no size was measured.
_PRINT_DPI = (72, 75, 90, 96, 100, 120, 144, 150, 180, 200, 240, 300, 350, 360, 400, 600, 720, 1200)
_MAX_PLANES = 10**7
_MIN_DPI = 25.4  # coarser than one millimetre per pixel: placeholders such as 1/1


_BROKEN_CHAIN = ("invalid page offset", "invalid circular reference", "corrupted tag list of page", "invalid offset to")

_captured = threading.local()


def _capture(record: logging.LogRecord) -> bool:
    """Capture the log of tifffile while this thread is inside `tiff_errors`."""
    messages = getattr(_captured, "messages", None)
    if messages is not None:
        messages.append(record.getMessage())
    return messages is None


logging.getLogger("tifffile").addFilter(_capture)


@contextmanager
def tiff_errors(path: Path) -> Iterator[None]:
    """Turn the errors of a damaged TIFF into one line that names the file, and silence the log of tifffile.

    Raises
    ------
    InputError
        If the file is missing, is not a TIFF, or is damaged.
    """
    outer, _captured.messages = getattr(_captured, "messages", None), []
    try:
        yield
        # tifffile only logs these, and returns the pages before the break.
        if any(fault in message for message in _captured.messages for fault in _BROKEN_CHAIN):
            raise ValueError("its chain of pages is broken")
    except InputError:  # a ValueError itself
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except PermissionError:
        raise InputError(f"{path}: is not readable; change its permissions") from None
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, ArithmeticError, struct.error) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if "chroma subsampling" in reason:
            raise InputError(
                f"{path}: holds YCbCr colours of reduced resolution without JPEG compression, which are not read; save "
                "it as RGB"
            ) from None
        advice = what_it_is(path) if "not a TIFF file" in reason else ""
        raise InputError(
            f"{path}: cannot be read as TIFF ({reason}); {advice or 'the file is truncated or damaged, copy it again'}"
        ) from None
    finally:
        _captured.messages = outer


@contextmanager
def opened_tiff(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF under `tiff_errors`; a file without a single image is an error. It must not be a pipe."""
    with tiff_errors(path), tifffile.TiffFile(path) as tif:
        _check_chain(tif)
        _check_planes(tif)
        if not tif.pages:
            raise ValueError("no image in it")
        yield tif


def _check_chain(tif: tifffile.TiffFile) -> None:
    """Follow the offsets of the pages and raise if they form a cycle, which tifffile would follow without end."""
    layout, file = tif.tiff, tif.filehandle
    visited: set[int] = set()
    file.seek(layout.offsetsize if layout.is_bigtiff else 4)
    offset = struct.unpack(layout.offsetformat, file.read(layout.offsetsize))[0]
    while 0 < offset < file.size:
        if offset in visited:
            raise ValueError("its chain of pages leads back to an earlier page")
        visited.add(offset)
        file.seek(offset)
        tags = struct.unpack(layout.tagnoformat, file.read(layout.tagnosize))[0]
        file.seek(offset + layout.tagnosize + tags * layout.tagsize)
        following = file.read(layout.offsetsize)
        if len(following) < layout.offsetsize:  # tifffile reports it
            return
        offset = struct.unpack(layout.offsetformat, following)[0]


def _check_planes(tif: tifffile.TiffFile) -> None:
    """Raise if OME-XML states far more planes than any file has: tifffile would make a list of them."""
    for pixels in re.split(r"<(?:\w+:)?Pixels\b", tif.ome_metadata or "")[1:] if tif.is_ome else ():
        planes = math.prod(
            int(size) for size in re.findall(r'\bSize[ZCT]\s*=\s*"(\d{1,30})"', pixels.partition(">")[0])
        )
        counts = [int(count) for count in re.findall(r'\bPlaneCount\s*=\s*"(\d{1,30})"', pixels)]
        if max([planes, *counts]) > _MAX_PLANES:
            raise ValueError(f"its metadata state {max([planes, *counts])} planes")


def check_complete(path: Path, tif: tifffile.TiffFile, pages: list[Any] | None = None) -> None:
    """Compare the position of the image data with the size of the file; nothing is decoded.

    Raises
    ------
    InputError
        If the data of a page end after the end of the file.
    """
    size = tif.filehandle.size
    for page in [tif.pages[0]] if pages is None else pages:
        expected = math.prod(getattr(page, "chunked", ()))
        if len(page.dataoffsets) < expected:
            raise InputError(
                f"{path}: damaged TIFF ({len(page.dataoffsets)} of {expected} parts of an image are stated); copy or "
                "write it again"
            )
        ends = [offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False) if count]
        if not page.dataoffsets or (ends and max(ends) > size):
            needed = max(ends, default=0)
            raise InputError(
                f"{path}: truncated TIFF ({size} bytes, but its tags state {needed}); copy or write it again"
            )


def has_empty_parts(page: Any) -> bool:
    """Return whether a strip or tile of a page has no bytes: it was never written, and is read as zeros."""
    return any(count == 0 or offset == 0 for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False))


def stated_spacing(tif: tifffile.TiffFile, page: Any = None, pixels: ElementTree.Element | None = None) -> Spacing:
    """Return the voxel size (z, y, x), µm, that a TIFF states; None for an axis that it does not state.

    In this order: OME-XML (PhysicalSizeX/Y/Z with units), ImageJ (units, spacing and the resolution tags), the MPP of
    an Aperio description, then the plain resolution tags, which state x and y only and are ignored at print resolutions
    (72, 96, 300 … dpi).

    Parameters
    ----------
    tif : tifffile.TiffFile
    page : tifffile.TiffPage, optional
        Whose tags are read; the first page by default.
    pixels : Element, optional
        Pixels element of the image in OME-XML; the first one by default.
    """
    page = tif.pages[0] if page is None else page
    if pixels is not None:
        return _pixels_spacing(pixels)
    if tif.is_ome and tif.ome_metadata:
        return ome_spacing(tif.ome_metadata)
    y, x = _resolution(page)
    if tif.is_imagej:
        metadata = tif.imagej_metadata or {}
        # ImageJ writes `yunit` and `zunit` only where they differ from `unit` (ij/io/FileSaver.java).
        unit = metadata.get("unit")
        y_unit, z_unit = (metadata.get(name, unit) for name in ("yunit", "zunit"))
        z_um = to_um(_number(metadata.get("spacing")), _as_unit(z_unit))
        if unit not in (None, "", "pixel", "pixels"):
            # In an ImageJ file the resolution tags count pixels per unit, whatever ResolutionUnit says.
            return z_um, to_um(y and 1.0 / y, _as_unit(y_unit)), to_um(x and 1.0 / x, _as_unit(unit))
        return (z_um, *_resolution_um(page, y, x))
    description = str(getattr(page, "description", "") or "")
    if description.startswith("Aperio"):
        mpp = re.search(r"\|\s*MPP\s*=\s*([^|\r\n]*)", description)
        size = to_um(_number(mpp[1].strip().replace(",", ".")), "um") if mpp else None
        return (None, size, size)
    return (None, *_resolution_um(page, y, x))


def stated_units(tif: tifffile.TiffFile, pixels: ElementTree.Element | None = None) -> list[str]:
    """Return the units of lengths that the metadata of ImageJ or OME-XML name, for messages."""
    if pixels is not None:
        return [value for axis in "ZYX" if (value := pixels.get(f"PhysicalSize{axis}Unit"))]
    metadata = (tif.imagej_metadata or {}) if tif.is_imagej else {}
    return [str(metadata[name]) for name in ("unit", "yunit", "zunit") if name in metadata]


def _as_unit(unit: object) -> str | None:
    return None if unit is None else str(unit)


def _number(value: Any) -> float | None:
    try:
        return abs(float(value))
    except (TypeError, ValueError):
        return None


def ome_spacing(xml: str) -> Spacing:
    """Read PhysicalSizeZ/Y/X of the first Pixels element; the unit's default is µm (OME schema 2016-06)."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return (None, None, None)
    pixels = next((element for element in root.iter() if element.tag.endswith("}Pixels")), None)
    return (None, None, None) if pixels is None else _pixels_spacing(pixels)


def _pixels_spacing(pixels: ElementTree.Element) -> Spacing:
    z, y, x = (
        to_um(_number(pixels.get(f"PhysicalSize{axis}")), pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "ZYX"
    )
    return z, y, x


def _resolution(page: Any) -> tuple[float | None, float | None]:
    """Return the resolution tags (y, x), in pixels per unit."""
    values: list[float | None] = []
    for name in ("YResolution", "XResolution"):
        tag = page.tags.get(name)
        try:
            numerator, denominator = tag.value
            values.append(numerator / denominator or None)
        except (AttributeError, TypeError, ValueError, ZeroDivisionError):
            values.append(None)
    return values[0], values[1]


def _resolution_um(page: Any, y: float | None, x: float | None) -> tuple[float | None, float | None]:
    """Convert plain resolution tags to µm per pixel; None for print resolutions and missing units."""
    tag = page.tags.get("ResolutionUnit")
    unit_um = {2: _INCH_UM, 3: _CENTIMETRE_UM}.get(int(tag.value) if tag is not None else 1)
    if unit_um is None or y is None or x is None:
        return None, None
    dpi = x * _INCH_UM / unit_um
    if dpi < _MIN_DPI or any(abs(dpi - known) < 0.005 * known for known in _PRINT_DPI):
        return None, None
    return unit_um / y, unit_um / x
