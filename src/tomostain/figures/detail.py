"""A region of an image, enlarged, with a scale bar inside."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tomostain.figures.drawing import RGB, draw_scale_bar, font, length_label, nice_length_um, resize, to_rgb

_MARGIN_PX = 12


def enlarged_detail(
    image: NDArray[Any],
    box: tuple[int, int, int, int],
    pixel_um: float,
    *,
    width_px: int = 800,
    window: tuple[float, float] | None = None,
    scale_bar: bool = True,
) -> RGB:
    """Cut a region out of an image and enlarge it by a whole factor, so that every pixel is as large as its neighbour.

    Parameters
    ----------
    image : ndarray, shape (Y, X) or uint8 (Y, X, 3)
    box : tuple of int
        (first row, row after the last, first column, column after the last).
    pixel_um : float
        Size of a pixel of `image`, µm.
    width_px : int
        Width that the result has at least, if the region is not wider.
    window : tuple of float, optional
        Grey values shown black and white; see `tomostain.figures.drawing.to_rgb`.
    scale_bar : bool
        Draw a scale bar on a white box at the lower left.

    Returns
    -------
    ndarray of uint8, shape (rows, columns, 3)
    """
    row, end_row, column, end_column = box
    region = to_rgb(image, window)[row:end_row, column:end_column]
    factor = max(1, -(-width_px // region.shape[1]))
    rgb = resize(region, (region.shape[0] * factor, region.shape[1] * factor))
    if not scale_bar:
        return rgb
    sheet = Image.fromarray(np.ascontiguousarray(rgb))
    letters, width = max(13, sheet.width // 32), sheet.width
    length_um = nice_length_um(max(width / 4, 2) * pixel_um / factor)
    box_px = round(length_um * factor / pixel_um + letters + font(letters).getlength(length_label(length_um)))
    top = sheet.height - _MARGIN_PX - letters
    outline = (_MARGIN_PX - 6, top - 6, _MARGIN_PX + box_px + 6, sheet.height - _MARGIN_PX + 6)
    ImageDraw.Draw(sheet).rectangle(outline, fill="white")
    draw_scale_bar(sheet, _MARGIN_PX, top, width, pixel_um / factor, letters)
    return np.array(sheet)


def square_around(mask: NDArray[np.bool_], side_px: int) -> tuple[int, int, int, int]:
    """Return a square box around the middle of a region, within the image.

    Parameters
    ----------
    mask : ndarray of bool, shape (Y, X)
        The region. If it is empty, the box is in the middle of the image.
    side_px : int
        Side of the box. It is at most that of the image.

    Returns
    -------
    tuple of int
        (first row, row after the last, first column, column after the last).

    Examples
    --------
    >>> mask = np.zeros((100, 80), bool)
    >>> mask[90:, 30:50] = True
    >>> square_around(mask, 40)
    (60, 100, 20, 60)
    """
    edges: list[int] = []
    for axis, length in enumerate(mask.shape):
        used = np.flatnonzero(mask.any(axis=1 - axis))
        middle = (int(used[0]) + int(used[-1]) + 1) / 2 if len(used) else length / 2
        side = min(side_px, length)
        first = int(np.clip(round(middle - side / 2), 0, length - side))
        edges += [first, first + side]
    return edges[0], edges[1], edges[2], edges[3]
