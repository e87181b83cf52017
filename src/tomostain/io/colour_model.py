"""One place that turns decoded samples into the grey values or RGB colours that a file declares.

Every reader of images uses it: `read_image` and its siblings, slides and their levels, aligned pairs, masks and, for
grey values, the readers of volumes. A reader finds out what the file states (`ColourModel`); `interpret` does the rest.
"""

import io
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.integers import to_integers

Kind = Literal["grey", "palette", "rgb", "ycbcr", "cmyk", "lab"]
_COLOURS = {"grey": 1, "palette": 1, "rgb": 3, "ycbcr": 3, "cmyk": 4, "lab": 3}
_BLOCK_SAMPLES = 2**23
D50 = (0.34567, 0.35850)
"""Chromaticity (x, y) of the white of CIELab where a TIFF states none, as in libtiff and Photoshop."""

# sRGB (IEC 61966-2-1): XYZ of its primaries, and its white D65.
_XYZ_FROM_RGB = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_D65 = (0.31270, 0.32900)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

_logger = logging.getLogger("tomostain")


@dataclass(frozen=True)
class YCbCr:
    """The YCbCr of a TIFF.

    Attributes
    ----------
    luma : tuple of float
        Weights of red, green and blue in Y (tag YCbCrCoefficients); ITU-R BT.601 by default.
    reference : tuple of float, optional
        Codes of black and white of Y, Cb and Cr (tag ReferenceBlackWhite); full range by default.
    """

    luma: tuple[float, float, float] = (0.299, 0.587, 0.114)
    reference: tuple[float, ...] | None = None


@dataclass(frozen=True)
class ColourModel:
    """How a file declares the samples of an image.

    Attributes
    ----------
    kind : {"grey", "palette", "rgb", "ycbcr", "cmyk", "lab"}
    bits : int, optional
        Significant bits of unsigned samples; None where the file states no more than the type.
    white_is_zero : bool
        Grey values whose white is 0.
    alpha : {"straight", "premultiplied"}, optional
        Meaning of the sample that follows the colours. None: further samples are not colours.
    palette : ndarray of uint8, shape (N, 3), optional
        RGB of each index.
    orientation : int
        Orientation of TIFF and EXIF, 1 to 8.
    ycbcr : YCbCr
    lab_offset : bool
        a* and b* of CIELab are unsigned with an offset (ICCLab) instead of signed.
    white : tuple of float
        Chromaticity (x, y) of the white of CIELab.
    profile : bytes, optional
        ICC profile of CMYK. Profiles of RGB are not applied.
    """

    kind: Kind = "grey"
    bits: int | None = None
    white_is_zero: bool = False
    alpha: Literal["straight", "premultiplied"] | None = None
    palette: NDArray[np.uint8] | None = field(default=None, repr=False)
    orientation: int = 1
    ycbcr: YCbCr = YCbCr()
    lab_offset: bool = False
    white: tuple[float, float] = D50
    profile: bytes | None = field(default=None, repr=False)

    @property
    def turns(self) -> bool:
        """Whether rows and columns are exchanged."""
        return self.orientation >= 5


