"""Registration of a slide with a µCT slice of the same section: rotation, side, translation and affine."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tomostain.geometry.section import Section, resample_slide
from tomostain.imaging.intensity import IntensityReference, estimate_reference
from tomostain.progress import Progress, silent
from tomostain.register.config import RegisterConfig
from tomostain.register.find import APART, PoseCandidates, refine_candidates, refine_with_learned_values
from tomostain.register.poses import select_distinct
from tomostain.register.refine import Freedom, refine
from tomostain.register.resolution import ResolutionLevel, scale_to_bone
from tomostain.register.search import Grid, search
from tomostain.register.task import SearchTask
from tomostain.register.template import Template, make_template

# Number of times that the values are learned. An image without colour needs more than a stained one.
_ROUNDS = 10


@dataclass(frozen=True, eq=False)
class Planar:
    """Pose of a slide on a µCT slice.

    Attributes
    ----------
    section : Section
        In coordinates of the slice (0, row, column), µm.
    candidates : PoseCandidates
    level : ResolutionLevel
        The normalised slice, one voxel deep.
    template : Template
    """

    section: Section
    candidates: PoseCandidates
    level: ResolutionLevel
    template: Template


def register_in_plane(
    ct: NDArray[np.generic],
    voxel_um: float,
    rgb: NDArray[np.uint8],
    pixel_um: float,
    config: RegisterConfig | None = None,
    *,
    intensity: IntensityReference | None = None,
    progress: Progress = silent,
) -> Planar:
    """Find rotation, side, translation and affine of a slide on a µCT slice.

    Parameters
    ----------
    ct : ndarray, shape (Y, X)
    voxel_um : float
        Pixel size of the slice, µm.
    rgb : ndarray of uint8, shape (rows, columns, 3)
        The slide, at about the same resolution.
    pixel_um : float
    config : RegisterConfig, optional
    intensity : IntensityReference, optional
        Grey values of background and bone. None: estimated from the slice.
    progress : Progress

    Returns
    -------
    Planar

    Raises
    ------
    InputError
        If no bone or no tissue is found.
    """
    config = config or RegisterConfig()
    values = scale_to_bone(ct, intensity or estimate_reference(ct))[None]
    level = ResolutionLevel.of(values, np.full(3, voxel_um), np.zeros(3))
    template = make_template(rgb, pixel_um, 0.0, config.material)
    freedom = Freedom(config.strain, bound=config.max_strain, in_plane=True)
    task = SearchTask(level, template, freedom, candidates=config.candidates, seed=config.seed)
    coarse = task.coarser(40)
    grid = Grid(40, 6.0, 6, (0.94, 1.0, 1.06), np.array([[1.0, 0.0, 0.0]]))
    poses, scores = search(coarse.level, template, grid, progress)
    # The search also returns planes next to the slice.
    on_slice = poses.centre_um[:, 0].abs() < 0.5 * voxel_um
    poses, scores = poses[on_slice], scores[on_slice]
    poses = poses[select_distinct(poses, scores, template.corners_um, APART * task.side_um, config.candidates)]
    poses, scores = refine(coarse.level, coarse.picture, poses, freedom, steps=8)
    candidates = refine_candidates(task, poses, scores, progress)
    # A wide prior: here the fit alone decides, as in `refine_at_full_resolution`.
    loose = replace(task, freedom=replace(freedom, strain=2.0 * config.strain))
    best, _ = refine_with_learned_values(loose, candidates.poses[:1], rounds=_ROUNDS)
    return Planar(best.to_section(0, template.middle_um), candidates, level, template)


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
