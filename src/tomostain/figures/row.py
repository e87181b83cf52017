"""Images of one height in a row, each below its caption, in their own pixels."""

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw

from tomostain.figures.drawing import RGB, fitting, font

CAPTION_PX = 22
GAP_PX = 4
_LETTERS_PX = 12


def captioned_row(images: Mapping[str, RGB]) -> RGB:
    """Put images of one height next to each other on white, each below its caption.

    Unlike `tomostain.figures.planes.side_by_side`, the images keep their size and there is no scale bar.

    Parameters
    ----------
    images : mapping of str to ndarray of uint8, shape (Y, X, 3)
        Caption → image.

    Returns
    -------
    ndarray of uint8, shape (Y + 22, total width, 3)
    """
    height = max(image.shape[0] for image in images.values())
    width = sum(image.shape[1] + GAP_PX for image in images.values()) - GAP_PX
    sheet = Image.new("RGB", (width, height + CAPTION_PX), "white")
    draw = ImageDraw.Draw(sheet)
    left = 0
    for caption, image in images.items():
        text = fitting(caption, image.shape[1] - 4, _LETTERS_PX)
        draw.text((left + 2, 3), text, fill="black", font=font(_LETTERS_PX))
        sheet.paste(Image.fromarray(image), (left, CAPTION_PX))
        left += image.shape[1] + GAP_PX
    return np.asarray(sheet).copy()
