"""Segmentation of regions of interest in a scan by grey value: padding, background, bone, metal."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from tomostain.io.parallel import in_parallel

MIN_REGION_PX = 40
_ALIKE = 1e-4
_RIM_PX = 5
_THICK_PX = 20
_THICK_PART = 0.25
_BRIGHTER = 1.25
_LEFT_PART = 0.02
_CONTRAST = 0.06
_BONE_PART = 0.1
_SATURATED_PART = 0.001
_SATURATED_THICK = 0.5
_SATURATED_CONTRAST = 0.21
_SATURATED_REST = 0.04


def block_mean(image: NDArray[Any], step: int) -> NDArray[np.float32]:
    """Average blocks of step × step pixels. Incomplete blocks at the far sides are dropped.

    Parameters
    ----------
    image : ndarray, shape (Y, X) or (Y, X, C)
    step : int
        Side of a block, px. A side that is shorter becomes one block.

    Returns
    -------
    ndarray of float32, shape (Y // step, X // step) or (Y // step, X // step, C)

    Examples
    --------
    >>> block_mean(np.array([[1, 3, 9], [5, 7, 9]]), 2).tolist()
    [[4.0]]
    """
    if step <= 1:
        return image.astype(np.float32)
    tall, wide = min(step, image.shape[0]), min(step, image.shape[1])
    rows, columns = image.shape[0] // tall, image.shape[1] // wide
    blocks = image[: rows * tall, : columns * wide].reshape(rows, tall, columns, wide, *image.shape[2:])
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))


def padding(stack: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Mark the constant that some reconstructions write outside the field of view. It is not background.

    A value counts as padding if it fills every corner, is almost absent inside the field of view, and the other data
    are noisy. The rim that smoothing blends with it is included.

    Parameters
    ----------
    stack : ndarray of float32, shape (N, Y, X)
        Slices.

    Returns
    -------
    ndarray of bool, same shape
    """
    nothing = np.zeros(stack.shape, bool)
    corner = stack[0, 0, 0]
    if not (stack[:, [0, 0, -1, -1], [0, -1, 0, -1]] == corner).all():
        return nothing
    padded = stack == corner
    rows, columns = (np.linspace(-1, 1, n) for n in stack.shape[1:])
    inside = rows[:, None] ** 2 + columns**2 < 0.8
    flat = ndimage.maximum_filter(stack, (1, 3, 3)) == ndimage.minimum_filter(stack, (1, 3, 3))
    noisy = (flat & ~padded).mean() < 0.01
    if not noisy or padded[:, inside].mean() >= 0.02:
        return nothing
    return np.asarray(
        ndimage.binary_dilation(padded, ndimage.generate_binary_structure(2, 1)[None], iterations=_RIM_PX)
    )


def solid_and_metal(smooth: NDArray[np.float32], seen: NDArray[np.bool_]) -> tuple[float, NDArray[np.bool_]]:
    """Find the grey value above which matter is solid, and the thick body that is excluded from bone, if there is one.

    A screw is much thicker than the bone around it. The thickest body is excluded: if it is as bright as bone, nothing
    is lost as long as other bone remains; if it is brighter metal, it is not mistaken for bone. A thick body that is a
    small part of the solid matter is excluded only if it is clearly brighter than the rest.

    Parameters
    ----------
    smooth : ndarray of float32, shape (N, Y, X)
        Slices without much noise, on a scale from 0 to 1.
    seen : ndarray of bool, same shape
        Pixels that are considered.

    Returns
    -------
    threshold : float
        Bone is brighter; soft tissue and background are darker.
    metal : ndarray of bool, shape (N, Y, X)
        The thick body and its blurred rim, which has grey values between background and metal.
    """
    upper = float(threshold_otsu(smooth[seen]))
    none = np.zeros(seen.shape, bool)
    bright = seen & (smooth >= upper)
    thick = thick_bodies(bright)
    if thick.sum() < _THICK_PART * bright.sum() and not _stands_out(smooth, seen, bright, thick):
        return upper, none
    # The thread reaches up to a third of the radius beyond the body, and the blurred rim further.
    reach = _RIM_PX + 0.35 * max(in_parallel(lambda plane: float(ndimage.distance_transform_edt(plane).max()), thick))
    near = in_parallel(lambda plane: ndimage.distance_transform_edt(~plane) <= reach if plane.any() else plane, thick)
    metal = np.stack(near)
    below = smooth[seen & ~metal]
    if below.size < MIN_REGION_PX or np.ptp(below) < _ALIKE:
        return upper, none
    lower = float(threshold_otsu(below))
    dark = below[below < lower].mean()
    solid = smooth[core_of(seen & ~metal & (smooth >= lower), (1,))]
    if solid.size < max(1, _LEFT_PART * bright.sum()):
        return upper, none
    if np.median(solid) - dark < _CONTRAST * (np.median(smooth[bright]) - dark):
        return upper, none  # the rest is noise: even next to titanium, bone has a tenth of its contrast
    return _above_soft(solid, lower, dark), metal


def saturated_body(stack: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Find a thick body whose grey values are cut off at the top of the scale, as titanium often is.

    Its plateau pulls the mean of the bright matter upwards, and in slices in which the body is thin it looks like bone.

    Parameters
    ----------
    stack : ndarray of float32, shape (N, Y, X)
        Slices, without smoothing.

    Returns
    -------
    ndarray of bool, same shape
        The voxels with the maximum value and their blurred rim. All False unless the maximum occurs in 0.1 % of the
        voxels, and half of them belong to a thick body (`thick_bodies`): of bone with pores that is cut off, less do.
    """
    nothing = np.zeros(stack.shape, bool)
    plateau = stack == stack.max()
    # The head of a screw is much thicker than its shaft, which belongs to the thick body, too.
    thick = thick_bodies(plateau, max_radius_px=_THICK_PX / 2)
    if plateau.mean() < _SATURATED_PART or thick.sum() < _SATURATED_THICK * plateau.sum():
        return nothing
    rim = in_parallel(lambda p: ndimage.distance_transform_edt(~p) <= _RIM_PX if p.any() else p, plateau)
    return np.asarray(np.stack(rim), dtype=bool)


def is_bone(
    smooth: NDArray[np.float32],
    background: NDArray[np.bool_],
    core: NDArray[np.bool_],
    saturated: NDArray[np.bool_],
) -> bool:
    """Return whether matter outside a saturated body is bright enough, and there is enough of it, to be bone.

    Where bone itself is cut off at the top of the scale, what is left is soft tissue, with a fifth of the contrast, or
    the blurred edges of the bone.

    Parameters
    ----------
    smooth : ndarray of float32, shape (N, Y, X)
        Slices on a scale from 0 to 1; the body has the value 1.
    background, core : ndarray of bool, same shape
        Regions of background and of the matter.
    saturated : ndarray of bool, same shape
        The body (`saturated_body`).
    """
    if core.sum() < _SATURATED_REST * saturated.sum():
        return False
    if background.sum() < MIN_REGION_PX or core.sum() < MIN_REGION_PX:
        return False
    dark = float(np.median(smooth[background]))
    return bool(np.median(smooth[core]) - dark >= _SATURATED_CONTRAST * (1 - dark))


def thick_bodies(mask: NDArray[np.bool_], *, max_radius_px: float = np.inf) -> NDArray[np.bool_]:
    """Return the part of each slice's mask that is at least half as thick as the thickest place of all slices.

    Parameters
    ----------
    mask : ndarray of bool, shape (N, Y, X)
    max_radius_px : float
        A place with this radius is thick enough, however thick others are.

    Returns
    -------
    ndarray of bool, same shape
        All False if no place is thicker than 20 px: those are trabeculae, not a screw.
    """
    depth = np.stack(in_parallel(ndimage.distance_transform_edt, mask))
    radius = min(0.5 * float(depth.max()), max_radius_px)
    if radius < _THICK_PX / 4:
        return np.zeros(mask.shape, bool)

    def opened(plane: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Open with a disc of that radius, by two distance transforms."""
        return ndimage.distance_transform_edt(plane < radius) < radius if (plane >= radius).any() else plane < 0

    return np.stack(in_parallel(opened, depth))


def _stands_out(
    smooth: NDArray[np.float32], seen: NDArray[np.bool_], bright: NDArray[np.bool_], thick: NDArray[np.bool_]
) -> bool:
    """Whether a thick body is clearly brighter than other solid matter, as a screw is."""
    if not thick.any():
        return False
    around = ndimage.binary_dilation(thick, ndimage.generate_binary_structure(2, 1)[None], iterations=_RIM_PX)
    other = smooth[core_of(bright & ~around)]
    if other.size < MIN_REGION_PX:
        return False
    dark = np.median(smooth[seen & ~bright])
    return bool(np.median(smooth[core_of(thick)]) - dark > _BRIGHTER * (np.median(other) - dark))


def _above_soft(solid: NDArray[np.float32], lower: float, dark: float) -> float:
    """Raise the lower bound of bone above soft tissue where the two are clearly separated."""
    if np.ptp(solid) < _ALIKE:
        return lower
    threshold = float(threshold_otsu(solid))
    soft, hard = solid[solid < threshold], solid[solid >= threshold]
    # A few bright pixels are remains of the thread of the screw, not bone above soft tissue.
    divided = soft.size and hard.size > _BONE_PART * solid.size and hard.mean() - dark > 1.8 * (soft.mean() - dark)
    return threshold if divided else lower


def core_of(mask: NDArray[np.bool_], depths: Sequence[int] = (3, 2, 1)) -> NDArray[np.bool_]:
    """Erode the regions of each slice by the largest number of pixels that leaves enough of them.

    Parameters
    ----------
    mask : ndarray of bool, shape (N, Y, X)
    depths : sequence of int
        Numbers of pixels to try, the largest first. The last one is used if none leaves enough.

    Returns
    -------
    ndarray of bool, same shape
    """
    across = ndimage.generate_binary_structure(2, 1)[None]
    for depth in depths:
        core = ndimage.binary_erosion(mask, across, iterations=depth)
        if core.sum() >= max(MIN_REGION_PX, 0.15 * mask.sum()):
            break
    return np.asarray(core)


def low_mode(smooth: NDArray[np.float32], dark: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find the pixels near the lowest main mode of the grey values: the air.

    Parameters
    ----------
    smooth : ndarray of float32, shape (N, Y, X)
        Slices without much noise, so that air and soft tissue have separate modes.
    dark : ndarray of bool, same shape
        Pixels that are considered.

    Returns
    -------
    ndarray of bool, same shape
        Pixels within two widths of the mode. The width is measured on its dark side.
    """
    values = smooth[dark]
    if values.size < MIN_REGION_PX or np.ptp(values) < _ALIKE:
        return dark
    low, high = np.percentile(values, [0.1, 99.9])
    counts, edges = np.histogram(values, bins=256, range=(low, max(high, low + _ALIKE)))
    curve = ndimage.gaussian_filter1d(counts.astype(float), 3.0, mode="constant")
    ridge = (curve >= np.roll(curve, 1)) & (curve >= np.roll(curve, -1)) & (curve >= 0.15 * curve.max())
    mode = int(np.flatnonzero(ridge)[0])
    centre = (edges[mode] + edges[mode + 1]) / 2
    lower = values[values <= centre]
    # The dark side of the mode is free of soft tissue and partial volumes: its width is the noise.
    width = max(2 * float(np.sqrt(np.mean((lower - centre) ** 2))) if lower.size else 0.0, 2 * (edges[1] - edges[0]))
    about = dark & (np.abs(smooth - centre) <= width)
    core = core_of(about, (1,))
    return core if core.sum() >= 0.1 * about.sum() else about


def background_and_core(
    smooth: NDArray[np.float32], seen: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the regions of background and of the core of bone among some pixels.

    Parameters
    ----------
    smooth : ndarray of float32, shape (N, Y, X)
        Slices without much noise, on a scale from 0 to 1.
    seen : ndarray of bool, same shape
        Pixels that are considered.
    """
    if not seen.any():
        return seen, seen
    threshold, metal = solid_and_metal(smooth, seen)
    background = low_mode(smooth, seen & (smooth < threshold))
    return background, core_of(seen & (smooth >= threshold) & ~metal)
