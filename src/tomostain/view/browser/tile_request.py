"""The query of a tile, checked: which plane, which level, which tile."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl

MAX_QUERY = 200
"""Maximum length of a query, characters."""
MAX_LEVEL = 20
"""Maximum level of any view; a view may have fewer."""
MAX_TILE = 2**16
"""Maximum index of a tile along a side; negative ones are as large."""
MAX_UM = 1e9

_NUMBER = re.compile(r"-?\d{1,10}(\.\d{1,10})?", re.ASCII)
_WHOLE = re.compile(r"-?\d{1,6}", re.ASCII)
_AXES: Mapping[str, Literal["z", "y", "x"]] = {"z": "z", "y": "y", "x": "x"}
_INDICES = (("row", MAX_TILE), ("column", MAX_TILE))
_KEYS = {"axis", "at", "level", "row", "column"}


class BadRequestError(Exception):
    """The query does not name a tile."""


@dataclass(frozen=True)
class TileRequest:
    """The tile that a page asks for.

    Attributes
    ----------
    axis : {"z", "y", "x", "oblique"}
        The axis across the plane, or a tilted plane.
    at_um : float
        Position along the axis, or offset of the tilted plane from the middle of the volume, µm.
    level, row, column : int
        See `tomostain.view.browser.planes.Tile`.
    tilt_x_deg, tilt_y_deg : float
        Angles of a tilted plane, -90 to 90 degrees.
    """

    axis: Literal["z", "y", "x", "oblique"]
    at_um: float
    level: int
    row: int
    column: int
    tilt_x_deg: float = 0.0
    tilt_y_deg: float = 0.0


def parse_tile(query: str, *, levels: int = MAX_LEVEL + 1) -> TileRequest:
    """Read a query.

    Parameters
    ----------
    query : str
    levels : int
        Number of levels of the view.

    Raises
    ------
    BadRequestError
        If a key is missing, unknown or repeated, or a value is not a number within its limits.

    Examples
    --------
    >>> parse_tile("axis=z&at=12.5&level=1&row=0&column=-2")
    TileRequest(axis='z', at_um=12.5, level=1, row=0, column=-2, tilt_x_deg=0.0, tilt_y_deg=0.0)
    """
    if len(query) > MAX_QUERY:
        raise BadRequestError("the query is too long")
    try:
        pairs = parse_qsl(query, strict_parsing=True, max_num_fields=8)
    except ValueError as error:
        raise BadRequestError(str(error)) from None
    values = dict(pairs)
    axis = values.get("axis")
    keys = _KEYS | {"tilt_x", "tilt_y"} if axis == "oblique" else _KEYS
    if len(values) != len(pairs) or values.keys() != keys:
        raise BadRequestError(f"the keys must be {', '.join(sorted(keys))}")
    level, row, column = (
        _whole(values[key], limit) for key, limit in (("level", min(MAX_LEVEL, levels - 1)), *_INDICES)
    )
    if level < 0:
        raise BadRequestError("the level is negative")
    at_um = _number(values["at"], MAX_UM)
    if axis == "oblique":
        tilt_x, tilt_y = (_number(values[key], 90.0) for key in ("tilt_x", "tilt_y"))
        return TileRequest("oblique", at_um, level, row, column, tilt_x, tilt_y)
    standard = _AXES.get(axis or "")
    if standard is None:
        raise BadRequestError("the axis is none of z, y, x, oblique")
    return TileRequest(standard, at_um, level, row, column)


def _number(text: str, limit: float) -> float:
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not abs(value) <= limit:
        raise BadRequestError("a value is not a number, or too large")
    return value


def _whole(text: str, limit: int) -> int:
    if not _WHOLE.fullmatch(text) or abs(int(text)) > limit:
        raise BadRequestError("a value is not a whole number, or too large")
    return int(text)
