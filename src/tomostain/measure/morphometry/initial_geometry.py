"""Volume and surface of the new implant in the field of view: from a mask, from a fitted body, or given."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.errors import InputError
from tomostain.integers import to_integers
from tomostain.measure.classes import TissueClass
from tomostain.measure.label_source import LabelSource, Shape, VoxelSize
from tomostain.measure.morphometry.bodies import Body
from tomostain.measure.morphometry.body_fit import FittedBody, fit_body
from tomostain.measure.morphometry.boundary import boundary_points
from tomostain.measure.morphometry.diameter import DIAMETER_TOLERANCE, check_diameter
from tomostain.measure.morphometry.implant import Implant
from tomostain.measure.morphometry.z_blocks import BLOCK_BYTES, z_blocks

Float = NDArray[np.float64]
ReadMask = Callable[[int, int], NDArray[np.bool_]]

_SMOOTHING = 0.7
_AREA_STEP = 0.01
BAD_FIT_VOXELS = 1.5
"""A fit whose residual is larger than this many voxels, and than 4 % of the diameter, is refused."""


@dataclass(frozen=True)
class InitialGeometry:
    """Volume and surface area of the new implant, in the field of view.

    Attributes
    ----------
    volume_um3, area_um2 : float
        µm³ and µm². The area does not include the faces where the field of view cuts the implant. NaN: not known.
    source : {"mask", "fit", "given"}
    residual_um : float
        Of a fit: root mean square distance of the boundary of the implant from the fitted body with its offset,
        without the largest 5 %, µm. NaN otherwise.
    offset_um : float
        Of a fit: how far the boundary lies outside of the body, mostly the outer part of the degradation layer, µm.
    note : str
        How reliable it is.
    """

    volume_um3: float
    area_um2: float
    source: Literal["mask", "fit", "given"]
    residual_um: float = math.nan
    offset_um: float = math.nan
    note: str = ""


def given_geometry(volume_mm3: float, area_mm2: float | None = None) -> InitialGeometry:
    """Return an initial geometry of which the user knows the volume (mm³), and the surface (mm²) or None.

    Raises
    ------
    InputError
        If one is not positive.
    """
    for name, value in (("volume_mm3", volume_mm3), ("area_mm2", area_mm2)):
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise InputError(f"`{name}` is {value}; give a positive number", parameter=name)
    if area_mm2 is None:
        return InitialGeometry(volume_mm3 * 1e9, math.nan, "given", note="initial volume was given")
    return InitialGeometry(volume_mm3 * 1e9, area_mm2 * 1e6, "given", note="initial volume and surface were given")


def geometry_from_mask(
    read: ReadMask,
    shape: Shape,
    voxel_um: VoxelSize,
    *,
    measured: ReadMask | None = None,
    max_bytes: int = BLOCK_BYTES,
) -> InitialGeometry:
    """Return the geometry of the new implant from its mask on the grid of the volume.

    The area is that of the marching-cubes surface of the mask, smoothed with a Gaussian of 0.7 voxels.

    Parameters
    ----------
    read : callable
        ``read(start, stop)`` returns the slices of the mask, bool of shape (stop - start, Y, X).
    shape : tuple of int
        (Z, Y, X), voxels.
    voxel_um : tuple of float
        Voxel size (z, y, x), µm.
    measured : callable, optional
        ``measured(start, stop)`` returns which voxels were measured, in the same form. Volume and surface elsewhere do
        not count, as metal does not count there. None: all were.
    max_bytes : int
        Memory of a z block, 41 bytes per voxel.

    Returns
    -------
    InitialGeometry

    Raises
    ------
    InputError
        If the mask is empty, or all of it lies in voxels that were not measured.
    """
    voxels, total, area = 0, 0, 0.0
    for block in z_blocks(shape, overlap=5, bytes_per_voxel=41.0, max_bytes=max_bytes):
        mask = read(block.first, block.last)
        is_measured = np.ones_like(mask) if measured is None else measured(block.first, block.last)
        total += int(np.count_nonzero(mask[block.inner]))
        voxels += int(np.count_nonzero(mask[block.inner] & is_measured[block.inner]))
        if mask.any():
            smooth = ndimage.gaussian_filter(mask.astype(np.float32), _SMOOTHING, mode="nearest", truncate=5)
            end = block.inner.stop + (block.after > 0)
            area += _area_where(0.5 - smooth[block.before : end], is_measured[block.before : end], voxel_um)
    if not total:
        raise InputError("the mask of the initial implant is empty; give the mask of the new implant, on the same grid")
    if not voxels:
        raise InputError("the initial implant lies in voxels that were not measured; check that its mask is aligned")
    note = "initial geometry from a mask"
    if voxels < total:
        note += f"; {1 - voxels / total:.1%} of it were not measured and do not count"
    return InitialGeometry(float(voxels * np.prod(voxel_um)), area, "mask", note=note)


def geometry_from_body(
    implant: Implant, body: Body, *, tolerance: float = DIAMETER_TOLERANCE, max_bytes: int = BLOCK_BYTES
) -> tuple[InitialGeometry, FittedBody]:
    """Fit a body to the implant, and return its volume and surface in the field of view.

    Voxels that are not measured belong to neither.

    Parameters
    ----------
    implant : Implant
    body : Body
        The new implant, for example ``BODIES["m2-screw"]``.
    tolerance : float
        Largest relative deviation of the diameter; see `check_diameter`.
    max_bytes : int
        Memory of a z block, 120 bytes per voxel.

    Returns
    -------
    geometry : InitialGeometry
    fitted : FittedBody

    Raises
    ------
    InputError
        If the diameter differs, or the body does not fit.
    """
    points = boundary_points(implant, max_bytes=max_bytes)
    diameter = check_diameter(implant, body.diameter_um, tolerance, points=points)
    fitted = fit_body(implant, body, points=points, diameter=diameter)
    limit = max(BAD_FIT_VOXELS * max(implant.voxel_um), 0.04 * body.diameter_um)
    if fitted.residual_um > limit:
        raise InputError(
            f"the initial geometry does not fit the implant: the boundary is {fitted.residual_um:.0f} µm (root mean "
            f"square) from the fitted body, the limit is {limit:.0f} µm; give a body of the right shape and size, "
            "a mask of the new implant, or its volume and surface"
        )
    volume, area = volume_and_area(fitted, implant.labels, max_bytes=max_bytes)
    note = (
        f"initial geometry from a fitted body: residual {fitted.residual_um:.0f} µm, boundary "
        f"{fitted.offset_um:.0f} µm outside of it"
    )
    if implant.touches:
        note += "; part of the implant lies outside of the field of view"
    return InitialGeometry(volume, area, "fit", fitted.residual_um, fitted.offset_um, note), fitted


def volume_and_area(fitted: FittedBody, labels: LabelSource, *, max_bytes: int = BLOCK_BYTES) -> tuple[float, float]:
    """Return volume (µm³) and surface area (µm²) of a body in the field of view, without voxels not measured.

    Parameters
    ----------
    fitted : FittedBody
    labels : LabelSource
        The field of view.
    max_bytes : int
        Memory of a z block, 120 bytes per voxel.

    Returns
    -------
    volume_um3, area_um2 : float
        The volume counts every voxel with its share inside. The area is that of the marching-cubes surface of the
        signed distance on a grid with steps of 1 % of the diameter, extrapolated to a step of 0 from this step and
        twice this step, because edges are cut off in proportion to the step.
    """
    voxel = np.array(labels.voxel_um)
    volume = 0.0
    _, rows, columns = labels.shape
    reach = fitted.reach_um
    for block in z_blocks(labels.shape, bytes_per_voxel=120.0, max_bytes=max_bytes):
        z = np.arange(block.start, block.stop) * voxel[0]
        if z[0] > fitted.centre_um[0] + reach or z[-1] < fitted.centre_um[0] - reach:
            continue
        distance = _distances(fitted, (z, np.arange(rows) * voxel[1], np.arange(columns) * voxel[2]))
        share = np.clip(0.5 - distance / np.cbrt(np.prod(voxel)), 0, 1)
        share *= labels.read(block.start, block.stop) != TissueClass.NOT_MEASURED
        volume += float(share.sum() * np.prod(voxel))
    return volume, _area_of_body(fitted, labels, max_bytes)


def _area_of_body(fitted: FittedBody, labels: LabelSource, max_bytes: int) -> float:
    voxel = np.array(labels.voxel_um)
    low = np.maximum(-voxel / 2, fitted.centre_um - fitted.reach_um)
    high = np.minimum((np.array(labels.shape) - 0.5) * voxel, fitted.centre_um + fitted.reach_um)
    cells = 2 * to_integers(np.ceil((high - low) / (2 * _AREA_STEP * fitted.body.diameter_um)), np.int64, "cells")
    if (cells <= 0).any():
        return 0.0
    step = (high - low) / cells
    axes = [start + np.arange(n + 1) * size for start, n, size in zip(low, cells, step, strict=True)]
    index = [
        to_integers(np.clip(np.rint(at / size), 0, n - 1), np.int64, "positions")
        for at, size, n in zip(axes, voxel, labels.shape, strict=True)
    ]
    layers = 2 * max(1, int(max_bytes / (240 * np.prod(cells[1:] + 1))))
    fine = coarse = 0.0
    for start in range(0, cells[0], layers):
        part = slice(start, min(start + layers, cells[0]) + 1)
        distance = _distances(fitted, (axes[0][part], axes[1], axes[2]))
        first, last = int(index[0][part][0]), int(index[0][part][-1])
        is_measured = labels.read(first, last + 1) != TissueClass.NOT_MEASURED
        measured = is_measured[np.ix_(index[0][part] - first, index[1], index[2])]
        fine += _surface_area(distance, step, measured)
        coarse += _surface_area(distance[::2, ::2, ::2], 2 * step, measured[::2, ::2, ::2])
    return 2 * fine - coarse


def _distances(fitted: FittedBody, axes: tuple[Float, Float, Float]) -> Float:
    grid = np.meshgrid(*axes, indexing="ij")
    return fitted.distance(np.stack(grid, axis=-1).reshape(-1, 3)).reshape(grid[0].shape)


def _area_where(field: NDArray[np.floating], known: NDArray[np.bool_], voxel_um: VoxelSize) -> float:
    """Return the area of the surface of the zeros of a field, in the voxels that are known."""
    from skimage.measure import marching_cubes

    if known.all():
        return _surface_area(field, voxel_um)
    if min(field.shape) < 2 or field.min() >= 0 or field.max() <= 0:
        return 0.0
    vertices, faces, _, _ = marching_cubes(field, 0.0)
    triangles = vertices[faces].astype(np.float64)
    counts = known[tuple(to_integers(triangles.mean(axis=1), np.intp, "positions").T)]
    corners = triangles[counts] * np.array(voxel_um)
    crossed = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return float(np.linalg.norm(crossed, axis=1).sum() / 2)


def _surface_area(
    field: NDArray[np.floating], step_um: VoxelSize | Float, measured: NDArray[np.bool_] | None = None
) -> float:
    """Return the area of the surface of the zeros of a field, by marching cubes."""
    from skimage.measure import marching_cubes, mesh_surface_area

    if min(field.shape) < 2 or field.min() >= 0 or field.max() <= 0:
        return 0.0
    try:
        vertices, faces, _, _ = marching_cubes(field, 0.0, spacing=tuple(step_um), mask=measured)
    except (RuntimeError, ValueError):  # the surface lies in voxels that are not measured
        return 0.0
    return float(mesh_surface_area(vertices, faces))
