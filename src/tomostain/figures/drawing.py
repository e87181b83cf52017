"""Drawing helpers: 8-bit colours, resizing to true proportions, scale bars and text."""

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tomostain.integers import to_integers

RGB = NDArray[np.uint8]
INK = (45, 48, 53)


def to_rgb(image: NDArray[Any], window: tuple[float, float] | None = None) -> RGB:
    """Convert grey values or colours to 8-bit RGB for display.

    Parameters
    ----------
    image : ndarray, shape (..., 3) of uint8, or (Y, X) or (Z, Y, X) of any number
        Colours (uint8 with a last axis of 3) are returned unchanged. Grey values are mapped through the window.
    window : tuple of float, optional
        Grey values shown black and white. Default: 0 and 255 for uint8, else the percentiles 0.5 and 99.5.

    Returns
    -------
    ndarray of uint8, shape (..., 3)

    Examples
    --------
    >>> to_rgb(np.array([[0, 20000, 40000]], dtype=np.uint16), window=(0, 40000))[0, :, 0].tolist()
    [0, 128, 255]
    """
    image = np.asarray(image)
    if is_colour(image):
        return image
    if image.dtype == np.bool_:
        image = image.astype(np.uint8) * np.uint8(255)
    if window is None:
        window = (0.0, 255.0) if image.dtype == np.uint8 else _percentiles(image)
    low, high = window
    grey = np.clip((image.astype(np.float32) - low) * (255.0 / max(high - low, 1e-12)), 0, 255)
    return np.repeat(to_integers(grey, np.uint8, "figure")[..., None], 3, axis=-1)


def is_colour(image: NDArray[Any]) -> bool:
    """Whether an array contains RGB colours: uint8, at least three axes, the last of length 3."""
    return image.dtype == np.uint8 and image.ndim >= 3 and image.shape[-1] == 3


def _percentiles(image: NDArray[Any]) -> tuple[float, float]:
    """Return the percentiles 0.5 and 99.5 of about a million of the values."""
    some = image.reshape(-1)[:: max(1, image.size // 1_000_000)]
    low, high = np.percentile(some, [0.5, 99.5])
    return float(low), float(high)


def resize(image: RGB, shape: tuple[int, int]) -> RGB:
    """Resize an RGB image to (rows, columns): Lanczos when shrinking, bicubic when enlarging."""
    rows, columns = (max(1, int(n)) for n in shape)
    if image.shape[:2] == (rows, columns):
        return image
    return np.array(Image.fromarray(np.ascontiguousarray(image)).resize((columns, rows), _filter(image, rows)))


def _filter(image: RGB, rows: int) -> Image.Resampling:
    return Image.Resampling.LANCZOS if rows < image.shape[0] else Image.Resampling.BICUBIC


def nice_length_um(available_um: float) -> float:
    """Return the largest of 1, 2 or 5 times a power of ten that is not above `available_um`.

    Examples
    --------
    >>> [nice_length_um(v) for v in (7.0, 1300.0, 480.0)]
    [5.0, 1000.0, 200.0]
    """
    power = 10.0 ** math.floor(math.log10(available_um))
    return next(f * power for f in (5.0, 2.0, 1.0) if f * power <= available_um * (1 + 1e-9))


def length_label(length_um: float) -> str:
    """Format a length with a suitable unit.

    Examples
    --------
    >>> length_label(500.0), length_label(2000.0), length_label(0.5)
    ('500 µm', '2 mm', '0.5 µm')
    """
    return f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} µm"


def font_px(width: int) -> int:
    """Return a readable letter height for an image `width` pixels wide."""
    return int(np.clip(width / 44, 13, 30))


@lru_cache(maxsize=16)
def font(size_px: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return the DejaVu Sans that matplotlib ships (Pillow's own font lacks µ)."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size_px)


def draw_scale_bar(
    sheet: Image.Image, left: int, top: int, width_px: int, pixel_um: float, letters_px: int
) -> tuple[float, int]:
    """Draw a scale bar with its length, in a strip of `letters_px` height.

    Parameters
    ----------
    sheet : PIL.Image.Image
        The image to draw on.
    left, top : int
        Upper left corner of the strip, px.
    width_px : int
        Width of the image that the bar belongs to. The bar is at most a quarter of it.
    pixel_um : float
        Size of one pixel of the sheet, µm.
    letters_px : int
        Height of the letters.

    Returns
    -------
    tuple of float and int
        The length of the bar in µm and in pixels.
    """
    draw = ImageDraw.Draw(sheet)
    length_um = nice_length_um(max(width_px / 4, 2) * pixel_um)
    length = max(1, round(length_um / pixel_um))
    thick = max(3, letters_px // 5)
    middle = top + letters_px // 2
    draw.rectangle((left, middle - thick // 2, left + length - 1, middle - thick // 2 + thick - 1), fill=INK)
    draw.text((left + length + letters_px // 2, middle), length_label(length_um), INK, font(letters_px), anchor="lm")
    return length_um, length


def fitting(text: str, width_px: int, letters_px: int, bold: bool = False) -> str:
    """Truncate a caption to a width, with an ellipsis."""
    if font(letters_px, bold).getlength(text) <= width_px:
        return text
    while text and font(letters_px, bold).getlength(text + "…") > width_px:
        text = text[:-1]
    return text + "…"
