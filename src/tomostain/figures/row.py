"""Images of one height in a row, each below its caption, in their own pixels."""

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw

from tomostain.figures.drawing import RGB, draw_scale_bar, fitting, font

CAPTION_PX = 22
GAP_PX = 4
_LETTERS_PX = 12


def captioned_row(images: Mapping[str, RGB], pixel_um: float | None = None) -> RGB:
    """Put images of one height next to each other on white, each below its caption.

    Unlike `tomostain.figures.planes.side_by_side`, the images keep their size.

    Parameters
    ----------
    images : mapping of str to ndarray of uint8, shape (Y, X, 3)
        Caption → image.
    pixel_um : float, optional
        Size of a pixel, µm: a scale bar of the first image is drawn below it. None: there is no scale bar.

    Returns
    -------
    ndarray of uint8, shape (Y + 22, total width, 3), with a scale bar (Y + 44, total width, 3)
    """
    height = max(image.shape[0] for image in images.values())
    width = sum(image.shape[1] + GAP_PX for image in images.values()) - GAP_PX
    foot = 0 if pixel_um is None else CAPTION_PX
    sheet = Image.new("RGB", (width, CAPTION_PX + height + foot), "white")
    draw = ImageDraw.Draw(sheet)
    left = 0
    for caption, image in images.items():
        text = fitting(caption, image.shape[1] - 4, _LETTERS_PX)
        draw.text((left + 2, 3), text, fill="black", font=font(_LETTERS_PX))
        sheet.paste(Image.fromarray(image), (left, CAPTION_PX))
        left += image.shape[1] + GAP_PX
    if pixel_um is not None:
        first = next(iter(images.values()))
        draw_scale_bar(sheet, 2, CAPTION_PX + height + 5, first.shape[1], pixel_um, _LETTERS_PX)
    return np.asarray(sheet).copy()
