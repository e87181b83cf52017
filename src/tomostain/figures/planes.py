"""Three orthogonal planes of a volume, and images side by side, with scale bars (paper Fig. 8 a to c)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tomostain.figures.drawing import INK, RGB, draw_scale_bar, fitting, font, font_px, is_colour, resize, to_rgb

PAPER = (255, 255, 255)
MARKS = {"z": (0, 114, 178), "y": (213, 94, 0), "x": (0, 158, 115)}  # distinguishable with colour vision deficiency


def cut_planes(volume: NDArray[Any], point: Sequence[int] | None = None) -> tuple[NDArray[Any], ...]:
    """Return the planes XY, XZ and YZ through a voxel.

    Parameters
    ----------
    volume : ndarray, shape (Z, Y, X) or (Z, Y, X, 3)
        Grey values or colours.
    point : sequence of int, optional
        Voxel (z, y, x). Default: the central one.

    Returns
    -------
    tuple of ndarray
        XY of shape (Y, X), XZ of shape (Z, X) and ZY of shape (Y, Z), each with the colour axis last. The last one
        is transposed so that it shares its rows with XY.
    """
    z, y, x = _point(volume.shape[:3], point)
    return volume[z], volume[:, y], np.swapaxes(volume[:, :, x], 0, 1)


def orthogonal_planes(
    volume: NDArray[Any],
    voxel_um: float | Sequence[float],
    *,
    point: Sequence[int] | None = None,
    window: tuple[float, float] | None = None,
    width_px: int = 1000,
    marks: bool = True,
) -> RGB:
    """Arrange the planes XY, YZ and XZ in one image with true proportions and a scale bar.

    XY is at the upper left, YZ to its right (same rows), XZ below (same columns). Small coloured marks at the edges
    show the position of the other two planes.

    Parameters
    ----------
    volume : ndarray, shape (Z, Y, X), or uint8 of shape (Z, Y, X, 3)
        Grey values or colours.
    voxel_um : float or sequence of float
        Voxel size, or (z, y, x), µm.
    point : sequence of int, optional
        Voxel (z, y, x) in all three planes. Default: the central one.
    window : tuple of float, optional
        Grey values shown black and white; see `to_rgb`.
    width_px : int
        Width of the image, px.
    marks : bool
        Draw the marks.

    Returns
    -------
    ndarray of uint8, shape (rows, width_px, 3)
        The image, on a white background.

    References
    ----------
    Irvine et al., J. Synchrotron Rad. 2026, Fig. 8 (a, b, c).
    """
    colour = is_colour(volume) and volume.ndim == 4
    if not (colour or volume.ndim == 3):
        raise ValueError(f"a volume is (Z, Y, X) or uint8 (Z, Y, X, 3), found {volume.dtype} of shape {volume.shape}")
    step = np.broadcast_to(np.asarray(voxel_um, dtype=float), 3)
    point = _point(volume.shape[:3], point)
    size_um = np.array(volume.shape[:3]) * step
    letters = font_px(width_px)
    gap, head = max(4, letters // 2), round(letters * 1.6)
    um = float(size_um[2] + size_um[0]) / (width_px - gap)  # µm a pixel
    depth, rows = (max(1, round(size / um)) for size in size_um[:2])
    columns = width_px - gap - depth
    planes = [plane if colour else _grey(plane, volume, window) for plane in cut_planes(volume, point)]
    shapes = [(rows, columns), (depth, columns), (rows, depth)]
    corners = [(0, head), (0, head + rows + gap + head), (columns + gap, head)]
    height = corners[1][1] + depth + round(letters * 2.2)
    sheet = Image.new("RGB", (width_px, height), PAPER)
    names = ("XY", "XZ", "YZ")
    for plane, shape, (left, top), name in zip(planes, shapes, corners, names, strict=True):
        sheet.paste(Image.fromarray(resize(plane, shape)), (left, top))
        _title(sheet, left, top, shape[1], name, letters)
    if marks:
        position = {axis: (index + 0.5) / n for axis, index, n in zip("zyx", point, volume.shape[:3], strict=True)}
        for (left, top), shape, name in zip(corners, shapes, ("yx", "zx", "yz"), strict=True):
            _edge_marks(sheet, (left, top), shape, (position[name[0]], position[name[1]]), name, gap)
    draw_scale_bar(sheet, 0, height - round(letters * 1.5), columns, um, letters)
    return np.array(sheet)


def side_by_side(
    images: Sequence[NDArray[Any]],
    captions: Sequence[str],
    voxel_um: float,
    *,
    windows: Sequence[tuple[float, float] | None] | None = None,
    width_px: int = 1500,
) -> RGB:
    """Arrange images of one grid side by side (µCT | stained | truth), with captions above and one scale bar below.

    Parameters
    ----------
    images : sequence of ndarray, shape (Y, X) or (Y, X, 3)
        All of the same (Y, X).
    captions : sequence of str
        One per image.
    voxel_um : float
        Size of a pixel of the images, µm.
    windows : sequence of tuple of float, optional
        Grey windows, one per image (None for the default of `to_rgb`).
    width_px : int
        Width of the image, px.

    Returns
    -------
    ndarray of uint8, shape (rows, width_px, 3)
        The image, on a white background.
    """
    shapes = {image.shape[:2] for image in images}
    if len(shapes) != 1 or len(captions) != len(images):
        raise ValueError(f"images of shapes {sorted(shapes)} with {len(captions)} captions cannot be arranged in a row")
    rows, columns = shapes.pop()
    letters = font_px(width_px)
    gap, head = max(6, letters // 2), round(letters * 1.7)
    width = (width_px - gap * (len(images) - 1)) // len(images)
    height = max(1, round(width * rows / columns))
    sheet = Image.new("RGB", (width_px, head + height + round(letters * 2.2)), PAPER)
    for number, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left = number * (width + gap)
        window = windows[number] if windows else None
        sheet.paste(Image.fromarray(resize(to_rgb(image, window), (height, width))), (left, head))
        _title(sheet, left, head, width, caption, letters)
    draw_scale_bar(sheet, 0, sheet.height - round(letters * 1.5), width, voxel_um * columns / width, letters)
    return np.array(sheet)


def _point(shape: Sequence[int], point: Sequence[int] | None) -> tuple[int, int, int]:
    """Return the voxel (z, y, x), the central one by default; outside the volume is a ValueError."""
    z, y, x = (n // 2 for n in shape) if point is None else (int(index) for index in point)
    if not all(0 <= index < n for index, n in zip((z, y, x), shape, strict=True)):
        raise ValueError(f"point {(z, y, x)} lies outside the volume of shape {tuple(shape)}")
    return z, y, x


def _grey(plane: NDArray[Any], volume: NDArray[Any], window: tuple[float, float] | None) -> RGB:
    """Show a grey plane with the window of the whole volume, so that the three planes are comparable."""
    if window is None and volume.dtype != np.uint8:
        some = volume.reshape(-1)[:: max(1, volume.size // 1_000_000)]
        low, high = np.percentile(some, [0.5, 99.5])
        window = (float(low), float(high))
    return to_rgb(plane, window)


def _title(sheet: Image.Image, left: int, top: int, width: int, text: str, letters: int) -> None:
    """Write a caption in the strip above an image."""
    text = fitting(text, width, letters)
    ImageDraw.Draw(sheet).text((left, top - round(letters * 0.45)), text, INK, font(letters), anchor="ls")


def _edge_marks(
    sheet: Image.Image,
    corner: tuple[int, int],
    shape: tuple[int, int],
    position: tuple[float, float],
    axes: str,
    length: int,
) -> None:
    """Draw short lines at the edges of an image at the position of another plane (fractions of rows and columns)."""
    draw = ImageDraw.Draw(sheet)
    (left, top), (row, column) = corner, position
    bottom, right = top + shape[0] - 1, left + shape[1] - 1
    y, x = top + round(row * (shape[0] - 1)), left + round(column * (shape[1] - 1))
    for start, end in (((left, y), (left + length, y)), ((right - length, y), (right, y))):
        draw.line((start, end), fill=MARKS[axes[0]], width=2)
    for start, end in (((x, top), (x, top + length)), ((x, bottom - length), (x, bottom))):
        draw.line((start, end), fill=MARKS[axes[1]], width=2)
