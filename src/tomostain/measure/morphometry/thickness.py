"""Thickness and separation of a phase by sphere fitting, and the trabecular number.

The local thickness at a point of a phase is the diameter of the largest sphere that lies in the phase and contains the
point (Hildebrand & Rüegsegger 1997, doi:10.1046/j.1365-2818.1997.1340694.x). Tb.Th is the mean over the voxels of bone,
Tb.Sp that over the marrow space. In a plane circles take the place of spheres. Both have other names there (Tb.Wi and
Tb.Sp in the plane), because a plane that cuts a plate obliquely shows it wider than it is.

A diameter is twice the distance from the centre of the sphere to the centre of the nearest voxel outside of the phase.
On plates and rods of random orientation, 2.5 to 14 voxels thick, the mean is then within half a voxel of the truth.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.measure.classes import MINERALISED, Labels, TissueClass
from tomostain.measure.label_source import LabelSource
from tomostain.measure.measures import Measure
from tomostain.measure.morphometry.rolling_distance import Phase, RollingDistances, phase_distances
from tomostain.measure.morphometry.spheres import RadiusClass, context_slices, largest_spheres, radius_classes
from tomostain.measure.morphometry.squared_distances import Metric, Squared, squared_distances
from tomostain.measure.morphometry.thickness_counts import Thickness, ThicknessCounts, ThicknessOptions
from tomostain.measure.morphometry.thickness_definitions import (
    TB_N,
    TB_SP,
    TB_SP_PLANE,
    TB_SP_PLANE_SD,
    TB_SP_SD,
    TB_TH,
    TB_TH_SD,
    TB_WI,
    TB_WI_SD,
)
from tomostain.measure.morphometry.z_blocks import z_blocks
from tomostain.progress import Progress, silent

Mask = NDArray[np.bool_]
ReadMask = Callable[[int, int], Mask]
OnBlock = Callable[[int, NDArray[np.float32]], None]

SPACE: Phase = (TissueClass.SOFT,)
"""Soft tissue and marrow: the space between trabeculae. Void is not part of it."""
_RADIUS_BYTES = 4
_FIRST_LIMIT = 256.0
_LEAST_SLICES = 16


def local_thickness(
    labels: LabelSource,
    phase: Phase,
    *,
    options: ThicknessOptions | None = None,
    region: ReadMask | None = None,
    on_block: OnBlock | None = None,
    progress: Progress = silent,
) -> Thickness:
    """Measure the local thickness of a phase, block by block. The result does not depend on the blocks.

    Parameters
    ----------
    labels : LabelSource
        The voxels need not be cubic. With cubic voxels diameters up to 16 voxels are exact; larger ones, and those of
        other voxels, are rounded within 1.5 % to classes of radius. Voxels whose sides differ by less than 0.1 % count
        as cubic. From a radius of 64 voxels on, spheres are painted on a coarser grid (error below 2 voxels).
    phase : tuple of TissueClass
        The classes that form the phase.
    options : ThicknessOptions, optional
    region : callable, optional
        ``region(start, stop)`` returns which voxels of these slices count, bool of shape (stop - start, Y, X). The
        spheres are those of the whole volume. None: all.
    on_block : callable, optional
        ``on_block(start, map)`` receives the thickness map of the slices from `start` on, µm, float32, 0 outside of the
        phase, in the order of z.
    progress : Progress

    Returns
    -------
    Thickness

    Notes
    -----
    What lies outside of the volume, and voxels that are not measured, bound no sphere: a sphere may extend into them.
    """
    options = options or ThicknessOptions()
    metric = Metric.of(labels.voxel_um)
    cap = options.max_um / 2 / metric.unit_um
    largest = _largest_squared_radius(labels, phase, cap, options, progress)
    classes = _classes(largest, cap, metric)
    context = context_slices(metric, classes)
    distances = RollingDistances(labels, phase, metric, largest, max_bytes=options.max_bytes // 2)
    statistics = ThicknessCounts()
    voxel_bytes = np.dtype(metric.dtype(largest)).itemsize + _RADIUS_BYTES
    budget = _budget(labels, context, voxel_bytes, options.max_bytes)
    for block in z_blocks(labels.shape, overlap=context, bytes_per_voxel=voxel_bytes, max_bytes=budget):
        progress("fitting spheres", block.start, labels.shape[0])
        radii = largest_spheres(
            distances.window(block.first, block.last),
            metric,
            classes,
            inner=block.inner,
            first=block.first,
            threads=options.threads,
        )
        radii *= 2 * metric.unit_um
        statistics.add(radii if region is None else radii[region(block.start, block.stop)])
        if on_block is not None:
            on_block(block.start, radii)
    progress("fitting spheres", labels.shape[0], labels.shape[0])
    return statistics.summary(options.max_um)


def thickness_map(
    inside: Mask, voxel_um: tuple[float, ...], *, options: ThicknessOptions | None = None
) -> NDArray[np.float32]:
    """Return the local thickness of a phase in memory, in a plane or in a volume.

    Parameters
    ----------
    inside : ndarray of bool, shape (Y, X) or (Z, Y, X)
    voxel_um : tuple of float
        Pixel size (y, x) or voxel size (z, y, x), µm.
    options : ThicknessOptions, optional

    Returns
    -------
    ndarray of float32
        µm, 0 outside of the phase.

    Examples
    --------
    >>> plate = np.zeros((9, 16, 16), bool)
    >>> plate[2:6] = True
    >>> float(thickness_map(plate, (10.0, 10.0, 10.0)).max())
    40.0
    """
    if inside.ndim not in (2, 3) or len(voxel_um) != inside.ndim:
        raise InputError(
            f"a mask of shape {inside.shape} and `voxel_um` {voxel_um} do not match; give one length per axis"
        )
    options = options or ThicknessOptions()
    metric = Metric.of(voxel_um)
    cap = options.max_um / 2 / metric.unit_um
    return _map_of(squared_distances(inside, metric, cap**2), metric, cap, options)


def thickness_measures(
    labels: LabelSource,
    *,
    options: ThicknessOptions | None = None,
    region: ReadMask | None = None,
    region_name: str = "all",
    on_block: OnBlock | None = None,
    progress: Progress = silent,
) -> list[Measure]:
    """Measure Tb.Th, Tb.Sp (with standard deviations) and Tb.N.

    Parameters
    ----------
    labels : LabelSource
    options : ThicknessOptions, optional
    region : callable, optional
        Which voxels count; see `local_thickness`.
    region_name : str
        The name of the region in the measures.
    on_block : callable, optional
        Receives the thickness map of bone; see `local_thickness`.
    progress : Progress

    Returns
    -------
    list of Measure
        NaN with a note where the volume contains no bone, or no soft tissue.
    """
    options = options or ThicknessOptions()
    bone = local_thickness(labels, MINERALISED, options=options, region=region, on_block=on_block, progress=progress)
    space = local_thickness(labels, SPACE, options=options, region=region, progress=progress)
    number = math.nan
    if bone.voxels:
        number = 1000 * bone.voxels / (bone.voxels + space.voxels) / bone.mean_um
    notes = (_note(bone, "bone", options), _note(space, "soft tissue or marrow", options))
    values = [
        (TB_TH, bone.mean_um, notes[0]),
        (TB_TH_SD, bone.sd_um, notes[0]),
        (TB_SP, space.mean_um, notes[1]),
        (TB_SP_SD, space.sd_um, notes[1]),
        (TB_N, number, notes[0]),
    ]
    return [Measure(definition, value, region_name, note=note) for definition, value, note in values]


def plane_thickness_measures(
    labels: Labels, pixel_um: float | tuple[float, float], *, options: ThicknessOptions | None = None
) -> list[Measure]:
    """Measure Tb.Wi and the separation in a plane, with standard deviations.

    Parameters
    ----------
    labels : ndarray of uint8, shape (Y, X)
        Values of `TissueClass`.
    pixel_um : float or tuple of float
        Pixel size, or (y, x), µm.
    options : ThicknessOptions, optional

    Returns
    -------
    list of Measure
        NaN with a note where the plane contains no bone, or no soft tissue.
    """
    options = options or ThicknessOptions()
    sizes = (pixel_um, pixel_um) if isinstance(pixel_um, int | float) else pixel_um
    metric = Metric.of(sizes)
    cap = options.max_um / 2 / metric.unit_um
    measures = []
    for phase, definitions, title in (
        (MINERALISED, (TB_WI, TB_WI_SD), "bone"),
        (SPACE, (TB_SP_PLANE, TB_SP_PLANE_SD), "soft tissue or marrow"),
    ):
        statistics = ThicknessCounts()
        statistics.add(_map_of(phase_distances(labels, phase, metric, cap**2), metric, cap, options))
        result = statistics.summary(options.max_um)
        note = _note(result, title, options)
        values = (result.mean_um, result.sd_um)
        measures += [Measure(each, value, note=note) for each, value in zip(definitions, values, strict=True)]
    return measures


def _classes(largest: float, cap: float, metric: Metric) -> tuple[RadiusClass, ...]:
    """Return classes of radius; that of the largest spheres is at most the cap."""
    classes = radius_classes(largest, metric)
    return tuple(replace(each, radius=min(each.radius, cap)) for each in classes)


def _note(thickness: Thickness, phase: str, options: ThicknessOptions) -> str:
    if not thickness.voxels:
        return f"no {phase}"
    if thickness.capped:
        return f"{thickness.capped:.1%} of the voxels are wider than {options.max_um:g} µm and count as that"
    return ""


def _budget(labels: LabelSource, overlap: int, bytes_per_voxel: float, max_bytes: int) -> int:
    """Return the memory of a z block: at least that of some slices with their overlap."""
    _, rows, columns = labels.shape
    slices = min(_LEAST_SLICES + 2 * overlap, labels.shape[0])
    return max(max_bytes, math.ceil((slices + 1) * rows * columns * bytes_per_voxel))


def _map_of(squared: Squared, metric: Metric, cap: float, options: ThicknessOptions) -> NDArray[np.float32]:
    classes = _classes(float(squared.max(initial=0)), cap, metric)
    radii = largest_spheres(squared, metric, classes, inner=slice(0, len(squared)), threads=options.threads)
    radii *= 2 * metric.unit_um
    return radii


def _largest_squared_radius(
    labels: LabelSource, phase: Phase, cap: float, options: ThicknessOptions, progress: Progress
) -> float:
    """Return the largest squared distance in a phase, squared units, at most that of the cap.

    The limit of the distances is raised until it is above the largest one.
    """
    metric = Metric.of(labels.voxel_um)
    highest = cap**2
    limit = min(_FIRST_LIMIT, highest)
    while True:
        distances = RollingDistances(labels, phase, metric, limit, max_bytes=options.max_bytes)
        largest, depth = 0.0, labels.shape[0]
        for start in range(0, depth, distances.piece):
            progress("measuring distances", start, depth)
            squared = distances.window(start, min(start + distances.piece, depth))
            largest = max(largest, float(squared.max(initial=0)))
            if limit < highest and largest >= math.floor(limit):
                break
        else:
            return largest
        limit = min(4 * limit, highest)
