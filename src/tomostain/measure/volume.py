"""All measures of a label volume, from its implant to its trabeculae. Labels in, numbers out."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomostain.measure.config import MeasureConfig
from tomostain.measure.initial import KnownImplant, fitted_implant
from tomostain.measure.label_source import LabelSource
from tomostain.measure.measures import Measure
from tomostain.measure.morphometry.cavities import cavity_measures
from tomostain.measure.morphometry.cavity_voxels import CavityOptions
from tomostain.measure.morphometry.contact import ContactRule, contact_measures
from tomostain.measure.morphometry.degradation import degradation_measures
from tomostain.measure.morphometry.diameter import check_diameter
from tomostain.measure.morphometry.implant import Implant, find_implant, implant_of_region
from tomostain.measure.morphometry.shells import (
    Profile,
    count_by_distance,
    profile_edges,
    shell_measures,
    whole_measures,
)
from tomostain.measure.morphometry.thickness import ThicknessOptions, thickness_measures
from tomostain.progress import Progress, silent

Part = str
PARTS: tuple[Part, ...] = ("contact", "shells", "degradation", "thickness", "cavities")
"""The groups of measures, in the order in which they are measured."""
QUICK: tuple[Part, ...] = ("contact", "shells", "degradation")
"""Those that are measured for every member of an ensemble in a large volume, because sphere fitting takes long."""
MAX_SPREAD_VOXELS = 50_000_000
"""Up to this size all parts are measured for every member."""
FITTED = "surface of the fitted geometry"
"""Note of the measures that use it."""
THICKNESS_STEP_UM = 10.0
_BINS = 1000
OnBlock = Callable[[int, NDArray[np.float32]], None]


def parts_of_members(shape: Sequence[int]) -> tuple[Part, ...]:
    """Return the groups that are measured for every member of an ensemble.

    Examples
    --------
    >>> parts_of_members((208, 208, 208)) == PARTS, parts_of_members((600, 600, 600)) == QUICK
    (True, True)
    """
    return PARTS if math.prod(shape) <= MAX_SPREAD_VOXELS else QUICK


class ThicknessHistogram:
    """Histogram of a thickness map that arrives block by block.

    Attributes
    ----------
    counts : ndarray of int64
        Voxels in intervals of 10 µm from 0 on. Thicker voxels are in the last one.
    """

    def __init__(self, forward: OnBlock | None = None) -> None:
        self.counts = np.zeros(_BINS, np.int64)
        self._forward = forward

    def __call__(self, start: int, thickness: NDArray[np.float32]) -> None:
        """Add a z block: µm, 0 outside of the phase."""
        for values in thickness:  # The temporary arrays of a whole block would take 20 bytes per voxel.
            index = np.minimum(values[values > 0] / np.float32(THICKNESS_STEP_UM), _BINS - 1)
            self.counts += np.bincount(index.astype(np.intp), minlength=_BINS)
        if self._forward is not None:
            self._forward(start, thickness)

    def shares(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the edges, µm, up to the largest thickness that occurs, and the share of each interval, %."""
        last = int(np.flatnonzero(self.counts)[-1]) + 1 if self.counts.any() else 1
        counts = self.counts[:last]
        edges = np.asarray(np.arange(last + 1) * THICKNESS_STEP_UM, np.float64)
        return edges, np.asarray(100 * counts / max(counts.sum(), 1), np.float64)


@dataclass(frozen=True)
class MapWriters:
    """Functions that take the first slice and the map of each block, in the order of z.

    Attributes
    ----------
    thickness : callable or None
        Local thickness of bone, µm; 0 elsewhere.
    distance : callable or None
        Signed distance from the implant, µm, up to the last edge of the shells.
    layer : callable or None
        Thickness of the degradation layer, µm; 0 elsewhere.
    """

    thickness: OnBlock | None = None
    distance: OnBlock | None = None
    layer: OnBlock | None = None


@dataclass(frozen=True, eq=False)
class VolumeMeasures:
    """The measures of one label volume.

    Attributes
    ----------
    measures : list of Measure
    implant : Implant or None
        None without an implant (`MeasureConfig.without_implant`).
    outline : Implant or None
        The implant whose surface was used for contact and shells: `implant`, or a fitted body.
    profile : Profile or None
        Voxels of each class over the distance to the implant, for the plot.
    thickness : ThicknessHistogram or None
    """

    measures: list[Measure]
    implant: Implant | None
    outline: Implant | None
    profile: Profile | None = None
    thickness: ThicknessHistogram | None = None


