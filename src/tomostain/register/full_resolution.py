"""The last refinement of a pose, at the resolution of the volume and over the thickness of the section."""

from dataclasses import replace

import numpy as np

from tomostain.geometry.section import Section
from tomostain.imaging.intensity import IntensityReference
from tomostain.imaging.slide_reference import shrink_slide
from tomostain.io import Slide, Volume
from tomostain.progress import Progress, silent
from tomostain.register.config import RegisterConfig
from tomostain.register.find import refine_with_learned_values
from tomostain.register.pose_confidence import compare_detail
from tomostain.register.poses import Poses
from tomostain.register.resolution import read_slab
from tomostain.register.task import SearchTask
from tomostain.register.template import make_template

# The refinement is rejected if it decreases the detail by more than this.
_MAX_LOSS = 0.05
_SLAB_REACH_UM = 60.0
_SLAB_POINTS = 300_000


def refine_at_full_resolution(
    volume: Volume,
    slide: Slide,
    task: SearchTask,
    pose: Poses,
    intensity: IntensityReference,
    config: RegisterConfig,
    progress: Progress = silent,
) -> Section:
    """Refine a pose at the resolution of the volume, over the thickness of the section.

    Parameters
    ----------
    volume : Volume
    slide : Slide
    task : SearchTask
        With the volume in memory.
    pose : Poses
        One pose.
    intensity : IntensityReference
        Grey values of background and bone.
    config : RegisterConfig
    progress : Progress

    Returns
    -------
    Section
    """
    template = task.template
    section = pose.to_section(0, template.middle_um)
    # A wide prior: here the fit alone decides, because the prior would pull the scale towards 1.
    task = replace(task, freedom=replace(task.freedom, strain=2.0 * task.freedom.strain))
    finest_um = float(min(volume.voxel_um))
    if task.voxel_um < 1.3 * finest_um:
        pose, _ = refine_with_learned_values(task, pose, slab_um=config.thickness_um, rounds=2)
        return pose.to_section(0, template.middle_um)
    rgb, pixel_um, first_um = shrink_slide(slide, finest_um)
    fine = make_template(rgb, pixel_um, first_um, config.material, str(slide.path), template.colour_reference)
    # Coordinates of the slab: (normal, row, column) from the corner of the bounding box of the template.
    half, middle = fine.half_um + 50.0, fine.middle_um
    centre = section.slide_to_section_um(middle)
    corner = section.to_volume_um(centre - half)
    plane = Section(corner, section.row, section.column)
    shape = (int(2 * half[0] / finest_um) + 1, int(2 * half[1] / finest_um) + 1)
    reach_um = _SLAB_REACH_UM + config.thickness_um / 2
    slab = read_slab(volume, intensity, plane, shape, finest_um, reach_um, progress)
    frame = np.stack([plane.normal, plane.row, plane.column])
    linear = frame @ np.column_stack([section.row, section.column]) @ section.slide_to_section[:, :2]
    position = frame @ (section.to_volume_um(centre) - corner)
    hypothesis = min(int(pose.hypothesis[0]), len(fine.hypotheses) - 1)
    start = Poses.from_linear(linear[None], position[None], hypothesis)
    refined, _ = refine_with_learned_values(
        replace(task, resolution=slab, template=fine),
        start,
        slab_um=config.thickness_um,
        rounds=2,
        max_points=_SLAB_POINTS,
    )
    linear_in_slab = refined.linear[0].double().numpy()
    centre_in_slab = refined.centre_um[0].double().numpy()
    in_volume = Poses.from_linear((frame.T @ linear_in_slab)[None], (frame.T @ centre_in_slab + corner)[None])
    return in_volume.to_section(0, middle)


def accept_if_not_worse(task: SearchTask, pose: Poses, refined: Section) -> tuple[Section, float]:
    """Return the refined section and its detail, or the pose and its detail if the refinement made it worse.

    The confidence is then that of the section which is returned.
    """
    template = task.template
    refined_pose = Poses.from_section(refined, template.middle_um, int(pose.hypothesis[0]))
    detail = compare_detail(task.resolution, template, Poses.stack([pose, refined_pose]), device=task.device)
    before, after = detail.correlation.nan_to_num().tolist()
    if after < before - _MAX_LOSS:
        return pose.to_section(0, template.middle_um), before
    return refined, after
