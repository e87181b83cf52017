"""The page of an evaluation."""

from pathlib import Path
from typing import Any

from tomostain import __version__
from tomostain.config import read_yaml
from tomostain.evaluate import Table
from tomostain.figures.curves import has_curves, training_curves
from tomostain.io import read_image
from tomostain.view.report.blocks import Figure, Frames, MetricTable, Report, ReportSection
from tomostain.view.report.writer import write_report


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
        blocks.append(Frames(images, [picture.stem for picture in chosen], "µCT, stained, real, difference."))
    sections = [ReportSection("Numbers", (), (MetricTable.of(table),)), ReportSection("Pictures", (), tuple(blocks))]
    curves = model / "metrics.csv"
    if has_curves(curves):
        sections.append(ReportSection("Training", (), (Figure(training_curves(curves), "Losses while training."),)))
    page = Report(
        title=f"Evaluation of {model.name}",
        summary=(f"{len(facts['pairs'])} pairs of {facts['dataset']}, split '{facts['options']['split']}'.",),
        sections=tuple(sections),
        provenance={"tomostain": __version__, "LPIPS": str(facts["lpips_network"])},
    )
    return write_report(out / "report.html", page, overwrite=True)
