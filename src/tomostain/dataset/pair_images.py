"""The TIFF images of the folder of a pair."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.input_files import refuse_special_file
from tomostain.io.tiff import opened_tiff, tiff_errors
from tomostain.tiling.slice_context import MAX_CT_SLICES

_MAX_PIXELS = 2**30


def image_header(path: Path) -> tuple[int, ...]:
    """Return the shape in the header of a TIFF file, without reading the image."""
    refuse_special_file(path)
    with opened_tiff(path) as tiff:
        shape, pages = tuple(tiff.pages[0].shape), len(tiff.pages)
    if pages != 1 or len(shape) not in (2, 3) or shape[0] * shape[1] > _MAX_PIXELS:
        raise InputError(f"{path}: holds {pages} page(s) of shape {shape}; expected one 2D image below 2^30 pixels")
    return shape


def read_stack(path: Path) -> NDArray[Any]:
    """Read a TIFF file with a few images of one size. The header is checked first."""
    refuse_special_file(path)
    with opened_tiff(path) as tiff:
        pages = [tuple(page.shape) for page in itertools.islice(tiff.pages, MAX_CT_SLICES + 1)]
    if (
        len(pages) > MAX_CT_SLICES
        or set(pages) != {pages[0]}
        or len(pages[0]) != 2
        or math.prod(pages[0]) > _MAX_PIXELS
    ):
        raise InputError(
            f"{path}: holds {len(pages)} page(s) of shapes {sorted(set(pages))[:3]}; expected up to {MAX_CT_SLICES} "
            "greyscale images of one size"
        )
    stack = read_checked(path)
    return stack if stack.ndim == 3 else stack[None]


def read_checked(path: Path) -> NDArray[Any]:
    """Read the single image of a TIFF file whose header was checked."""
    try:
        with tiff_errors(path):
            return np.asarray(tifffile.imread(path))
    except InputError:
        raise
    except Exception as error:  # a codec may raise anything on a truncated strip
        raise InputError(f"{path}: broken or truncated ({error}); write it again") from None
