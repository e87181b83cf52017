"""Grey values of background and bone that are estimated from a volume (paper section 2.5)."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.errors import InputError, SaturationWarning, warn_user
from tomostain.imaging.intensity import IntensityReference, check_ct, check_finite
from tomostain.imaging.regions import MIN_REGION_PX, background_and_core, block_mean, is_bone, padding, saturated_body
from tomostain.integers import to_integers
from tomostain.io.parallel import in_parallel
from tomostain.io.volumes.base import VolumeLike, read_each
from tomostain.io.volumes.missing import present_slices

_SIDE_PX = 512
_MAX_CUT_OFF = 0.5
STATE_BOTH = (
    "state both grey values, of background and bone: `intensity`, or `ct_background` and `ct_bone` in the "
    "configuration of register and prepare"
)


def estimate_reference(samples: NDArray[Any], source: str = "µCT", *, way_out: str = STATE_BOTH) -> IntensityReference:
    """Estimate the mean grey values of bone and background (the ROIs of paper section 2.5, chosen automatically).

    The background is the lowest main mode of the grey values. Otsu's threshold separates solid matter from the rest.
    If its bright class is one compact body far above another solid, that body is a metal screw (Ti), and bone is the
    solid matter below it. A thick body that is cut off at the top of the grey scale is such a screw, too. The means are
    taken over the cores of the regions, so that partial volumes at edges do not count.

    Parameters
    ----------
    samples : ndarray, shape (Y, X) or (N, Y, X)
        One image, or some slices of a volume, that contain bone and background.
    source : str
        Named in error messages.
    way_out : str
        What errors and warnings advise.

    Returns
    -------
    IntensityReference

    Raises
    ------
    InputError
        If the samples are empty, constant or not finite, or if no bone is found.

    Warns
    -----
    SaturationWarning
        If half of what is taken for bone has the largest grey value: it may be metal, or bone that is cut off.

    References
    ----------
    N. Otsu, IEEE Trans. Syst. Man Cybern. 9 (1979) 62–66.
    """
    reference, cut_off = _estimate(samples, source, way_out)
    if cut_off >= _MAX_CUT_OFF:
        warn_user(
            f"{source}: {cut_off:.0%} of what is taken for bone has the largest grey value ({float(samples.max()):g}): "
            f"it may be metal, or bone that is cut off; look at the volume, and {way_out}",
            SaturationWarning,
        )
    return reference


def _estimate(samples: NDArray[Any], source: str, way_out: str = STATE_BOTH) -> tuple[IntensityReference, float]:
    """Return the reference, and the share of the bone that is cut off at the top of the grey scale."""
    small, background, core = _regions(samples, source, way_out)
    zero, unit = float(samples.min()), float(samples.max()) - float(samples.min())
    low, high = np.percentile(small[core], [5, 95])
    bone = small[core & (small >= low) & (small <= high)]
    means = [float(region.mean(dtype=np.float64)) for region in (small[background], bone)]
    spread = [float(region.std(dtype=np.float64)) for region in (small[background], small[core])]
    if means[1] - means[0] <= 2 * spread[0]:
        raise InputError(f"{source}: no bone is brighter than the noise; {way_out}")
    background_grey, bone_grey = (zero + unit * mean for mean in means)
    reference = IntensityReference(
        background_grey, bone_grey, unit * spread[0], unit * spread[1], int(background.sum()), int(bone.size)
    )
    # Without any noise, matter of one grey value is computed, and not cut off.
    return reference, float((small[core] == 1).mean()) if spread[0] > 0 else 0.0


def reference_regions(samples: NDArray[Any], source: str = "µCT") -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the regions that `estimate_reference` uses as background and as bone.

    Parameters
    ----------
    samples : ndarray, shape (N, Y, X)
        The result of `reference_samples`.

    Returns
    -------
    background, bone : ndarray of bool, shape (N, Y, X)
        Averaged down so that no side is longer than 512 px.

    Raises
    ------
    InputError
        See `estimate_reference`.
    """
    return _regions(samples, source)[1:]


