"""One place that turns decoded samples into the grey values or RGB colours that a file declares.

Every reader of images uses it: `read_image` and its siblings, slides and their levels, aligned pairs, masks and, for
grey values, the readers of volumes. A reader finds out what the file states (`ColourModel`); `interpret` does the rest.
"""

import logging
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.colour_conversion import converted, full_scale
from tomostain.io.colour_model import ColourModel, Profile
from tomostain.io.picture import Picture

_COLOURS = {"grey": 1, "palette": 1, "rgb": 3, "ycbcr": 3, "cmyk": 4, "lab": 3}

_OF_PROFILES = ("rgb", "ycbcr", "palette")
"""Kinds whose colours are those of an ICC profile of RGB."""
_logger = logging.getLogger("tomostain")


def interpret(samples: NDArray[Any], model: ColourModel, path: Path) -> Picture:
    """Turn decoded samples into an upright grey or RGB image.

    Parameters
    ----------
    samples : ndarray, shape (rows, columns) or (rows, columns, samples)
        As decoded, in the type of the file.
    model : ColourModel
        What the file states.
    path : Path
        Named in messages.

    Returns
    -------
    Picture

    Raises
    ------
    InputError
        If the samples do not fit the model.

    Examples
    --------
    >>> ink = np.array([[[0, 255, 255, 0]]], np.uint8)
    >>> interpret(ink, ColourModel("cmyk"), Path("a.tif")).rgb().tolist()
    [[[255, 0, 0]]]
    """
    samples = np.asarray(samples, samples.dtype.newbyteorder("="))
    layers = samples[..., None] if samples.ndim == 2 else samples
    count = _COLOURS[model.kind]
    if layers.ndim != 3 or layers.shape[2] < count or (model.alpha and layers.shape[2] == count):
        raise InputError(f"{path}: an array of shape {samples.shape} is not a grey or RGB image")
    further = layers.shape[2] - count - (model.alpha is not None)
    if further and model.kind == "grey":
        raise InputError(
            f"{path}: has {layers.shape[2]} channels of no stated colour; export it as RGB, or one channel as grey"
        )
    if further:
        _logger.info("%s: %d further sample(s) of unspecified meaning are ignored", path, further)
    layers = upright(layers, model.orientation, axes=(0, 1))
    alpha = layers[..., count] if model.alpha else None
    colours, bits = layers[..., :count], model.bits
    if model.kind in ("grey", "palette"):
        colours = _grey(colours[..., 0], model, path) if model.kind == "grey" else _looked_up(colours, model, path)
        bits = bits if model.kind == "grey" else None
    elif model.kind != "rgb":
        colours = converted(colours, model, path)
        if alpha is not None:
            alpha = Picture(path, alpha, bits).to_8_bits(alpha)
        bits = None
    profile = model.profile if model.kind in _OF_PROFILES else None
    inverted = model.white_is_zero and (samples.dtype.kind == "b" or model.bits == 1)
    return Picture(path, colours, bits, alpha, model.alpha == "premultiplied", profile, inverted, model)


def interpret_by_samples(
    image: NDArray[Any], path: Path, orientation: int = 1, profile: Profile | None = None
) -> Picture:
    """Interpret an array by its number of samples: grey, grey + alpha, RGB or RGB + alpha.

    `profile` is that of RGB.

    Raises
    ------
    InputError
        If it has more samples.
    """
    samples = image.shape[2] if image.ndim == 3 else 1
    if samples > 4:
        raise InputError(f"{path}: an array of shape {image.shape} is not a grey or RGB image")
    alpha: Literal["straight"] | None = "straight" if samples in (2, 4) else None
    kind: Literal["rgb", "grey"] = "rgb" if samples > 2 else "grey"
    return interpret(image, ColourModel(kind, alpha=alpha, orientation=orientation, profile=profile), path)


def interpret_grey(values: NDArray[Any], model: ColourModel, path: Path) -> NDArray[Any]:
    """Turn decoded grey values of shape (…, rows, columns) upright, with larger values brighter; the type is unchanged.

    Raises
    ------
    InputError
        If the values are colours, or white is zero and they are not unsigned.
    """
    values = upright(values, model.orientation, axes=(-2, -1))
    if model.kind == "palette" and model.palette is not None:
        if (model.palette != model.palette[:, :1]).any():
            raise InputError(f"{path}: has a palette of colours; save it as a greyscale image")
        return _looked_up(values[..., None], model, path)[..., 0]
    if model.kind != "grey":
        raise InputError(f"{path}: is a colour image ({model.kind}); a µCT volume is grey")
    return _grey(values, model, path)


def upright(values: NDArray[Any], orientation: int, axes: tuple[int, int]) -> NDArray[Any]:
    """Undo an orientation of TIFF or EXIF (1 to 8; TIFF 6.0, tag 274).

    Examples
    --------
    >>> upright(np.array([[1, 2, 3], [4, 5, 6]]), 6, axes=(0, 1)).tolist()
    [[4, 1], [5, 2], [6, 3]]
    """
    rows, columns = axes
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(rows, columns)
    if orientation in (3, 4, 7, 8):
        values = np.flip(values, rows)
    if orientation in (2, 3, 6, 7):
        values = np.flip(values, columns)
    return values


def _grey(values: NDArray[Any], model: ColourModel, path: Path) -> NDArray[Any]:
    if not model.white_is_zero:
        return values
    if values.dtype.kind == "b":
        return ~values
    if values.dtype.kind != "u":
        raise InputError(f"{path}: states that white is zero, for {values.dtype} values; save it with black as zero")
    full = full_scale(values.dtype, model.bits)
    if int(values.max(initial=0)) > full:
        raise InputError(f"{path}: states {model.bits} significant bits, but has larger values; save it again")
    return np.asarray(full - values, dtype=values.dtype)


def _looked_up(index: NDArray[Any], model: ColourModel, path: Path) -> NDArray[np.uint8]:
    index = index[..., 0]
    if model.palette is None or index.dtype.kind not in "bu" or int(index.max(initial=0)) >= len(model.palette):
        raise InputError(f"{path}: has colours that are not in its palette; the file is damaged, copy it again")
    return model.palette[index.astype(np.uint8 if index.dtype.kind == "b" else index.dtype, copy=False)]
