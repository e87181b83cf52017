"""The screw and the degradation layer of magnesium, as signed distances in µm (negative inside)."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomostain.phantom.config import Material
from tomostain.phantom.noise import Cells, Float32

PITCH_UM = 400.0
LENGTH_UM = 4000.0
MAJOR_RADIUS_UM = 1000.0
# ISO 68-1: 60° thread of height H = (√3/2) P; crest cut at H/8, root of an external thread 17/24 H below.
THREAD_DEPTH_UM = 17 / 24 * math.sqrt(3) / 2 * PITCH_UM
MINOR_RADIUS_UM = MAJOR_RADIUS_UM - THREAD_DEPTH_UM
CHAMFER_UM = 300.0
SLOT_WIDTH_UM, SLOT_DEPTH_UM = 320.0, 450.0

# Mean thickness of the degradation layer after 8 weeks, µm, and its growth by week.
LAYER_UM = {"Mg-5Gd": 65.0, "Mg-10Gd": 95.0, "Ti": 0.0, "PEEK": 0.0}
GROWTH = {4: 0.6, 8: 1.0, 12: 1.4}
# Fraction of the layer that replaces metal. The rest is outside the original surface of the screw.
INWARD = 0.7
PIT_CELL_UM = 2 * math.pi * MAJOR_RADIUS_UM / 13


def screw_distance(points_um: Float32, *, slotted: bool = True) -> Float32:
    """Return the signed distance to the surface of the new screw, negative inside.

    An M2 screw without a head: 60° thread with a pitch of 400 µm, 2 mm by 4 mm (paper section 2.1), along z around the
    origin, slotted at -z, chamfered at +z. In the thread it is the distance to the nearest of crest, flank and root,
    which is exact except near the edges.

    Parameters
    ----------
    points_um : ndarray of float32, shape (n, 3)
        Positions (z, y, x), µm.
    slotted : bool
        Whether the end at -z has a slot.

    Returns
    -------
    ndarray of float32, shape (n,)
    """
    z, y, x = points_um.T
    rho = np.hypot(y, x)
    turn = z / PITCH_UM - np.arctan2(y, x) / (2 * math.pi)
    along = np.abs(turn - np.round(turn)) * PITCH_UM
    flank = (rho - MAJOR_RADIUS_UM) * 0.5 + (along - PITCH_UM / 16) * (math.sqrt(3) / 2)
    crest = rho - MAJOR_RADIUS_UM
    distance = np.minimum(rho - MINOR_RADIUS_UM, np.maximum(crest, flank))
    chamfer = (rho + z - (LENGTH_UM / 2 + MAJOR_RADIUS_UM - CHAMFER_UM)) / math.sqrt(2)
    distance = np.maximum(distance, np.maximum(np.abs(z) - LENGTH_UM / 2, chamfer))
    if slotted:
        slot = np.maximum(np.abs(x) - SLOT_WIDTH_UM / 2, z + LENGTH_UM / 2 - SLOT_DEPTH_UM)
        distance = np.maximum(distance, -slot)
    return distance.astype(np.float32)


@dataclass(frozen=True)
class ScrewLayer:
    """The degradation layer of a magnesium screw.

    Attributes
    ----------
    mean_um : float
        Mean thickness, µm. 0 for a material that does not degrade.
    pits : Cells
        Pits on the unrolled surface (along the axis, around it). Extras: depth, and whether there is one.
    """

    mean_um: float
    pits: Cells

    @classmethod
    def grow(cls, rng: np.random.Generator, material: Material, weeks: int) -> "ScrewLayer":
        """Draw the pits. The mean thickness depends on material and weeks."""
        pits = Cells.random(rng, (16, 13), PIT_CELL_UM, extras=2, margin=0.32)
        return cls(LAYER_UM[material] * GROWTH[weeks], pits)

    def depths(self, points_um: Float32, slow: Float32, fast: Float32) -> tuple[Float32, Float32]:
        """Return the depth of the layer inside and outside the original surface of the screw, µm.

        Parameters
        ----------
        points_um : ndarray of float32, shape (n, 3)
            Positions (z, y, x), µm.
        slow, fast : ndarray of float32, shape (n,)
            Noise of standard deviation 1 that modulates the thickness on a coarse and on a fine scale.

        Returns
        -------
        inward, outward : ndarray of float32, shape (n,)
            Both are 0 everywhere for a material that does not degrade.
        """
        uneven = np.clip(1 + 0.38 * slow + 0.12 * fast, 0.25, 2.2)
        thickness: Float32 = np.asarray(self.mean_um * uneven, dtype=np.float32)
        return INWARD * thickness + self._pit_depth(points_um), (1 - INWARD) * thickness

    def _pit_depth(self, points_um: Float32) -> NDArray[np.float32]:
        if self.mean_um == 0:
            return np.zeros(len(points_um), dtype=np.float32)
        around = np.arctan2(points_um[:, 1], points_um[:, 2]) * np.float32(MAJOR_RADIUS_UM)
        vectors, extras = self.pits.in_same_cell(np.stack([points_um[:, 0], around], axis=1))
        # A hemisphere. Its radius is below the margin of the cells (0.32 of 483 µm).
        radius = np.where(extras[:, 1] < 0.55, 50 + 100 * extras[:, 0], 0) * math.sqrt(self.mean_um / 95)
        return np.sqrt(np.maximum(radius**2 - (vectors**2).sum(axis=1), 0)).astype(np.float32)
