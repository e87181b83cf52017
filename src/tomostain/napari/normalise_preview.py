"""What the widget Normalise shows before it saves: grey values of a volume, and a slide after normalisation."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.imaging.colour import normalise_histology
from tomostain.imaging.drawn_regions import Box, DrawnReference, DrawnRegion, drawn_reference, outline_box
from tomostain.imaging.intensity_figure import intensity_figure
from tomostain.imaging.slide_reference import shrink_slide, slide_reference
from tomostain.io import Slide, Volume
from tomostain.napari.picture_label import Rgb

Outline = NDArray[np.float64]

CtRequest = tuple[Callable[[], Volume], list[DrawnRegion], list[DrawnRegion]]

SlideRequest = tuple[Callable[[], Slide], Outline, Outline]

_PREVIEW_PX = 640


def measure_ct(request: CtRequest) -> tuple[DrawnReference, Rgb]:
    """Return the reference of the drawn regions, and its figure."""
    open_chosen, background, bone = request
    volume = open_chosen()
    drawn = drawn_reference(volume, background, bone, str(volume.path))
    return drawn, intensity_figure(drawn.samples, drawn.reference, (drawn.background, drawn.bone), narrow=True)


def preview_slide(request: SlideRequest) -> tuple[tuple[Box, Box], Rgb]:
    """Return the boxes of glass and bone, and the slide before and after normalisation, side by side."""
    open_chosen, background, bone = request
    slide = open_chosen()
    glass, tissue = (
        outline_box(outline[:, -2:], slide.shape, f"{what} of the slide")
        for outline, what in ((background, "glass"), (bone, "bone"))
    )
    reference = slide_reference(slide, glass, tissue)
    longest_um = max(slide.shape) * slide.pixel_um
    rgb, _, _ = shrink_slide(slide, max(slide.pixel_um, 2 * longest_um / _PREVIEW_PX))
    normalised = normalise_histology(rgb, reference)
    return (glass, tissue), np.ascontiguousarray(np.concatenate([rgb, normalised], axis=1))


def outline_of(points: NDArray[np.float64], shape: str) -> NDArray[np.float64]:
    """Return the corners of a shape. An ellipse, which napari stores as its bounding box, becomes a polygon."""
    if shape != "ellipse":
        return points
    middle = points.mean(axis=0)
    first, second = (points[0] + points[1]) / 2 - middle, (points[1] + points[2]) / 2 - middle
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)[:, None]
    return np.asarray(middle + np.cos(angle) * first + np.sin(angle) * second)


def drawn_region(outline: NDArray[np.float64]) -> DrawnRegion:
    """Return the region of an outline (N, 3) in voxels."""
    if np.ptp(outline[:, 0]) > 0.5:
        raise InputError("a region is not within one slice: draw on slices along z, with the axes in their usual order")
    return DrawnRegion(round(float(outline[0, 0])), outline[:, 1:])
