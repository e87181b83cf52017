"""Figures of a registration: `qc.png`, the section in the volume, and candidates."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import find_boundaries

from tomostain.dataset.qc_figure import checkerboard, ct_to_grey, draw_mask
from tomostain.geometry.section import Section
from tomostain.imaging.correspondence_mask import rigid_histology
from tomostain.imaging.regions import block_mean
from tomostain.integers import to_integers
from tomostain.io.atomic import atomic_file
from tomostain.register.resolution import ResolutionLevel
from tomostain.register.similarity import joint_histogram
from tomostain.register.template import Template

_SIDE_PX = 620
_EDGE = (255, 60, 60)
Rgb = NDArray[np.uint8]


def edge_overlay(grey: Rgb, histology: Rgb) -> Rgb:
    """Draw the outlines of bone and screw in the histology over the µCT. They must coincide with its edges."""
    edges = find_boundaries(rigid_histology(histology), mode="inner")
    shown = grey.copy()
    shown[edges] = _EDGE
    return shown


def write_registration(path: Path, ct: NDArray[np.uint16], histology: Rgb, mask: NDArray[np.bool_], title: str) -> None:
    """Write `qc.png`: µCT, histology, checkerboard, edges over the µCT, mask, and joint histogram.

    Parameters
    ----------
    path : Path
        PNG.
    ct, histology, mask
        Images of the pair.
    title : str
        Scores and confidence.
    """
    from matplotlib.figure import Figure

    step = max(1, -(-max(ct.shape) // _SIDE_PX))
    grey, colour = (
        to_integers(block_mean(image, step), np.uint8, "figure of the pair", rounded=False)
        for image in (ct_to_grey(ct), histology)
    )
    masked = block_mean(mask, step) > 0.5
    panels = {
        "µCT": grey,
        "histology": colour,
        "checkerboard": checkerboard(grey, colour),
        "edges of the histology over the µCT": edge_overlay(grey, colour),
        f"correspondence mask ({mask.mean():.0%})": draw_mask(colour, masked),
    }
    # Not through pyplot: it opens windows of a program that uses Qt, and this may be another thread.
    figure = Figure(figsize=(13.5, 9.4), layout="constrained")
    axes = figure.subplots(2, 3)
    for axis, (name, image) in zip(axes.flat, panels.items(), strict=False):
        axis.imshow(image)
        axis.set_title(name, fontsize=10)
        axis.set_axis_off()
    joint = joint_histogram(ct, histology.mean(axis=2), mask if mask.any() else None)
    axis = axes.flat[5]
    axis.imshow(np.log10(joint.T + 1e-6), origin="lower", aspect="auto", cmap="magma")
    axis.set(xlabel="µCT grey value →", ylabel="histology, mean of R G B →", xticks=[], yticks=[])
    axis.set_title("joint histogram (log)", fontsize=10)
    figure.suptitle(title, fontsize=11)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=100)


def write_in_volume(path: Path, resolution: ResolutionLevel, template: Template, section: Section) -> None:
    """Draw the slide in the volume in 3D from two sides, with mean projections of the volume on the walls."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from tomostain.register.surface_figure import ColouredSurface

    figure = Figure(figsize=(11, 5.4), layout="constrained")
    side_mm = resolution.side_um.numpy() / 1e3
    colours, mm = _picture_in_space(template, section)
    for number, azimuth in enumerate((-60, 30), start=1):
        axis = figure.add_subplot(1, 2, number, projection="3d", computed_zorder=False)
        # The walls that are behind the slide at this azimuth.
        for places, greys in _walls(resolution, far=(0.0, 1.0, 0.0) if number == 1 else (0.0, 0.0, 0.0)):
            axis.add_artist(ColouredSurface(places, greys))
        axis.add_artist(ColouredSurface(mm, colours))
        axis.set(xlim=(0, side_mm[2]), ylim=(0, side_mm[1]), zlim=(0, side_mm[0]))
        # Matplotlib would write the label of a short vertical axis over its numbers: the title names it.
        axis.set(xlabel="x, mm", ylabel="y, mm")
        axis.set_box_aspect(side_mm[::-1] / side_mm.max())
        # A short side has room for few numbers.
        for each, part in zip((axis.xaxis, axis.yaxis, axis.zaxis), side_mm[::-1] / side_mm.max(), strict=True):
            each.set_major_locator(MaxNLocator(max(1, round(6 * part))))
        axis.view_init(22, azimuth)
    title = "Slide in the volume. The vertical axis is z, mm. Walls: mean of the volume along each axis"
    figure.suptitle(title, fontsize=10)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=95)


def _walls(
    resolution: ResolutionLevel, far: tuple[float, float, float], max_side: int = 90
) -> list[tuple[NDArray[np.float64], NDArray[np.float32]]]:
    """Return positions (R, C, 3), mm, and greys (R, C, 4) of the mean projection on the wall across each axis.

    `far` gives for (z, y, x) whether the wall is at the start (0) or the end (1) of the axis.
    """
    values, side_mm = resolution.values.numpy(), resolution.side_um.numpy() / 1e3
    walls = []
    for across in range(3):
        image = values.mean(axis=across)
        image = image[:: max(1, image.shape[0] // max_side), :: max(1, image.shape[1] // max_side)]
        low, high = np.percentile(image, (1, 99.5))
        grey = np.clip((image - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)
        others = [i for i in range(3) if i != across]
        along = [np.linspace(0, side_mm[i], n) for i, n in zip(others, image.shape, strict=True)]
        places = np.empty((*image.shape, 3))
        places[..., others[0]], places[..., others[1]] = np.meshgrid(*along, indexing="ij")
        places[..., across] = far[across] * side_mm[across]
        walls.append((places, np.stack([grey, grey, grey, np.ones_like(grey)], axis=-1)))
    return walls


def _picture_in_space(
    template: Template, section: Section, max_side: int = 110
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the slide at low resolution: colours (R, C, 4) and positions in the volume (R, C, 3), mm.

    Glass without tissue is transparent.
    """
    step = max(1, -(-max(template.rgb.shape[:2]) // max_side))
    small = block_mean(template.rgb, step) / 255.0
    index = np.stack(np.meshgrid(*[np.arange(n) for n in small.shape[:2]], indexing="ij"), axis=-1)
    on_slide = (index * step + (step - 1) / 2) * template.pixel_um + template.first_um
    places = section.to_volume_um(section.slide_to_section_um(on_slide)) / 1e3
    tissue = block_mean((template.weight > 0).astype(np.float32), step) > 0.5
    return np.concatenate([small, tissue[..., None].astype(np.float32)], axis=2), places
