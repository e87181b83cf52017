"""The pages of measures: of a volume, and of a section."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomostain import __version__
from tomostain.errors import InputError
from tomostain.figures.charts import draw_bars, draw_confusion, draw_histogram, draw_lines
from tomostain.figures.drawing import RGB
from tomostain.figures.planes import orthogonal_planes, side_by_side
from tomostain.integers import to_integers
from tomostain.io import StainedVolume, open_stained
from tomostain.measure.classes import CLASSES, COLOURS, IMPLANT, TITLES, Labels, TissueClass
from tomostain.measure.label_files import open_labels
from tomostain.measure.label_source import LabelSource
from tomostain.measure.measures import Definition
from tomostain.measure.result_files import PAGE
from tomostain.measure.results import FigureData, Histogram, MeasureResult, SectionResult
from tomostain.measure.rows import MeasureRow
from tomostain.measure.text import format_value, measures_table, regions_table
from tomostain.view.report.blocks import (
    Block,
    Figure,
    KeyFigures,
    Legend,
    MetricTable,
    Panels,
    Report,
    ReportSection,
    Row,
)
from tomostain.view.report.writer import write_report

KEY_SYMBOLS = ("BIC (surface)", "BV/TV", "NB.V/TV", "Tb.Th", "VL", "DR", "BIC (2D)", "B.Ar/T.Ar", "Tb.Wi")
"""Symbols of the measures that are shown first, where they were measured."""
_MAX_KEYS = 5
_MAX_SIDE = 320
_FEW = 2
_MAX_INTERVALS = 24
_SHARE_OF_LABELS = 0.6
_REGIONS = "In shells around the implant, by the distance from its surface."
_SPREAD = (
    "± is the standard deviation between the models, combined for a section with that over planes within the error of "
    "the registration. – means that the measure cannot be computed; the reason is above the table."
)


def _folder(result: MeasureResult | SectionResult) -> Path:
    if result.out is None:
        raise InputError("the result was not written, so that the page has no folder; measure with `out`")
    return result.out


def measures_page(result: MeasureResult) -> Path:
    """Write ``report.html`` of a volume: measures, plots, labels over the stain, and definitions.

    Parameters
    ----------
    result : MeasureResult

    Returns
    -------
    Path
    """
    page = Report(
        title=f"Measures of {result.specimen}",
        summary=tuple(map(_sentence, result.notes)),
        opening=_key_figures(result.rows),
        sections=tuple(
            section
            for section in (
                _numbers(result.rows),
                _plots(result.figures),
                _pictures(result),
                _definitions(each.definition for each in result.measures),
            )
            if section is not None
        ),
        provenance={**result.provenance, "tomostain": __version__},
    )
    return write_report(_folder(result) / PAGE, page, overwrite=True)


def section_page(result: SectionResult) -> Path:
    """Write ``report.html`` of a section: the real and the virtual one side by side, and their measures.

    Parameters
    ----------
    result : SectionResult

    Returns
    -------
    Path
    """
    definitions = [each.definition for measures in result.measures.values() for each in measures]
    page = Report(
        title=f"Measures in the section {result.specimen}",
        summary=tuple(map(_sentence, result.notes)),
        opening=_key_figures(result.rows, by_source=True),
        sections=tuple(
            section
            for section in (
                _section_pictures(result),
                _numbers(result.rows),
                _plots(result.figures),
                _definitions(definitions),
            )
            if section is not None
        ),
        provenance={**result.provenance, "tomostain": __version__},
    )
    return write_report(_folder(result) / PAGE, page, overwrite=True)


def labels_over(colours: RGB | None, labels: Labels) -> RGB:
    """Return labels in the colours of their classes, over an image where there is one.

    Parameters
    ----------
    colours : ndarray of uint8, shape (..., 3), or None
    labels : ndarray of uint8, shape (...)

    Returns
    -------
    ndarray of uint8, shape (..., 3)
    """
    table = np.zeros((256, 3), np.uint8)
    for tissue in TissueClass:
        table[tissue] = COLOURS[tissue]
    painted = table[labels]
    if colours is None:
        return painted
    mixed = _SHARE_OF_LABELS * painted + (1 - _SHARE_OF_LABELS) * colours.astype(np.float32)
    return to_integers(mixed, np.uint8, "colours")


def _key_figures(rows: Sequence[MeasureRow], *, by_source: bool = False) -> tuple[Block, ...]:
    """Return the first value of each of `KEY_SYMBOLS`, from the main source or, with `by_source`, from each source."""
    items = []
    for symbol in KEY_SYMBOLS:
        fitting = [row for row in rows if row["symbol"] == symbol and row["voxels"] == "all"]
        key = {(row["measure"], row["region"]) for row in fitting[:1]}
        same = [row for row in fitting if (row["measure"], row["region"]) in key]
        for row in same if by_source else same[:1]:
            if np.isfinite(row["value"]):
                value = format_value(row["value"], row["sd_model"], row["sd_registration"])
                region = "" if row["region"] == "all" else f", {row['region']}"
                remark = f"{row['title']}, {row['source']}"
                items.append((f"{symbol}{region}", f"{value} {row['unit']}".strip(), remark))
    return (KeyFigures(tuple(items[: 4 if by_source else _MAX_KEYS])),) if items else ()


def _numbers(rows: Sequence[MeasureRow]) -> ReportSection:
    """Return the notes, the table of the measures, and that of regions around the implant."""
    blocks = []
    for (header, table), caption in ((measures_table(rows), _SPREAD), (regions_table(rows), _REGIONS)):
        if table:
            blocks.append(MetricTable(tuple(header), tuple(tuple(row) for row in table), caption=caption))
    return ReportSection("Numbers", tuple(_notes(rows)), tuple(blocks))


def _notes(rows: Sequence[MeasureRow]) -> list[str]:
    """Return each note once, with the measures that have it, or the region if it is about a whole region."""
    symbols: dict[str, dict[str, dict[str, None]]] = {}
    for row in rows:
        if row["note"] and row["voxels"] == "all":
            symbols.setdefault(row["note"], {}).setdefault(row["region"], {})[row["symbol"]] = None
    result = []
    for note, regions in symbols.items():
        names = []
        for region, measures in regions.items():
            if region == "all":
                names.append(", ".join(measures))
            else:
                names.append(region if len(measures) > _FEW else f"{', '.join(measures)} ({region})")
        result.append(f"{', '.join(names)}: {note.rstrip('.').replace('`', '')}.")
    return result


def _sentence(text: str) -> str:
    """Return a note as a sentence.

    Examples
    --------
    >>> _sentence("partial field of view; give `initial`")
    'Partial field of view; give initial.'
    """
    text = text.replace("`", "").rstrip(".")
    first = text.partition(" ")[0]
    return f"{text}." if "_" in first else f"{text[:1].upper()}{text[1:]}."


def _plots(data: FigureData) -> ReportSection | None:
    figures: list[Figure] = []
    if data.new_bone_profile is not None:
        curve = data.new_bone_profile
        picture = draw_lines(curve.x, curve.series, curve.x_label, curve.y_label)
        figures.append(Figure(picture, "New bone against the distance from the implant."))
    if data.bone_by_shell is not None:
        bars = data.bone_by_shell
        picture = draw_bars(bars.names, bars.series, bars.y_label, x_label="distance from the implant")
        figures.append(Figure(picture, "Share of bone in shells around the implant."))
    if data.thickness is not None:
        histogram = wider_intervals(data.thickness)
        picture = draw_histogram(histogram.edges, histogram.series, histogram.x_label, "share of the volume [%]")
        figures.append(Figure(picture, "Distribution of the thickness, by volume."))
    if data.confusion is not None:
        picture = draw_confusion(data.confusion, [TITLES[each] for each in CLASSES])
        text = "Share of each true class that was classified as each class, %."
        figures.append(Figure(picture, text))
    if not figures:
        return None
    blocks: list[Block] = [Row(tuple(figures[k : k + 2])) for k in range(0, len(figures) - 1, 2)]
    if len(figures) % 2:
        blocks.append(replace(figures[-1], narrow=True))
    return ReportSection("Plots", (), tuple(blocks))


def _pictures(result: MeasureResult) -> ReportSection | None:
    """Return three planes of the labels, over the stain where there is one."""
    if result.labels_path is None:
        return None
    labels = open_labels(result.labels_path, voxel_um=result.voxel_um)
    step = 1
    while max(labels.shape) > _MAX_SIDE * step:
        step *= 2
    small = reduced_labels(labels, step)
    size_um = tuple(um * step for um in labels.voxel_um)
    point = _point_in_implant(small)
    painted = orthogonal_planes(labels_over(None, small), size_um, point=point, marks=False)
    text = "Three planes through the implant."
    legend = _legend(np.unique(small))
    stain = None if result.stained is None else _reduced_stain(open_stained(result.stained), labels, small.shape, step)
    if stain is None:
        return ReportSection("Labels", (), (Figure(painted, text), legend))
    before = orthogonal_planes(stain, size_um, point=point, marks=False)
    after = orthogonal_planes(labels_over(stain, small), size_um, point=point, marks=False)
    return ReportSection("Labels", (), (Panels((before, after), ("stain", "labels"), text), legend))


def wider_intervals(histogram: Histogram, most: int = _MAX_INTERVALS) -> Histogram:
    """Return a histogram with at most so many intervals, each the sum of neighbours.

    Sphere fitting finds multiples of the voxel size, so that narrow intervals are empty by turns.
    """
    count = len(histogram.edges) - 1
    width = -(-count // most)
    starts = np.arange(0, count, width)
    edges = np.append(histogram.edges[starts], histogram.edges[-1])
    series = {name: np.add.reduceat(values, starts) for name, values in histogram.series.items()}
    return Histogram(edges, series, histogram.x_label)


def reduced_labels(source: LabelSource, step: int) -> Labels:
    """Return every `step`-th voxel of a label source, read block by block.

    Returns
    -------
    ndarray of uint8, shape (ceil(Z / step), ceil(Y / step), ceil(X / step))
    """
    depth, chunk = source.shape[0], 32 * step
    parts = [source.read(z, min(z + chunk, depth))[::step, ::step, ::step] for z in range(0, depth, chunk)]
    return np.concatenate(parts)


def _reduced_stain(stained: StainedVolume, labels: LabelSource, shape: Sequence[int], step: int) -> RGB | None:
    """Return a stained volume with the shape of the reduced labels: a coarser level, or every `step`-th voxel.

    None if it was measured on a grid that its pyramid does not have.
    """
    for level, (size, voxel_um) in enumerate(stained.levels):
        if tuple(size) == tuple(shape) and np.allclose(voxel_um, np.multiply(labels.voxel_um, step), rtol=0.1):
            return stained.read(0, size[0], level)
    for level, (size, _) in enumerate(stained.levels):
        if tuple(size) == tuple(labels.shape):
            depth, chunk = size[0], 8 * step
            starts = range(0, depth, chunk)
            parts = [stained.read(z, min(z + chunk, depth), level)[::step, ::step, ::step] for z in starts]
            return np.concatenate(parts)
    return None


def _point_in_implant(labels: Labels) -> tuple[int, int, int]:
    """Return the voxel in the middle of the implant, or of the volume if it has none."""
    counts = [np.zeros(side) for side in labels.shape]
    for z, image in enumerate(labels):
        inside = np.isin(image, [int(each) for each in IMPLANT])
        counts[0][z] = inside.sum()
        counts[1] += inside.sum(axis=1)
        counts[2] += inside.sum(axis=0)
    if not counts[0].any():
        z, y, x = (side // 2 for side in labels.shape)
    else:
        z, y, x = (int(np.searchsorted(np.cumsum(each), each.sum() / 2)) for each in counts)
    return z, y, x


def _legend(values: NDArray[np.uint8]) -> Legend:
    present = [each for each in TissueClass if int(each) in set(values.tolist())]
    return Legend(tuple((COLOURS[each], TITLES[each]) for each in present))


def _section_pictures(result: SectionResult) -> ReportSection:
    """Return the sections, and below each its labels."""
    names = list(result.images)
    stains = [side_by_side([each.colours], [""], result.pixel_um, width_px=760) for name, each in result.images.items()]
    labels = [
        side_by_side([labels_over(each.colours, each.labels)], [""], result.pixel_um, width_px=760)
        for name, each in result.images.items()
    ]
    present = np.unique(np.concatenate([np.unique(each.labels) for each in result.images.values()]))
    return ReportSection(
        "Sections",
        ("Both sections are classified by the same detector and measured in the same way, within one mask.",),
        (
            Panels(tuple(stains), tuple(names), "The sections."),
            Panels(tuple(labels), tuple(f"{name}, labels" for name in names), "Their tissue classes."),
            _legend(present),
        ),
    )


def _definitions(definitions: Iterable[Definition]) -> ReportSection:
    unique = {each.id: each for each in definitions}
    return ReportSection(
        "Definitions",
        tuple(
            f"{each.title}, {each.symbol}{f' [{each.unit}]' if each.unit else ''}, {each.dimension}D "
            f"(measure {each.id}, method {each.method}): {each.text}"
            for each in unique.values()
        ),
    )
