"""The section of a slide in a volume: reads both at the resolution that suits, searches, and says how sure it is."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.errors import InputError
from tomostain.geometry.section import Section
from tomostain.imaging.intensity import IntensityReference, manual_reference
from tomostain.imaging.slide_reference import shrink_slide, slide_reference
from tomostain.io import Slide, Volume
from tomostain.progress import Progress, silent
from tomostain.register.config import RegisterConfig
from tomostain.register.find import Found, find, finish, narrow
from tomostain.register.pose_confidence import Detail, Evidence, detail, restarts
from tomostain.register.poses import Poses
from tomostain.register.refine import Freedom, random_steps, refine
from tomostain.register.resolution import ResolutionLevel, coarser, read_coarse, read_slab
from tomostain.register.search import Grid, half_sphere
from tomostain.register.template import Template, make_template

Float = NDArray[np.float64]
# Pixel sizes to try, beside what the first search found, where that is not sure.
SCALES = (0.94, 1.06)
_DETAIL_SIDE = 128
# Sharpening that lowers the detail by more than this has gone astray.
_LOST = 0.05
_MOST_MARGIN, _MOST_MARGIN_OF_A_HINT = 0.5, 0.1
# A body of metal: voxels along the longest side at which it is looked for, its level (bone 1), and its radius relative
# to that of the screw on the slide.
_BODY_SIDE = 96
_BRIGHTER_THAN_BONE = 1.1
_THICKNESS_RATIO = (0.6, 2.0)
_SLAB_REACH_UM = 60.0
_SLAB_POINTS = 300_000


@dataclass(frozen=True, eq=False)
class Located:
    """Where the section lies, and how sure that is.

    Attributes
    ----------
    section : Section
        The best pose.
    candidates : tuple of Section
        The best one and up to two others, best first.
    evidence : Evidence
        Scores and confidence.
    hypothesis : str
        What the screw was taken for.
    levels : IntensityReference
        Grey values of background and bone.
    level : ResolutionLevel
        The volume at the resolution of the search.
    template : Template
        The slide as it was looked for.
    """

    section: Section
    candidates: tuple[Section, ...]
    evidence: Evidence
    hypothesis: str
    levels: IntensityReference
    level: ResolutionLevel
    template: Template

    @property
    def strain(self) -> Float:
        """Scale along rows, along columns, and shear of the histology, as strains; shape (3,)."""
        linear = self.section.slide_to_section[:, :2]
        return np.array([linear[0, 0] - 1, linear[1, 1] - 1, (linear[0, 1] + linear[1, 0]) / 2])


def locate(
    volume: Volume,
    slide: Slide,
    config: RegisterConfig | None = None,
    *,
    start: Section | None = None,
    axis: Float | None = None,
    levels: IntensityReference | None = None,
    progress: Progress = silent,
) -> Located:
    """Find the section plane of a slide.

    Parameters
    ----------
    volume : Volume
    slide : Slide
    config : RegisterConfig, optional
    start : Section, optional
        A hint: only its neighbourhood is searched.
    axis : ndarray of float64, shape (3,), optional
        A hint: direction (z, y, x) in the volume that the section holds within 12°, such as the screw's.
    levels : IntensityReference, optional
        Grey values of background and bone; found in the volume if None.
    progress : Progress

    Returns
    -------
    Located
        Sure or not: see `Located.evidence`.

    Raises
    ------
    InputError
        If the volume shows no bone, the slide no tissue, or their sizes cannot belong together.
    """
    config = config or RegisterConfig()
    levels = levels or manual_reference(volume, config.ct_background, config.ct_bone, source=str(volume.path))
    white = None
    if config.histology_background is not None:
        white = slide_reference(slide, config.histology_background, config.histology_bone)
    level = read_coarse(volume, levels, config.most_voxels, progress)
    working_um = float(level.voxel_um.max())
    check_sizes(max(slide.shape) * slide.pixel_um, level, slide, "it")
    rgb, pixel_um, first_um = shrink_slide(slide, working_um)
    template = make_template(rgb, pixel_um, first_um, config.material, str(slide.path), white)
    check_sizes(2 * template.half_um.max(), level, slide, "its tissue", too_large=1.6)
    if shows_metal(level, template):
        template = template.of_material("dense")
    freedom = Freedom(config.strain, bound=config.most_strain)
    side_um = float(level.side_um.max())
    if start is not None:
        found = _about(level, template, start, freedom, config)
    else:
        normals = _normals(config.step_deg, axis)
        found = find(
            level,
            template,
            Grid(config.side, config.step_deg, 2, normals=normals),
            freedom,
            progress,
            config.candidates,
        )
    middle = coarser(level, side_um / (_DETAIL_SIDE - 1))
    evidence = weigh(middle, template, found, freedom, config, start is not None)
    if not evidence.sure and config.thorough and start is None:
        grid = Grid(config.side, config.step_deg, 3, SCALES, _normals(config.step_deg, axis))
        loose = replace(freedom, scale=0.06)
        again = find(level, template, grid, loose, progress, config.candidates, found.places)
        second = weigh(middle, template, again, loose, config)
        if second.confidence > evidence.confidence:
            found, evidence, freedom = again, second, loose
    candidates = [found.poses[i : i + 1] for i in range(min(3, len(found.poses)))]
    sharp = _sharpen(volume, levels, level, slide, template, candidates[0], freedom, config, progress)
    best, fit = better(middle, template, candidates[0], sharp)
    evidence = replace(evidence, detail=fit)
    sections = (best, *(c.to_section(0, template.middle_um) for c in candidates[1:]))
    hypothesis = template.hypotheses[int(found.poses.hypothesis[0])]
    return Located(best, sections, evidence, hypothesis, levels, level, template)


def check_sizes(slide_um: float, level: ResolutionLevel, slide: Slide, what: str, too_large: float = np.inf) -> None:
    """Raise `InputError` if slide and volume differ so much in size that a pixel size must be wrong.

    Parameters
    ----------
    slide_um : float
        Longest side of the slide, or of its tissue, µm.
    level : ResolutionLevel
    slide : Slide
        Named in the message.
    what : str
        What was measured.
    too_large : float
        Times the volume's diagonal from which on it cannot be a section of it; a bare slide may be of any size.
    """
    sides = level.side_um.numpy()
    # Not the longest side: a section across a long specimen is as small as that is thin.
    if 0.16 * np.sort(sides)[1] <= slide_um <= too_large * np.linalg.norm(sides):
        return
    volume_mm = " x ".join(f"{side / 1e3:.2g}" for side in sides)
    raise InputError(
        f"{slide.path}: {what} measures {slide_um / 1e3:.2g} mm at {slide.pixel_um:g} µm a pixel, the volume "
        f"{volume_mm} mm; one of the sizes must be wrong, perhaps by a factor of 10: give --pixel-um or --voxel-um"
    )


def shows_metal(level: ResolutionLevel, template: Template) -> bool:
    """Whether the volume holds a body brighter than bone and about as thick as the slide's screw.

    Then the screw is that body, and a dark one need not be tried. Where there is none it may be of a polymer, or of a
    metal as grey as bone.

    Parameters
    ----------
    level : ResolutionLevel
    template : Template
    """
    slide_um = template.screw_radius_um
    if "dense" not in template.hypotheses or not slide_um:
        return False
    coarse = coarser(level, float(level.side_um.max()) / (_BODY_SIDE - 1))
    bright = ndimage.uniform_filter(coarse.values.numpy(), 3) > _BRIGHTER_THAN_BONE
    if not bright.any():
        return False
    distance = ndimage.distance_transform_edt(np.pad(bright, 1, mode="edge"), sampling=coarse.voxel_um.tolist())
    low, high = _THICKNESS_RATIO
    return low * slide_um <= float(distance.max()) <= high * slide_um


def _normals(step_deg: float, axis: Float | None) -> Float | None:
    """Return the normals to search, all or those of planes that hold the axis within 12°."""
    if axis is None:
        return None
    normals = half_sphere(0.7 * step_deg)
    near = np.abs(normals @ (axis / np.linalg.norm(axis))) < np.sin(np.radians(12.0 + step_deg / 2))
    return np.asarray(normals[near])


def _about(
    level: ResolutionLevel, template: Template, start: Section, freedom: Freedom, config: RegisterConfig
) -> Found:
    """Refine a hint and poses drawn about it, under every hypothesis."""
    generator = torch.Generator().manual_seed(config.seed)
    side_um = float(level.side_um.max())
    number = 150
    starts = []
    for hypothesis in range(len(template.hypotheses)):
        pose = Poses.from_section(start, template.middle_um, hypothesis)
        many = Poses.stack([pose] * number)
        starts += [pose, many.moved(random_steps(many, 0.03 * side_um, 5.0, freedom, generator))]
    poses = Poses.stack(starts)
    coarse = coarser(level, side_um / 31)
    poses, scores = refine(coarse, template.picture(float(coarse.voxel_um.max())), poses, freedom, steps=8)
    return narrow(level, template, poses, scores, freedom)


def weigh(
    level: ResolutionLevel,
    template: Template,
    found: Found,
    freedom: Freedom,
    config: RegisterConfig,
    hinted: bool = False,
) -> Evidence:
    """Collect what speaks for the best candidate."""
    fine: Detail = detail(level, template, found.poses[:8])
    back = restarts(level, template, found.poses[:1], freedom, config.seed, config.restarts)
    scores = found.scores
    # A lone candidate is ahead of nothing. Beyond what was calibrated a larger margin proves no more; about a hint,
    # where no other place was looked at, it proves little.
    margin = float(scores[0] - scores[1]) if len(scores) > 1 else 0.0
    margin = min(margin, _MOST_MARGIN if not hinted else _MOST_MARGIN_OF_A_HINT)
    return Evidence(
        detail=float(np.nan_to_num(fine.correlation[0].item())),
        margin=margin,
        restarts=back,
        support=found.support,
        regions=fine.regions[0].numpy(),
        threshold=config.threshold,
    )


def better(level: ResolutionLevel, template: Template, pose: Poses, sharp: Section) -> tuple[Section, float]:
    """Return the sharpened section and its detail, or the pose and its own where sharpening has lost the way.

    The confidence must be that of the section which is handed out.
    """
    sharpened = Poses.from_section(sharp, template.middle_um, int(pose.hypothesis[0]))
    before, after = detail(level, template, Poses.stack([pose, sharpened])).correlation.nan_to_num().tolist()
    if after < before - _LOST:
        return pose.to_section(0, template.middle_um), before
    return sharp, after


def _sharpen(
    volume: Volume,
    levels: IntensityReference,
    level: ResolutionLevel,
    slide: Slide,
    template: Template,
    pose: Poses,
    freedom: Freedom,
    config: RegisterConfig,
    progress: Progress,
) -> Section:
    """Refine the pose at the volume's own resolution, over the section's thickness."""
    section = pose.to_section(0, template.middle_um)
    # Nothing but the fit decides now: the prior would pull the scale towards 1.
    freedom = replace(freedom, strain=2.0 * freedom.strain)
    finest_um = float(min(volume.voxel_um))
    if float(level.voxel_um.max()) < 1.3 * finest_um:
        pose, _ = finish(level, template, pose, freedom, config.thickness_um, rounds=2)
        return pose.to_section(0, template.middle_um)
    rgb, pixel_um, first_um = shrink_slide(slide, finest_um)
    fine = make_template(rgb, pixel_um, first_um, config.material, str(slide.path), template.levels)
    # The slab's own coordinates: (normal, row, column) from the corner of the template's box.
    half, middle = fine.half_um + 50.0, fine.middle_um
    centre = section.slide_to_section_um(middle)
    corner = section.to_volume_um(centre - half)
    flat = Section(corner, section.row, section.column)
    shape = (int(2 * half[0] / finest_um) + 1, int(2 * half[1] / finest_um) + 1)
    reach = _SLAB_REACH_UM + config.thickness_um / 2
    slab = read_slab(volume, levels, flat, shape, finest_um, reach, progress)
    frame = np.stack([flat.normal, flat.row, flat.column])
    linear = frame @ np.column_stack([section.row, section.column]) @ section.slide_to_section[:, :2]
    at = frame @ (section.to_volume_um(centre) - corner)
    start = Poses.from_linear(linear[None], at[None], min(int(pose.hypothesis[0]), len(fine.hypotheses) - 1))
    sharp, _ = finish(slab, fine, start, freedom, config.thickness_um, rounds=2, most_points=_SLAB_POINTS)
    matrix = sharp.linear[0].double().numpy()
    there = sharp.centre_um[0].double().numpy()
    back = Poses.from_linear((frame.T @ matrix)[None], (frame.T @ there + corner)[None])
    return back.to_section(0, middle)
