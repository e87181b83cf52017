"""Declared sizes of images, compared with the free memory and with the size of the file before anything is decoded."""

from pathlib import Path

from tomostain.errors import InputError
from tomostain.memory import check_memory

_SMALL = 2**28
"""Images up to this size, in bytes, are decoded without more checks."""
_MIN_BITS = 0.13
"""Bits in the file for each pixel of a lossy codec: JPEG needs 0.126 for a blank colour image."""
_MAX_RATIO = 850
"""Deflate and LZW reach 1030 for zeros alone, and about 700 for a mask with one object."""
_PLAIN = 2**27
"""Images up to this size, in bytes, may be of one value if they are compressed without loss: an empty mask."""
_COPIES = 3
"""Bytes of memory for each decoded one: the samples, a converted copy, and room to work."""


def least_bytes(pixels: int, bits: int, ratio: int = _MAX_RATIO, plain: int = _PLAIN) -> float:
    """Return the fewest bytes in which an image is expected with a lossless compression.

    Parameters
    ----------
    pixels : int
    bits : int
        Bits of a pixel before the compression.
    ratio : int
        Highest ratio of the codec for an image with some content.
    plain : int
        Images of at most this size, in bytes, may have no content: 0 is returned. A bit counts as a byte, as decoded.

    Examples
    --------
    >>> least_bytes(10**8, 8), least_bytes(17 * 10**7, 8), least_bytes(34 * 10**7, 1)
    (0.0, 200000.0, 50000.0)
    """
    return pixels * bits / 8 / ratio if pixels * max(bits, 8) / 8 > plain else 0.0


def check_decoded_size(
    path: Path, pixels: int, pixel_bytes: int, stored_bytes: int | None, least: float | None = None
) -> None:
    """Raise if an image is too large for the memory that is free, or far larger than its file can hold.

    Parameters
    ----------
    path : Path
    pixels : int
        Number of pixels that the file declares.
    pixel_bytes : int
        Size of a pixel in memory, at least the 3 bytes of RGB.
    stored_bytes : int
        Size of the image data in the file; None if it is not known.
    least : float, optional
        Fewest bytes in which the image is expected, see `least_bytes`; by default those of a lossy codec.

    Raises
    ------
    InputError
    """
    decoded_bytes = pixels * max(pixel_bytes, 3)
    if decoded_bytes <= _SMALL:
        return
    if stored_bytes is not None and stored_bytes < (_MIN_BITS * pixels / 8 if least is None else least):
        raise InputError(
            f"{path}: declares an image of {_size(decoded_bytes)} in {_size(stored_bytes)} of data, as a damaged or "
            "hostile file does; if it is genuine, save it without compression"
        )
    check_memory(_COPIES * decoded_bytes, str(path), "use a pyramidal file or a smaller image")


def _size(n_bytes: int) -> str:
    """Return a number of bytes as text.

    Examples
    --------
    >>> _size(34_000_000), _size(1200)
    ('34 MB', '1.2 kB')
    """
    for factor, unit in ((1e9, "GB"), (1e6, "MB")):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.3g} {unit}"
    return f"{n_bytes / 1e3:.3g} kB"
