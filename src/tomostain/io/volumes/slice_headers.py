"""Headers of the files of a slice folder, and how their images are read: TIFF, BMP and other formats."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.imagej import stated_images
from tomostain.io.metadata.units import Spacing, check_pixels, unknown_unit
from tomostain.io.pillow_images import opened_pillow
from tomostain.io.tiff import check_complete, has_empty_parts, opened_tiff, stated_spacing, stated_units
from tomostain.io.tiff_images import grey_values, ome_pixels, upright_shape
from tomostain.io.tiff_model import least_page_bytes, page_model, page_orientation
from tomostain.io.volumes.rescale import IDENTITY, Rescale
from tomostain.io.volumes.tiff import PLAIN_SLICE, TURNED, imagej_rescale, read_page

Array = NDArray[Any]
_LONG_XML = 2**15
"""Longer OME-XML, of many slices, is not parsed for each slice."""


class SliceHeader(NamedTuple):
    """What a slice states."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    has_empty_parts: bool = False
    bits: int | None = None
    sizes: tuple[int, float | None] = (0, 0.0)
    """Stored bytes, and the fewest that are expected."""
    spacing: Spacing = (None, None, None)
    unit: str = ""
    """A unit of its pixel size that is not known."""
    rescale: Rescale = IDENTITY


def tiff_header(file: Path) -> SliceHeader:
    """Check that a TIFF is one complete grey image."""
    with opened_tiff(file) as tif:
        page: Any = tif.pages[0]
        if len(tif.pages) > 1 and sum(not p.is_reduced for p in tif.pages) > 1:  # type: ignore[union-attr]
            raise InputError(
                f"{file}: holds {len(tif.pages)} images, but a slice has one; open the file instead of the folder"
            )
        if page.samplesperpixel != 1:
            raise InputError(f"{file}: a colour image ({page.samplesperpixel} samples per pixel); a µCT volume is grey")
        if page.dtype is None or page.imagedepth != 1:
            raise InputError(f"{file}: a kind of TIFF that is not read; save it as 8- or 16-bit or float32 slices")
        images = _images(file, tif)
        if images > 1:
            raise InputError(
                f"{file}: its header states {images} slices, but a slice is one image; open the file instead of the "
                "folder"
            )
        shape = upright_shape(file, page)
        dtype = grey_values(file, np.zeros((1, 1), page.dtype), page).dtype
        check_pixels(file, shape)
        check_complete(file, tif)
        min_bytes = least_page_bytes(page, plain=PLAIN_SLICE)
        sizes = (sum(page.databytecounts), min_bytes)
        is_long = tif.is_ome and len(tif.ome_metadata or "") > _LONG_XML
        z, y, x = (None, None, None) if is_long else stated_spacing(tif)
        pixels = None if is_long else next(iter(ome_pixels(tif)), None)
        return SliceHeader(
            shape,
            dtype,
            has_empty_parts(page),
            page_model(file, page).bits,
            sizes,
            (z, x, y) if page_orientation(page) >= TURNED else (z, y, x),
            unknown_unit(*stated_units(tif, pixels)),
            imagej_rescale(file, tif),
        )


def _images(file: Path, tif: tifffile.TiffFile) -> int:
    """Return the number of images of a TIFF with one page: programs store the values of further images after it."""
    if tif.is_ome:  # its series may be in many files; `_as_announced` compares them
        return 1
    shapes = [metadata.get("shape", ()) for metadata in tif.shaped_metadata or ()][:1]
    stated = int(np.prod(shapes[0], dtype=object)) // max(1, tif.pages.first.size) if shapes else 1
    series = tif.series[0]
    sizes = [size for axis, size in zip(series.axes, series.shape, strict=True) if axis not in "YXS"]
    return max(stated, stated_images(file, tif), int(np.prod(sizes, dtype=np.int64)))


def read_tiff(file: Path, image: Array) -> None:
    """Read the image of a TIFF into an array."""
    with opened_tiff(file) as tif:
        check_complete(file, tif)
        read_page(file, tif.pages[0], image)


def bmp_header(file: Path) -> SliceHeader:
    """Check that a BMP is a grey image of 8 bits and not truncated."""
    with opened_pillow(file) as image:
        if image.format != "BMP":
            raise InputError(f"{file}: is {image.format}, not BMP as its name says; rename or convert it")
        if image.mode != "L":
            raise InputError(
                f"{file}: a BMP with colours (mode {image.mode}); a µCT volume is grey, save it as 8-bit grey slices"
            )
        shape = (image.height, image.width)
        codec, _, offset, options = image.tile[0]
        needed = offset + image.height * options[1] if codec == "raw" else 0  # of RLE only the decoder knows
        if file.stat().st_size < needed:
            raise InputError(f"{file}: truncated BMP ({file.stat().st_size} bytes of {needed}); copy it again")
        return SliceHeader(shape, np.dtype(np.uint8))


def read_bmp(file: Path, image: Array) -> None:
    """Read the image of a BMP into an array."""
    with opened_pillow(file) as picture:
        values = np.asarray(picture)
    if values.shape != image.shape or picture.mode != "L":
        raise InputError(f"{file}: an image of shape {values.shape}, not {image.shape} as when it was opened")
    image[...] = values
