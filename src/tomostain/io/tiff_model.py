"""The colour model that the tags of a TIFF page state."""

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.colour_model import D50, ColourModel, Kind, YCbCr
from tomostain.io.image_size import least_bytes

_PHOTOMETRIC = tifffile.PHOTOMETRIC
_KINDS: dict[int, Kind] = {
    _PHOTOMETRIC.MINISWHITE: "grey",
    _PHOTOMETRIC.MINISBLACK: "grey",
    _PHOTOMETRIC.MASK: "grey",
    _PHOTOMETRIC.RGB: "rgb",
    _PHOTOMETRIC.PALETTE: "palette",
    _PHOTOMETRIC.SEPARATED: "cmyk",
    _PHOTOMETRIC.YCBCR: "ycbcr",
    _PHOTOMETRIC.CIELAB: "lab",
    _PHOTOMETRIC.ICCLAB: "lab",
}
_APERIO_YCBCR, _APERIO_RGB = 33003, 33005
_JPEG_2000 = (_APERIO_YCBCR, 33004, _APERIO_RGB, 34712)
_FAX = (2, 3, 4, 32771)
_DEFLATE, _DENSE = (1, 5, 8, 32773, 32946), (*_FAX, 34925, 50000)
_DENSE_RATIO = 10_000
"""Of the faxes, LZMA and Zstandard, for an image with some content."""
# Decoders that return RGB whatever the photometric tag says: JPEG (old, lossy, alternative), WebP, JPEG XL.
_DECODED_TO_RGB = (6, 7, 34892, 33007, 34927, 50001, 50002, 52546)


def page_model(path: Path, page: tifffile.TiffPage, bits: int | None = None) -> ColourModel:
    """Return the colour model of a page.

    Parameters
    ----------
    path : Path
        Named in messages.
    page : tifffile.TiffPage or TiffFrame
    bits : int, optional
        Significant bits that other metadata state (OME-XML).

    Returns
    -------
    ColourModel

    Raises
    ------
    InputError
        If the photometric interpretation is not one that can be converted.
    """
    page = page.keyframe
    kind = _kind(path, page)
    samples = {"rgb": 3, "ycbcr": 3, "cmyk": 4, "lab": 3}.get(kind, 1)
    return ColourModel(
        kind,
        bits=_significant_bits(page, bits),
        white_is_zero=_photometric(page) == _PHOTOMETRIC.MINISWHITE,
        alpha=_alpha(page) if page.samplesperpixel > samples else None,
        palette=_palette(path, page) if kind == "palette" else None,
        orientation=page_orientation(page),
        ycbcr=_ycbcr(path, page) if kind == "ycbcr" else YCbCr(),
        lab_offset=_photometric(page) == _PHOTOMETRIC.ICCLAB,
        white=_white(path, page) if kind == "lab" else D50,
        profile=page.iccprofile if kind not in ("grey", "lab") else None,
    )


def least_page_bytes(page: tifffile.TiffPage, **options: int) -> float | None:
    """Return the fewest bytes in which a page is expected; None for a lossy compression.

    Parameters
    ----------
    page : tifffile.TiffPage
    **options
        ``plain`` of `tomostain.io.image_size.least_bytes`.
    """
    bits = page.bitspersample
    pixels, bits = (
        page.imagelength * page.imagewidth,
        bits * page.samplesperpixel if isinstance(bits, int) else sum(bits),
    )
    if page.compression in _DEFLATE:
        return least_bytes(pixels, bits, **options)
    return least_bytes(pixels, bits, _DENSE_RATIO, **options) if page.compression in _DENSE else None


def page_orientation(page: tifffile.TiffPage) -> int:
    """Return the orientation of a page: 1 to 8, and 1 where it states none."""
    value = _value(page, 274)
    return int(value) if isinstance(value, int) and 1 <= value <= 8 else 1


def _kind(path: Path, page: tifffile.TiffPage) -> Kind:
    """Return the kind of the decoded samples."""
    photometric = _photometric(page)
    kind = _KINDS.get(photometric)
    if kind is None:
        name = getattr(page.photometric, "name", photometric)
        raise InputError(f"{path}: photometric interpretation {name} is not supported; save it as RGB or greyscale")
    if kind == "cmyk" and (_value(page, 332) not in (None, 1) or page.samplesperpixel < 4):
        raise InputError(f"{path}: its samples are inks other than CMYK; save it as RGB")
    if kind == "cmyk" and page.dtype is not None and _value(page, 336) is not None:
        dots = np.ravel(_value(page, 336)).tolist()
        if set(dots[::2]) != {0} or set(dots[1::2]) != {2 ** (8 * page.dtype.itemsize) - 1}:
            raise InputError(f"{path}: its inks use the range {dots} only; save it as RGB")
    if kind == "rgb" and page.samplesperpixel < 3:
        raise InputError(f"{path}: states RGB with {page.samplesperpixel} sample(s) per pixel; save it again")
    if page.compression == _APERIO_YCBCR:
        return "ycbcr"
    if kind == "ycbcr" and page.compression in _JPEG_2000:
        return "rgb" if page.compression == _APERIO_RGB or _is_jp2_file(page) else "ycbcr"
    if kind == "ycbcr" and page.compression in _DECODED_TO_RGB:
        if page.samplesperpixel > 3:
            raise InputError(f"{path}: YCbCr with {page.samplesperpixel} samples in JPEG; save it as RGB")
        return "rgb"
    return kind


