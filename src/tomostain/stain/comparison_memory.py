"""The memory of the images that are compared for the uncertainty."""

from tomostain.ood.tensor_novelty import memory_bytes
from tomostain.stain.pass_size import MAX_BATCH_PX

_IMAGE_BYTES = 3
_DEVIATION_BYTES = 72
"""Memory of the standard deviation and of the map, for each pixel."""


def slices_compared(slices: int, pixels: int) -> int:
    """Return how many of some slices of so many pixels are compared at once: their images are in memory together."""
    return max(1, min(slices, MAX_BATCH_PX // pixels))


def comparison_bytes(images: int, slices: int, pixels: int, *, novelty: bool = False, cycle_error: bool = False) -> int:
    """Return the memory on a device of the images of a batch that are compared, with their deviation and novelty.

    Parameters
    ----------
    images, slices, pixels : int
        Number of images of each slice, of slices, and of pixels of each.
    novelty : bool
        The novelty is computed on the device.
    cycle_error : bool
        The image of the cycle error is the map: it is in memory in addition to `images`, and has no deviation.

    Examples
    --------
    >>> comparison_bytes(1, 16, 1024**2), comparison_bytes(2, 16, 1024**2) / 8 / 1024**2
    (0, 78.0)
    >>> comparison_bytes(1, 16, 1024**2, cycle_error=True) / 8 / 1024**2
    6.0
    """
    together = slices_compared(slices, pixels) * pixels
    if cycle_error:
        return together * _IMAGE_BYTES * (images + 1)
    compared = together * (_IMAGE_BYTES * images + _DEVIATION_BYTES) if images > 1 or novelty else 0
    return compared + (memory_bytes(together) if novelty else 0)