@dataclass(frozen=True)
class Picture:
    """An upright image, grey or RGB, before its samples are scaled to 8 bits.

    Attributes
    ----------
    path : Path
        Named in messages.
    samples : ndarray, shape (rows, columns) or (rows, columns, 3)
        Grey values in the type of the file, or RGB.
    bits : int, optional
        Significant bits of unsigned samples, where the file states them.
    alpha : ndarray, shape (rows, columns), optional
        Opacity, in the type of the file.
    premultiplied : bool
        The colours are multiplied by the opacity already.
    """

    path: Path
    samples: NDArray[Any]
    bits: int | None = None
    alpha: NDArray[Any] | None = None
    premultiplied: bool = False

    def image(self) -> NDArray[Any]:
        """Return grey values as stored, or 8-bit RGB (grey with transparency too)."""
        return self._number() if self.samples.ndim == 2 and self.alpha is None else self.rgb()

    def rgb(self) -> NDArray[np.uint8]:
        """Return 8-bit RGB: grey repeated, more bits scaled to 8, transparency composed on white.

        Raises
        ------
        InputError
            If the samples are signed or not integers, or use only a part of their bits and the file does not say how
            many are significant.
        """
        colours = self._to_8_bits(self.samples if self.samples.ndim == 3 else self.samples[..., None])
        if self.alpha is not None:
            opacity = self._to_8_bits(self.alpha[..., None])
            colours = _in_blocks(self._composed, colours, opacity)
        return np.ascontiguousarray(np.broadcast_to(colours, (*colours.shape[:2], 3)))

    def grey(self) -> NDArray[Any]:
        """Return grey values as stored. Three equal channels count as grey.

        Raises
        ------
        InputError
            If the image is in colour or partly transparent.
        """
        samples = self.samples
        if samples.ndim == 3:
            if not (samples[..., :1] == samples).all():
                raise InputError(
                    f"{self.path}: shape {samples.shape} is a colour image; the µCT must be a greyscale image"
                )
            samples = np.ascontiguousarray(samples[..., 0])
        if not self._opaque():
            raise InputError(
                f"{self.path}: is partly transparent, which grey values cannot be; save it without alpha channel"
            )
        return Picture(self.path, samples, self.bits)._number()

    def mask(self) -> NDArray[np.bool_]:
        """Return where the image is not 0 (not black).

        Raises
        ------
        InputError
            If it is partly transparent, or has values that are not finite.
        """
        if not self._opaque():
            raise InputError(
                f"{self.path}: a mask that is partly transparent is ambiguous; save it without alpha channel, with 0 "
                "where it is empty"
            )
        if self.samples.dtype.kind == "f" and not np.isfinite(self.samples).all():
            raise InputError(f"{self.path}: a mask with values that are not finite; save it with 0 where it is empty")
        return np.asarray((self.samples if self.samples.ndim == 2 else self.samples.max(axis=2)) != 0)

    def _number(self) -> NDArray[Any]:
        """Convert grey values to uint8, uint16 or float32."""
        if self.samples.dtype.kind == "b":
            return self.samples.astype(np.uint8) * np.uint8(255)
        return np.asarray(self.samples, grey_dtype(self.samples.dtype.kind, self.samples.dtype.itemsize, self.path))

    def _opaque(self) -> bool:
        return self.alpha is None or bool((self.alpha == _full(self.alpha.dtype, self.bits)).all())

    def _composed(self, colours: NDArray[np.uint8], opacity: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Compose 8-bit colours on white."""
        alpha = opacity.astype(np.uint16)
        if self.premultiplied:
            return np.minimum(colours + (255 - alpha), 255).astype(np.uint8)
        return ((colours * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)

    def _to_8_bits(self, samples: NDArray[Any]) -> NDArray[np.uint8]:
        """Scale unsigned samples to 8 bits by their significant bits."""
        if samples.dtype == np.uint8 and self.bits in (None, 8):
            return samples
        if samples.dtype.kind not in "bu":
            raise InputError(
                f"{self.path}: colours of type {samples.dtype} are not 8 or 16 bits; save the image as 8-bit RGB"
            )
        full, largest = _full(samples.dtype, self.bits), int(samples.max(initial=0))
        if largest > full:
            raise InputError(
                f"{self.path}: states {self.bits} significant bits, but has the value {largest}; save it as 8-bit RGB"
            )
        if self.bits is None and samples.dtype.itemsize > 1 and 0 < largest <= full // 4:
            raise InputError(
                f"{self.path}: its colours use {largest.bit_length()} of {8 * samples.dtype.itemsize} bits (maximum "
                f"{largest}), and the file does not say how many are significant; save it as 8-bit RGB"
            )
        if self.bits is not None and 8 < self.bits < 8 * samples.dtype.itemsize:
            # The top 8 bits: exact for 8-bit values that were shifted up, and for those that were scaled up.
            shift = self.bits - 8
            return _in_blocks(lambda block: (block >> shift).astype(np.uint8), samples)
        return _in_blocks(lambda block: ((block.astype(np.uint64) * 255 + full // 2) // full).astype(np.uint8), samples)


def grey_dtype(kind: str, size: int, path: Path) -> np.dtype[Any]:
    """Return the type to which grey values of a NumPy kind and item size are converted: uint8, uint16 or float32.

    Raises
    ------
    InputError
        If they are not real numbers.
    """
    if kind not in "biuf":
        raise InputError(
            f"{path}: values of NumPy kind '{kind}' are not grey values; convert them to uint16 or float32"
        )
    if kind in "bu" and size <= 2:
        return np.dtype(np.uint8 if size == 1 else np.uint16)
    return np.dtype(np.float32)


def interpret(samples: NDArray[Any], model: ColourModel, path: Path) -> Picture:
    """Turn decoded samples into an upright grey or RGB image.

    Parameters
    ----------
    samples : ndarray, shape (rows, columns) or (rows, columns, samples)
        As decoded, in the type of the file.
    model : ColourModel
        What the file states.
    path : Path
        Named in messages.

    Returns
    -------
    Picture

    Raises
    ------
    InputError
        If the samples do not fit the model.

    Examples
    --------
    >>> ink = np.array([[[0, 255, 255, 0]]], np.uint8)
    >>> interpret(ink, ColourModel("cmyk"), Path("a.tif")).rgb().tolist()
    [[[255, 0, 0]]]
    """
    samples = np.asarray(samples, samples.dtype.newbyteorder("="))
    layers = samples[..., None] if samples.ndim == 2 else samples
    count = _COLOURS[model.kind]
    if layers.ndim != 3 or layers.shape[2] < count or (model.alpha and layers.shape[2] == count):
        raise InputError(f"{path}: an array of shape {samples.shape} is not a grey or RGB image")
    further = layers.shape[2] - count - (model.alpha is not None)
    if further and model.kind == "grey":
        raise InputError(
            f"{path}: has {layers.shape[2]} channels of no stated colour; export it as RGB, or one channel as grey"
        )
    if further:
        _logger.info("%s: %d further sample(s) of unspecified meaning are ignored", path, further)
    layers = upright(layers, model.orientation, axes=(0, 1))
    alpha = layers[..., count] if model.alpha else None
    colours, bits = layers[..., :count], model.bits
    if model.kind in ("grey", "palette"):
        colours = _grey(colours[..., 0], model, path) if model.kind == "grey" else _looked_up(colours, model, path)
        bits = bits if model.kind == "grey" else None
    elif model.kind != "rgb":
        colours = _converted(colours, model, path)
        if alpha is not None:
            alpha = Picture(path, alpha, bits)._to_8_bits(alpha)
        bits = None
    return Picture(path, colours, bits, alpha, model.alpha == "premultiplied")


def interpret_grey(values: NDArray[Any], model: ColourModel, path: Path) -> NDArray[Any]:
    """Turn decoded grey values of shape (…, rows, columns) upright, with larger values brighter; the type is unchanged.

    Raises
    ------
    InputError
        If the values are colours, or white is zero and they are not unsigned.
    """
    values = upright(values, model.orientation, axes=(-2, -1))
    if model.kind == "palette" and model.palette is not None:
        if (model.palette != model.palette[:, :1]).any():
            raise InputError(f"{path}: has a palette of colours; save it as a greyscale image")
        return _looked_up(values[..., None], model, path)[..., 0]
    if model.kind != "grey":
        raise InputError(f"{path}: is a colour image ({model.kind}); a µCT volume is grey")
    return _grey(values, model, path)


def upright(values: NDArray[Any], orientation: int, axes: tuple[int, int]) -> NDArray[Any]:
    """Undo an orientation of TIFF or EXIF (1 to 8; TIFF 6.0, tag 274).

    Examples
    --------
    >>> upright(np.array([[1, 2, 3], [4, 5, 6]]), 6, axes=(0, 1)).tolist()
    [[4, 1], [5, 2], [6, 3]]
    """
    rows, columns = axes
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(rows, columns)
    if orientation in (3, 4, 7, 8):
        values = np.flip(values, rows)
    if orientation in (2, 3, 6, 7):
        values = np.flip(values, columns)
    return values


def _full(dtype: np.dtype[Any], bits: int | None) -> int:
    """Return the largest value of unsigned samples."""
    return 1 if dtype.kind == "b" else (1 << (bits or 8 * dtype.itemsize)) - 1


def _grey(values: NDArray[Any], model: ColourModel, path: Path) -> NDArray[Any]:
    if not model.white_is_zero:
        return values
    if values.dtype.kind == "b":
        return ~values
    if values.dtype.kind != "u":
        raise InputError(f"{path}: states that white is zero, for {values.dtype} values; save it with black as zero")
    full = _full(values.dtype, model.bits)
    if int(values.max(initial=0)) > full:
        raise InputError(f"{path}: states {model.bits} significant bits, but has larger values; save it again")
    return np.asarray(full - values, dtype=values.dtype)


def _looked_up(index: NDArray[Any], model: ColourModel, path: Path) -> NDArray[np.uint8]:
    index = index[..., 0]
    if model.palette is None or index.dtype.kind not in "bu" or int(index.max(initial=0)) >= len(model.palette):
        raise InputError(f"{path}: has colours that are not in its palette; the file is damaged, copy it again")
    return model.palette[index.astype(np.uint8 if index.dtype.kind == "b" else index.dtype, copy=False)]


def _in_blocks(convert: Callable[..., NDArray[np.uint8]], *arrays: NDArray[Any]) -> NDArray[np.uint8]:
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


def _converted(samples: NDArray[Any], model: ColourModel, path: Path) -> NDArray[np.uint8]:
    """Convert YCbCr, CMYK or CIELab to 8-bit RGB."""
    if samples.dtype.kind not in ("iu" if model.kind == "lab" else "u"):
        raise InputError(f"{path}: {model.kind} of type {samples.dtype}; save the image as 8-bit RGB")
    full = _full(samples.dtype, model.bits)
    if model.kind == "ycbcr":
        return _in_blocks(lambda block: _rgb_from_ycbcr(block, model.ycbcr, full), samples)
    if model.kind == "lab":
        return _in_blocks(lambda block: _rgb_from_lab(block, model), samples)
    if model.profile:
        return _in_blocks(_profile_conversion(model.profile, full, path), samples)
    return _in_blocks(lambda block: _rgb_from_cmyk(block, full), samples)


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
    to_rgb = np.linalg.inv(_XYZ_FROM_RGB) @ _adaptation(model.white, _D65) * _xyz(model.white)
    linear = np.clip(ratio @ to_rgb.T, 0.0, 1.0)
    return _to_bytes(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


def _xyz(white: tuple[float, float]) -> NDArray[np.float64]:
    return np.array([white[0] / white[1], 1.0, (1 - white[0] - white[1]) / white[1]])


def _adaptation(source: tuple[float, float], target: tuple[float, float]) -> NDArray[np.float64]:
    """Return the matrix of XYZ that adapts one white to another (Bradford)."""
    scale = (_BRADFORD @ _xyz(target)) / (_BRADFORD @ _xyz(source))
    return np.linalg.inv(_BRADFORD) @ (scale[:, None] * _BRADFORD)
