"""The page of an evaluation."""

import math
from pathlib import Path
from typing import Any

from tomostain import __version__
from tomostain.config import read_yaml
from tomostain.evaluate import Table
from tomostain.figures.curves import has_curves, training_curves
from tomostain.io import read_image
from tomostain.view.report.blocks import BASELINES, Figure, Frames, MetricTable, Report, ReportSection
from tomostain.view.report.writer import write_report

_PICTURES = (
    "µCT, stained, real, difference. Outside the mask nothing is evaluated: stained and real are filled there with one "
    "colour, about the median of the slide outside the mask."
)


def evaluation_page(out: Path, table: Table, model: Path) -> Path:
    """Write `out`/report.html of an evaluation that `tomostain evaluate` wrote there.

    Parameters
    ----------
    out : Path
        The evaluation's folder.
    table : Table
    model : Path
        The run or model.

    Returns
    -------
    Path
    """
    facts = read_yaml(out / "evaluate.yaml")
    pictures = sorted((out / "pictures").glob("*.png"))
    chosen = pictures[:: max(1, len(pictures) // 12)][:12]
    blocks: list[Any] = [Figure(out / "boxplots.png", "Distribution over the patches, as Fig. 7 of the paper.")]
    if chosen:
        images = [read_image(picture) for picture in chosen]
        blocks.append(Frames(images, [picture.stem for picture in chosen], _PICTURES))
    sections = [
        ReportSection("Numbers", _against_baselines(table), (MetricTable.of(table),)),
        ReportSection("Pictures", (), tuple(blocks)),
    ]
    curves = model / "metrics.csv"
    if has_curves(curves):
        sections.append(ReportSection("Training", (), (Figure(training_curves(curves), "Losses while training."),)))
    number = len(facts["pairs"])
    pairs = f"{number} pair{'s' * (number != 1)}"
    page = Report(
        title=f"Evaluation of {model.name}",
        summary=(f"{pairs} of {facts['dataset']}, split '{facts['options']['split']}'.",),
        sections=tuple(sections),
        provenance={"tomostain": __version__, "LPIPS": str(facts["lpips_network"])},
    )
    return write_report(out / "report.html", page, overwrite=True)


def _against_baselines(table: Table) -> tuple[str, ...]:
    """Return for each model, in which metrics it is better than every baseline, and in which a baseline is better."""
    baselines = [name for name in table.rows if name in BASELINES]
    models = [name for name in table.rows if name not in BASELINES] if baselines else []
    return tuple(_comparison(table, model, baselines) for model in models)


def _comparison(table: Table, model: str, baselines: list[str]) -> str:
    better, sentences = [], []
    for metric in (each for each in table.columns if each.name in table.metrics):
        sign = 1 if metric.larger_is_better else -1
        medians = {name: table.rows[name][metric.name].median for name in (model, *baselines)}
        measured = [sign * medians[name] for name in baselines if not math.isnan(medians[name])]
        if math.isnan(medians[model]) or not measured:
            continue
        best = next(name for name in baselines if sign * medians[name] == max(measured))
        if sign * medians[model] > sign * medians[best]:
            better.append(metric.label)
            continue
        comparison = "as good" if medians[model] == medians[best] else "better"
        numbers = f"{medians[best]:.{metric.digits}f}, {model} {medians[model]:.{metric.digits}f}"
        sentences.append(f"In {metric.label} the {best} is {comparison} ({numbers}).")
    if better:
        sentences.insert(0, f"{model} is better than every baseline in {', '.join(better)}.")
    return " ".join(sentences)
