"""Agreement of edges, block by block: a criterion that is independent of the mutual information.

The normalised gradient fields of µCT and histology (Haber & Modersitzki 2006, MICCAI, LNCS 4191, 726) are compared in
overlapping blocks of the section. In each block, the shift of the µCT for which the orientations of the edges agree
best is found by FFT. A pose is right if these shifts are zero where a block has a distinct optimum. Block matching with
a robust fit is how histological sections are aligned in Ourselin et al. 2001 (Image Vis. Comput. 19, 25): a minority of
blocks of soft tissue that has moved does not pull the transform.

Mutual information counts how often grey values occur together. It does not use gradients, and one block has one vote
here, whatever its contrast. So the two can disagree, and then the confidence is low.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from tomostain.register.planar_images import PlanarImages
from tomostain.register.planar_pose import PlanarPose

Float = NDArray[np.float64]
# Side of a block and largest shift relative to the longest side of the tissue; smallest values, pixels.
BLOCK, REACH = 0.11, 0.03
_MIN_BLOCK_PX, _MIN_REACH_PX = 24, 6
_SMOOTH_PX = 1.5
# The optimum of a block is distinct if it exceeds the mean over all shifts by this many standard deviations, and every
# local maximum elsewhere by so many.
_DISTINCT, _AHEAD = 3.0, 0.4
_MIN_TISSUE = 0.6
_ITERATIONS = 20
# Blocks along the side of a tile, and the number of overlapping blocks that are about one observation.
_TILE, _BLOCKS_PER_VOTE = 4, 4.0
# First scale of the robust weights, relative to the largest shift.
_FIRST_SCALE = 0.5


@dataclass(frozen=True, eq=False)
class EdgeShifts:
    """Shifts of the blocks with a distinct optimum, relative to a pose.

    Attributes
    ----------
    centre_um : ndarray, shape (N, 2)
        Centre of each block on the slide (row, column), µm.
    shift_um : ndarray, shape (N, 2)
        The slide point x of the block shows what is at the position of ``x + shift`` under the pose, µm.
    weight : ndarray, shape (N,)
        Height of the optimum above the mean, standard deviations.
    tile : ndarray of int, shape (N,)
        Blocks of one tile overlap. Tiles are the independent units.
    fold : ndarray of int, shape (N,)
        0 or 1, as on a chess board of tiles.
    compared : int
        Number of blocks with enough tissue, distinct or not.
    pixel_um, reach_um : float
        Pixel size of the comparison, and the largest shift that was tried.
    """

    centre_um: Float
    shift_um: Float
    weight: Float
    tile: NDArray[np.int64]
    fold: NDArray[np.int64]
    compared: int
    pixel_um: float
    reach_um: float

    def __len__(self) -> int:
        return len(self.centre_um)

    def of(self, which: NDArray[np.bool_]) -> "EdgeShifts":
        """Return some of the blocks."""
        names = ("centre_um", "shift_um", "weight", "tile", "fold")
        return replace(self, **{name: getattr(self, name)[which] for name in names})

    def residual_um(self, linear: Float, offset_um: Float, middle_um: Float) -> Float:
        """Return the distances (N,) between the shifts and the displacement by ``m + linear (x - m) + offset``."""
        around = self.centre_um - middle_um
        return np.asarray(np.linalg.norm(around @ (linear - np.eye(2)).T + offset_um - self.shift_um, axis=1))


def edge_shifts(images: PlanarImages, pose: PlanarPose, reach_um: float | None = None) -> EdgeShifts:
    """Find in each block the shift for which the edges agree best.

    Parameters
    ----------
    images : PlanarImages
    pose : PlanarPose
    reach_um : float, optional
        Largest shift. None: 3 % of the size of the tissue.
    """
    um = images.pixel_um
    block = max(_MIN_BLOCK_PX, round(BLOCK * images.size_um / um))
    reach = max(_MIN_REACH_PX, round((REACH * images.size_um if reach_um is None else reach_um) / um))
    moved, inside = ct_on_slide(images, pose)
    compared = images.tissue & inside
    slide, ct = (_orientation(image, compared) for image in (images.grey, moved))
    # A shift may not leave the image, so that every shift compares the same pixels.
    ct = np.pad(ct, [(0, 0), (reach, reach), (reach, reach)])
    step, count = block // 2, 0
    rows: list[tuple[Float, Float, float, int, int]] = []
    for row, column in np.ndindex(*(max(0, (n - block) // step + 1) for n in compared.shape)):
        first, last = np.array([row, column]) * step, np.array([row, column]) * step + block
        if compared[first[0] : last[0], first[1] : last[1]].mean() < _MIN_TISSUE:
            continue
        count += 1
        wide = ct[:, first[0] : last[0] + 2 * reach, first[1] : last[1] + 2 * reach]
        optimum = _distinct_optimum(_agreement(slide[:, first[0] : last[0], first[1] : last[1]], wide))
        if optimum is not None:
            tile = (row // _TILE, column // _TILE)
            centre = (first + (block - 1) / 2) * um
            rows.append((centre, (optimum[0] - reach) * um, optimum[1], tile[0] * 1000 + tile[1], sum(tile) % 2))
    if not rows:
        empty, none = np.zeros((0, 2)), np.zeros(0, np.int64)
        return EdgeShifts(empty, empty, np.zeros(0), none, none, count, um, reach * um)
    centre, shift, weight, tiles, folds = (np.array(part) for part in zip(*rows, strict=True))
    return EdgeShifts(centre, shift, weight, tiles, folds, count, um, reach * um)


def ct_on_slide(images: PlanarImages, pose: PlanarPose) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the µCT on the pixels of the slide under a pose, and where it was measured."""
    um, linear = images.pixel_um, pose.linear
    offset = (pose.centre_um - linear @ pose.middle_um) / um
    shape = images.tissue.shape
    ct = ndimage.affine_transform(images.ct, linear, offset, shape, order=1, mode="nearest")
    valid = images.valid.astype(np.float32)
    inside = ndimage.affine_transform(valid, linear, offset, shape, order=1, mode="constant", cval=0.0) > 0.99
    return np.asarray(ct, dtype=np.float32), np.asarray(inside)


