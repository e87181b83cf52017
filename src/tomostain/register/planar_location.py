"""Registration of a slide with a volume of one slice, in the form of the registration in 3D."""

import logging
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.geometry.section import Section, sample_volume
from tomostain.imaging.intensity import IntensityReference
from tomostain.imaging.intensity_estimation import manual_reference
from tomostain.imaging.slide_reference import shrink_slide
from tomostain.io import Slide, Volume
from tomostain.progress import Progress, silent
from tomostain.register.config import RegisterConfig
from tomostain.register.hints import Hint
from tomostain.register.planar import Planar, register_in_plane
from tomostain.register.planar_judge import PlanarEvidence
from tomostain.register.strain_prior import prior_deviation

log = logging.getLogger("tomostain.register")

# A slide may measure so many times the slice, either way.
_MAX_RATIO = 8.0
# Largest component along z of the axes of a start pose.
_MAX_TILT = 0.02


@dataclass(frozen=True, eq=False)
class PlanarLocation:
    """Pose of a slide on a slice, in coordinates of the finest level of the slide.

    Attributes
    ----------
    section : Section
        The best pose.
    candidates : tuple of Section
        The best pose and up to two others, best first.
    planar : Planar
    intensity : IntensityReference
        Grey values of background and bone.
    usual_strain : float
        Strain that is rarely exceeded with the stain.
    """

    section: Section
    candidates: tuple[Section, ...]
    planar: Planar
    intensity: IntensityReference
    usual_strain: float

    @property
    def evidence(self) -> PlanarEvidence:
        """Scores and confidence."""
        return self.planar.evidence

    @property
    def strain(self) -> NDArray[np.float64]:
        """Scale along rows, scale along columns, and shear of the histology, as strains; shape (3,)."""
        return self.planar.strain


def locate_in_plane(
    volume: Volume, slide: Slide, config: RegisterConfig, hint: Hint = Hint(), progress: Progress = silent
) -> PlanarLocation:
    """Register a slide with a volume of one slice.

    Raises
    ------
    InputError
        If the slice shows no bone and its grey values are not given, the slide shows no tissue, or the sizes of slice
        and slide do not fit together.
    """
    if not hint.refine:
        raise InputError("`hint`: a slide on a single image is always refined; leave out `refine=False`")
    if hint.axis is not None:
        raise InputError("`axis`: a single µCT image has no axis to search along; remove it")
    if hint.start is not None and max(abs(hint.start.row[0]), abs(hint.start.column[0])) > _MAX_TILT:
        raise InputError("`init`: the pose leaves the plane of the µCT image; give a pose or landmarks with z of 0")
    hint = hint.in_volume(volume)
    # Bone is not needed for the pose, but the pair is written in normalised grey values.
    intensity = manual_reference(volume, config.ct_background, config.ct_bone, source=str(volume.path))
    ct, um = _square_pixels(volume)
    _check_sizes(volume, slide)
    rgb, pixel_um, first_um = shrink_slide(slide, um)
    start = None if hint.start is None else _from_first_pixel(hint.start, first_um)
    planar = register_in_plane(ct, um, rgb, pixel_um, config, start=start, progress=progress)
    sections = tuple(_from_first_pixel(section, -first_um) for section in planar.candidates)
    usual = 2 * prior_deviation(config, rgb)
    return PlanarLocation(sections[0], sections, planar, intensity, usual)


def _square_pixels(volume: Volume) -> tuple[NDArray[np.generic], float]:
    """Return the slice on square pixels, and their size."""
    image = volume.read(0, 1)
    _, row_um, column_um = volume.voxel_um
    um = float(min(row_um, column_um))
    if np.isclose(row_um, column_um, rtol=1e-4):
        return image[0], um
    shape = tuple(int((n - 1) * size / um) + 1 for n, size in zip(image.shape[1:], (row_um, column_um), strict=True))
    flat = Section(np.zeros(3), np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]))
    return sample_volume(image, volume.voxel_um, flat, (shape[0], shape[1]), um), um


def _check_sizes(volume: Volume, slide: Slide) -> None:
    """Raise if the slice and the slide differ so much in size that a pixel size must be wrong."""
    slice_um = max(n * um for n, um in zip(volume.shape[1:], volume.voxel_um[1:], strict=True))
    slide_um = max(slide.shape) * slide.pixel_um
    if not 1 / _MAX_RATIO <= slide_um / slice_um <= _MAX_RATIO:
        guess = " (is one in mm instead of µm?)" if not 0.01 < slide_um / slice_um < 100 else ""
        raise InputError(
            f"{slide.path}: it measures {slide_um / 1e3:.2g} mm at {slide.pixel_um:g} µm per pixel, the µCT image "
            f"{slice_um / 1e3:.2g} mm; one of the sizes must be wrong{guess}; give `pixel_um` or `voxel_um`"
        )


def _from_first_pixel(section: Section, first_um: float) -> Section:
    """Return the section for slide coordinates that begin `first_um` later along rows and columns."""
    affine = section.slide_to_section.copy()
    affine[:, 2] += affine[:, :2] @ np.full(2, first_um)
    return replace(section, slide_to_section=affine)
