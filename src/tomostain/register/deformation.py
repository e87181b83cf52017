"""A smooth local deformation of the histology after the affine, for soft tissue that has moved (paper section 3).

Off by default and reported separately, because it can create false agreement. B-splines of SimpleITK maximise Mattes
mutual information (Mattes et al. 2003, IEEE TMI 22, 120).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.geometry.section import interpolate
from tomostain.register.similarity import mutual_information

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Deformation:
    """A deformation and its effect.

    Attributes
    ----------
    shift_um : ndarray of float32, shape (Y, X, 2)
        Displacement (row, column), µm: each pixel takes the value of the histology at its position plus this.
    before, after : float
        Mutual information of µCT and histology, bits.
    """

    shift_um: Float32
    before: float
    after: float

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
    """Find the smooth deformation of the histology that fits the µCT best.

    Parameters
    ----------
    ct : ndarray, shape (Y, X)
    histology : ndarray of uint8, shape (Y, X, 3)
    mask : ndarray of bool, shape (Y, X)
        Where they correspond.
    pixel_um : float
    mesh_um : float
        Distance of the knots of the spline, µm.
    max_um : float
        Largest displacement, µm. A larger result is scaled down to it.

    Returns
    -------
    Deformation
        Zero if the optimum does not increase the mutual information.

    Raises
    ------
    InputError
        If SimpleITK is not installed.
    """
    sitk = load_simpleitk()
    grey = histology.mean(axis=2, dtype=np.float32)
    fixed, moving = (sitk.GetImageFromArray(a.astype(np.float32)) for a in (ct, grey))
    mesh = [max(2, round(side * pixel_um / mesh_um)) for side in ct.shape[::-1]]
    start = sitk.BSplineTransformInitializer(fixed, mesh)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(40)
    method.SetMetricFixedMask(sitk.GetImageFromArray(mask.astype(np.uint8)))
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsLBFGSB(numberOfIterations=60, gradientConvergenceTolerance=1e-6)
    method.SetShrinkFactorsPerLevel([4, 2])
    method.SetSmoothingSigmasPerLevel([2, 1])
    method.SetInitialTransform(start, inPlace=True)
    # One thread, because the order of summation changes the result.
    method.SetNumberOfThreads(1)
    transform = method.Execute(fixed, moving)
    to_field = sitk.TransformToDisplacementFieldFilter()
    to_field.SetReferenceImage(fixed)
    shift = sitk.GetArrayFromImage(to_field.Execute(transform))[..., ::-1].astype(np.float32) * pixel_um
    length = float(np.hypot(shift[..., 0], shift[..., 1])[mask].max()) if mask.any() else 0.0
    shift = np.ascontiguousarray(shift * min(1.0, max_um / max(length, 1e-6)), dtype=np.float32)
    before = mutual_information(ct[mask], grey[mask])
    after = mutual_information(ct[mask], warp(grey, (shift / pixel_um).astype(np.float32))[mask])
    if after <= before:
        # The optimiser uses another estimate of the mutual information.
        return Deformation(np.zeros_like(shift), before, before)
    return Deformation(shift, before, after)


def load_simpleitk() -> Any:
    """Import SimpleITK, which is optional.

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        import SimpleITK
    except ImportError:
        raise InputError("`deform=True` needs SimpleITK; pip install 'tomostain[io]'") from None
    return SimpleITK


def warp(image: NDArray[np.generic], shift_px: Float32) -> Float32:
    """Interpolate an image (Y, X) or (Y, X, C) at each pixel plus `shift_px` (Y, X, 2). The border is repeated."""
    rows, columns = np.indices(shift_px.shape[:2])
    index = np.stack([rows + shift_px[..., 0], columns + shift_px[..., 1]], axis=-1)
    channels = image[..., None] if image.ndim == 2 else image
    moved = [interpolate(channels[..., c].astype(np.float32), index) for c in range(channels.shape[2])]
    result = np.stack(moved, axis=-1)
    return np.asarray(result[..., 0] if image.ndim == 2 else result, dtype=np.float32)
