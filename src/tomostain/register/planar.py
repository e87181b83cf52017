"""Two images of one section: the turn, the side, the shift and the affine, where the µCT is a slice already."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tomostain.geometry.section import Section, resample_slide
from tomostain.imaging.intensity import IntensityReference, estimate_reference
from tomostain.progress import Progress, silent
from tomostain.register.config import RegisterConfig
from tomostain.register.find import APART, Found, finish, narrow
from tomostain.register.poses import distinct
from tomostain.register.refine import Freedom, refine
from tomostain.register.resolution import ResolutionLevel, coarser, scaled
from tomostain.register.search import Grid, search
from tomostain.register.template import Template, make_template

# How often the colours are learned anew: a picture without colour needs more than a stained one.
_ROUNDS = 10


@dataclass(frozen=True, eq=False)
class Planar:
    """Where a slide lies on a µCT slice.

    Attributes
    ----------
    section : Section
        In the slice's coordinates (0, row, column), µm.
    found : Found
        Candidates and scores.
    level : ResolutionLevel
        The slice, normalised, one voxel deep.
    template : Template
    """

    section: Section
    found: Found
    level: ResolutionLevel
    template: Template


def register_in_plane(
    ct: NDArray[np.generic],
    voxel_um: float,
    rgb: NDArray[np.uint8],
    pixel_um: float,
    config: RegisterConfig | None = None,
    *,
    levels: IntensityReference | None = None,
    progress: Progress = silent,
) -> Planar:
    """Find turn, side, shift and affine of a slide on a µCT slice, from nothing.

    Parameters
    ----------
    ct : ndarray, shape (Y, X)
    voxel_um : float
        Its pixel size, µm.
    rgb : ndarray of uint8, shape (rows, columns, 3)
        The slide, at about that resolution.
    pixel_um : float
    config : RegisterConfig, optional
    levels : IntensityReference, optional
        Grey values of background and bone; found if None.
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
    values = scaled(ct, levels or estimate_reference(ct))[None]
    level = ResolutionLevel.of(values, np.full(3, voxel_um), np.zeros(3))
    template = make_template(rgb, pixel_um, 0.0, config.material)
    freedom = Freedom(config.strain, bound=config.most_strain, in_plane=True)
    side_um = float(level.side_um.max())
    coarse = coarser(level, side_um / 39)
    grid = Grid(40, 6.0, 6, (0.94, 1.0, 1.06), np.array([[1.0, 0.0, 0.0]]))
    poses, scores = search(coarse, template, grid, progress)
    # Only the slice itself is a plane; the search looks beside it too.
    on_slice = poses.centre_um[:, 0].abs() < 0.5 * voxel_um
    poses, scores = poses[on_slice], scores[on_slice]
    poses = poses[distinct(poses, scores, template.corners_um, APART * side_um, config.candidates)]
    poses, scores = refine(coarse, template.picture(float(coarse.voxel_um.max())), poses, freedom, steps=8)
    found = narrow(level, template, poses, scores, freedom, progress, config.candidates, config.seed)
    # Nothing but the fit decides at the end, as in `locate`.
    loose = replace(freedom, strain=2.0 * config.strain)
    best, _ = finish(level, template, found.poses[:1], loose, rounds=_ROUNDS)
    return Planar(best.to_section(0, template.middle_um), found, level, template)


def resample_on_slice(
    planar: Planar, rgb: NDArray[np.uint8], pixel_um: float, shape: tuple[int, int], voxel_um: float
) -> NDArray[np.uint8]:
    """Bring the slide on the slice's grid, shape (*shape, 3); white outside it."""
    section = planar.section
    # The slice's pixels in the section's own frame: a turn in the plane, which joins the affine.
    frame = np.stack([section.row[1:], section.column[1:]], axis=1)
    affine = np.column_stack(
        [frame @ section.slide_to_section[:, :2], section.origin_um[1:] + frame @ section.slide_to_section[:, 2]]
    )
    flat = Section(np.zeros(3), np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]), affine)
    return resample_slide(rgb, pixel_um, flat, shape, voxel_um)
