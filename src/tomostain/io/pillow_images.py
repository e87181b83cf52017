"""PNG, JPEG, BMP and WebP: opened by Pillow, without its conversion of 16-bit colours to 8 bits."""

import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.colour_model import ColourModel
from tomostain.io.colour_profiles import png_colours
from tomostain.io.content import what_it_is
from tomostain.io.image_size import check_decoded_size, least_bytes
from tomostain.io.interpret import interpret, interpret_by_samples
from tomostain.io.metadata.units import check_pixels
from tomostain.io.picture import Picture

PILLOW_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
# Pillow would open any of its formats under these names, some of them with other programs.
_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "WEBP")
_SAMPLE_BYTES = {"I;16": 2, "I;16B": 2, "I": 4, "F": 4}
_ORIENTATION = 0x0112
_BLOCK = 1 << 20
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row, and steps, of the passes of an interlaced PNG."""
_LOCK = threading.Lock()


@contextmanager
def opened_pillow(path: Path) -> Iterator[Any]:
    """Open an image with Pillow under this package's own size limit; errors are one line.

    Raises
    ------
    InputError
        If the file is missing, damaged or of another format, or declares an image that is too large.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with _LOCK:
            # Pillow's limit (89 Mpixel) is below a usual slide; the checks below are used instead.
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                image = Image.open(path, formats=_FORMATS)
            finally:
                Image.MAX_IMAGE_PIXELS = limit
        with image:
            check_pixels(path, (image.height, image.width))
            # Four samples leave room for transparency; 16-bit colours are opened as 8-bit.
            channels = 4 if len(image.getbands()) > 1 or "transparency" in image.info else 1
            pixel_bytes = channels * (2 if _is_deep_png(path) else _SAMPLE_BYTES.get(image.mode, 1))
            pixels = image.width * image.height
            min_bytes = least_bytes(pixels, _png_bits(path)) if image.format == "PNG" else None
            check_decoded_size(path, pixels, pixel_bytes, path.stat().st_size, min_bytes)
            if image.format in ("PNG", "WEBP") and getattr(image, "n_frames", 1) > 1:
                raise InputError(f"{path}: holds several images (an animation); save the one that is meant")
            yield image
    except InputError:  # a ValueError itself
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnidentifiedImageError:
        advice = what_it_is(path) or "it is damaged or misnamed"
        raise InputError(f"{path}: is not of the format of its name; {advice}") from None
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        raise InputError(f"{path}: cannot be read ({error}); the file is truncated or damaged") from None


def pillow_shape(path: Path) -> tuple[int, int]:
    """Return (rows, columns) of a PNG, JPEG or similar, upright."""
    with opened_pillow(path) as image:
        return (image.width, image.height) if _orientation(path, image) >= 5 else (image.height, image.width)


def read_pillow(path: Path) -> Picture:
    """Read a PNG, JPEG or similar in its declared colour model, upright by its EXIF tag.

    Raises
    ------
    InputError
        As `opened_pillow`.
    """
    with opened_pillow(path) as image:
        orientation = _orientation(path, image)
        if image.format == "PNG":
            _check_png(path)
        profile = image.info.get("icc_profile")
        if image.mode == "CMYK":
            return interpret(np.asarray(image), ColourModel("cmyk", orientation=orientation, profile=profile), path)
        if image.format == "PNG" and profile is None:
            profile = png_colours(path)
        if _is_deep_png(path) and image.mode in ("RGB", "RGBA", "LA"):
            return interpret_by_samples(_decoded_png(path), path, orientation, profile)
        return interpret_by_samples(_with_alpha(image), path, orientation, profile)


def pillow_model(path: Path) -> ColourModel:
    """Return the colour model that a PNG, JPEG or similar states, without its pixels."""
    with opened_pillow(path) as image:
        profile = image.info.get("icc_profile")
        if image.mode == "CMYK":
            return ColourModel("cmyk", profile=profile)
        if image.format == "PNG" and profile is None:
            profile = png_colours(path)
        return ColourModel("grey" if image.mode[0] in "1LIF" else "rgb", profile=profile)


