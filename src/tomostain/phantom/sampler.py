"""Tissue at points: inexpensive distances for all points, expensive structure only where it is needed."""

import numpy as np
from numpy.typing import NDArray

from tomostain.phantom.anatomy import Anatomy
from tomostain.phantom.bone import LAMELLA_UM
from tomostain.phantom.noise import Float32, dot
from tomostain.phantom.screw import screw_distance
from tomostain.phantom.tissue import ATTRIBUTES, Label, Tissue

BLOCK_RADIUS_UM = 3000.0
BLOCK_END_UM = 2750.0
TUBE_RADIUS_UM = (4600.0, 5600.0)
TUBE_AXIS_UM = (350.0, -200.0)

# Thickness of woven bone next to the implant by week, µm, and a factor for each material.
WOVEN_UM = {4: 85.0, 8: 120.0, 12: 150.0}
WOVEN_PART = {"Mg-5Gd": 1.1, "Mg-10Gd": 1.0, "Ti": 0.8, "PEEK": 0.6}
# Soft tissue between implant and bone: width (µm) per unit of noise above the threshold, and the threshold.
GAP = {"Mg-5Gd": (45.0, 0.5), "Mg-10Gd": (45.0, 0.4), "Ti": (35.0, 0.7), "PEEK": (60.0, 0.0)}

# Points are processed in chunks that fit the cache of the processor.
CHUNK = 1 << 15

Index = NDArray[np.intp]


def sample_tissue(anatomy: Anatomy, points_um: NDArray[np.floating], *, finest_um: float = 0.0) -> Tissue:
    """Return the tissue at points of a specimen.

    Parameters
    ----------
    anatomy : Anatomy
        The specimen.
    points_um : ndarray, shape (..., 3)
        Specimen coordinates (z, y, x), µm.
    finest_um : float
        Leave out structures smaller than this, µm, as an image of that voxel size would: lacunae above 12, lamellae
        above 4. Bone without them gets the mean of both. 0 leaves nothing out.

    Returns
    -------
    Tissue
        Arrays of shape (...).
    """
    shape = points_um.shape[:-1]
    flat = points_um.reshape(-1, 3)
    whole = Tissue.blank(len(flat))
    for start in range(0, len(flat), CHUNK):
        chunk = flat[start : start + CHUNK].astype(np.float32, copy=False)
        Sampler(anatomy, chunk, finest_um).write(whole, start)
    return Tissue(*(getattr(whole, name).reshape(shape) for name in ATTRIBUTES))


def sample_tissue_in_volume(anatomy: Anatomy, points_um: NDArray[np.floating], *, finest_um: float = 0.0) -> Tissue:
    """Return the tissue at points (..., 3) in volume coordinates (z, y, x), µm; see `sample_tissue`."""
    return sample_tissue(anatomy, anatomy.pose.to_specimen(points_um), finest_um=finest_um)


