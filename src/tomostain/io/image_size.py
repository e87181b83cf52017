"""Declared sizes of images, compared with the free memory and with the size of the file before anything is decoded."""

from pathlib import Path

from tomostain.errors import InputError
from tomostain.memory import check_memory

_SMALL = 2**28
"""Images up to this size, in bytes, are decoded without more checks."""
_MIN_BITS = 0.13
"""Bits in the file for each pixel: JPEG needs 0.126 for a blank colour image, deflate 0.02 for zeros."""
_COPIES = 3
"""Bytes of memory for each decoded one: the samples, a converted copy, and room to work."""


def check_decoded_size(path: Path, pixels: int, pixel_bytes: int, stored_bytes: int | None) -> None:
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

    Raises
    ------
    InputError
    """
    decoded_bytes = pixels * max(pixel_bytes, 3)
    if decoded_bytes <= _SMALL:
        return
    if stored_bytes is not None and 8 * stored_bytes < _MIN_BITS * pixels:
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
