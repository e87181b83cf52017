"""The figure of a candidate pose: the slide, the µCT under it, both in a checkerboard, and what to do next."""

import textwrap
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tomostain.dataset.qc_figure import checkerboard
from tomostain.geometry.section import Section, interpolate
from tomostain.imaging.regions import block_mean
from tomostain.integers import to_integers
from tomostain.io import Slide
from tomostain.io.atomic import atomic_file
from tomostain.register.locate import SectionLocation
from tomostain.register.planar_location import PlanarLocation
from tomostain.register.poses import Poses
from tomostain.register.template_sampling import trilinear

Rgb = NDArray[np.uint8]
# Pixels along the longest side of each panel.
_PANEL_PX = 560
_DPI = 100
_HELP = "Right if the edges of bone, vessels and outline continue across the borders of the squares."


def write_candidate(
    path: Path,
    location: SectionLocation | PlanarLocation,
    slide: Slide,
    section: Section,
    number: int,
    command: str = "",
) -> None:
    """Write the figure of a candidate, about 1800 pixels wide.

    Parameters
    ----------
    path : Path
        PNG.
    location : SectionLocation or PlanarLocation
    slide : Slide
        Read at the resolution of the figure.
    section : Section
        The candidate.
    number : int
        Its number, beginning with 1.
    command : str
        The command that accepts it.
    """
    from matplotlib.figure import Figure

    colour, points_um = _slide_panel(slide)
    grey = _ct_panel(location, section, points_um)
    panels = {"slide": colour, "µCT at this pose": grey, "checkerboard of both": checkerboard(grey, colour)}
    rows, columns = colour.shape[:2]
    width = 3 * columns / _DPI + 0.6
    figure = Figure(figsize=(width, rows / _DPI + 2.0), layout="constrained")
    axes = figure.subplots(1, 3)
    for axis, (name, image) in zip(axes, panels.items(), strict=True):
        axis.imshow(image, interpolation="nearest")
        axis.set_title(name, fontsize=14)
        axis.set_axis_off()
    evidence = location.evidence
    title = f"Candidate {number} of {len(location.candidates)}"
    if number == 1:
        title += f": the best, confidence {evidence.confidence:.2f} ({evidence.describe()})"
    characters = int(width * 11)
    figure.suptitle("\n".join(textwrap.wrap(title, int(width * 8))), fontsize=15)
    lines = [_HELP, *([f"To accept this pose:  {command}"] if command else [])]
    text = "\n".join("\n".join(textwrap.wrap(line, characters, break_on_hyphens=False)) for line in lines)
    figure.supxlabel(text, fontsize=12)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=_DPI)


def _slide_panel(slide: Slide) -> tuple[Rgb, NDArray[np.float64]]:
    """Return the slide at the resolution of a panel, and the positions (R, C, 2) of its pixels on the slide, µm."""
    longest_um = max(slide.shape) * slide.pixel_um
    rgb, level_um = slide.read(longest_um / _PANEL_PX)
    step = max(1, -(-max(rgb.shape[:2]) // (2 * _PANEL_PX)))
    if step > 1:
        rgb = to_integers(block_mean(rgb, step), np.uint8, "slide")
    um = level_um * step
    first_um = (um - slide.pixel_um) / 2
    # Small slides are enlarged, large ones are reduced to the size of the panel.
    factor = max(rgb.shape[:2]) / _PANEL_PX
    sides = [max(2, round(n / factor)) for n in rgb.shape[:2]]
    index = np.stack(np.meshgrid(*[(np.arange(n) + 0.5) * factor - 0.5 for n in sides], indexing="ij"), axis=-1)
    channels = [interpolate(rgb[..., c].astype(np.float32), index) for c in range(3)]
    return to_integers(np.stack(channels, axis=-1), np.uint8, "slide", clip=True), index * um + first_um


def _ct_panel(location: SectionLocation | PlanarLocation, section: Section, points_um: NDArray[np.float64]) -> Rgb:
    """Return the µCT at slide points (R, C, 2) under a pose, as grey RGB. Black outside."""
    if isinstance(location, PlanarLocation):
        images = location.planar.images
        index = section.to_volume_um(section.slide_to_section_um(points_um))[..., 1:] / images.pixel_um
        low, high = np.percentile(images.ct[images.valid], (0.5, 99.5))
        values = (interpolate(images.ct, index, fill=float(low)) - low) / max(float(high - low), 1e-9)
    else:
        template = location.template
        pose = Poses.from_section(section, template.middle_um)
        u_um = torch.tensor(points_um.reshape(-1, 2) - template.middle_um, dtype=torch.float32)
        image, _, inside = trilinear(location.resolution, pose.points_um(u_um))
        values = ((image * inside)[0].numpy().reshape(points_um.shape[:2]) + 0.1) / 1.3
    return to_integers(np.repeat(values[..., None] * 255, 3, axis=2), np.uint8, "µCT", clip=True)