class Sampler:
    """Classification of points, from the outermost to the innermost tissue.

    Parameters
    ----------
    anatomy : Anatomy
        The specimen.
    points_um : ndarray of float32, shape (n, 3)
        Specimen coordinates, µm.
    finest_um : float
        See `sample_tissue`.
    """

    def __init__(self, anatomy: Anatomy, points_um: Float32, finest_um: float) -> None:
        self.anatomy = anatomy
        self.finest_um = finest_um
        self.all_points = points_um
        rho = np.hypot(points_um[:, 1], points_um[:, 2])
        self.block = np.flatnonzero((rho < BLOCK_RADIUS_UM) & (points_um[:, 0] < BLOCK_END_UM))
        self.points = points_um[self.block]
        self.tissue = Tissue.blank(len(self.block))

    def write(self, whole: Tissue, start: int) -> None:
        """Find the tissue of all points, and write it to `whole` from index `start`."""
        label = whole.label[start : start + len(self.all_points)]
        label[self._in_tube()] = Label.TUBE
        if not len(self.block):
            return
        self._classify()
        for name in ATTRIBUTES:
            getattr(whole, name)[start + self.block] = getattr(self.tissue, name)

    def _in_tube(self) -> NDArray[np.bool_]:
        y, x = self.all_points[:, 1] - TUBE_AXIS_UM[0], self.all_points[:, 2] - TUBE_AXIS_UM[1]
        r = np.hypot(y, x)
        return np.asarray((r > TUBE_RADIUS_UM[0]) & (r < TUBE_RADIUS_UM[1]))

    def _classify(self) -> None:
        """Divide the points of the block into coarse classes, then refine each class."""
        self.slow = self.anatomy.slow.sample(self.points)
        self.fast = self.anatomy.fast.sample(self.points)
        # The warp makes tissue wavy. The screw is sampled without it.
        self.warped = self.points + 42 * self.slow[:3].T
        metal, layer, clearance = self._implant()
        self.tissue.label[metal] = Label.SCREW
        self.tissue.label[layer] = Label.DEGRADATION
        self.tissue.mineral[layer] = np.clip(0.5 + 0.1 * self.fast[0] + 0.1 * self.slow[4], 0.1, 1)[layer]
        self.tissue.fibre[layer] = np.clip(0.5 + 0.25 * self.fast[2], 0, 1)[layer]

        depth, normal = self.anatomy.tibia.depth(self.points)
        depth = depth + 60 * self.slow[0] + 5 * self.fast[0]
        cortex_end = self.anatomy.tibia.thickness_um * (1 + 0.13 * self.slow[3]) + 14 * self.fast[1]
        free = ~(metal | layer)
        outside, inside = free & (depth < 0), free & (depth >= 0)
        self._periosteum(np.flatnonzero(outside), depth)
        woven, gap = self._new_bone(clearance, depth - cortex_end)
        self._soft(np.flatnonzero(inside & gap))
        self._woven(np.flatnonzero(inside & woven), clearance)
        bone = inside & ~gap & ~woven
        self._cortex(np.flatnonzero(bone & (depth < cortex_end)), depth, normal)
        self._medulla(np.flatnonzero(bone & (depth >= cortex_end)), depth - cortex_end, clearance)

    def _implant(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_], Float32]:
        """Return masks of metal and degradation layer, and the distance (µm) of each point from their outer surface."""
        distance = screw_distance(self.points)
        inward, outward = self.anatomy.layer.depths(self.points, self.slow[4], self.fast[1])
        metal = distance < -inward
        return metal, ~metal & (distance < outward), distance - outward

    def _new_bone(self, clearance: Float32, below_cortex: Float32) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return masks of woven bone along the implant, and of soft tissue between bone and implant."""
        config = self.anatomy.config
        width, threshold = GAP[config.material]
        gap_um = width * np.clip(self.slow[6] - threshold, 0, 1.5)
        full = WOVEN_UM[config.weeks] * WOVEN_PART[config.material]
        # In the cortex the drilled hole leaves little space for it.
        mean = full * (0.45 + 0.55 / (1 + np.exp(-np.clip(below_cortex, -600, 600) / 60)))
        self.woven_um = mean * np.clip(0.9 + 0.6 * self.slow[7], 0, 2.2) + 16 * self.fast[0]
        pore = (self.fast[3] > 1.25) & (clearance > 12)
        beyond = clearance - gap_um
        woven = (beyond >= 0) & (beyond < self.woven_um) & ~pore
        return woven, clearance < gap_um

    def _periosteum(self, at: Index, depth: Float32) -> None:
        """Set fibrous tissue on the bone and around the head of the screw. Outside is air."""
        tissue_um = 230 + 110 * self.slow[5, at] + 12 * self.fast[1, at]
        self._soft(at[-depth[at] < tissue_um])

    def _soft(self, at: Index) -> None:
        """Set soft tissue. Its fibres are noise stretched along the bone."""
        tibia = self.anatomy.tibia
        q = self.warped[at]
        along, across = dot(q, tibia.axis), dot(q, tibia.across)
        stretched = np.stack([q[:, 0] * 1.3, across * 0.6, along * 0.16], axis=1)
        noise = self.anatomy.fast.sample(stretched)[0]
        self.tissue.label[at] = Label.SOFT
        self.tissue.fibre[at] = np.clip(0.5 + 0.3 * noise, 0, 1)

    def _woven(self, at: Index, clearance: Float32) -> None:
        """Set new bone of low mineralisation, youngest at the implant, with many round lacunae."""
        age = np.clip(clearance[at] / np.maximum(self.woven_um[at], 20), 0, 1)
        weeks = self.anatomy.config.weeks
        youth = np.clip(1.05 - (0.45 + 0.025 * weeks) * age + 0.08 * self.fast[1, at], 0, 1)
        mineral = 0.30 + 0.26 * (1 - youth) + 0.008 * weeks + 0.035 * self.fast[2, at]
        self._bone(at, Label.WOVEN, mineral, youth)
        if self.finest_um <= 12:
            normal = self._unit(self.fast[:3, at].T)
            self._lacunae(at, normal, woven=True)

    def _cortex(self, at: Index, depth: Float32, normal: Float32) -> None:
        """Set osteons around canals, and between them lamellae along the surface of the bone."""
        if not len(at):
            return
        micro, q = self.anatomy.micro, self.warped[at]
        osteon = micro.osteon(q)
        within = osteon["relative"] < 1 + 0.10 * self.fast[1, at]
        canal = (osteon["relative"] < 2) & (osteon["radius"] < osteon["canal"]) | micro.in_volkmann(q)
        height = np.where(within, osteon["radius"], depth[at])
        mineral = np.where(within, 0.60 + 0.16 * osteon["mineral"], 0.80) + 0.02 * self.slow[7, at]
        cement = within & (osteon["relative"] > 0.95)
        mineral = mineral + np.where(cement, 0.05, 0) + self._lamellae(at, height)
        youth = np.where(within, 0.35 * np.clip(0.6 - osteon["mineral"], 0, 1), 0)
        self._bone(at, Label.BONE, mineral, youth)
        if self.finest_um <= 12:
            self._lacunae(at, np.where(within[:, None], osteon["normal"], normal[at]))
        self.tissue.label[at[canal]] = Label.CANAL
        self.tissue.mineral[at[canal]] = self.tissue.youth[at[canal]] = 0

    def _medulla(self, at: Index, below_cortex: Float32, clearance: Float32) -> None:
        """Set trabeculae, denser near cortex and implant, and marrow between them."""
        if not len(at):
            return
        tibia, q = self.anatomy.tibia, self.warped[at]
        # The architecture follows the load, so it is longer along the bone than across it.
        stretched = q - (0.3 * dot(q, tibia.axis))[:, None] * tibia.axis
        level, *slopes = self.anatomy.trabeculae.sample(stretched)
        density = 12 * self.slow[7, at] + 34 * np.exp(-below_cortex[at] / 180)
        density += 16 * np.exp(-np.clip(clearance[at], 0, None) / 200)
        height = 26 + density + 3 * self.fast[0, at] - level
        bone = height > 0
        self._trabeculae(at[bone], height[bone], self._unit(np.stack(slopes, axis=1)[bone]))
        self._marrow(at[~bone], -height[~bone])

    def _trabeculae(self, at: Index, height: Float32, normal: Float32) -> None:
        mineral = 0.64 + 0.10 * np.clip(height / 60, 0, 1) + 0.03 * self.slow[6, at] + self._lamellae(at, height)
        self._bone(at, Label.BONE, mineral, np.clip(0.12 - height / 125, 0, 1).astype(np.float32))
        if self.finest_um <= 12:
            self._lacunae(at, normal)

    def _marrow(self, at: Index, from_bone: Float32) -> None:
        """Set adipocytes as a foam with thin walls, islands of blood-forming marrow, and cracks from drying."""
        if not len(at):
            return
        wall, edge = self.anatomy.adipocytes.foam(self.warped[at])
        blood = np.clip(self.slow[5, at] - 0.15, 0, 2)
        # Corners where three cells meet are rounded.
        thick = 1.6 + 22 * blood + 0.5 * self.fast[0, at] + (7 + 16 * blood) * np.exp(-edge / (10 + 12 * blood))
        fat = (wall > thick) & (from_bone > 4 + 4 * self.fast[1, at])
        rift = np.abs(self.slow[6, at] + 0.1 * self.fast[3, at] - 0.2)
        crack = (rift < 0.03 * np.clip(self.slow[3, at] - 0.2, 0, 1.2)) & (from_bone > 10)
        texture = self.anatomy.fast.sample(self.points[at] * np.float32(4.5))[2]
        self.tissue.label[at] = np.where(crack, Label.AIR, np.where(fat, Label.ADIPOCYTE, Label.MARROW))
        self.tissue.fibre[at] = np.where(crack | fat, 0, np.clip(0.5 + 0.3 * texture, 0, 1))

    def _bone(self, at: Index, label: Label, mineral: Float32, youth: Float32) -> None:
        self.tissue.label[at] = label
        self.tissue.mineral[at] = np.clip(mineral, 0.05, 1)
        self.tissue.youth[at] = youth

    def _lamellae(self, at: Index, height: Float32) -> Float32 | float:
        """Return the contribution of lamellae to the mineral at a height (µm) above the surface of growth."""
        if self.finest_um > 4:
            return 0.0
        tibia, q = self.anatomy.tibia, self.warped[at]
        # Streaks, 12 µm apart and about 200 µm long, interrupt the regular bands, as in stained bone.
        streaks = np.stack([6 * height, 0.5 * dot(q, tibia.axis), 0.5 * dot(q, tibia.across)], axis=1)
        streak = self.anatomy.fast.sample(streaks.astype(np.float32))[1]
        band = np.sin(2 * np.pi / LAMELLA_UM * (height + 3.5 * self.fast[3, at]))
        strength = np.clip(0.8 + 0.5 * self.slow[4, at] + 0.3 * self.fast[2, at], 0.1, 1.6)
        return np.asarray(strength * (0.028 * band + 0.028 * streak), dtype=np.float32)

    def _lacunae(self, at: Index, normal: Float32, woven: bool = False) -> None:
        hollow = at[self.anatomy.micro.in_lacuna(self.warped[at], normal, woven)]
        self.tissue.label[hollow] = Label.LACUNA
        self.tissue.mineral[hollow] = self.tissue.youth[hollow] = 0

    @staticmethod
    def _unit(vectors: Float32) -> Float32:
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(length, 1e-6), dtype=np.float32)
