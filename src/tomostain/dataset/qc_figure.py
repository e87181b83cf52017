"""`qc.png`: one figure per pair, to check that µCT, histology and mask belong together."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.figures.drawing import font
from tomostain.imaging.network_range import DISPLAY_WINDOW
from tomostain.imaging.regions import block_mean
from tomostain.integers import to_integers
from tomostain.io.atomic import atomic_file

_GAP_PX = 8
_HEAD_PX = 20
_OUTLINE = (255, 196, 0)
_SIDE_PX = 640


def ct_to_grey(ct: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Convert normalised µCT, window [0, 40000], to greyscale 8-bit RGB.

    Parameters
    ----------
    ct : ndarray of uint16, shape (Y, X)

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)
    """
    grey = to_integers(
        ct.astype(np.float32) * (255 / DISPLAY_WINDOW[1]), np.uint8, "µCT grey values", rounded=False, clip=True
    )
    return np.repeat(grey[..., None], 3, axis=2)


def checkerboard(a: NDArray[np.uint8], b: NDArray[np.uint8], squares: int = 8) -> NDArray[np.uint8]:
    """Alternate squares of two images. Aligned structures continue across the borders of the squares.

    Parameters
    ----------
    a, b : ndarray of uint8, shape (Y, X, 3)
    squares : int
        Squares along the longer side.

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)

    Examples
    --------
    >>> a, b = np.zeros((2, 2, 3), np.uint8), np.ones((2, 2, 3), np.uint8)
    >>> checkerboard(a, b, squares=2)[..., 0].tolist()
    [[0, 1], [1, 0]]
    """
    side = max(1, -(-max(a.shape[:2]) // squares))
    rows, columns = np.indices(a.shape[:2]) // side
    return np.where(((rows + columns) % 2 == 1)[..., None], b, a)


def draw_mask(image: NDArray[np.uint8], mask: NDArray[np.bool_], width_px: int = 2) -> NDArray[np.uint8]:
    """Darken the image outside the mask and draw the outline of the mask inside it.

    Parameters
    ----------
    image : ndarray of uint8, shape (Y, X, 3)
    mask : ndarray of bool, shape (Y, X)
    width_px : int
        Width of the outline.

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)
    """
    shown = np.where(mask[..., None], image, to_integers(image * 0.35, np.uint8, "figure", rounded=False))
    shown[mask & ~ndimage.binary_erosion(mask, iterations=width_px)] = _OUTLINE
    return shown


def qc_picture(
    ct: NDArray[np.uint16], histology: NDArray[np.uint8], mask: NDArray[np.bool_], side_px: int = _SIDE_PX
) -> NDArray[np.uint8]:
    """Show µCT, histology, their checkerboard and the outline of the mask side by side.

    Parameters
    ----------
    ct : ndarray of uint16, shape (Y, X)
        Normalised.
    histology : ndarray of uint8, shape (Y, X, 3)
    mask : ndarray of bool, shape (Y, X)
    side_px : int
        Maximum side of a panel, px. Larger images are averaged down.

    Returns
    -------
    ndarray of uint8, shape (rows, columns, 3)
        Panels in one row, or two by two if the images are wide.
    """
    step = max(1, -(-max(ct.shape) // side_px))
    grey, colour = (
        to_integers(block_mean(image, step), np.uint8, "figure of the pair", rounded=False)
        for image in (ct_to_grey(ct), histology)
    )
    small_mask = block_mean(mask, step) > 0.5
    panels = [grey, colour, checkerboard(grey, colour), draw_mask(colour, small_mask)]
    framed = [np.pad(panel, ((_GAP_PX, 0), (_GAP_PX, 0), (0, 0)), constant_values=255) for panel in panels]
    per_row = 2 if grey.shape[1] > 1.3 * grey.shape[0] else 4
    rows = [np.concatenate(framed[i : i + per_row], axis=1) for i in range(0, 4, per_row)]
    return np.pad(np.concatenate(rows), ((0, _GAP_PX), (0, _GAP_PX), (0, 0)), constant_values=255)


def write_qc(
    path: Path, ct: NDArray[np.uint16], histology: NDArray[np.uint8], mask: NDArray[np.bool_], voxel_um: float
) -> None:
    """Write the figure of `qc_picture` as PNG, with a line that names the panels."""
    from PIL import Image, ImageDraw

    picture = qc_picture(ct, histology, mask)
    canvas = Image.fromarray(np.pad(picture, ((_HEAD_PX, 0), (0, 0), (0, 0)), constant_values=255))
    line = f"µCT, histology, checkerboard, mask ({mask.mean():.0%})   {ct.shape[0]} × {ct.shape[1]} px, {voxel_um:g} µm"
    ImageDraw.Draw(canvas).text((_GAP_PX, 6), line, fill=(40, 40, 40), font=font(12))
    with atomic_file(path) as temporary:
        canvas.save(temporary)
