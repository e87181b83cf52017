"""Zeiss CZI slides, read with pylibCZIrw."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.colour_model import ColourModel
from tomostain.io.colour_profiles import describe_colours
from tomostain.io.image_choice import Candidate, choose_image
from tomostain.io.image_size import check_decoded_size
from tomostain.io.interpret import interpret
from tomostain.io.metadata.ome_channels import Channel, brightfield_order
from tomostain.io.metadata.units import check_pixels, to_um

_SMALLEST_LEVEL = 512
_COLOUR_TYPES, _GREY_TYPES = ("Bgr24", "Bgr48"), ("Gray8", "Gray16")
_DEEP_TYPES = ("Bgr48", "Gray16")

_NOT_STATED = "not stated by CZI"
"""pylibCZIrw gives the pixels and the metadata of a CZI; neither holds a colour profile."""

Opened = tuple[
    list[tuple[int, int]],
    tuple[float | None, float | None],
    Callable[[int], NDArray[np.uint8]],
    Callable[[], dict[str, str]],
]
"""Shapes of the levels, pixel size (y, x) in µm, and functions: to read a level as 8-bit RGB, and for the profile."""


def open_czi(path: Path) -> Opened:
    """Open the largest scene of a CZI.

    The levels are halved: libCZI computes each from the pyramid in the file. Places without data are white.

    Raises
    ------
    InputError
        If pylibCZIrw is missing, the file is damaged, or it holds a stack, several scenes of similar size, fluorescence
        or a type of pixel other than 8 and 16 bits.
    """
    with _opened(path) as document:
        scene, (x, y, width, height) = _scene(path, document)
        metadata = _mapping(document.metadata, "ImageDocument", "Metadata")
        is_colour = _check_brightfield(path, document, metadata)
        is_deep = str(document.get_channel_pixel_type(0)) in _DEEP_TYPES
    bits = _bits(metadata)
    model = ColourModel("rgb" if is_colour else "grey", bits=bits)
    # The background is a share of 65535; white is the largest value of the significant bits.
    white = (2**bits - 1) / 65535 if is_deep and bits else 1.0
    factors = [1]
    while max(width, height) // factors[-1] > _SMALLEST_LEVEL:
        factors.append(2 * factors[-1])
    shapes = [(max(1, height // factor), max(1, width // factor)) for factor in factors]

    def read(level: int) -> NDArray[np.uint8]:
        check_pixels(path, shapes[level])
        check_decoded_size(path, shapes[level][0] * shapes[level][1], 6, path.stat().st_size)
        with _opened(path) as opened:
            region = opened.read(
                roi=(x, y, width, height), scene=scene, zoom=1 / factors[level], background_pixel=(white, white, white)
            )
        samples = np.asarray(region)[..., ::-1] if is_colour else np.asarray(region)[..., 0]
        return interpret(samples, model, path).rgb()

    return shapes, _pixel_um(metadata), read, lambda: describe_colours(model) | {"profile": _NOT_STATED}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a CZI; errors of the library are one line."""
    try:
        from pylibCZIrw import czi
    except ImportError:
        raise InputError(
            f"{path}: reading CZI needs pylibCZIrw; pip install 'tomostain[czi]', or export the slide as OME-TIFF"
        ) from None
    try:
        with czi.open_czi(str(path.absolute())) as document:
            yield document
    except InputError:
        raise
    except Exception as error:  # the C++ library raises whatever its parts raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: cannot be read as CZI ({reason}); the file is damaged, copy it again") from None


def _scene(path: Path, document: Any) -> tuple[int | None, tuple[int, int, int, int]]:
    """Return the largest scene, and its rectangle (x, y, width, height)."""
    scenes = {int(index): box for index, box in document.scenes_bounding_rectangle.items()}
    if len(scenes) < 2:
        box = document.total_bounding_rectangle
        return None, (int(box.x), int(box.y), int(box.w), int(box.h))
    indices = sorted(scenes)
    chosen = indices[
        choose_image(path, [Candidate(f"scene {i + 1}", int(scenes[i].h), int(scenes[i].w)) for i in indices])
    ]
    box = scenes[chosen]
    return chosen, (int(box.x), int(box.y), int(box.w), int(box.h))


def _check_brightfield(path: Path, document: Any, metadata: Mapping[str, Any]) -> bool:
    """Return whether the pixels are colours; raise if the file is not one brightfield plane."""
    extent = {axis: int(stop) - int(start) for axis, (start, stop) in document.total_bounding_box.items()}
    for axis, name in (("Z", "planes in z"), ("T", "time points")):
        if extent.get(axis, 1) > 1:
            raise InputError(f"{path}: holds {extent[axis]} {name}; export one of them, or their projection")
    channels = _channels(metadata)
    if extent.get("C", 1) > 1:
        brightfield_order(path, extent["C"], channels)
        raise InputError(f"{path}: holds {extent['C']} channels; export the slide as RGB")
    kind = str(document.get_channel_pixel_type(0))
    if kind not in (*_COLOUR_TYPES, *_GREY_TYPES):
        raise InputError(f"{path}: holds pixels of type {kind}; export the slide with 8 or 16 bits")
    if kind in _GREY_TYPES:
        brightfield_order(path, 1, channels)
    return kind in _COLOUR_TYPES


def _channels(metadata: Mapping[str, Any]) -> list[Channel]:
    """Return the channels that the metadata describe."""
    stated = _mapping(metadata, "Information", "Image", "Dimensions", "Channels").get("Channel", [])
    channels = []
    for one in stated if isinstance(stated, list) else [stated]:
        values = one if isinstance(one, Mapping) else {}
        modes = " ".join(str(values.get(key, "")) for key in ("ContrastMethod", "AcquisitionMode", "IlluminationType"))
        fluorescent = "fluorescence" in modes.lower() or any(values.get(k) for k in ("Fluor", "EmissionWavelength"))
        channels.append(Channel(str(values.get("@Name", "")), None, fluorescent))
    return channels


def _bits(metadata: Mapping[str, Any]) -> int | None:
    """Return the significant bits that the metadata state."""
    image = _mapping(metadata, "Information", "Image")
    channel = _mapping(image, "Dimensions", "Channels").get("Channel")
    first = channel[0] if isinstance(channel, list) and channel else channel
    for values in (first, image):
        text = str(values.get("ComponentBitCount", "")) if isinstance(values, Mapping) else ""
        if text.isdigit() and 8 <= int(text) <= 16:
            return int(text)
    return None


def _pixel_um(metadata: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return the pixel size (y, x), µm; CZI states it in metres."""
    items = _mapping(metadata, "Scaling", "Items").get("Distance", [])
    sizes: dict[str, float | None] = {}
    for item in items if isinstance(items, list) else [items]:
        if isinstance(item, Mapping):
            try:
                sizes[str(item.get("@Id"))] = to_um(float(str(item.get("Value"))), "m")
            except ValueError:
                continue
    return sizes.get("Y"), sizes.get("X")


def _mapping(values: Any, *keys: str) -> Mapping[str, Any]:
    """Return a mapping inside nested mappings; an empty one where it is missing."""
    for key in keys:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values if isinstance(values, Mapping) else {}
