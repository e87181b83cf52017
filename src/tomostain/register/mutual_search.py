"""Planar registration by mutual information: every rotation, side and shift on coarse pixels, then local refinement.

The search computes the joint histogram at every shift by FFT (Öfverstedt, Lindblad & Sladoje 2022, Pattern Recognit.
Lett. 159, 196), so it needs no assumption on which tissue is bright. The score is the log-likelihood per pixel of the
slide, ``(overlapping fraction) · I``: pixels outside of the slice add nothing. See `tomostain.register.strain_prior`.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, optimize

from tomostain.integers import to_integers
from tomostain.progress import Progress, silent
from tomostain.register.bilinear import BilinearImage
from tomostain.register.planar_images import PlanarImages
from tomostain.register.planar_pose import PlanarPose
from tomostain.register.strain_prior import strain_cost

Float = NDArray[np.float64]
# Pixels along the longest side of slice and slide, rotations, and classes in the global search.
SEARCH_SIDE, SEARCH_ANGLES, SEARCH_CLASSES = 64, 48, 8
# At least this fraction of the tissue must be inside the slice.
MIN_OVERLAP = 0.4
MAX_POINTS = 20_000
_STARTS_PER_ANGLE = 3
_SMOOTH_PX = 0.7


def search_all_poses(images: PlanarImages, max_count: int, progress: Progress = silent) -> list[PlanarPose]:
    """Return the best poses over all rotations, both sides and all shifts, best first; no two nearly equal.

    Parameters
    ----------
    images : PlanarImages
    max_count : int
    progress : Progress
    """
    coarse = images.at(images.side_um / SEARCH_SIDE)
    um, middle_um = coarse.pixel_um, images.middle_um
    bins = np.searchsorted(np.quantile(coarse.ct[coarse.valid], np.linspace(0, 1, SEARCH_CLASSES + 1)[1:-1]), coarse.ct)
    colours = _fewer_classes(coarse)
    diagonal = int(np.ceil(np.hypot(*coarse.rgb.shape[:2]))) + 2
    shape = [fft.next_fast_len(n + diagonal, real=True) for n in coarse.ct.shape]
    on_slice = np.stack([(bins == b) & coarse.valid for b in range(SEARCH_CLASSES)]).astype(np.float32)
    spectra = fft.rfft2(on_slice, shape)
    candidates: list[tuple[float, PlanarPose]] = []
    n = 2 * SEARCH_ANGLES
    for number in range(n):
        progress("searching", number, n)
        angle = 2 * np.pi * (number % SEARCH_ANGLES) / SEARCH_ANGLES
        pose = PlanarPose(np.zeros(2), angle, number >= SEARCH_ANGLES, middle_um, np.zeros((2, 2)))
        rotated = _rotated(colours, pose, um, diagonal)
        score = _scores_of_shifts(rotated, spectra, shape)
        for flat in _highest_peaks(score):
            shift = np.array(np.unravel_index(flat, score.shape), dtype=np.float64)
            shift -= np.where(shift > np.array(coarse.ct.shape), shape, 0)
            centre = (shift + (diagonal - 1) / 2) * um
            candidates.append((float(score.flat[flat]), pose.moved(centre)))
    progress("searching", n, n)
    candidates.sort(key=lambda item: -item[0])
    points = corners_um(images)
    return distinct([pose for _, pose in candidates], points, 1.5 * um, max_count)


def _fewer_classes(coarse: PlanarImages) -> NDArray[np.int64]:
    """Return classes of the colours 1 … `SEARCH_CLASSES` of about equal size, ordered by brightness. 0: no tissue."""
    grey = coarse.grey
    brightness = ndimage.mean(grey, coarse.colours, np.arange(coarse.colours.max() + 1))
    order = np.argsort(np.nan_to_num(np.asarray(brightness)))
    counts = np.bincount(coarse.colours[coarse.tissue], minlength=len(order))[order]
    groups = np.minimum((np.cumsum(counts) - counts / 2) / counts.sum() * SEARCH_CLASSES, SEARCH_CLASSES - 1)
    merged = np.empty(len(order), dtype=np.int64)
    merged[order] = groups.astype(np.int64) + 1
    return np.where(coarse.tissue, merged[coarse.colours], 0)


def _rotated(classes: NDArray[np.int64], pose: PlanarPose, um: float, side: int) -> NDArray[np.int64]:
    """Return the classes of the slide rotated about its middle into the middle of a square image."""
    inverse = pose.linear.T
    offset = pose.middle_um / um - inverse @ np.full(2, (side - 1) / 2)
    rotated = ndimage.affine_transform(classes, inverse, offset, (side, side), order=0, mode="constant", cval=0)
    return np.asarray(rotated, dtype=np.int64)


def _scores_of_shifts(rotated: NDArray[np.int64], spectra: NDArray[np.complex64], shape: list[int]) -> Float:
    """Return (overlap) · I for every cyclic shift of the slide on the slice, shape `shape`."""
    total = max(int((rotated > 0).sum()), 1)
    slides = np.stack([rotated == k for k in range(1, SEARCH_CLASSES + 1)]).astype(np.float32)
    conjugate = fft.rfft2(slides, shape).conj()
    n = np.zeros(shape)
    plogp = np.zeros(shape)
    per_bin = np.zeros((len(spectra), *shape))
    for k in range(SEARCH_CLASSES):
        counts = np.maximum(np.rint(fft.irfft2(spectra * conjugate[k], shape)), 0.0)
        per_bin += counts
        of_class = counts.sum(axis=0)
        n += of_class
        plogp += _n_log_n(counts).sum(axis=0) - _n_log_n(of_class)
    # N · I = Σ n_kb ln n_kb − Σ n_k ln n_k − Σ n_b ln n_b + N ln N
    evidence = plogp - _n_log_n(per_bin).sum(axis=0) + _n_log_n(n)
    return np.where(n >= MIN_OVERLAP * total, evidence / total, -1.0)


def _highest_peaks(score: Float) -> NDArray[np.intp]:
    """Return the flat indices of the highest local maxima of the scores of shifts, highest first."""
    peaks = ndimage.maximum_filter(score, 5) == score
    # Shifts with too little overlap are many, and have the lowest score.
    overlapping = np.flatnonzero(peaks & (score > -1.0))
    places = overlapping if len(overlapping) >= _STARTS_PER_ANGLE else np.flatnonzero(peaks)
    return places[np.argsort(score.flat[places])[::-1][:_STARTS_PER_ANGLE]]


def _n_log_n(counts: Float) -> Float:
    return np.asarray(counts * np.log(np.maximum(counts, 1.0)))


def corners_um(images: PlanarImages) -> Float:
    """Return points (N, 2) of the slide on a grid over the tissue, µm, to compare poses."""
    rows, columns = np.nonzero(images.tissue)
    grid = [np.linspace(axis.min(), axis.max(), 9) for axis in (rows, columns)]
    points = np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1).reshape(-1, 2)
    index = to_integers(points, np.int64, "positions in the slide")
    return np.asarray(points[images.tissue[index[:, 0], index[:, 1]]] * images.pixel_um)


def distinct(poses: list[PlanarPose], points_um: Float, apart_um: float, max_count: int) -> list[PlanarPose]:
    """Return the first poses, at most `max_count`, of which no two are closer than `apart_um` on average."""
    chosen: list[PlanarPose] = []
    for pose in poses:
        if all(pose.distance_um(other, points_um).mean() > apart_um for other in chosen):
            chosen.append(pose)
            if len(chosen) == max_count:
                break
    return chosen


class MutualScore:
    """Mutual information of slice and slide under a pose, from a fixed sample of the pixels of the slide.

    Parameters
    ----------
    images : PlanarImages
    seed : int
    keep : ndarray of bool, shape (rows, columns), optional
        Pixels of the slide that count. None: the tissue.
    """

    def __init__(self, images: PlanarImages, seed: int = 0, keep: NDArray[np.bool_] | None = None) -> None:
        pixels = np.argwhere(images.tissue if keep is None else images.tissue & keep)
        if len(pixels) > MAX_POINTS:
            pixels = pixels[np.random.default_rng(seed).choice(len(pixels), MAX_POINTS, replace=False)]
        self.images = images
        self.points_um = np.asarray(pixels * images.pixel_um, dtype=np.float64, order="F")
        self.colours = images.colours[pixels[:, 0], pixels[:, 1]]
        self.classes = int(images.colours.max()) + 1
        # The position of each grey value among the classes, continuous, so that the score is a smooth function.
        edges = images.ct_edges
        centres = np.concatenate([[edges[0]], (edges[1:] + edges[:-1]) / 2, [edges[-1]]])
        # Interpolation between pixels averages noise. Without smoothing, half a pixel off would look better (Pluim et
        # al. 2000, Comput. Vis. Image Underst. 77, 211).
        smooth = ndimage.gaussian_filter(images.ct, _SMOOTH_PX)
        self.position = np.interp(smooth, centres, np.arange(len(centres))).astype(np.float32)
        self.bins = len(centres)
        self.outside = ~images.valid
        self._position = BilinearImage(self.position)
        self._has_gaps = bool(self.outside.any())
        self._first_cell = self.colours * self.bins

    def __call__(self, pose: PlanarPose) -> float:
        """Return (overlap) · I, nats."""
        index = (pose.points_um(self.points_um) / self.images.pixel_um).T
        inside = self._inside(index)
        n = int(np.count_nonzero(inside))
        if n < MIN_OVERLAP * len(self.colours):
            return -1.0 + n / max(len(self.colours), 1)
        cell = self._first_cell
        if n < len(cell):
            index, cell = index[:, inside], cell[inside]
        position = self._position.at(index)
        low = np.minimum(position.astype(np.int64), self.bins - 2)
        part = position - low
        cell = cell + low
        length = self.classes * self.bins
        counts = np.bincount(cell, 1.0 - part, length) + np.bincount(cell + 1, part, length)
        joint = np.asarray(counts, dtype=np.float64).reshape(self.classes, self.bins)
        evidence = _soft_n_log_n(joint).sum() + n * np.log(n)
        evidence -= _soft_n_log_n(joint.sum(axis=0)).sum() + _soft_n_log_n(joint.sum(axis=1)).sum()
        return float(evidence / len(self.colours))

    def _inside(self, index: Float) -> NDArray[np.bool_]:
        """Return which positions (2, N), pixels, are on the slice and measured, shape (N,)."""
        (rows, columns), (height, width) = index, self.outside.shape
        inside = (rows >= 0) & (rows <= height - 1) & (columns >= 0) & (columns <= width - 1)
        if self._has_gaps:
            row, column = (
                to_integers(np.clip(axis, 0, side - 1), np.int64, "positions in the µCT")
                for axis, side in ((rows, height), (columns, width))
            )
            inside &= ~self.outside[row, column]
        return np.asarray(inside)


def _soft_n_log_n(counts: Float) -> Float:
    return np.asarray(counts * np.log(np.maximum(counts, 1e-12)))


def refine_rigid(
    score: Callable[[PlanarPose], float], start: PlanarPose, step_um: float, reach_um: float
) -> PlanarPose:
    """Maximise a score over shift and rotation by the simplex method of Nelder and Mead.

    Parameters
    ----------
    score : callable
    start : PlanarPose
    step_um : float
        Size of the first steps, µm.
    reach_um : float
        Half the size of the tissue: rotates by `step_um` at this distance.
    """

    def pose(step: Float) -> PlanarPose:
        return start.moved(step[:2] * step_um, step[2] * step_um / reach_um)

    return pose(_simplex(lambda step: -score(pose(step)), 3))


def refine_strained(
    score: Callable[[PlanarPose], float],
    start: PlanarPose,
    step_um: float,
    reach_um: float,
    samples: float,
    sigma: float,
) -> PlanarPose:
    """Maximise the log-posterior ``samples · score − strain_cost`` over shift, rotation and strain."""

    def pose(step: Float) -> PlanarPose:
        turn, e = step[2] * step_um / reach_um, step[3:] * sigma
        return start.moved(step[:2] * step_um, turn, [[e[0], e[2]], [e[2], e[1]]])

    def cost(step: Float) -> float:
        moved = pose(step)
        return strain_cost(moved.strain, sigma) / samples - score(moved)

    return pose(_simplex(cost, 6))


def _simplex(cost: Callable[[Float], float], size: int) -> Float:
    first = np.concatenate([np.zeros((1, size)), np.eye(size)]) - 0.25 / size
    options = {"initial_simplex": first, "xatol": 0.02, "fatol": 1e-6, "maxfev": 60 * size}
    result = optimize.minimize(cost, np.zeros(size), method="Nelder-Mead", options=options)
    return np.asarray(result.x)
