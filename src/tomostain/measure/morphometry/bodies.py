"""Parametric bodies of new implants, as signed distances in their own frame."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError

Float = NDArray[np.float64]


class Body(Protocol):
    """A body around the axis z of its own frame, with its centre at the origin.

    Attributes
    ----------
    diameter_um, length_um : float
        Outer diameter, and length along z, µm.
    pitch_um : float
        Pitch of the thread, µm; 0 without a thread.
    """

    @property
    def diameter_um(self) -> float:
        """Outer diameter, µm."""

    @property
    def length_um(self) -> float:
        """Length along z, µm."""

    @property
    def pitch_um(self) -> float:
        """Pitch of the thread, µm; 0 without a thread."""

    def distance(self, points_um: Float, turn: float = 0.0) -> Float:
        """Return signed distances of points (n, 3), (z, y, x), µm, negative inside.

        `turn` rotates the thread alone around the axis, in turns.
        """


def _check_positive(**lengths: float) -> None:
    for name, value in lengths.items():
        if not (value > 0 and math.isfinite(value)):
            raise InputError(f"`{name}` is {value}; give a positive length, µm", parameter=name)


@dataclass(frozen=True)
class Cylinder:
    """A cylinder with flat ends.

    Attributes
    ----------
    diameter_um, length_um : float
        µm.
    """

    diameter_um: float
    length_um: float
    pitch_um: float = 0.0

    def __post_init__(self) -> None:
        _check_positive(diameter_um=self.diameter_um, length_um=self.length_um)
        if self.pitch_um:
            raise InputError(f"a cylinder has no thread; `pitch_um` is {self.pitch_um}", parameter="pitch_um")

    def distance(self, points_um: Float, turn: float = 0.0) -> Float:
        """Return signed distances of points (n, 3), exact except outside of the edges."""
        z, y, x = points_um.T
        result: Float = np.maximum(np.hypot(y, x) - self.diameter_um / 2, np.abs(z) - self.length_um / 2)
        return result


@dataclass(frozen=True)
class ThreadedScrew:
    """A screw without a head, with a right-handed 60° thread (ISO 68-1), slotted at -z and chamfered at +z.

    The crest of the thread is cut at H/8, and the root of the external thread is 17/24 H below it, with
    ``H = (√3/2) pitch``.

    Attributes
    ----------
    pitch_um, diameter_um, length_um : float
        Pitch, major diameter and length, µm.
    slot_width_um, slot_depth_um : float
        Slot for the driver, µm. A depth of 0: none.
    chamfer_um : float
        Width of the 45° chamfer at +z, µm. 0: none.

    Examples
    --------
    >>> screw = ThreadedScrew(400.0, 2000.0, 4000.0)
    >>> screw.distance(np.array([[0.0, 0.0, 1000.0], [0.0, 0.0, 0.0]])).round(1).tolist()
    [0.0, -754.6]
    """

    pitch_um: float
    diameter_um: float
    length_um: float
    slot_width_um: float = 0.0
    slot_depth_um: float = 0.0
    chamfer_um: float = 0.0

    def __post_init__(self) -> None:
        _check_positive(pitch_um=self.pitch_um, diameter_um=self.diameter_um, length_um=self.length_um)
        if self.thread_depth_um >= self.diameter_um / 2:
            raise InputError(
                f"a thread with `pitch_um` {self.pitch_um:g} is {self.thread_depth_um:.0f} µm deep, which is more than "
                f"the radius of a screw with `diameter_um` {self.diameter_um:g}; give a smaller pitch",
                parameter="pitch_um",
            )

    @property
    def thread_depth_um(self) -> float:
        """Depth of the thread, µm."""
        return 17 / 24 * math.sqrt(3) / 2 * self.pitch_um

    def distance(self, points_um: Float, turn: float = 0.0) -> Float:
        """Return signed distances of points (n, 3): to crest, flank or root of the thread, exact except near edges."""
        z, y, x = points_um.T
        major, half = self.diameter_um / 2, self.length_um / 2
        rho = np.hypot(y, x)
        turns = z / self.pitch_um - np.arctan2(y, x) / (2 * math.pi) - turn
        along = np.abs(turns - np.round(turns)) * self.pitch_um
        flank = (rho - major) * 0.5 + (along - self.pitch_um / 16) * (math.sqrt(3) / 2)
        result = np.minimum(rho - major + self.thread_depth_um, np.maximum(rho - major, flank))
        chamfer = (rho + z - (half + major - self.chamfer_um)) / math.sqrt(2)
        result = np.maximum(result, np.maximum(np.abs(z) - half, chamfer))
        if self.slot_depth_um > 0:
            slot = np.maximum(np.abs(x) - self.slot_width_um / 2, z + half - self.slot_depth_um)
            result = np.maximum(result, -slot)
        return np.asarray(result)


BODIES: Mapping[str, Body] = {
    "m2-screw": ThreadedScrew(
        pitch_um=400.0,
        diameter_um=2000.0,
        length_um=4000.0,
        slot_width_um=320.0,
        slot_depth_um=450.0,
        chamfer_um=300.0,
    ),
}
"""Implants by name. ``m2-screw``: the screw of the paper (section 2.1), M2 × 4 mm without a head."""


def body_named(name: str) -> Body:
    """Return a body of `BODIES`.

    Raises
    ------
    InputError
        If there is none of this name.
    """
    if name not in BODIES:
        raise InputError(f"no implant is named '{name}'; choose from: {', '.join(sorted(BODIES))}")
    return BODIES[name]
