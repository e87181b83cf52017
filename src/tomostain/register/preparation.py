"""The volume and the slide at the resolution of the search, with checks of their sizes."""

import logging

import numpy as np
import torch
from scipy import ndimage

from tomostain.errors import InputError
from tomostain.imaging.intensity import IntensityReference
from tomostain.imaging.slide_reference import shrink_slide, slide_reference
from tomostain.io import Slide, Volume
from tomostain.progress import Progress, silent
from tomostain.register.config import RegisterConfig
from tomostain.register.refine import Freedom
from tomostain.register.resolution import ResolutionLevel, coarser, read_coarse
from tomostain.register.task import SearchTask
from tomostain.register.template import Template, make_template

log = logging.getLogger("tomostain.register")

# A body of metal: voxels along the longest side at which it is searched, its smallest value (bone 1), and its radius
# relative to that of the screw on the slide.
_BODY_SIDE = 96

_BRIGHTER_THAN_BONE = 1.1

_THICKNESS_RATIO = (0.6, 2.0)


def prepare_search(
    volume: Volume,
    slide: Slide,
    intensity: IntensityReference,
    config: RegisterConfig,
    device: str | torch.device = "cpu",
    progress: Progress = silent,
) -> SearchTask:
    """Read the volume and the slide at the resolution of the search.

    Parameters
    ----------
    volume : Volume
    slide : Slide
    intensity : IntensityReference
        Grey values of background and bone.
    config : RegisterConfig
    device : str or torch.device
        Where the search computes.
    progress : Progress

    Raises
    ------
    InputError
        If the slide shows no tissue, or the sizes of volume and slide do not fit together.
    """
    colour_reference = None
    if config.histology_background is not None:
        colour_reference = slide_reference(slide, config.histology_background, config.histology_bone)
    resolution = read_coarse(volume, intensity, config.max_voxels, progress)
    voxel_um = float(resolution.voxel_um.max())
    log.info(
        "volume of %s voxels, searched at %s voxels of %.3g µm", volume.shape, tuple(resolution.values.shape), voxel_um
    )
    check_sizes(max(slide.shape) * slide.pixel_um, resolution, slide, "it")
    rgb, pixel_um, first_um = shrink_slide(slide, voxel_um)
    template = make_template(rgb, pixel_um, first_um, config.material, str(slide.path), colour_reference)
    check_sizes(2 * template.half_um.max(), resolution, slide, "its tissue", too_large=1.6)
    if shows_metal(resolution, template):
        template = template.of_material("dense")
    log.info("hypotheses for the screw: %s", ", ".join(template.hypotheses))
    return SearchTask(resolution, template, Freedom(config.strain, bound=config.max_strain), device)


def check_sizes(
    slide_um: float, resolution: ResolutionLevel, slide: Slide, subject: str, too_large: float = np.inf
) -> None:
    """Raise `InputError` if slide and volume differ so much in size that a pixel size must be wrong.

    Parameters
    ----------
    slide_um : float
        Longest side of the slide, or of its tissue, µm.
    resolution : ResolutionLevel
    slide : Slide
        Named in the message.
    subject : str
        The measured values, for the message.
    too_large : float
        Largest size relative to the diagonal of the volume. A whole slide may be of any size.
    """
    sides = resolution.side_um.numpy()
    # Not the longest side: a section across a long specimen is as small as the specimen is thin.
    if 0.16 * np.sort(sides)[1] <= slide_um <= too_large * np.linalg.norm(sides):
        return
    volume_mm = " x ".join(f"{side / 1e3:.2g}" for side in sides)
    ratio = slide_um / np.sort(sides)[1]
    guess = "is one in mm instead of µm?" if not 0.01 < ratio < 100 else "perhaps by a factor of 10"
    raise InputError(
        f"{slide.path}: {subject} measures {slide_um / 1e3:.2g} mm at {slide.pixel_um:g} µm per pixel, the volume "
        f"{volume_mm} mm; one of the sizes must be wrong ({guess}); give `pixel_um` or `voxel_um`"
    )


def shows_metal(resolution: ResolutionLevel, template: Template) -> bool:
    """Whether the volume contains a body brighter than bone and about as thick as the screw on the slide.

    Then the screw is that body, and no other hypothesis needs to be tried. Without such a body the screw may be a
    polymer, or a metal as bright as bone.

    Parameters
    ----------
    resolution : ResolutionLevel
    template : Template
    """
    slide_um = template.screw_radius_um
    if "dense" not in template.hypotheses or not slide_um:
        return False
    coarse = coarser(resolution, float(resolution.side_um.max()) / (_BODY_SIDE - 1))
    bright = ndimage.uniform_filter(coarse.values.numpy(), 3) > _BRIGHTER_THAN_BONE
    if not bright.any():
        return False
    distance = ndimage.distance_transform_edt(np.pad(bright, 1, mode="edge"), sampling=coarse.voxel_um.tolist())
    low, high = _THICKNESS_RATIO
    return low * slide_um <= float(distance.max()) <= high * slide_um
