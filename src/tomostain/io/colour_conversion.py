"""YCbCr, CMYK and CIELab to RGB, in blocks of rows."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.integers import to_integers
from tomostain.io.colour_model import ColourModel, YCbCr

_BLOCK_SAMPLES = 2**23

# sRGB (IEC 61966-2-1): XYZ of its primaries, and its white D65.
_XYZ_FROM_RGB = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
D65 = (0.31270, 0.32900)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def full_scale(dtype: np.dtype[Any], bits: int | None) -> int:
    """Return the largest value of unsigned samples."""
    return 1 if dtype.kind == "b" else (1 << (bits or 8 * dtype.itemsize)) - 1


def in_blocks(convert: Callable[..., NDArray[np.uint8]], *arrays: NDArray[Any]) -> NDArray[np.uint8]:
    """Apply a pixelwise conversion to 8 bits, in blocks of rows: wide intermediate types take little memory."""
    rows = max(1, _BLOCK_SAMPLES // max(1, arrays[0][:1].size))
    parts = [slice(start, start + rows) for start in range(0, max(1, len(arrays[0])), rows)]
    first = convert(*(array[parts[0]] for array in arrays))
    if len(parts) == 1:
        return first
    result = np.empty((len(arrays[0]), *first.shape[1:]), np.uint8)
    result[parts[0]] = first
    for part in parts[1:]:
        result[part] = convert(*(array[part] for array in arrays))
    return result


def converted(samples: NDArray[Any], model: ColourModel, path: Path) -> NDArray[np.uint8]:
    """Convert YCbCr, CMYK or CIELab to 8-bit RGB."""
    if samples.dtype.kind not in ("iu" if model.kind == "lab" else "u"):
        raise InputError(f"{path}: {model.kind} of type {samples.dtype}; save the image as 8-bit RGB")
    full = full_scale(samples.dtype, model.bits)
    if model.kind == "ycbcr":
        return in_blocks(lambda block: _rgb_from_ycbcr(block, model.ycbcr, full), samples)
    if model.kind == "lab":
        return in_blocks(lambda block: _rgb_from_lab(block, model), samples)
    if isinstance(model.profile, bytes) and model.profile:
        return in_blocks(_profile_conversion(model.profile, full, path), samples)
    return in_blocks(lambda block: _rgb_from_cmyk(block, full), samples)


def _to_bytes(rgb: NDArray[np.float64]) -> NDArray[np.uint8]:
    return to_integers(rgb * 255, np.uint8, "colours", clip=True)


def _rgb_from_ycbcr(samples: NDArray[Any], ycbcr: YCbCr, full: int) -> NDArray[np.uint8]:
    """Convert YCbCr to RGB (TIFF 6.0, section 21)."""
    half = (full + 1) // 2
    black_y, white_y, black_cb, white_cb, black_cr, white_cr = ycbcr.reference or (0, full, half, full, half, full)
    y, cb, cr = np.moveaxis(samples.astype(np.float64), -1, 0)
    y = (y - black_y) / (white_y - black_y)
    cb = (cb - black_cb) / (white_cb - black_cb) * (127 / 255)
    cr = (cr - black_cr) / (white_cr - black_cr) * (127 / 255)
    red_weight, green_weight, blue_weight = ycbcr.luma
    red, blue = y + cr * (2 - 2 * red_weight), y + cb * (2 - 2 * blue_weight)
    green = (y - red_weight * red - blue_weight * blue) / green_weight
    return _to_bytes(np.stack([red, green, blue], axis=-1))


def _rgb_from_cmyk(samples: NDArray[Any], full: int) -> NDArray[np.uint8]:
    """Convert CMYK without a profile: each ink removes its complement, black all."""
    ink = samples.astype(np.float64) / full
    return _to_bytes((1 - ink[..., :3]) * (1 - ink[..., 3:]))


def _profile_conversion(profile: bytes, full: int, path: Path) -> Callable[[NDArray[Any]], NDArray[np.uint8]]:
    """Return the conversion of CMYK to sRGB by an ICC profile."""
    from PIL import Image, ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), "CMYK", "RGB")
    except (ImageCms.PyCMSError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: its colour profile cannot be used ({reason}); save the image as RGB") from None

    def convert(block: NDArray[Any]) -> NDArray[np.uint8]:
        ink = to_integers(block * (255 / full), np.uint8, str(path))
        return np.asarray(ImageCms.applyTransform(Image.fromarray(ink, "CMYK"), transform))

    return convert


def _rgb_from_lab(samples: NDArray[Any], model: ColourModel) -> NDArray[np.uint8]:
    """Convert CIELab (TIFF 6.0, section 23) to sRGB, adapted to D65 after Bradford."""
    size = samples.dtype.itemsize
    unsigned = samples.view(samples.dtype.str.replace("i", "u"))
    # ICCLab of 16 bits codes L* = 100 as 0xFF00 (Adobe TIFF technical notes), CIELab as 0xFFFF.
    white = 0xFF00 if model.lab_offset and size == 2 else (1 << 8 * size) - 1
    lightness = unsigned[..., 0].astype(np.float64) * (100 / white)
    if model.lab_offset:
        chroma = unsigned[..., 1:].astype(np.float64) / (1 << 8 * (size - 1)) - 128
    else:
        signed = samples.view(samples.dtype.str.replace("u", "i"))
        chroma = signed[..., 1:].astype(np.float64) / (1 << 8 * (size - 1))
    fy = (lightness + 16) / 116
    f = np.stack([fy + chroma[..., 0] / 500, fy, fy - chroma[..., 1] / 200], axis=-1)
    ratio = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29))
    to_rgb = np.linalg.inv(_XYZ_FROM_RGB) @ _adaptation(model.white, D65) * _xyz(model.white)
    return rgb_from_linear(ratio @ to_rgb.T)


def rgb_from_linear(linear: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Convert linear sRGB (0 to 1) to 8-bit sRGB."""
    linear = np.clip(linear, 0.0, 1.0)
    return _to_bytes(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


def xyz_of_primaries(
    white: Sequence[float],
    *primaries: Sequence[float],
    to: tuple[float, float] | None = None,
) -> NDArray[np.float64]:
    """Return the matrix from linear RGB to XYZ, from chromaticities (x, y), adapted to another white (Bradford)."""
    columns = np.array([_xyz((x, y)) for x, y in primaries]).T
    matrix = columns * np.linalg.solve(columns, _xyz((white[0], white[1])))
    return matrix if to is None else _adaptation((white[0], white[1]), to) @ matrix


def _xyz(white: tuple[float, float]) -> NDArray[np.float64]:
    return np.array([white[0] / white[1], 1.0, (1 - white[0] - white[1]) / white[1]])


def _adaptation(source: tuple[float, float], target: tuple[float, float]) -> NDArray[np.float64]:
    """Return the matrix of XYZ that adapts one white to another (Bradford)."""
    scale = (_BRADFORD @ _xyz(target)) / (_BRADFORD @ _xyz(source))
    return np.linalg.inv(_BRADFORD) @ (scale[:, None] * _BRADFORD)
