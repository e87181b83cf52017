"""The bone around the screw: a tube of cortex, trabeculae in it, and osteons, lamellae and lacunae."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.phantom.noise import Cells, Float32, Lattice, dot

# Diameters of canals are 20 to 60 µm, including the effect of their waviness.
CANAL_RADIUS_UM = (13.0, 25.0)
OSTEON_RADIUS_UM = (60.0, 115.0)
VOLKMANN_RADIUS_UM = (12.0, 17.0)
LAMELLA_UM = 9.0
# Semi-axes of lacunae, for lengths of 5 to 15 µm.
LACUNA_SEMI_UM = ((5.2, 6.8), (3.0, 4.0), (2.5, 3.0))
LACUNA_CELL_UM, WOVEN_LACUNA_CELL_UM = 30.0, 26.0


@dataclass(frozen=True)
class Tibia:
    """The outer shape of the bone: an elliptic tube across the screw.

    Attributes
    ----------
    axis : ndarray of float32, shape (3,)
        Unit vector (z, y, x) along the bone, the main direction of canals.
    radius_um : tuple of float
        Half the width across the screw, and half the height along it, µm.
    top_um : float
        Intersection of the surface of the bone with the axis of the screw (z), µm.
    thickness_um : float
        Mean thickness of the cortex, µm.
    """

    axis: Float32
    radius_um: tuple[float, float]
    top_um: float
    thickness_um: float

    @classmethod
    def grow(cls, rng: np.random.Generator) -> "Tibia":
        """Draw the tibia of a rat, with a curved cortex of 0.6 to 0.95 mm."""
        angle = rng.uniform(0, 2 * math.pi)
        axis = np.array([0.0, math.cos(angle), math.sin(angle)], dtype=np.float32)
        radius = (float(rng.uniform(3300, 4000)), float(rng.uniform(2400, 2700)))
        return cls(axis, radius, float(rng.uniform(-1850, -1600)), float(rng.uniform(620, 950)))

    @property
    def across(self) -> Float32:
        """Unit vector across the bone and the axis of the screw."""
        return np.array([0.0, -self.axis[2], self.axis[1]], dtype=np.float32)

    def depth(self, points_um: Float32) -> tuple[Float32, Float32]:
        """Return the depth below the surface of the bone, µm, and the inward unit normal.

        The depth is the first-order distance to the ellipse: exact on the surface, and accurate in the cortex.

        Parameters
        ----------
        points_um : ndarray of float32, shape (n, 3)

        Returns
        -------
        depth : ndarray of float32, shape (n,)
        normal : ndarray of float32, shape (n, 3)
        """
        wide, high = self.radius_um
        v = dot(points_um, self.across)
        w = points_um[:, 0] - np.float32(self.top_um + high)
        k = np.sqrt((v / wide) ** 2 + (w / high) ** 2) + np.float32(1e-6)
        slope_v, slope_w = v / (wide**2 * k), w / (high**2 * k)
        steepness = np.hypot(slope_v, slope_w) + np.float32(1e-9)
        normal = -(slope_v / steepness)[:, None] * self.across
        normal[:, 0] -= slope_w / steepness
        return ((1 - k) / steepness).astype(np.float32), normal.astype(np.float32)


def grow_trabeculae(rng: np.random.Generator, *, nodes: int = 88, cells: int = 8) -> Lattice:
    """Make one period of trabecular architecture: the edges and some of the walls of a foam.

    Edges are rods and walls are plates. Holes in the walls give perforated plates, and struts that meet in threes, as
    in slices of trabecular bone.

    Parameters
    ----------
    rng : numpy.random.Generator
        Random numbers.
    nodes, cells : int
        Nodes, and cells of the foam, along a side.

    Returns
    -------
    Lattice
        Channels: a level similar to a distance (µm, small within bone), and its gradient (z, y, x). It is isotropic.
        The caller may stretch the coordinates.
    """
    cell_um = 400.0
    foam = Cells.random(rng, (cells, cells, cells), cell_um)
    step = cells * cell_um / nodes
    grid = np.stack(np.meshgrid(*[np.arange(nodes, dtype=np.float32)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    pieces = [foam.foam(piece * np.float32(step)) for piece in np.array_split(grid, 64)]
    wall, edge = (np.concatenate([piece[k] for piece in pieces]) for k in (0, 1))
    eaten = Lattice.random(rng, 1, nodes, step, smooth=3.2).table[:, 0]
    plate = wall + 130 * np.maximum(eaten + 0.25, 0)
    rod = np.hypot(wall, edge) - 14
    level = -16 * np.log(np.exp(-plate / 16) + np.exp(-rod / 16) + 1e-12)
    field = ndimage.gaussian_filter(level.reshape((nodes,) * 3), 0.8, mode="wrap")
    padded = np.pad(field, 1, mode="wrap")
    slopes = [slope[1:-1, 1:-1, 1:-1] for slope in np.gradient(padded, step)]
    table = np.stack([field, *slopes], axis=-1).reshape(-1, 4).astype(np.float32)
    return Lattice(table, nodes, step)


@dataclass(frozen=True)
class Microstructure:
    """Canals, osteons, lamellae and lacunae.

    Attributes
    ----------
    tibia : Tibia
        Defines the directions.
    osteons : Cells
        Points across the bone. Extras: whether there is a canal, radius of the canal, radius and mineral of the osteon.
    volkmann : Cells
        Points along and around the bone, of the canals that connect osteons. Extras: whether there is one, radius.
    lacunae, woven_lacunae : Cells
        Points in space. Extras: whether there is one, and three for the semi-axes.
    """

    tibia: Tibia
    osteons: Cells
    volkmann: Cells
    lacunae: Cells
    woven_lacunae: Cells

    @classmethod
    def grow(cls, rng: np.random.Generator, tibia: Tibia) -> "Microstructure":
        """Draw all points."""
        return cls(
            tibia,
            osteons=Cells.random(rng, (64, 64), 215.0, extras=4, margin=0.05),
            volkmann=Cells.random(rng, (32, 32), 620.0, extras=2, margin=0.05),
            lacunae=Cells.random(rng, (48, 48, 48), LACUNA_CELL_UM, extras=4, margin=0.23),
            woven_lacunae=Cells.random(rng, (48, 48, 48), WOVEN_LACUNA_CELL_UM, extras=4, margin=0.26),
        )

    def osteon(self, points_um: Float32) -> dict[str, Float32]:
        """Find the osteon of each point.

        Parameters
        ----------
        points_um : ndarray of float32, shape (n, 3)
            Positions in the cortex, µm, after the warp that makes canals wavy.

        Returns
        -------
        dict of ndarray of float32, shape (n,), and ``normal`` (n, 3)
            ``radius``: distance from the canal axis. ``relative``: the same, relative to the radius of its osteon
            (above 1: outside). ``canal``: radius of the canal. ``mineral``: 0 to 1, increases with the age of the
            osteon. ``normal``: unit vector away from the axis.
        """
        across, axis_z = self.tibia.across, np.array([1.0, 0.0, 0.0], dtype=np.float32)
        plane = np.stack([points_um[:, 0], dot(points_um, across)], axis=1)
        vectors, rows = self.osteons.around(plane)
        best = np.full(len(plane), np.inf, dtype=np.float32)
        radius, row = best.copy(), np.zeros(len(plane), dtype=np.int64)
        away = np.zeros_like(plane)
        for vector, index in zip(vectors, rows, strict=True):
            extras = self.osteons.table.take(index, axis=0)[:, 2:]
            distance = np.hypot(vector[:, 0], vector[:, 1])
            size = OSTEON_RADIUS_UM[0] + (OSTEON_RADIUS_UM[1] - OSTEON_RADIUS_UM[0]) * extras[:, 2]
            relative = np.where(extras[:, 0] < 0.75, distance / size, np.inf)
            nearer = relative < best
            best, radius = np.where(nearer, relative, best), np.where(nearer, distance, radius)
            row = np.where(nearer, index, row)
            away[nearer] = vector[nearer]
        extras = self.osteons.table.take(row, axis=0)[:, 2:]
        canal = CANAL_RADIUS_UM[0] + (CANAL_RADIUS_UM[1] - CANAL_RADIUS_UM[0]) * extras[:, 1]
        away /= np.maximum(np.hypot(away[:, 0], away[:, 1]), 1e-3)[:, None]
        normal = away[:, :1] * axis_z + away[:, 1:] * across
        return {"radius": radius, "relative": best, "canal": canal, "mineral": extras[:, 3], "normal": normal}

    def in_volkmann(self, points_um: Float32) -> NDArray[np.bool_]:
        """Return whether points (n, 3) lie in a Volkmann canal, which runs inwards and connects osteons."""
        wide, high = self.tibia.radius_um
        v = dot(points_um, self.tibia.across)
        w = points_um[:, 0] - np.float32(self.tibia.top_um + high)
        around = np.arctan2(v, -w) * np.float32((wide + high) / 2)
        vectors, rows = self.volkmann.in_same_cell(np.stack([dot(points_um, self.tibia.axis), around], axis=1))
        radius = VOLKMANN_RADIUS_UM[0] + (VOLKMANN_RADIUS_UM[1] - VOLKMANN_RADIUS_UM[0]) * rows[:, 1]
        return np.asarray((rows[:, 0] < 0.7) & (np.hypot(vectors[:, 0], vectors[:, 1]) < radius))

    def in_lacuna(self, points_um: Float32, normal: Float32, woven: bool = False) -> NDArray[np.bool_]:
        """Return whether points lie in a lacuna: an ellipsoid that is flat across the lamellae and long along the bone.

        Parameters
        ----------
        points_um : ndarray of float32, shape (n, 3)
        normal : ndarray of float32, shape (n, 3)
            Unit normal of the lamellae at each point.
        woven : bool
            Whether the bone is woven. There lacunae are denser and rounder.

        Returns
        -------
        ndarray of bool, shape (n,)
        """
        vector, extras = (self.woven_lacunae if woven else self.lacunae).in_same_cell(points_um)
        semi = [low + (high - low) * extras[:, 1 + k] for k, (low, high) in enumerate(LACUNA_SEMI_UM)]
        if woven:
            semi[1], semi[2] = 0.8 * semi[0], 0.65 * semi[0]
        across_lamella = np.einsum("ij,ij->i", vector, normal)
        flat = vector - across_lamella[:, None] * normal
        axis = self.tibia.axis - dot(normal, self.tibia.axis)[:, None] * normal
        axis /= np.maximum(np.linalg.norm(axis, axis=1), 1e-3)[:, None]
        along = np.einsum("ij,ij->i", flat, axis)
        aside = np.maximum(np.einsum("ij,ij->i", flat, flat) - along**2, 0)
        inside = (along / semi[0]) ** 2 + aside / semi[1] ** 2 + (across_lamella / semi[2]) ** 2 < 1
        return np.asarray(inside & (extras[:, 0] < 0.8))
