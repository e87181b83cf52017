"""Registration of a slide with a µCT slice of the same section: rotation, side, translation and strain.

1. All rotations, both sides and all shifts by mutual information (`mutual_search`), and the images as they are given.
2. Rigid refinement of the best at finer and finer resolution.
3. The posterior with strain (`strain_prior`).
4. Edges, which are independent of the metric above, choose between the transforms (`edge_blocks`, `planar_judge`).
"""

import logging
from dataclasses import dataclass, replace
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from tomostain.geometry.section import Section, resample_slide
from tomostain.imaging.intensity import IntensityReference
from tomostain.progress import Progress, silent
from tomostain.register.config import RegisterConfig
from tomostain.register.edge_blocks import EdgeShifts, ct_on_slide, edge_shifts, fit_shifts
from tomostain.register.mutual_search import (
    MutualScore,
    corners_um,
    distinct,
    refine_rigid,
    refine_strained,
    search_all_poses,
)
from tomostain.register.planar_images import PlanarImages, planar_images
from tomostain.register.planar_judge import (
    Option,
    PlanarEvidence,
    agreement_by_chance,
    choose,
    enough_blocks,
    fitted_option,
    fixed_option,
)
from tomostain.register.planar_pose import PlanarPose
from tomostain.register.strain_prior import effective_samples, histology_strain, prior_deviation

log = logging.getLogger("tomostain.register")

# Longest side of the images, pixels; resolutions at which candidates are refined, and how many of them are refined.
MAX_SIDE = 1024
STAGES = ((96, 8), (192, 3), (448, 2), (MAX_SIDE, 1))
_CANDIDATES = 24
# Poses that are closer than this fraction of the size of the tissue are one candidate.
_APART = 0.05
# The images as given count as a start if the search ends within this fraction of the size.
_NEAR_START = 0.06
_EDGE_ROUNDS = 2


@dataclass(frozen=True, eq=False)
class Planar:
    """Pose of a slide on a µCT slice.

    Attributes
    ----------
    section : Section
        In coordinates of the slice (0, row, column), µm.
    candidates : tuple of Section
        The best pose and up to two others, best first.
    evidence : PlanarEvidence
        Confidence, and the numbers it is computed from.
    images : PlanarImages
        Both images at the resolution of the registration.
    """

    section: Section
    candidates: tuple[Section, ...]
    evidence: PlanarEvidence
    images: PlanarImages

    @property
    def strain(self) -> NDArray[np.float64]:
        """Scale along rows, scale along columns, and shear of the histology, as strains; shape (3,)."""
        return histology_strain(self.section)


class PlanarOptions(TypedDict, total=False):
    """Keywords of `register_in_plane`."""

    intensity: IntensityReference | None
    start: Section | None
    progress: Progress


def register_in_plane(
    ct: NDArray[np.generic],
    voxel_um: float,
    rgb: NDArray[np.uint8],
    pixel_um: float,
    config: RegisterConfig | None = None,
    **options: Unpack[PlanarOptions],
) -> Planar:
    """Find rotation, side, translation and strain of a slide on a µCT slice.

    Parameters
    ----------
    ct : ndarray, shape (Y, X)
        NaN where it was not measured.
    voxel_um : float
        Pixel size of the slice, µm.
    rgb : ndarray of uint8, shape (rows, columns, 3)
        The slide, at about the same resolution.
    pixel_um : float
    config : RegisterConfig, optional
        `planar_strain`, `threshold` and `seed` are used.
    **options
        ``start`` (`Section`): a start pose, in coordinates (0, row, column); nothing else is searched. By default all
        poses are searched, and the images as they are given. ``progress`` (`Progress`). ``intensity``
        (`IntensityReference`) is not used any more: the result does not depend on which tissue is bright.

    Returns
    -------
    Planar
        Also if the result is uncertain: see `Planar.evidence`.

    Raises
    ------
    InputError
        If the slice is constant, or no tissue is on the slide.
    """
    config = config or RegisterConfig()
    start, progress = options.get("start"), options.get("progress", silent)
    images = planar_images(ct, voxel_um, rgb, pixel_um, MAX_SIDE)
    sigma = prior_deviation(config, rgb)
    as_given = PlanarPose.as_given(images.middle_um)
    if start is not None:
        as_given = PlanarPose.from_section(start, images.middle_um)
    starts = [as_given] if start is not None else [*search_all_poses(images, _CANDIDATES, progress), as_given]
    poses, margin = _refine(images, starts, config.seed, progress)
    log.info("planar search: %d candidates, margin %.3f", len(poses), margin)
    chosen, evidence = _judge(images, poses[0], as_given, sigma, config, margin)
    sections = (chosen.to_section(), *(pose.to_section() for pose in poses[1:3]))
    return Planar(sections[0], sections, evidence, images)


def _refine(
    images: PlanarImages, poses: list[PlanarPose], seed: int, progress: Progress
) -> tuple[list[PlanarPose], float]:
    """Refine rigid poses at finer and finer resolution. Return the candidates, and the margin of the first.

    The first is fully refined, the others to the resolution at which they were left out.
    """
    points, others, margin = corners_um(images), list[PlanarPose](), 1.0
    for number, (side, count) in enumerate(STAGES):
        progress("refining", number, len(STAGES))
        resolution = images.at(images.side_um / side)
        score = MutualScore(resolution, seed)
        reach_um = images.size_um / 3
        refined = [refine_rigid(score, pose, 1.5 * resolution.pixel_um, reach_um) for pose in poses]
        scores = {id(pose): score(pose) for pose in refined}
        ranked = distinct(sorted(refined, key=lambda p: -scores[id(p)]), points, _APART * images.size_um, max(count, 3))
        if len(ranked) > 1:
            margin = 1 - scores[id(ranked[1])] / max(scores[id(ranked[0])], 1e-9)
            others = ranked[1:3]
        poses = ranked[:count]
    progress("refining", len(STAGES), len(STAGES))
    return [poses[0], *others], float(np.clip(margin, 0.0, 1.0))