def _photometric(page: tifffile.TiffPage) -> int:
    """Return the photometric interpretation.

    Without the tag, for which tifffile returns "white is zero": three samples are RGB, faxes have white as zero, other
    images have black as zero (libtiff, tif_getimage.c).
    """
    if page.tags.get(262) is not None:
        return int(page.photometric)
    if page.samplesperpixel - len(page.extrasamples or ()) >= 3:
        return int(_PHOTOMETRIC.RGB)
    return int(_PHOTOMETRIC.MINISWHITE if page.compression in _FAX else _PHOTOMETRIC.MINISBLACK)


def _is_jp2_file(page: tifffile.TiffPage) -> bool:
    """Return whether the first segment is a JP2 file, whose colour space its decoder honours, not a bare codestream."""
    handle = page.parent.filehandle
    handle.seek(page.dataoffsets[0])
    return bool(handle.read(12)[4:8] == b"jP  ")


def _significant_bits(page: tifffile.TiffPage, bits: int | None) -> int | None:
    """Return the stated significant bits: packed samples, OME-XML, or a MaxSampleValue of all ones."""
    if page.dtype is None or page.dtype.kind not in "bu":
        return None
    stored, size = page.bitspersample, 8 * page.dtype.itemsize
    if isinstance(stored, int) and stored < size:
        return stored
    if bits is not None and 0 < bits <= size:
        return bits
    limit = _value(page, 281)
    limits = limit if isinstance(limit, tuple) else (limit,)
    value = max((v for v in limits if isinstance(v, int)), default=0)
    # Bytes use their full range; of 16 bits, cameras use 10, 12 or 14.
    return value.bit_length() if size > 8 and value > 255 and value & (value + 1) == 0 else None


def _alpha(page: tifffile.TiffPage) -> Any:
    """Return the meaning of the first extra sample."""
    extra = page.extrasamples[0] if page.extrasamples else 0
    return {1: "premultiplied", 2: "straight"}.get(int(extra))


def _palette(path: Path, page: tifffile.TiffPage) -> NDArray[np.uint8]:
    colours = page.colormap
    if colours is None:
        raise InputError(f"{path}: states a palette, but has none; the file is damaged, copy it again")
    colours = np.asarray(colours).T
    # Programs scale 8-bit colours up by 257 or by 256: the upper byte is right for both. Some do not scale them, which
    # libtiff recognises in this way too.
    return (colours if colours.max() < 256 else colours >> 8).astype(np.uint8)


def _ycbcr(path: Path, page: tifffile.TiffPage) -> YCbCr:
    luma, reference = _rationals(_value(page, 529)), _rationals(_value(page, 532))
    if (luma and (len(luma) != 3 or luma[1] <= 0)) or (
        reference and (len(reference) != 6 or any(a == b for a, b in zip(reference[::2], reference[1::2], strict=True)))
    ):
        raise InputError(f"{path}: its coefficients of YCbCr are damaged; save it as RGB")
    return YCbCr(luma[:3] if luma else YCbCr.luma, reference or None)  # type: ignore[arg-type]


def _white(path: Path, page: tifffile.TiffPage) -> tuple[float, float]:
    white = _rationals(_value(page, 318))
    if not white:
        return D50
    if len(white) != 2 or not (0 < white[0] < 1 and 0 < white[1] < 1):
        raise InputError(f"{path}: its white point {white} is not a chromaticity; save it as RGB")
    return white[0], white[1]


def _value(page: tifffile.TiffPage, code: int) -> Any:
    tag = page.tags.get(code)
    return None if tag is None else tag.value


def _rationals(value: Any) -> tuple[float, ...]:
    """Return rationals, which tifffile returns as one flat tuple of numerators and denominators."""
    if not isinstance(value, tuple):
        return ()
    return tuple(top / bottom if bottom else 0.0 for top, bottom in zip(value[::2], value[1::2], strict=False))
