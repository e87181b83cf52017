"""A picture of the grey levels of a scan: background and bone in its histogram, and where they are in a slice."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io import open_volume, write_image
from tomostain.io.atomic import refuse_existing
from tomostain.prepare.normalise import Levels, normalise_ct, sampled_slices
from tomostain.prepare.normalise import estimate_levels as estimate
from tomostain.prepare.qc import ct_to_grey
from tomostain.scaling import CT_BACKGROUND, CT_BONE, CT_WINDOW

RGB = NDArray[np.uint8]
BACKGROUND, BONE = (0, 90, 200), (200, 40, 30)
NEAR = 0.05
"""What differs from a level by less than this part of the step from background to bone is coloured."""


def write_levels_picture(
    volume: Path,
    out: Path,
    *,
    levels: Levels | None = None,
    voxel_um: float | tuple[float, float, float] | None = None,
    dataset: str | None = None,
    overwrite: bool = False,
) -> Levels:
    """Write the histogram of a volume and its grey levels as a picture, so that a person sees whether they are right.

    Parameters
    ----------
    volume : Path
        Anything that `tomostain.io.open_volume` opens; twelve slices of it are read.
    out : Path
        ``.png``.
    levels : Levels, optional
        Given by hand; else estimated as `volume_levels` does.
    voxel_um : float or tuple of float, optional
        Voxel size, µm, where the file does not say.
    dataset : str, optional
        Name of the dataset in an HDF5 file.
    overwrite : bool
        Replace an existing picture.

    Returns
    -------
    Levels
        Those that are shown.

    Raises
    ------
    InputError
        If the name is not that of a PNG, it exists, or no bone stands out (then nothing is written).
    """
    out = Path(out)
    if out.suffix.lower() != ".png":
        raise InputError(f"{out}: the picture of the grey levels must be named *.png")
    refuse_existing(out, overwrite)
    opened = open_volume(Path(volume), voxel_um=voxel_um, dataset=dataset)
    samples = sampled_slices(opened, source=str(volume))
    found = levels or estimate(samples, str(volume))
    how = "given" if levels else f"estimated on {len(samples)} slices"
    write_image(out, draw_levels(samples, found, f"{opened.path.name}: grey levels, {how}"), overwrite=overwrite)
    return found


def draw_levels(samples: NDArray[Any], levels: Levels, title: str = "") -> RGB:
    """Draw the histogram of a scan with its levels, and beside it the middle slice with what lies near them coloured.

    Parameters
    ----------
    samples : ndarray, shape (N, Y, X)
        Slices in the scan's own grey values.
    levels : Levels
    title : str

    Returns
    -------
    ndarray of uint8, shape (rows, columns, 3)
        Background is blue, bone red. Grey values that the networks cannot tell apart are shaded.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    histogram, picture = figure.subplots(1, 2, width_ratios=(1.5, 1))
    _draw_histogram(histogram, samples, levels)
    picture.imshow(mark_levels(samples[len(samples) // 2], levels))
    picture.set_axis_off()
    picture.set_title("middle slice: background blue, bone red", fontsize=10)
    figure.suptitle(title, fontsize=11)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_histogram(axes: Any, samples: NDArray[Any], levels: Levels) -> None:
    """Draw how often grey values are, the two levels, and what lies beyond the networks' window."""
    step = levels.bone - levels.background
    low, high = np.percentile(samples, [0.02, 99.98])
    low, high = min(low, levels.background - 0.1 * step), max(high, levels.bone + 0.1 * step)
    counts, edges = np.histogram(samples, bins=bin_edges(samples, low, high))
    axes.stairs(counts / samples.size, edges, fill=True, color="0.45")
    axes.set_yscale("log")
    axes.set(xlim=(low, high), xlabel="grey value of the scan", ylabel="part of the voxels")
    for name, value, spread, normal, colour in (
        ("background", levels.background, levels.background_std, CT_BACKGROUND, BACKGROUND),
        ("bone", levels.bone, levels.bone_std, CT_BONE, BONE),
    ):
        shade = [part / 255 for part in colour]
        axes.axvline(value, color=shade, linewidth=1.5, label=f"{name} {value:.5g} → {normal:.0f}")
        if spread:
            axes.axvspan(value - spread, value + spread, color=shade, alpha=0.15, linewidth=0)
    unit = step / (CT_BONE - CT_BACKGROUND)
    darkest, brightest = (levels.background + (edge - CT_BACKGROUND) * unit for edge in CT_WINDOW)
    for first, last in ((low, darkest), (brightest, high)):
        if first < last:
            axes.axvspan(first, last, color="0.9", zorder=0, linewidth=0)
    axes.legend(fontsize=9)


def bin_edges(samples: NDArray[Any], low: float, high: float) -> NDArray[np.float64]:
    """Return the bins' edges: each holds as many of the whole numbers as the next, or the histogram would have gaps."""
    if high - low > 16 and np.array_equal(samples, np.rint(samples)):
        width = max(1.0, np.ceil((high - low) / 256))
        return np.arange(np.floor(low) - 0.5, high + width, width)
    return np.linspace(low, high, 257)


def mark_levels(image: NDArray[Any], levels: Levels) -> RGB:
    """Show a slice in grey, normalised, with what lies near the background in blue and near bone in red.

    Parameters
    ----------
    image : ndarray, shape (Y, X)
        In the scan's own grey values.
    levels : Levels

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)

    Examples
    --------
    >>> mark_levels(np.array([[0, 500, 1000]]), Levels(0, 1000)).tolist()
    [[[31, 76, 131], [127, 127, 127], [195, 115, 110]]]
    """
    grey = ct_to_grey(normalise_ct(image, levels)).astype(np.float32)
    part = (image.astype(np.float64) - levels.background) / (levels.bone - levels.background)
    for at, colour in ((0.0, BACKGROUND), (1.0, BONE)):
        near = np.abs(part - at) < NEAR
        grey[near] = 0.5 * grey[near] + 0.5 * np.array(colour, np.float32)
    return grey.astype(np.uint8)
