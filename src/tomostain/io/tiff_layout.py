"""How the samples of a TIFF image are stored: their number, order and size."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tomostain.errors import InputError


def image_layout(path: Path, series: Any) -> tuple[int, int]:
    """Return (rows, columns) of a series (or level) that is one image of 1 to 5 samples, as stored.

    Raises
    ------
    InputError
        If it is a stack or has more channels.
    """
    sizes = dict(zip(series.axes, series.shape, strict=True))
    stacked = any(size > 1 for axis, size in sizes.items() if axis not in "YXSC")
    if stacked or channel_count(series) > 5 or "Y" not in sizes or "X" not in sizes:
        raise InputError(
            f"{path}: holds a stack of shape {tuple(series.shape)} (axes {series.axes}), but one image is expected"
        )
    return int(sizes["Y"]), int(sizes["X"])


def channel_count(series: Any) -> int:
    """Return the number of samples and channels of a pixel."""
    sizes = dict(zip(series.axes, series.shape, strict=True))
    return int(sizes.get("S", 1) * sizes.get("C", 1))


def bytes_in_file(pages: Sequence[Any]) -> int:
    """Return the bytes of the image data in the file; data that several tiles share count once."""
    segments = {
        offset: count for page in pages for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)
    }
    return sum(segments.values())


def samples_last(values: NDArray[Any], axes: str) -> NDArray[Any]:
    """Reorder an array with the axes Y and X, perhaps C and S, and others of length 1, to (rows, columns, samples)."""
    for axis in reversed(range(values.ndim)):
        if axes[axis] not in "YXCS":
            values, axes = values.take(0, axis), axes[:axis] + axes[axis + 1 :]
    order = [axes.index(axis) for axis in "YXCS" if axis in axes]
    values = values.transpose(order)
    return values.reshape(*values.shape[:2], -1)