def _orientation(path: Path, image: Any) -> int:
    """Return the orientation that EXIF or XMP states, 1 to 8."""
    if image.format == "PNG" and not any(kind in (b"eXIf", b"iTXt", b"zTXt", b"tEXt") for kind in _png_chunks(path)):
        return 1  # Pillow decodes the whole PNG to find that out
    value = image.getexif().get(_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _with_alpha(image: Any) -> NDArray[Any]:
    """Return the samples of an image of Pillow as grey, grey + alpha, RGB or RGBA."""
    transparent = image.info.get("transparency")
    if transparent is not None and image.mode.startswith("I"):
        values = np.asarray(image)
        opaque = np.iinfo(values.dtype).max * (values != transparent).astype(values.dtype)
        return np.stack([values, opaque], axis=-1)
    if image.mode in ("P", "PA") or transparent is not None:
        image = image.convert("RGBA" if transparent is not None or image.mode == "PA" else "RGB")
    elif image.mode not in ("1", "L", "LA", "RGB", "RGBA", "I;16", "I", "F"):
        image = image.convert("RGB")
    return np.asarray(image)


def _is_deep_png(path: Path) -> bool:
    """Return whether a file is a PNG with 16-bit samples (header IHDR; PNG specification, 11.2.2)."""
    with path.open("rb") as file:
        header = file.read(26)
    return len(header) == 26 and header[1:4] == b"PNG" and header[24] == 16


def _png_bits(path: Path) -> int:
    """Return the bits of a pixel of a PNG (header IHDR)."""
    with path.open("rb") as file:
        header = file.read(26)
    return header[24] * {2: 3, 4: 2, 6: 4}.get(header[25], 1) if len(header) == 26 else 8


def _png_chunks(path: Path) -> Iterator[bytes]:
    """Yield the types of the chunks of a PNG; their data are skipped."""
    with path.open("rb") as file:
        file.seek(8)
        while len(start := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", start)
            yield kind
            file.seek(length + 4, 1)


def _check_png(path: Path) -> None:
    """Compare the checksums of the chunks, and count the bytes of the rows.

    Decoders accept wrong checksums, or print a warning, and leave rows that are missing black.
    """
    rows = _Rows()
    with path.open("rb") as file:
        file.seek(8)
        while len(start := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", start)
            checksum = zlib.crc32(kind)
            while length > 0 and (data := file.read(min(length, 2**20))):
                checksum, length = zlib.crc32(data, checksum), length - len(data)
                if kind == b"IHDR":
                    rows.needed = _png_bytes(data)
                elif kind == b"IDAT":
                    rows.add(data, path)
            stated = file.read(4)
            if length or len(stated) < 4 or struct.unpack(">I", stated)[0] != checksum:
                raise InputError(f"{path}: cannot be read (wrong checksum); the file is truncated or damaged")
            if kind == b"IEND":
                if rows.count < rows.needed:
                    raise InputError(
                        f"{path}: cannot be read (its rows have {rows.count} of {rows.needed} bytes); the file is "
                        "truncated or damaged"
                    )
                return
    raise InputError(f"{path}: cannot be read (no end); the file is truncated or damaged")


class _Rows:
    """Counts the bytes of the rows of a PNG while its data are unpacked, in little memory."""

    def __init__(self) -> None:
        self.needed = self.count = 0
        self._stream = zlib.decompressobj()

    def add(self, data: bytes, path: Path) -> None:
        """Unpack the next data, up to the bytes that are needed."""
        try:
            while data and self.count < self.needed and not self._stream.eof:
                self.count += len(self._stream.decompress(data, _BLOCK))
                data = self._stream.unconsumed_tail
        except zlib.error as error:
            raise InputError(f"{path}: cannot be read ({error}); the file is truncated or damaged") from None


def _png_bytes(header: bytes) -> int:
    """Return the bytes of all rows of a PNG, each with its filter byte (PNG specification, 11.2.2 and 8.2).

    Examples
    --------
    >>> _png_bytes(struct.pack(">IIBBBBB", 128, 96, 8, 2, 0, 0, 0)) == 96 * (1 + 3 * 128)
    True
    """
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header[:13])
    bits *= {2: 3, 4: 2, 6: 4}.get(colour, 1)
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes]
    return sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in sizes if columns > 0 and rows > 0)


def _decoded_png(path: Path) -> NDArray[Any]:
    """Decode a PNG with 16 bits for each sample."""
    import imagecodecs

    try:
        return np.asarray(imagecodecs.png_decode(path.read_bytes()))
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); the file is truncated or damaged") from None