def measure_labels(
    labels: LabelSource,
    config: MeasureConfig | None = None,
    *,
    parts: Iterable[Part] = PARTS,
    known: KnownImplant | None = None,
    reuse: VolumeMeasures | None = None,
    maps: MapWriters | None = None,
    progress: Progress = silent,
) -> VolumeMeasures:
    """Measure a label volume.

    Parameters
    ----------
    labels : LabelSource
        For example `LabelArray`, or `tomostain.measure.label_files.open_labels`.
    config : MeasureConfig, optional
    parts : iterable of str
        Of `PARTS`: which groups of measures.
    known : KnownImplant, optional
        The implant before implantation (`tomostain.measure.initial.known_implant`), for volume loss, degradation rate
        and a fitted surface.
    reuse : VolumeMeasures, optional
        A measurement whose implant is used, so that labels with fewer measured voxels have the same surface. The
        diameter is not checked again.
    maps : MapWriters, optional
        Receive the maps of thickness and distance.
    progress : Progress

    Returns
    -------
    VolumeMeasures

    Raises
    ------
    InputError
        If there is no implant, or its diameter is not the stated one.
    """
    config, chosen, maps = config or MeasureConfig(), set(parts), maps or MapWriters()
    measures: list[Measure] = []
    implant = outline = profile = thickness = None
    if config.without_implant:
        measures += whole_measures(labels, max_bytes=config.max_bytes) if "shells" in chosen else []
    else:
        implant, outline = _implant_and_outline(labels, config, known, reuse)
        around, profile = _around_implant((implant, outline), config, chosen, known, maps, progress)
        measures += around
    if "thickness" in chosen:
        thickness = ThicknessHistogram(maps.thickness)
        sphere_options = ThicknessOptions(max_bytes=config.max_bytes)
        measures += thickness_measures(labels, options=sphere_options, on_block=thickness, progress=progress)
    if "cavities" in chosen:
        measures += cavity_measures(labels, options=CavityOptions(max_bytes=config.max_bytes))
    return VolumeMeasures(measures, implant, outline, profile, thickness)


def _around_implant(
    implants: tuple[Implant, Implant],
    config: MeasureConfig,
    parts: set[Part],
    known: KnownImplant | None,
    maps: MapWriters,
    progress: Progress,
) -> tuple[list[Measure], Profile | None]:
    """Return the measures of the implant and of its surroundings, and the profile over the distance."""
    (implant, outline), profile = implants, None
    measures: list[Measure] = []
    if "contact" in parts:
        rule = ContactRule.default(implant.voxel_um, gap_um=config.gap_um, depth_um=config.depth_um)
        contact = contact_measures(outline, rule, max_bytes=config.max_bytes, progress=progress)
        measures += contact if outline is implant else [each.with_note(FITTED) for each in contact]
    if "shells" in parts:
        shells, profile = _shells(outline, config, maps.distance, progress)
        measures += shells if outline is implant else [each.with_note(FITTED) for each in shells]
    if "degradation" in parts:
        measures += degradation_measures(
            implant,
            initial=None if known is None else known.geometry,
            weeks=config.weeks,
            material=config.implant,
            on_block=maps.layer,
            max_bytes=config.max_bytes,
            progress=progress,
        )
    return measures, profile


def _implant_and_outline(
    labels: LabelSource, config: MeasureConfig, known: KnownImplant | None, reuse: VolumeMeasures | None
) -> tuple[Implant, Implant]:
    """Return the implant, and the one whose surface counts for contact and shells: the same, or the fitted body."""
    max_bytes = config.max_bytes
    if reuse is not None and reuse.implant is not None and reuse.outline is not None:
        implant = implant_of_region(labels, reuse.implant.read, max_bytes=max_bytes)
        if reuse.outline is reuse.implant:
            return implant, implant
        return implant, implant_of_region(labels, reuse.outline.read, max_bytes=max_bytes)
    implant = find_implant(labels, max_bytes=max_bytes)
    if config.diameter_mm is not None:
        check_diameter(implant, 1000 * config.diameter_mm, tolerance=config.diameter_tolerance)
    return implant, fitted_implant(labels, known, config) if config.surface == "fitted" else implant


def _shells(
    implant: Implant, config: MeasureConfig, write: OnBlock | None, progress: Progress
) -> tuple[list[Measure], Profile]:
    """Return the measures of the shells, and the profile over the distance, from one pass."""
    edges = profile_edges(implant, config.shell_um[-1], step_um=config.profile_um)
    every = np.union1d(edges, config.shell_um)
    counts = count_by_distance(implant, every, write=write, max_bytes=config.max_bytes, progress=progress)
    return shell_measures(counts.regroup(config.shell_um)), counts.regroup(edges)
