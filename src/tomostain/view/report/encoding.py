"""Images as text in a page: data URIs of PNG or JPEG."""

import base64
import io
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tomostain.errors import InputError
from tomostain.figures.drawing import to_rgb
from tomostain.paths import StrPath

_FEW_COLOURS = 4096


@dataclass(frozen=True)
class Encoding:
    """Maximum width of an image, px, and the quality of JPEG, 1 to 95."""

    width_px: int
    quality: int


@dataclass(frozen=True)
class Encoded:
    """An image as data URI, with its size in pixels."""

    uri: str
    width: int
    height: int


def encode(picture: NDArray[Any] | StrPath, encoding: Encoding) -> Encoded:
    """Create a data URI of an image: PNG if it has few colours (drawings), else JPEG.

    Parameters
    ----------
    picture : ndarray, str or os.PathLike
        Grey or RGB (see `to_rgb`), or the path of an image file.
    encoding : Encoding
        Width and quality.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    image = _open(picture) if isinstance(picture, str | os.PathLike) else Image.fromarray(_contiguous(picture))
    if image.width > encoding.width_px:
        height = max(1, round(image.height * encoding.width_px / image.width))
        image = image.resize((encoding.width_px, height), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    if image.getcolors(_FEW_COLOURS) is not None:
        image.save(stream, "PNG", optimize=True)
        kind = "png"
    else:
        # Not optimize=True: the buffer of Pillow is then too small for images that hardly compress (noise).
        image.save(stream, "JPEG", quality=encoding.quality, subsampling=0)
        kind = "jpeg"
    text = base64.b64encode(stream.getvalue()).decode("ascii")
    return Encoded(f"data:image/{kind};base64,{text}", image.width, image.height)


def _open(path: StrPath) -> Image.Image:
    from tomostain.io.images import read_image

    return Image.fromarray(_contiguous(read_image(path)))


def _contiguous(picture: NDArray[Any]) -> NDArray[np.uint8]:
    rgb = to_rgb(picture)
    if rgb.ndim != 3:
        raise InputError(
            f"report: an array of shape {picture.shape} is not an image; it must be (Y, X) or uint8 (Y, X, 3)"
        )
    return np.ascontiguousarray(rgb)
