"""A smooth local deformation of the histology after the affine, for soft tissue that has moved (paper section 3).

Off by default and reported separately, because it can create false agreement. A deformation that maximises mutual
information follows any gain, also where nothing corresponds: in soft tissue it moves known landmarks away. This one
follows edges instead, and only where blocks of edges agree (`tomostain.register.edge_blocks`): the displacement is a
Gaussian process with mean zero, conditioned on the shifts of the blocks (kriging; Rasmussen & Williams 2006, section
2.2). Far from agreeing blocks it is zero. It is used only if it brings held-out edges closer, and if mutual
information, which it does not maximise, rises too.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomostain.geometry.section import interpolate
from tomostain.register.edge_blocks import EdgeShifts, edge_shifts
from tomostain.register.planar_images import PlanarImages
from tomostain.register.planar_judge import enough_blocks, gains
from tomostain.register.planar_pose import PlanarPose
from tomostain.register.similarity import mutual_information

Float32 = NDArray[np.float32]
Float = NDArray[np.float64]
# Standard deviation of the displacement before any block is seen, relative to the largest allowed.
_PRIOR = 0.4
_ITERATIONS = 8
# Largest shift that is tried, relative to the largest allowed. Blocks that need more than allowed are left out.
_REACH = 2.5
# Pixels between the points at which the displacement is computed, relative to the distance of the knots.
_GRID = 0.1


@dataclass(frozen=True, eq=False)
class Deformation:
    """A deformation and its effect.

    Attributes
    ----------
    shift_um : ndarray of float32, shape (Y, X, 2)
        Displacement (row, column), µm: each pixel takes the value of the histology at its position plus this.
    before, after : float
        Mutual information of µCT and histology, bits. A rise is no evidence that the deformation is right.
    edges_before_um, edges_after_um : float
        Median distance of the edges of the blocks, held out from the fit, µm. NaN with too few blocks.
    blocks : int
        Number of blocks that were used.
    """

    shift_um: Float32
    before: float
    after: float
    edges_before_um: float = float("nan")
    edges_after_um: float = float("nan")
    blocks: int = 0

    @property
    def largest_um(self) -> float:
        """The longest shift, µm."""
        return float(np.hypot(*np.moveaxis(self.shift_um, -1, 0)).max())


def deform(
    ct: NDArray[np.generic],
    histology: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    pixel_um: float,
    mesh_um: float = 600.0,
    max_um: float = 80.0,
) -> Deformation:
    """Find a smooth deformation of the histology that brings its edges to those of the µCT.

    Parameters
    ----------
    ct : ndarray, shape (Y, X)
    histology : ndarray of uint8, shape (Y, X, 3)
    mask : ndarray of bool, shape (Y, X)
        Where they correspond.
    pixel_um : float
    mesh_um : float
        Correlation length of the displacement, µm.
    max_um : float
        Largest displacement, µm. A longer one is shortened to it.

    Returns
    -------
    Deformation
        Zero if the deformation does not bring held-out edges closer, or decreases the mutual information.
    """
    grey = histology.mean(axis=2, dtype=np.float32)
    before = mutual_information(ct[mask], grey[mask])
    zero = np.zeros((*mask.shape, 2), np.float32)
    images = PlanarImages(np.asarray(ct, np.float32), mask, histology.astype(np.float32), mask, pixel_um)
    # The pose maps pixels of the histology to those of the µCT. The displacement is wanted the other way round.
    shifts = edge_shifts(images, PlanarPose.as_given(images.middle_um), _REACH * max_um)
    shifts = shifts.of(np.hypot(*shifts.shift_um.T) <= max_um)
    if not enough_blocks(shifts):
        return Deformation(zero, before, before)
    held_out = np.zeros(len(shifts))
    for fold in (0, 1):
        out, fitted = shifts.of(shifts.fold == fold), shifts.of(shifts.fold != fold)
        held_out[shifts.fold == fold] = _distance(_Displacement(fitted, mesh_um, max_um)(out.centre_um), out)
    at_start = _distance(np.zeros((len(shifts), 2)), shifts)
    edges = float(np.median(at_start)), float(np.median(held_out))
    displacement = _Displacement(shifts, mesh_um, max_um)
    shift = displacement.on_grid(mask.shape, pixel_um)
    after = mutual_information(ct[mask], warp(grey, (shift / pixel_um).astype(np.float32))[mask])
    if after <= before or not gains(at_start, held_out, shifts):
        return Deformation(zero, before, before, edges[0], edges[0], len(shifts))
    return Deformation(shift, before, after, *edges, len(shifts))


def _distance(displacement_um: Float, shifts: EdgeShifts) -> Float:
    return np.asarray(np.linalg.norm(displacement_um - shifts.shift_um, axis=1))


class _Displacement:
    """The mean of a Gaussian process through the shifts of blocks, robust to blocks that do not fit.

    A block at x on the histology shows what is at x + s on the µCT. Inverted to first order: the pixel x + s takes the
    value at x, a displacement of −s.
    """

    def __init__(self, shifts: EdgeShifts, length_um: float, max_um: float) -> None:
        self.length_um, self.max_um = length_um, max_um
        self.places = shifts.centre_um
        covariance = self._covariance(self.places)
        noise = max(shifts.pixel_um, 0.05 * max_um) ** 2
        variance = np.full(len(shifts), noise)
        for _ in range(_ITERATIONS):
            # Overlapping blocks repeat each other: four are about one observation.
            self.weights = np.linalg.solve(covariance + np.diag(4.0 * variance), shifts.shift_um)
            residual = np.linalg.norm(covariance @ self.weights - shifts.shift_um, axis=1)
            scale = max(1.5 * float(np.median(residual)), 2.0 * shifts.pixel_um)
            variance = noise * (1 + (residual / scale) ** 2) ** 2

    def _covariance(self, places: Float) -> Float:
        distance = np.linalg.norm(places[:, None] - self.places[None], axis=2)
        return np.asarray((_PRIOR * self.max_um) ** 2 * np.exp(-0.5 * (distance / self.length_um) ** 2))

    def __call__(self, places: Float) -> Float:
        """Return the shifts (N, 2) of points (N, 2), µm."""
        return np.asarray(self._covariance(places) @ self.weights)

    def on_grid(self, shape: tuple[int, int], pixel_um: float) -> Float32:
        """Return the displacement of every pixel, shape (*shape, 2), at most `max_um`."""
        step = max(1, int(_GRID * self.length_um / pixel_um))
        sides = [np.arange(0, n + step, step) for n in shape]
        knots = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1)
        coarse = self(np.asarray(knots.reshape(-1, 2) * pixel_um, dtype=np.float64)).reshape(knots.shape)
        index = np.moveaxis(np.indices(shape), 0, -1) / step
        shift = np.stack([-interpolate(coarse[..., i].astype(np.float32), index) for i in range(2)], axis=-1)
        length = np.hypot(shift[..., 0], shift[..., 1])
        return np.asarray(shift * np.minimum(1.0, self.max_um / np.maximum(length, 1e-6))[..., None], dtype=np.float32)


def warp(image: NDArray[np.generic], shift_px: Float32) -> Float32:
    """Interpolate an image (Y, X) or (Y, X, C) at each pixel plus `shift_px` (Y, X, 2). The border is repeated."""
    rows, columns = np.indices(shift_px.shape[:2])
    index = np.stack([rows + shift_px[..., 0], columns + shift_px[..., 1]], axis=-1)
    channels = image[..., None] if image.ndim == 2 else image
    moved = [interpolate(channels[..., c].astype(np.float32), index) for c in range(channels.shape[2])]
    result = np.stack(moved, axis=-1)
    return np.asarray(result[..., 0] if image.ndim == 2 else result, dtype=np.float32)
