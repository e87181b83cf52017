"""RGB of another colour space than sRGB: ICC profiles, and the gamma and primaries of a PNG."""

import io
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import ColourProfileWarning, warn_user
from tomostain.io.colour_conversion import D65, in_blocks, rgb_from_linear, xyz_of_primaries
from tomostain.io.colour_model import SRGB_POINTS, SRGB_PRIMARIES, ColourModel, PngColours, Profile

_SAME = 2
"""Differences up to this many grey levels are those of rounding: the colours are sRGB."""
NO_PROFILE, READ_AS_SRGB = "none stated", "none, read as sRGB"
Convert = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def to_srgb(rgb: NDArray[np.uint8], profile: Profile | None, path: Path) -> NDArray[np.uint8]:
    """Convert 8-bit RGB to sRGB, and warn of it; colours that are sRGB are returned unchanged.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (rows, columns, 3)
    profile : bytes or PngColours, optional
        ICC profile, or what a PNG states.
    path : Path
        Named in the warning.

    Returns
    -------
    ndarray of uint8, shape (rows, columns, 3)

    Warns
    -----
    ColourProfileWarning
        If the colours are converted, or the profile cannot be used and they are read as sRGB.
    """
    if profile is None:
        return rgb
    try:
        name, convert = _conversion(profile)
    except ValueError as error:
        message = f"{path}: its colour profile cannot be used ({error}); the colours are read as sRGB"
        warn_user(message, ColourProfileWarning)
        return rgb
    if convert is None:
        return rgb
    warn_user(f"{path}: its colours are converted from {name} to sRGB", ColourProfileWarning)
    return in_blocks(convert, rgb)


def describe_colours(model: ColourModel) -> dict[str, str]:
    """Return which colour profile an image states, and what is done with it when the image is read as sRGB.

    Examples
    --------
    >>> describe_colours(ColourModel("rgb"))
    {'profile': 'none stated', 'conversion': 'none, read as sRGB'}
    >>> describe_colours(ColourModel("lab"))["conversion"]
    'from lab to sRGB'
    """
    if model.kind == "lab" or (model.kind == "cmyk" and not isinstance(model.profile, bytes)):
        return {"profile": NO_PROFILE, "conversion": f"from {model.kind} to sRGB"}
    if model.kind == "grey":
        return {"profile": "of grey values, not used" if model.profile else NO_PROFILE, "conversion": "none, grey"}
    if not model.profile:
        return {"profile": NO_PROFILE, "conversion": READ_AS_SRGB}
    if model.kind == "cmyk" and isinstance(model.profile, bytes):
        return {"profile": _name_of(model.profile), "conversion": "from cmyk to sRGB by the profile"}
    try:
        name, convert = _conversion(model.profile)
    except ValueError as error:
        return {"profile": f"cannot be used ({error})", "conversion": READ_AS_SRGB}
    return {"profile": name, "conversion": "none, it is sRGB" if convert is None else "to sRGB by the profile"}


def _name_of(profile: bytes) -> str:
    """Return the name of an ICC profile."""
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = " ".join(ImageCms.getProfileDescription(source).split())[:60]
    except (ImageCms.PyCMSError, OSError, TypeError, AttributeError):
        return "cannot be used"
    return f"'{name}'" if name else "an unnamed profile"


def _conversion(profile: Profile) -> tuple[str, Convert | None]:
    """Return the name of a profile and its conversion; None if it is sRGB. Raises ValueError if it cannot be used."""
    return _png_conversion(profile) if isinstance(profile, PngColours) else _icc_conversion(profile)


def png_colours(path: Path) -> PngColours | None:
    """Return what a PNG states of its colours; None if it states nothing, or sRGB."""
    gamma, primaries = None, SRGB_PRIMARIES
    for kind, data in _colour_chunks(path):
        if kind in (b"sRGB", b"iCCP", b"cICP"):
            return None  # they take precedence
        if kind == b"gAMA" and len(data) == 4:
            gamma = struct.unpack(">I", data)[0] / 1e5
        elif kind == b"cHRM" and len(data) == 32:
            primaries = tuple(value / 1e5 for value in struct.unpack(">8I", data))
    colours = PngColours(gamma, primaries)
    return None if colours.is_srgb else colours


def _colour_chunks(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield the chunks before the pixels of a PNG with at most 32 bytes of data, and those that name a profile."""
    with path.open("rb") as file:
        file.seek(8)
        while len(start := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", start)
            if kind in (b"IDAT", b"IEND"):
                return
            data = file.read(length) if length <= 32 else b""
            file.seek(4 if length <= 32 else length + 4, 1)
            yield kind, data


def _icc_conversion(profile: bytes) -> tuple[str, Convert | None]:
    """Return the name of an ICC profile and its conversion; None if it is sRGB.

    Raises
    ------
    ValueError
        If it is damaged or not one of RGB.
    """
    from PIL import Image, ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != "RGB":
            raise ValueError(f"it is one of {source.profile.xcolor_space.strip()}")
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        if not ImageCms.isIntentSupported(source, intent, ImageCms.Direction.INPUT) > 0:
            intent = ImageCms.Intent.PERCEPTUAL
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), "RGB", "RGB", intent)
        name = " ".join(ImageCms.getProfileDescription(source).split())[:60] or "an unnamed profile"
    except (ImageCms.PyCMSError, OSError, TypeError, AttributeError) as error:
        raise ValueError(str(error).splitlines()[0] if str(error) else "it is damaged") from None

    def convert(block: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(ImageCms.applyTransform(Image.fromarray(np.ascontiguousarray(block)), transform))

    return f"'{name}'", None if _changes_nothing(convert) else convert


def _png_conversion(colours: PngColours) -> tuple[str, Convert | None]:
    """Return the conversion from the gamma and primaries of a PNG.

    Raises
    ------
    ValueError
        If they are not possible.
    """
    gamma = colours.gamma or 1 / 2.2
    white, red, green, blue = (colours.primaries[first : first + 2] for first in (0, 2, 4, 6))
    if not 0.05 < gamma < 5 or any(not 0 < y < 1 for _, y in (white, red, green, blue)):
        raise ValueError(f"gamma {gamma:g}, primaries {colours.primaries}")
    try:
        matrix = np.linalg.inv(xyz_of_primaries(*SRGB_POINTS)) @ xyz_of_primaries(white, red, green, blue, to=D65)
    except np.linalg.LinAlgError:
        raise ValueError(f"primaries {colours.primaries}") from None
    table = (np.arange(256) / 255) ** (1 / gamma)

    def convert(block: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return rgb_from_linear(table[block] @ matrix.T)

    return f"gamma {gamma:.4g} of PNG", None if _changes_nothing(convert) else convert


def _changes_nothing(convert: Convert) -> bool:
    """Return whether a conversion changes a grid of colours by rounding only."""
    steps = np.array([*range(0, 252, 28), 255], dtype=np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(100, 10, 3)
    change = convert(grid).astype(np.int16) - grid
    return bool(np.abs(change).max() <= _SAME)
