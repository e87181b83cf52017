"""The pages of measures: of a volume, and of a section."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tomostain import __version__
from tomostain.deprecation import renamed
from tomostain.errors import InputError
from tomostain.figures.charts import draw_bars, draw_confusion, draw_histogram, draw_lines
from tomostain.measure.classes import CLASSES, TITLES
from tomostain.measure.measures import Definition
from tomostain.measure.result_files import PAGE
from tomostain.measure.results import FigureData, Histogram, MeasureResult, SectionResult
from tomostain.measure.rows import MeasureRow
from tomostain.measure.text import format_value, measures_table, regions_table
from tomostain.view.report.blocks import Block, Figure, KeyFigures, MetricTable, Report, ReportSection, Row
from tomostain.view.report.measure_pictures import pictures, section_pictures
from tomostain.view.report.writer import write_report

KEY_SYMBOLS = ("BIC (surface)", "BV/TV", "NB.V/TV", "Tb.Th", "VL", "DR", "BIC (2D)", "B.Ar/T.Ar", "Tb.Wi")
"""Symbols of the measures that are shown first, where they were measured."""
_MAX_KEYS = 5
_FEW = 2
_MAX_INTERVALS = 24
_REGIONS = "In shells around the implant, by the distance from its surface."
_OPTIONS = "Options have their names in Python, such as gap_um. The command line writes them with hyphens."
_SPREAD = (
    "± is the standard deviation between the models, combined for a section with that over planes within the error of "
    "the registration. – means that the measure cannot be computed; the reason is in the notes below."
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
    sections = (
        _numbers(result.rows),
        _notes_section(result.rows),
        _plots(result.figures),
        pictures(result),
        _definitions(each.definition for each in result.measures),
    )
    return _write_page(result, f"Measures of {result.specimen}", _key_figures(result.rows), sections)


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
    sections = (
        section_pictures(result),
        _numbers(result.rows),
        _notes_section(result.rows),
        _plots(result.figures),
        _definitions(definitions),
    )
    opening = _key_figures(result.rows, by_source=True)
    return _write_page(result, f"Measures in the section {result.specimen}", opening, sections)


def _write_page(
    result: MeasureResult | SectionResult,
    title: str,
    opening: tuple[Block, ...],
    sections: Iterable[ReportSection | None],
) -> Path:
    """Write ``report.html`` with the sections that are not empty."""
    page = Report(
        title=title,
        summary=tuple(map(_sentence, result.notes)),
        opening=opening,
        sections=tuple(section for section in sections if section is not None),
        provenance={**result.provenance, "tomostain": __version__},
    )
    return write_report(_folder(result) / PAGE, page, overwrite=True)


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
    """Return the table of the measures, and that of regions around the implant."""
    blocks = []
    for (header, table), caption in ((measures_table(rows), _SPREAD), (regions_table(rows), _REGIONS)):
        if table:
            blocks.append(MetricTable(tuple(header), tuple(tuple(row) for row in table), caption=caption))
    return ReportSection("Numbers", (), tuple(blocks))


def _notes_section(rows: Sequence[MeasureRow]) -> ReportSection | None:
    notes = tuple(_notes(rows))
    return ReportSection("Notes on the numbers", notes) if notes else None


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


def _definitions(definitions: Iterable[Definition]) -> ReportSection:
    unique = {each.id: each for each in definitions}
    return ReportSection(
        "Definitions",
        (
            _OPTIONS,
            *(
                f"{each.title}, {each.symbol}{f' [{each.unit}]' if each.unit else ''}, {each.dimension}D "
                f"(measure {each.id}, method {each.method}): {each.text.replace('`', '')}"
                for each in unique.values()
            ),
        ),
    )


__getattr__ = renamed(
    __name__,
    {
        "labels_over": "tomostain.view.report.measure_pictures:labels_over",
        "reduced_labels": "tomostain.view.report.measure_pictures:reduced_labels",
    },
)
