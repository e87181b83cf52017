"""The page of a study: the groups compared, with a plot for each measure."""

import math
from dataclasses import replace
from pathlib import Path

from tomostain import __version__
from tomostain.errors import InputError
from tomostain.figures.drawing import RGB
from tomostain.figures.groups import Dots, draw_groups
from tomostain.measure.statistics.groups import holm
from tomostain.measure.study import PAGE, StudyComparison, StudyResult
from tomostain.measure.text import format_value
from tomostain.view.report.blocks import Block, Figure, MetricTable, Report, ReportSection, Row
from tomostain.view.report.writer import write_report

_TEXT = (
    "The animal is the unit: several specimens of one animal count as one, or have a common random intercept. p (Holm) "
    "is corrected for the number of measures, and of each pair for the number of pairs. Intervals are 95 %."
)
_MAX_FIGURES = 40


def study_page(result: StudyResult) -> Path:
    """Write ``report.html`` of a study.

    Parameters
    ----------
    result : StudyResult

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If the result was not written, so that the page has no folder.
    """
    if result.out is None:
        raise InputError("the result was not written, so that the page has no folder; compare with `out`")
    groups = tuple(dict.fromkeys(each.group for each in result.specimens))
    animals = len({each.subject for each in result.specimens})
    figures = [
        Figure(comparison_figure(each), _sentence(each), alt=each.values.name)
        for each in result.comparisons[:_MAX_FIGURES]
    ]
    rows: list[Block] = [Row(tuple(figures[k : k + 2])) for k in range(0, len(figures) - 1, 2)]
    if len(figures) % 2:
        rows.append(replace(figures[-1], narrow=True))
    sections = [
        ReportSection("Comparison", (_TEXT, *result.notes), (_table(result), _pairs(result))),
        ReportSection("Values", _figures_text(result), tuple(rows)),
        ReportSection("Tests", tuple(f"{each.values.name}: {_reason(each)}" for each in result.comparisons)),
    ]
    page = Report(
        title="Comparison of groups",
        summary=(
            f"{len(result.specimens)} specimens of {animals} animals in {len(groups)} groups: {', '.join(groups)}.",
        ),
        sections=tuple(sections),
        provenance={"tomostain": __version__, "groups by": " and ".join(result.by)},
    )
    return write_report(result.out / PAGE, page, overwrite=True)


def comparison_figure(comparison: StudyComparison) -> RGB:
    """Return the plot of one measure by group: a dot per animal, rings for the specimens of an animal with several."""
    values = comparison.values
    groups: dict[str, dict[str, list[float]]] = {}
    for specimen, value in zip(values.specimens, values.values, strict=True):
        groups.setdefault(specimen.group, {}).setdefault(specimen.subject, []).append(value)
    return draw_groups({name: Dots(tuple(animals.values())) for name, animals in groups.items()}, values.name)


def _figures_text(result: StudyResult) -> tuple[str, ...]:
    text = "A dot is the mean of an animal, a ring one of its specimens, a line the mean of the animals."
    left_out = len(result.comparisons) - _MAX_FIGURES
    return (text, f"{left_out} more measures are in groups.csv.") if left_out > 0 else (text,)


def _table(result: StudyResult) -> MetricTable:
    names = tuple(dict.fromkeys(each.group for each in result.specimens))
    rows = []
    for each in result.comparisons:
        summaries = {summary.group: summary for summary in each.result.summaries}
        cells = [
            f"{format_value(summaries[name].mean, summaries[name].sd)} [n = {summaries[name].animals}]"
            if name in summaries
            else "–"
            for name in names
        ]
        rows.append((each.values.name, *cells, each.result.test, _p(each.result.p), _p(each.p_holm)))
    header = ("measure", *names, "test", "p", "p (Holm)")
    return MetricTable(header, tuple(rows), caption="Mean ± standard deviation of the animals.")


def _pairs(result: StudyResult) -> MetricTable:
    rows = []
    for each in result.comparisons:
        corrected = holm([pair.p for pair in each.result.pairs])
        for pair, p in zip(each.result.pairs, corrected, strict=True):
            rows.append(
                (
                    each.values.name,
                    f"{pair.first} − {pair.second}",
                    f"{_three(pair.difference)} {_interval(pair.low, pair.high)}",
                    f"{_three(pair.effect)} {_interval(pair.effect_low, pair.effect_high)}",
                    _p(float(p)),
                )
            )
    header = ("measure", "groups", "difference", "Hedges' g", "p (Holm)")
    return MetricTable(header, tuple(rows), caption="Pairs of groups.")


def _sentence(comparison: StudyComparison) -> str:
    p = f"p = {_p(comparison.result.p)}, Holm {_p(comparison.p_holm)}".replace("= <", "<")
    return f"{comparison.values.name}: {comparison.result.test}, {p}."


def _reason(comparison: StudyComparison) -> str:
    return f"{comparison.result.test}. {comparison.result.reason}"


def _p(value: float) -> str:
    """Return a p value as it is published.

    Examples
    --------
    >>> _p(0.0314), _p(0.00002), _p(float("nan"))
    ('0.031', '< 0.001', '–')
    """
    if math.isnan(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.2g}"


def _three(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3g}"


def _interval(low: float, high: float) -> str:
    if math.isnan(low) or math.isnan(high):
        return "[–]"
    return "[no 95 % interval]" if math.isinf(low) else f"[{low:.3g}, {high:.3g}]"
