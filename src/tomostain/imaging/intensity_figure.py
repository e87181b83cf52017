"""A figure of the grey values of a scan with its intensity reference, to check the normalisation."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.imaging.intensity import IntensityReference
from tomostain.imaging.network_range import CT_BACKGROUND, CT_BONE, DISPLAY_WINDOW

Mask = NDArray[np.bool_]
Regions = tuple[Mask, Mask] | None
_INK, _SOFT, _ALL = "#33373d", "#7d838c", "#c9ccd1"
_COLOURS = {"background": "#2f7fb8", "bone": "#d9772b"}
_BINS = 256


def intensity_figure(
    samples: NDArray[Any],
    reference: IntensityReference | None,
    regions: tuple[Mask, Mask] | None = None,
    title: str = "",
    *,
    narrow: bool = False,
) -> NDArray[np.uint8]:
    """Draw the histogram of grey values with those of background and bone, and a slice next to it.

    Parameters
    ----------
    samples : ndarray, shape (N, Y, X)
        Some slices of the scan: `tomostain.imaging.intensity_estimation.reference_samples`.
    reference : IntensityReference or None
        The grey values that become 10000 and 30000; None where none were found.
    regions : tuple of ndarray of bool, shape (N, Y, X), optional
        The regions of background and bone, coloured in both panels. None if the values were stated.
    title : str
        Above the histogram.
    narrow : bool
        Put the slice below the histogram, for a panel of about 400 px.

    Returns
    -------
    ndarray of uint8, shape (rows, columns, 3)
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 7.0) if narrow else (10.6, 4.4), dpi=100 if narrow else 120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    if narrow:
        histogram, picture = figure.subplots(2, 1, height_ratios=(1, 1.2))
    else:
        histogram, picture = figure.subplots(1, 2, width_ratios=(1.6, 1))
    _draw_histogram(histogram, samples, reference, regions, columns=2 if narrow else 3)
    histogram.set_title(title, loc="left", fontsize=9, color=_INK)
    _draw_slice(picture, samples, reference, regions)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_histogram(
    axes: Any,
    samples: NDArray[Any],
    reference: IntensityReference | None,
    regions: tuple[Mask, Mask] | None,
    columns: int,
) -> None:
    """Draw all grey values, those of the two regions, and the reference, with the normalised scale above."""
    shown = [*np.percentile(samples, [0.05, 99.95])]
    if reference:
        shown += [reference.background, reference.bone]
    reach = 0.06 * (max(shown) - min(shown)) or 1.0
    edges = bin_edges(samples, min(shown) - reach, max(shown) + reach)
    axes.stairs(np.histogram(samples, edges)[0], edges, fill=True, color=_ALL, label="all voxels")
    for (name, colour), region in zip(_COLOURS.items(), regions or (), strict=False):
        counts = np.histogram(samples[region], edges)[0]
        axes.stairs(counts, edges, fill=True, color=colour, alpha=0.6, label=f"taken for {name}")
    axes.set_yscale("symlog", linthresh=10)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0)
    if reference:
        values = {"background": (reference.background, CT_BACKGROUND), "bone": (reference.bone, CT_BONE)}
        for name, (grey, normalised) in values.items():
            axes.axvline(grey, color=_COLOURS[name], linewidth=1.6, label=f"{name}: {grey:.5g} → {normalised:g}")
        scale = (CT_BONE - CT_BACKGROUND) / (reference.bone - reference.background)
        upper = axes.secondary_xaxis(
            "top",
            functions=(
                lambda grey: CT_BACKGROUND + scale * (grey - reference.background),
                lambda normalised: reference.background + (normalised - CT_BACKGROUND) / scale,
            ),
        )
        upper.tick_params(labelsize=7.5, colors=_SOFT, length=2)
        upper.set_xlabel("normalised", fontsize=8, color=_SOFT)
    axes.set_xlabel("grey value of the scan", fontsize=8, color=_SOFT)
    axes.set_ylabel("voxels (logarithmic)", fontsize=8, color=_SOFT)
    axes.tick_params(labelsize=7.5, colors=_SOFT, length=2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        fontsize=8, frameon=False, labelcolor=_INK, ncols=columns, loc="upper center", bbox_to_anchor=(0.5, -0.16)
    )


def bin_edges(samples: NDArray[Any], low: float, high: float) -> NDArray[np.float64]:
    """Return the bins' edges: each holds as many of the whole numbers as the next, or the histogram would have gaps.

    Examples
    --------
    >>> bin_edges(np.arange(1000), 0, 1000)[:3].tolist()
    [-0.5, 3.5, 7.5]
    """
    if high - low > 16 and np.array_equal(samples, np.rint(samples)):
        width = max(1.0, np.ceil((high - low) / _BINS))
        return np.arange(np.floor(low) - 0.5, high + width, width)
    return np.linspace(low, high, _BINS + 1)


def _draw_slice(
    axes: Any, samples: NDArray[Any], reference: IntensityReference | None, regions: tuple[Mask, Mask] | None
) -> None:
    """Draw the slice with the most bone, as the networks see it, with the regions tinted."""
    from matplotlib.colors import to_rgb

    chosen = int(np.argmax(regions[1].sum(axis=(1, 2)))) if regions else len(samples) // 2
    low, high = np.percentile(samples, [0.5, 99.5])
    if reference:
        step = (reference.bone - reference.background) / (CT_BONE - CT_BACKGROUND)
        low, high = (reference.background + step * (edge - CT_BACKGROUND) for edge in DISPLAY_WINDOW)
    grey = np.clip((samples[chosen].astype(np.float64) - low) / max(high - low, 1e-12), 0, 1)
    image = np.repeat(grey[..., None], 3, axis=2)
    for colour, region in zip(_COLOURS.values(), regions or (), strict=False):
        place = region[chosen]
        image[place] = 0.5 * image[place] + 0.5 * np.array(to_rgb(colour))
    axes.imshow(image, interpolation="nearest")
    axes.set_axis_off()
    axes.set_title("a slice, normalised" if reference else "a slice", fontsize=9, color=_INK)
