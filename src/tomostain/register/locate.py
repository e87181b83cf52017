"""Search for the section of a slide in a volume, and the confidence of the result."""

import warnings
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from tomostain.deprecation import renamed
from tomostain.devices import choose_device
from tomostain.geometry.section import Section
from tomostain.imaging.intensity import IntensityReference
from tomostain.imaging.intensity_estimation import manual_reference
from tomostain.io import Slide, Volume
from tomostain.progress import Progress, silent
from tomostain.register.config import RegisterConfig
from tomostain.register.find import PoseCandidates, find_candidates, refine_candidates
from tomostain.register.full_resolution import accept_if_not_worse, refine_at_full_resolution
from tomostain.register.hints import Hint
from tomostain.register.pose_confidence import Evidence, compare_detail, returning_restarts
from tomostain.register.poses import Poses
from tomostain.register.preparation import log, prepare_search
from tomostain.register.refine import random_steps, refine, score_poses
from tomostain.register.resolution import ResolutionLevel
from tomostain.register.search import SearchGrid, half_sphere
from tomostain.register.strain_prior import histology_strain
from tomostain.register.task import SearchTask
from tomostain.register.template import Template

Float = NDArray[np.float64]

# Relative pixel sizes that are also tried if the first search is uncertain.
SCALES = (0.94, 1.06)
_LOOSE_SCALE = 0.06
_DETAIL_SIDE = 128
_HINT_SIDE = 32
_HINT_STARTS = 150
_MAX_MARGIN, _MAX_MARGIN_OF_A_HINT = 0.5, 0.1


@dataclass(frozen=True, eq=False)
class SectionLocation:
    """Pose of a section in a volume, with its evidence.

    Attributes
    ----------
    section : Section
        The best pose.
    candidates : tuple of Section
        The best pose and up to two others, best first.
    evidence : Evidence
        Scores and confidence.
    hypothesis : str
        The assumed material of the screw.
    intensity : IntensityReference
        Grey values of background and bone.
    resolution : ResolutionLevel
        The volume at the resolution of the search.
    template : Template
        The slide as it was searched.
    """

    section: Section
    candidates: tuple[Section, ...]
    evidence: Evidence
    hypothesis: str
    intensity: IntensityReference
    resolution: ResolutionLevel
    template: Template

    @property
    def level(self) -> ResolutionLevel:
        """The older name of `resolution`."""
        warnings.warn("SectionLocation.level is now SectionLocation.resolution", DeprecationWarning, stacklevel=2)
        return self.resolution

    @property
    def strain(self) -> Float:
        """Scale along rows, scale along columns, and shear of the histology, as strains; shape (3,)."""
        return histology_strain(self.section)

    @property
    def usual_strain(self) -> float:
        """Strain that is rarely exceeded with the stain."""
        return 2 * self.template.strain


def locate_section(
    volume: Volume,
    slide: Slide,
    config: RegisterConfig | None = None,
    *,
    hint: Hint = Hint(),
    intensity: IntensityReference | None = None,
    device: str | torch.device = "auto",
    progress: Progress = silent,
) -> SectionLocation:
    """Search for the section plane of a slide.

    Parameters
    ----------
    volume : Volume
    slide : Slide
    config : RegisterConfig, optional
    hint : Hint
        Start pose or axis. `Hint.accept` is not used.
    intensity : IntensityReference, optional
        Grey values of background and bone. None: estimated from the volume.
    device : str or torch.device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    progress : Progress

    Returns
    -------
    SectionLocation
        Also if the result is uncertain: see `SectionLocation.evidence`.

    Raises
    ------
    InputError
        If the volume shows no bone, the slide no tissue, or their sizes do not fit together.
    """
    config = config or RegisterConfig()
    hint = hint.in_volume(volume)
    place = choose_device(device)
    if intensity is None:
        intensity = manual_reference(volume, config.ct_background, config.ct_bone, source=str(volume.path))
    log.info("intensity reference: background %g, bone %g", intensity.background, intensity.bone)
    task = prepare_search(volume, slide, intensity, config, place, progress)
    log.info("device of the search: %s", place)
    if hint.start is not None and not hint.refine:
        return _at_start(task, hint.start, intensity, config)
    template = task.template
    task, candidates, evidence = _search(task, config, hint, progress)
    log.info("search: %s", _numbers(evidence))
    poses = [candidates.poses[i : i + 1] for i in range(min(3, len(candidates.poses)))]
    refined = refine_at_full_resolution(volume, slide, task, poses[0], intensity, config, progress)
    best, detail = accept_if_not_worse(task.coarser(_DETAIL_SIDE), poses[0], refined)
    evidence = replace(evidence, detail=detail)
    log.info("after refinement at full resolution: %s", _numbers(evidence))
    sections = (best, *(pose.to_section(0, template.middle_um) for pose in poses[1:]))
    hypothesis = template.hypotheses[int(candidates.poses.hypothesis[0])]
    return SectionLocation(best, sections, evidence, hypothesis, intensity, task.resolution, template)


