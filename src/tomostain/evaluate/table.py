"""The table of metrics: models in rows, median and quartiles in columns (paper section 3.2, Table 1)."""

import csv
import html
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tomostain.evaluate.metrics.patch import LARGER_IS_BETTER, METRICS

if TYPE_CHECKING:
    from rich.table import Table as RichTable

LABELS = {"ssim": "SSIM", "lpips": "LPIPS", "psnr": "PSNR / dB"}


@dataclass(frozen=True)
class Summary:
    """Median and quartiles of one metric over `n` patches; NaN where n = 0."""

    median: float
    q1: float
    q3: float
    n: int

    @classmethod
    def of(cls, values: Iterable[float]) -> "Summary":
        """Summarise the values that are not NaN. An infinite PSNR (equal images) is a value.

        Examples
        --------
        >>> Summary.of([1.0, 2.0, 3.0, float("nan")])
        Summary(median=2.0, q1=1.5, q3=2.5, n=3)
        """
        kept = np.array([value for value in values if not math.isnan(value)])
        if not len(kept):
            return cls(math.nan, math.nan, math.nan, 0)
        # Interpolating between two infinities gives NaN; the lower neighbour is right there.
        method: Literal["linear", "lower"] = "linear" if np.isfinite(kept).all() else "lower"
        q1, median, q3 = (float(q) for q in np.quantile(kept, [0.25, 0.5, 0.75], method=method))
        return cls(median, q1, q3, len(kept))


@dataclass(frozen=True)
class Table:
    """Summaries of every model and metric.

    Attributes
    ----------
    rows : mapping of str to mapping of str to Summary
        Model name → metric (``ssim``, ``lpips``, ``psnr``) → summary, in the order of the table.
    lpips_label : str
        LPIPS with its network, e.g. ``LPIPS (AlexNet)``.
    notes : tuple of str
        Sentences printed below the table.
    """

    rows: Mapping[str, Mapping[str, Summary]]
    lpips_label: str = "LPIPS"
    notes: tuple[str, ...] = ()

    @classmethod
    def from_records(
        cls, records: Iterable[Mapping[str, Any]], *, lpips_label: str = "LPIPS", notes: tuple[str, ...] = ()
    ) -> "Table":
        """Summarise the records of patches (`patch_metrics` with a key ``model``), models in order of appearance."""
        values: dict[str, dict[str, list[float]]] = {}
        for record in records:
            row = values.setdefault(str(record["model"]), {metric: [] for metric in METRICS})
            for metric in METRICS:
                row[metric].append(float(record[metric]))
        rows = {model: {metric: Summary.of(row[metric]) for metric in METRICS} for model, row in values.items()}
        return cls(rows, lpips_label, notes)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that were computed for any model."""
        return tuple(metric for metric in METRICS if any(row[metric].n for row in self.rows.values()))

    def label(self, metric: str) -> str:
        """Return the heading of a metric with an arrow to the better side."""
        name = self.lpips_label if metric == "lpips" else LABELS[metric]
        return f"{name} {'↑' if LARGER_IS_BETTER[metric] else '↓'}"

    def best(self, metric: str) -> tuple[str, ...]:
        """Return the model (or models, if equal) with the best median, baselines included."""
        medians = {model: row[metric].median for model, row in self.rows.items() if row[metric].n}
        if not medians:
            return ()
        top = (max if LARGER_IS_BETTER[metric] else min)(medians.values())
        return tuple(model for model, median in medians.items() if median == top)

    def cells(self) -> list[list[str]]:
        """Return heading and rows as text: median, quartiles, * at the best median; the last column counts patches."""
        lines = [["model", *(self.label(metric) for metric in self.metrics), "patches"]]
        best = {metric: self.best(metric) for metric in self.metrics}
        for model, row in self.rows.items():
            values = [_cell(row[metric], metric, model in best[metric]) for metric in self.metrics]
            lines.append([model, *values, str(max(summary.n for summary in row.values()))])
        return lines

    def to_text(self) -> str:
        """Return the table as aligned lines of text, notes below."""
        cells = self.cells()
        widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
        ]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join([*lines, "", "Median [quartiles] over patches; * best median.", *self.notes]) + "\n"

    def to_csv(self) -> str:
        """Return the table as CSV, one line a model and metric: model, metric, median, q1, q3, n, best."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["model", "metric", "median", "q1", "q3", "n", "best"])
        for model, row in self.rows.items():
            for metric in self.metrics:
                name, s = self.lpips_label if metric == "lpips" else metric, row[metric]
                writer.writerow([model, name, s.median, s.q1, s.q3, s.n, int(model in self.best(metric))])
        return text.getvalue()

    def to_html(self) -> str:
        """Return the table as an HTML fragment (`table` and notes), best medians in bold."""
        head, *body = [[html.escape(cell) for cell in line] for line in self.cells()]
        rows = ["<tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>"]
        for line in body:
            cells = [f"<b>{cell[:-2]}</b>" if cell.endswith(" *") else cell for cell in line[1:]]
            rows.append(f"<tr><th>{line[0]}</th>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in ("Median [quartiles] over patches.", *self.notes))
        return '<table class="metrics">' + "".join(rows) + f"</table>{notes}"

    def to_rich(self) -> "RichTable":
        """Return the table for a terminal (rich), best medians in bold."""
        from rich.markup import escape
        from rich.table import Table as RichTable

        head, *body = self.cells()
        table = RichTable(caption="\n".join(self.notes) or None)
        for column, name in enumerate(head):
            table.add_column(name, justify="left" if column == 0 else "right")
        for line in body:
            short = [escape(cell.replace(" [", "\n[")) for cell in line]
            table.add_row(*(f"[bold]{cell[:-2]}[/]" if cell.endswith(" *") else cell for cell in short))
        return table


def _cell(summary: Summary, metric: str, best: bool) -> str:
    """Return one cell, e.g. ``0.59 [0.48, 0.71] *``."""
    if summary.n == 0:
        return "–"
    digits = 1 if metric == "psnr" else 3
    median, q1, q3 = (f"{value:.{digits}f}" for value in (summary.median, summary.q1, summary.q3))
    return f"{median} [{q1}, {q3}]{' *' if best else ''}"