def _judge(
    images: PlanarImages,
    rigid: PlanarPose,
    as_given: PlanarPose,
    sigma: float,
    config: RegisterConfig,
    margin: float,
) -> tuple[PlanarPose, PlanarEvidence]:
    """Choose the transform by held-out edges. Return it with its evidence."""
    score = MutualScore(images, config.seed)
    samples = effective_samples(_on_slide(images, rigid), _compared(images, rigid))
    step_um = images.pixel_um
    strained = refine_strained(score, rigid, step_um, images.size_um / 3, max(samples, 1.0), sigma)
    points = corners_um(images)
    near = as_given.distance_um(rigid, points).mean() < _NEAR_START * images.size_um
    base, shifts = rigid, edge_shifts(images, rigid)
    for _ in range(_EDGE_ROUNDS):
        if enough_blocks(shifts):
            base = base.after(*fit_shifts(shifts, base.middle_um, None))
            shifts = edge_shifts(images, base)
    options = [fixed_option("rigid, by mutual information", 1, rigid, base, shifts)]
    if near:
        options.append(fixed_option("as given", 0, as_given, base, shifts))
    enough = enough_blocks(shifts)
    if enough:
        options.append(fixed_option("strained, by mutual information", 2, strained, base, shifts))
        options.append(fitted_option("rigid, by edges", base, shifts, None))
        options.append(fitted_option("strained, by edges", base, shifts, sigma))
    chosen = choose(options, shifts) if enough else options[0]
    log.info(
        "planar registration: %s", "; ".join(f"{o.name} {np.median(o.held_out_um):.1f} µm" for o in options if enough)
    )
    evidence = _evidence(images, chosen, shifts, base, (rigid, score, samples, margin), config.threshold)
    return chosen.pose, replace(evidence, note=_note(chosen, strained, score, enough=enough))


def _note(chosen: Option, strained: PlanarPose, score: MutualScore, *, enough: bool) -> str:
    """Return one sentence if the transform with the highest mutual information is not used."""
    if not enough:
        return "too few blocks have distinct edges: only mutual information supports the transform"
    before, after = score(chosen.pose), score(strained)
    if chosen.freedom == 2 or after <= before:
        return ""
    used = "the images stay as they are given" if chosen.freedom == 0 else "a rigid transform is used"
    return (
        f"a transform with strain has more mutual information ({after:.3f} nats, not {before:.3f}), but held-out edges "
        f"do not support it: {used}"
    )


def _evidence(
    images: PlanarImages,
    chosen: Option,
    shifts: EdgeShifts,
    base: PlanarPose,
    mutual: tuple[PlanarPose, MutualScore, float, float],
    threshold: float,
) -> PlanarEvidence:
    """Collect the evidence for the chosen transform. `shifts` are relative to `base`."""
    rigid, score, samples, margin = mutual
    points, size_um = corners_um(images), images.size_um
    halves, held_out, agreeing, chance, by_edges = np.nan, np.nan, 0, 1.0, chosen.pose
    if enough_blocks(shifts):
        by_edges = base.after(*fit_shifts(shifts, base.middle_um, None))
        agreeing, chance = agreement_by_chance(chosen, shifts, size_um)
        held_out = float(np.median(chosen.held_out_um))
        one, two = (base.after(*fit_shifts(shifts.of(shifts.fold == f), base.middle_um, None)) for f in (0, 1))
        halves = float(one.distance_um(two, points).mean())
    return PlanarEvidence(
        transform=chosen.name,
        agreeing=agreeing,
        distinct=len(shifts),
        compared=shifts.compared,
        chance=chance,
        held_out_um=held_out,
        halves_um=halves,
        metrics_differ_um=float(by_edges.distance_um(rigid, points).mean()),
        size_um=size_um,
        margin=margin,
        overlap=float(_compared(images, chosen.pose).sum() / images.tissue.sum()),
        mutual_information=score(chosen.pose),
        samples=samples,
        threshold=threshold,
        pixel_um=images.pixel_um,
    )


def _on_slide(images: PlanarImages, pose: PlanarPose) -> list[NDArray[np.float32]]:
    return [ct_on_slide(images, pose)[0], images.grey]


def _compared(images: PlanarImages, pose: PlanarPose) -> NDArray[np.bool_]:
    return np.asarray(ct_on_slide(images, pose)[1] & images.tissue)


def resample_on_slice(
    planar: Planar, rgb: NDArray[np.uint8], pixel_um: float, shape: tuple[int, int], voxel_um: float
) -> NDArray[np.uint8]:
    """Resample the slide on the grid of the slice, shape (*shape, 3). White outside the slide."""
    section = planar.section
    # The rotation in the plane becomes part of the affine.
    frame = np.stack([section.row[1:], section.column[1:]], axis=1)
    affine = np.column_stack(
        [frame @ section.slide_to_section[:, :2], section.origin_um[1:] + frame @ section.slide_to_section[:, 2]]
    )
    flat = Section(np.zeros(3), np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]), affine)
    return resample_slide(rgb, pixel_um, flat, shape, voxel_um)