def _regions(
    samples: NDArray[Any], source: str, way_out: str = STATE_BOTH
) -> tuple[NDArray[np.floating[Any]], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the samples, averaged down and scaled to [0, 1], and the regions of background and bone in them."""
    check_ct(samples, source)
    slices = [samples] if samples.ndim == 2 else list(samples)
    step = max(1, -(-max(slices[0].shape) // _SIDE_PX))
    # Scaled to [0, 1], so that the offset and range of the scan do not affect the precision.
    zero, unit = float(samples.min()), float(samples.max()) - float(samples.min())
    small = np.stack(in_parallel(lambda image: block_mean((image.astype(np.float64) - zero) / unit, step), slices))
    smooth = np.stack(in_parallel(lambda image: ndimage.gaussian_filter(image, 1.0), small))
    seen = ~padding(small)
    background, core = background_and_core(smooth, seen)
    saturated = saturated_body(small)
    if saturated.any():
        around = background_and_core(smooth, seen & ~saturated)
        if is_bone(smooth, *around, saturated):
            background, core = around
    if background.sum() < MIN_REGION_PX or core.sum() < MIN_REGION_PX:
        raise InputError(f"{source}: no bone is brighter than the background; {way_out}")
    return small, background, core


def reference_samples(volume: VolumeLike, n_slices: int = 12, source: str = "µCT") -> NDArray[np.float32]:
    """Read slices at equal distances from a volume, averaged down to at most 512 px per side.

    Parameters
    ----------
    volume : VolumeLike
        For instance a `tomostain.io.Volume`.
    n_slices : int
        Number of slices that are read.
    source : str
        Named in error messages.

    Returns
    -------
    ndarray of float32, shape (N, Y, X)

    Raises
    ------
    InputError
        If a grey value is NaN or infinite.
    """
    present = present_slices(volume, volume.shape[0])
    n = len(present)
    chosen = np.unique(to_integers((np.arange(n_slices) + 0.5) * n / n_slices, np.int64, "slices", rounded=False))
    step = max(1, -(-max(volume.shape[1:]) // _SIDE_PX))

    def averaged(z: int, image: NDArray[Any]) -> NDArray[np.float32]:
        check_finite(image, f"{source}, slice {z}")
        return block_mean(image, step)

    return np.stack(read_each(volume, [int(present[index]) for index in chosen], averaged))


def volume_reference(
    volume: VolumeLike, n_slices: int = 12, source: str = "µCT", *, way_out: str = STATE_BOTH
) -> IntensityReference:
    """Estimate the intensity reference of a volume from its `reference_samples`.

    Parameters
    ----------
    volume : VolumeLike
    n_slices, source
        See `reference_samples`.
    way_out : str
        See `estimate_reference`.

    Raises
    ------
    InputError
        See `estimate_reference`.
    """
    return estimate_reference(reference_samples(volume, n_slices, source), source, way_out=way_out)


def manual_reference(
    volume: VolumeLike,
    background: float | None,
    bone: float | None,
    n_slices: int = 12,
    source: str = "µCT",
) -> IntensityReference:
    """Return a reference with stated values; values that are None are estimated from the volume.

    Parameters
    ----------
    volume : VolumeLike
    background, bone : float or None
        In the scale of the scan.
    n_slices, source
        See `volume_reference`.

    Raises
    ------
    InputError
        If bone is not brighter than background. See also `estimate_reference`.
    """
    if background is not None and bone is not None:
        return IntensityReference(background, bone)
    samples = reference_samples(volume, n_slices, source)
    if bone is not None:  # whatever was taken for bone does not matter
        reference, _ = _estimate(samples, source)
    else:
        reference = estimate_reference(samples, source)
    if background is not None:
        reference = replace(reference, background=background, background_std=0.0, background_px=0)
    if bone is not None:
        reference = replace(reference, bone=bone, bone_std=0.0, bone_px=0)
    return reference