def _at_start(
    task: SearchTask, start: Section, intensity: IntensityReference, config: RegisterConfig
) -> SectionLocation:
    """Return the start pose as it is, with its evidence."""
    template = task.template
    poses = Poses.stack([Poses.from_section(start, template.middle_um, i) for i in range(len(template.hypotheses))])
    scores = score_poses(task.resolution, task.picture, poses)
    order = scores.argsort(descending=True)[:1]
    evidence = collect_evidence(
        task.coarser(_DETAIL_SIDE), PoseCandidates(poses[order], scores[order], 1), config, hinted=True
    )
    hypothesis = template.hypotheses[int(order[0])]
    return SectionLocation(start, (start,), evidence, hypothesis, intensity, task.resolution, template)


def _numbers(evidence: Evidence) -> str:
    return f"confidence {evidence.confidence:.2f}, detail {evidence.detail:.2f}, margin {evidence.margin:.2f}"


def _search(
    task: SearchTask, config: RegisterConfig, hint: Hint, progress: Progress
) -> tuple[SearchTask, PoseCandidates, Evidence]:
    """Search from a hint or globally; if the global search is uncertain, search again for other pixel sizes too."""
    if hint.start is not None:
        candidates = _refine_hint(task, hint.start, config.seed, progress)
        return task, candidates, collect_evidence(task.coarser(_DETAIL_SIDE), candidates, config, hinted=True)
    task = replace(task, candidates=config.candidates)
    normals = _normals(config.step_deg, hint.axis)
    candidates = find_candidates(task, SearchGrid(config.side, config.step_deg, 2, normals=normals), progress)
    evidence = collect_evidence(task.coarser(_DETAIL_SIDE), candidates, config)
    if evidence.sure or not config.thorough:
        return task, candidates, evidence
    log.info("uncertain (confidence %.2f): searching again, at other pixel sizes too", evidence.confidence)
    grid = SearchGrid(config.side, config.step_deg, 3, SCALES, normals)
    loose = replace(task, freedom=replace(task.freedom, scale=_LOOSE_SCALE))
    second = find_candidates(loose, grid, progress, earlier=candidates.coarse)
    second_evidence = collect_evidence(loose.coarser(_DETAIL_SIDE), second, config)
    if second_evidence.confidence > evidence.confidence:
        return loose, second, second_evidence
    return task, candidates, evidence


def _normals(step_deg: float, axis: Float | None) -> Float | None:
    """Return the normals of the planes that contain the axis within 12°, or None for all."""
    if axis is None:
        return None
    normals = half_sphere(0.7 * step_deg)
    near = np.abs(normals @ (axis / np.linalg.norm(axis))) < np.sin(np.radians(12.0 + step_deg / 2))
    return np.asarray(normals[near])


def _refine_hint(task: SearchTask, start: Section, seed: int, progress: Progress) -> PoseCandidates:
    """Refine a start pose and random poses around it, for every hypothesis."""
    generator = torch.Generator().manual_seed(seed)
    starts = []
    for hypothesis in range(len(task.template.hypotheses)):
        pose = Poses.from_section(start, task.template.middle_um, hypothesis)
        copies = Poses.stack([pose] * _HINT_STARTS)
        step = random_steps(copies, 0.03 * task.side_um, 5.0, task.freedom, generator)
        starts += [pose, copies.moved(step)]
    coarse = task.coarser(_HINT_SIDE)
    poses, scores = refine(
        coarse.resolution, coarse.picture, Poses.stack(starts), task.freedom, steps=8, device=task.device
    )
    return refine_candidates(task, poses, scores, progress)


def collect_evidence(
    task: SearchTask, candidates: PoseCandidates, config: RegisterConfig, *, hinted: bool = False
) -> Evidence:
    """Collect the evidence for the best candidate.

    Parameters
    ----------
    task : SearchTask
        With the volume at the resolution of the comparison.
    candidates : PoseCandidates
    config : RegisterConfig
        Seed, restarts and threshold are used.
    hinted : bool
        Whether the search began at a start pose.

    Returns
    -------
    Evidence
    """
    detail = compare_detail(task.resolution, task.template, candidates.poses[:8], device=task.device)
    restarts = returning_restarts(task, candidates.poses[:1], seed=config.seed, count=config.restarts)
    scores = candidates.scores
    # The margin of a single candidate is 0. It is capped because the calibration covers no larger one. With a start
    # pose, where no other place was searched, it is weak evidence.
    margin = float(scores[0] - scores[1]) if len(scores) > 1 else 0.0
    margin = min(margin, _MAX_MARGIN_OF_A_HINT if hinted else _MAX_MARGIN)
    return Evidence(
        detail=float(np.nan_to_num(detail.correlation[0].item())),
        margin=margin,
        restarts=restarts,
        support=candidates.support,
        regions=detail.regions[0].numpy(),
        threshold=config.threshold,
    )


def locate(
    volume: Volume,
    slide: Slide,
    config: RegisterConfig | None = None,
    *,
    start: Section | None = None,
    axis: Float | None = None,
    levels: IntensityReference | None = None,
    progress: Progress = silent,
) -> SectionLocation:
    """Call `locate_section`, of which this is the older form."""
    warnings.warn("tomostain.register.locate.locate is now locate_section", DeprecationWarning, stacklevel=2)
    return locate_section(volume, slide, config, hint=Hint(start, axis), intensity=levels, progress=progress)


__getattr__ = renamed(
    __name__,
    {
        "Located": "SectionLocation",
        "check_sizes": "tomostain.register.preparation:check_sizes",
        "shows_metal": "tomostain.register.preparation:shows_metal",
    },
)
