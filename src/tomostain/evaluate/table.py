"""The table of metrics: models in rows, median and quartiles in columns (paper section 3.2, Table 1)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from tomostain.evaluate.metrics import Metric, available_metrics
from tomostain.evaluate.metrics.base import columns_in

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table as RichTable

QUARTILES = [0.25, 0.5, 0.75]


@dataclass(frozen=True)
class Summary:
    """Median and quartiles of one metric over `n` values; NaN where n = 0."""

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
        numbers = np.asarray(list(values), dtype=np.float64)
        numbers = numbers[~np.isnan(numbers)]
        if not len(numbers):
            return cls(math.nan, math.nan, math.nan, 0)
        # Interpolation between two infinities gives NaN, so the lower neighbour is taken.
        method: Literal["linear", "lower"] = "linear" if np.isfinite(numbers).all() else "lower"
        q1, median, q3 = (float(q) for q in np.quantile(numbers, QUARTILES, method=method))
        return cls(median, q1, q3, len(numbers))


def summarise(frame: "pd.DataFrame", metrics: Sequence[Metric]) -> "pd.DataFrame":
    """Return median and quartiles of each metric and model.

    Parameters
    ----------
    frame : DataFrame
        One row per patch, image, set or volume, with a column ``model`` and the metrics by name.
    metrics : sequence of Metric

    Returns
    -------
    DataFrame
        Index (model, metric), models in order of appearance. Columns ``median, q1, q3, n`` and ``best``: 1 for the best
        median of a metric, several if they are equal.
    """
    import pandas as pd

    rows = {
        (str(model), metric.name): vars(Summary.of(group[metric.name]))
        for model, group in frame.groupby("model", sort=False)
        for metric in metrics
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["median", "q1", "q3", "n"]).astype({"n": int})
    table.index = pd.MultiIndex.from_tuples(list(rows), names=["model", "metric"])
    medians = table["median"].groupby("metric")
    larger = {metric.name: metric.larger_is_better for metric in metrics}
    upwards = table.index.get_level_values("metric").map(larger).to_numpy(bool)
    table["best"] = (table["median"] == medians.transform("max").where(upwards, medians.transform("min"))).astype(int)
    return table


@dataclass(frozen=True, eq=False)
class Table:
    """Summaries of every model and metric, as text, CSV and HTML.

    Attributes
    ----------
    summaries : DataFrame
        `summarise`.
    columns : tuple of Metric
        The metrics in the order of the table.
    notes : tuple of str
        Sentences below the table.
    lpips_label : str
        LPIPS with its network, such as ``LPIPS (AlexNet)``.
    """

    summaries: "pd.DataFrame"
    columns: tuple[Metric, ...]
    notes: tuple[str, ...] = ()
    lpips_label: str = field(default="LPIPS")

    @classmethod
    def from_records(
        cls,
        records: "Iterable[Mapping[str, float | int | str]] | pd.DataFrame",
        *,
        lpips_label: str = "LPIPS",
        notes: tuple[str, ...] = (),
    ) -> "Table":
        """Summarise records, or a DataFrame, with a key ``model`` and metrics; models in order of appearance."""
        import pandas as pd

        frame = records if isinstance(records, pd.DataFrame) else pd.DataFrame(list(records))
        metrics = tuple(
            replace(metric, label=lpips_label) if metric.name == "lpips" else metric
            for metric in columns_in(map(str, frame.columns))
        )
        return cls(summarise(frame, metrics), metrics, tuple(notes), lpips_label)

    @property
    def rows(self) -> dict[str, dict[str, Summary]]:
        """Model name → metric → summary, in the order of the table."""
        rows: dict[str, dict[str, Summary]] = {}
        keys = zip(*(self.summaries.index.get_level_values(name) for name in ("model", "metric")), strict=True)
        values = zip(*(self.summaries[name].tolist() for name in ("median", "q1", "q3", "n")), strict=True)
        for (model, metric), (median, q1, q3, n) in zip(keys, values, strict=True):
            rows.setdefault(model, {})[metric] = Summary(median, q1, q3, n)
        return rows

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that were computed for any model."""
        counts = self.summaries["n"].groupby("metric").max()
        return tuple(metric.name for metric in self.columns if counts.get(metric.name, 0) > 0)

    def label(self, metric: str) -> str:
        """Return the heading of a metric, with an arrow towards better values."""
        return self._metric(metric).heading

    def best(self, metric: str) -> tuple[str, ...]:
        """Return the models with the best median, baselines included."""
        if metric not in self.metrics:
            return ()
        rows = self.summaries.xs(metric, level="metric")
        return tuple(rows.index[rows["best"] == 1])

    def cells(self) -> list[list[str]]:
        """Return heading and rows as text: median and quartiles; * marks the best median."""
        lines = [["model", *(self.label(metric) for metric in self.metrics), "patches"]]
        of_patches = [metric.name for metric in self.columns if metric.scope == "patch"]
        best = {metric: self.best(metric) for metric in self.metrics}
        for model, row in self.rows.items():
            values = [_cell(row[metric], self._metric(metric), model in best[metric]) for metric in self.metrics]
            count = max((row[metric].n for metric in of_patches or row), default=0)
            lines.append([model, *values, str(count)])
        return lines

    def _metric(self, name: str) -> Metric:
        return next((metric for metric in self.columns if metric.name == name), None) or available_metrics()[name]

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
        """Return the table as CSV, one line per model and metric: model, metric, median, q1, q3, n, best."""
        rows = self.summaries.reset_index()
        rows = rows[rows["metric"].isin(self.metrics)]
        rows = rows.assign(metric=rows["metric"].replace("lpips", self.lpips_label))
        return rows.to_csv(index=False, lineterminator="\n", na_rep="nan")

    def to_dict(self) -> dict[str, object]:
        """Return the table as dictionaries and lists.

        Returns
        -------
        dict
            ``metrics``: name, label, scope and whether larger is better. ``models``: name, and for each metric
            ``median, q1, q3, n, best``. ``notes``: the sentences below the table.
        """
        best = {metric: self.best(metric) for metric in self.metrics}
        columns = [self._metric(metric) for metric in self.metrics]
        return {
            "metrics": [
                {
                    "name": each.name,
                    "label": each.label,
                    "scope": each.scope,
                    "larger_is_better": each.larger_is_better,
                }
                for each in columns
            ],
            "models": [
                {
                    "model": model,
                    "metrics": {metric: vars(row[metric]) | {"best": model in best[metric]} for metric in self.metrics},
                }
                for model, row in self.rows.items()
            ],
            "notes": list(self.notes),
        }

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


def _cell(summary: Summary, metric: Metric, best: bool) -> str:
    """Return one cell, such as ``0.59 [0.48, 0.71] *``; a single value per model has no quartiles."""
    if summary.n == 0:
        return "–"
    median, q1, q3 = (f"{value:.{metric.digits}f}" for value in (summary.median, summary.q1, summary.q3))
    quartiles = f" [{q1}, {q3}]" if metric.scope in ("patch", "image") else ""
    return f"{median}{quartiles}{' *' if best else ''}"
