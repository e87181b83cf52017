"""Channels of OME-XML: which are red, green and blue of a brightfield image, and which are fluorescence."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tomostain.errors import InputError

_COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
_GENERIC_NAME = re.compile(r"(channel|ch|c|#)?[\s:_-]*[\d:_\s-]*", re.IGNORECASE)
_BRIGHTFIELD_NAME = re.compile(r"bright|bf\b|transmit|tl\b|grey|gray|rgb|lum", re.IGNORECASE)
_FLUORESCENCE = ("fluorescence", "epifluorescence", "nonlinear")


@dataclass(frozen=True)
class Channel:
    """A channel as the file states it.

    Attributes
    ----------
    name : str
    colour : tuple of int, optional
        The colour in which it is displayed, RGB.
    is_fluorescence : bool
        A fluorophore, an emission wavelength or a fluorescence mode is stated.
    """

    name: str
    colour: tuple[int, int, int] | None = None
    is_fluorescence: bool = False


def ome_channels(pixels: ElementTree.Element) -> list[Channel]:
    """Return the channels of a Pixels element."""
    return [_channel(element) for element in pixels if element.tag.endswith("Channel")]


def _channel(element: ElementTree.Element) -> Channel:
    modes = [element.get(key, "").lower() for key in ("AcquisitionMode", "IlluminationType", "ContrastMethod")]
    fluorescent = any(element.get(key) for key in ("Fluor", "EmissionWavelength")) or any(
        mode in _FLUORESCENCE or "confocal" in mode for mode in modes
    )
    try:
        value = int(element.get("Color", "")) & 0xFFFFFFFF
        colour = (value >> 24, value >> 16 & 255, value >> 8 & 255)
    except ValueError:
        colour = None
    return Channel(element.get("Name", ""), colour, fluorescent)


def brightfield_order(path: Path, count: int, channels: Sequence[Channel]) -> tuple[int, ...]:
    """Return the indices of the red, green and blue channel; (0,) for one channel.

    Raises
    ------
    InputError
        If the channels are not one grey channel, or red, green and blue by their colours or names.

    Examples
    --------
    >>> brightfield_order(Path("a.tif"), 3, [Channel("Blue"), Channel("Green"), Channel("Red")])
    (2, 1, 0)
    """
    if count == 1 and len(channels) == 1:
        channel = channels[0]
        chromatic = channel.colour is not None and len(set(channel.colour)) > 1
        if channel.is_fluorescence or (chromatic and not _BRIGHTFIELD_NAME.search(channel.name)):
            raise InputError(f"{path}: its channel {_listed(channels)} is not a brightfield image; use a stained slide")
        return (0,)
    if count == 3 and len(channels) == 3 and not any(channel.is_fluorescence for channel in channels):
        roles = [_role(channel) for channel in channels]
        if sorted(role or "" for role in roles) == sorted(_COLOURS):
            return tuple(roles.index(name) for name in _COLOURS)
    stated = _listed(channels) or "their colours are not stated"
    raise InputError(
        f"{path}: has {count} separate channels ({stated}), which are not red, green and blue of a brightfield slide; "
        "export it as RGB"
    )


def _role(channel: Channel) -> str | None:
    """Return "red", "green" or "blue" of a channel whose colour and name do not contradict each other."""
    by_colour = next((name for name, colour in _COLOURS.items() if channel.colour == colour), None)
    name = channel.name.strip().lower()
    by_name = next((colour for colour in _COLOURS if re.fullmatch(rf"{colour}|{colour[0]}", name)), None)
    if by_name is not None:
        contradicted = channel.colour not in (None, _COLOURS[by_name], (255, 255, 255))
        return None if contradicted else by_name
    return by_colour if _GENERIC_NAME.fullmatch(name) else None


def _listed(channels: Sequence[Channel]) -> str:
    hexadecimal = ["" if c.colour is None else " #{:02x}{:02x}{:02x}".format(*c.colour) for c in channels]
    return ", ".join(f"{c.name or 'unnamed'}{text}" for c, text in zip(channels, hexadecimal, strict=True))