def _orientation(image: NDArray[np.float32], compared: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the double-angle field (3, Y, X) of the normalised gradient: |g|², g_r² − g_c², 2 g_r g_c."""
    smooth = ndimage.gaussian_filter(image, _SMOOTH_PX)
    rows, columns = np.gradient(smooth)
    size = np.hypot(rows, columns)
    # The edge of the field of view is no edge of the tissue.
    interior = ndimage.binary_erosion(compared, iterations=3)
    typical = float(np.median(size[interior])) if interior.any() else 1.0
    scale = 1.0 / (size**2 + max(typical, 1e-6) ** 2)
    field = np.stack([(rows**2 + columns**2) * scale, (rows**2 - columns**2) * scale, 2 * rows * columns * scale])
    return (field * interior).astype(np.float32)


def _agreement(slide: NDArray[np.float32], ct: NDArray[np.float32]) -> Float:
    """Return Σ (g_slide · g_ct)² for every shift of the block (3, B, B) in (3, B + 2R, B + 2R): (2R + 1, 2R + 1)."""
    shape = [fft.next_fast_len(n, real=True) for n in ct.shape[1:]]
    product = (fft.rfft2(slide, shape).conj() * fft.rfft2(ct, shape)).sum(axis=0)
    sides = [n - m + 1 for n, m in zip(ct.shape[1:], slide.shape[1:], strict=True)]
    # (a · b)² = ½ |a|² |b|² (1 + cos 2δ)
    return np.asarray(0.5 * fft.irfft2(product, shape)[: sides[0], : sides[1]], dtype=np.float64)


def _distinct_optimum(score: Float) -> tuple[Float, float] | None:
    """Return the position of the maximum to a fraction of a pixel, and its height, or None if it is not distinct."""
    spread = float(score.std())
    row, column = (int(i) for i in np.unravel_index(score.argmax(), score.shape))
    border = row in (0, score.shape[0] - 1) or column in (0, score.shape[1] - 1)
    if border or spread <= 1e-9:
        return None
    height = (score[row, column] - score.mean()) / spread
    peaks = ndimage.maximum_filter(score, 3) == score
    peaks[row, column] = False
    second = float(score[peaks].max()) if peaks.any() else -np.inf
    if height < _DISTINCT or score[row, column] - second < _AHEAD * spread:
        return None
    part = []
    for low, mid, high in (score[row - 1 : row + 2, column], score[row, column - 1 : column + 2]):
        curvature = low - 2 * mid + high
        part.append(float(np.clip(0.5 * (low - high) / curvature, -0.5, 0.5)) if curvature < 0 else 0.0)
    return np.array([row, column]) + np.array(part), float(height)


def fit_shifts(shifts: EdgeShifts, middle_um: Float, sigma: float | None) -> tuple[Float, Float]:
    """Fit a transform to the shifts, robustly: Geman–McClure weights, and no more weight for a tile of many blocks.

    Parameters
    ----------
    shifts : EdgeShifts
    middle_um : ndarray, shape (2,)
        m of the result ``m + linear (x - m) + offset``.
    sigma : float or None
        Standard deviation of the prior of each component of the strain. None: no strain.

    Returns
    -------
    linear : ndarray, shape (2, 2)
    offset_um : ndarray, shape (2,)
    """
    design = _design(shifts.centre_um - middle_um, strained=sigma is not None)
    target = shifts.shift_um.T.ravel()
    base = _vote(shifts)
    values: Float = np.zeros(design.shape[1])
    values[:2] = np.median(shifts.shift_um, axis=0)
    scale = _FIRST_SCALE * shifts.reach_um
    for _ in range(_ITERATIONS):
        length = np.hypot(*(target - design @ values).reshape(2, -1))
        typical = max(float(np.median(length)), shifts.pixel_um)
        scale = max(0.7 * scale, 1.5 * typical)
        weights = np.tile(base / (1 + (length / scale) ** 2) ** 2, 2)
        normal = design.T @ (weights[:, None] * design)
        if sigma is not None:
            # Four blocks of a tile are about one observation, with the typical residual as its standard deviation.
            normal[3:, 3:] += np.diag([1.0, 1.0, 2.0]) * _BLOCKS_PER_VOTE * typical**2 / sigma**2
        normal += 1e-12 * np.diag(np.diag(normal))
        values = np.asarray(np.linalg.lstsq(normal, design.T @ (weights * target), rcond=None)[0], dtype=np.float64)
    rotation = _rotation(float(values[2]))
    if sigma is None:
        return rotation, values[:2]
    return rotation @ (np.eye(2) + np.array([[values[3], values[5]], [values[5], values[4]]])), values[:2]


def _design(around_um: Float, *, strained: bool) -> Float:
    """Return the displacements (2 N, P) by offset, rotation and strains (rr, cc, rc): all rows, then all columns."""
    row, column = around_um.T
    zero, one = np.zeros(len(row)), np.ones(len(row))
    parts = [(one, zero), (zero, one), (-column, row)]
    if strained:
        parts += [(row, zero), (zero, column), (column, row)]
    return np.stack([np.concatenate(pair) for pair in parts], axis=1)


def _vote(shifts: EdgeShifts) -> Float:
    """Return the weight of each block, with mean 1: its height, divided by the number of blocks in its tile."""
    _, index, counts = np.unique(shifts.tile, return_inverse=True, return_counts=True)
    base = shifts.weight / np.maximum(counts[index], _BLOCKS_PER_VOTE)
    return np.asarray(base / base.mean())


def _rotation(angle: float) -> Float:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
