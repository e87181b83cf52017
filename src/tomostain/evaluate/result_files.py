"""The files of an evaluation: tables of all protocols and scopes, and their notes."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tomostain.evaluate.config import IMPLANT_EXCLUDED, PAPER, SHIFT_TOLERANT
from tomostain.evaluate.figures import draw_boxplots
from tomostain.evaluate.measure import POSITION, Evaluation, rows_of
from tomostain.evaluate.metrics.base import Metric, Scope, columns_in
from tomostain.evaluate.metrics.lpips import Lpips
from tomostain.evaluate.table import Table, summarise
from tomostain.io import write_image
from tomostain.io.atomic import write_text
from tomostain.paths import StrPath

if TYPE_CHECKING:
    import pandas as pd


_PROTOCOL_NOTES = {
    IMPLANT_EXCLUDED: "Protocol: without-screw. The implant, which is black and easy to stain, is left out.",
    SHIFT_TOLERANT: "Protocol: shift-tolerant. Each patch is compared at its best shift by a few pixels.",
}

_PLURAL: dict[Scope, str] = {"image": "images", "set": "sets", "volume": "volumes"}


def write_results(
    folder: StrPath, records: "Iterable[Mapping[str, float | int | str]] | pd.DataFrame", table: Table
) -> None:
    """Write ``metrics.csv``, ``table.csv``, ``table.txt`` and ``boxplots.png`` into a folder.

    Parameters
    ----------
    folder : str or os.PathLike
    records : iterable of mapping, or DataFrame
        Patches with ``model`` and the metrics. Of a DataFrame of `evaluate_models`, only rows of scope "patch" are
        written to ``metrics.csv``.
    table : Table
    """
    import pandas as pd

    folder = Path(folder)
    frame = records if isinstance(records, pd.DataFrame) else pd.DataFrame(list(records))
    _write_patches(folder / "metrics.csv", frame)
    write_text(folder / "table.csv", table.to_csv())
    write_text(folder / "table.txt", table.to_text())
    write_image(folder / "boxplots.png", draw_boxplots(frame, table), overwrite=True)


def write_tables(
    folder: Path, frame: "pd.DataFrame", evaluation: Evaluation, notes: tuple[str, ...], lpips: Lpips | None
) -> Table:
    """Write the tables of all protocols and scopes; return that of the paper's protocol."""
    label, of_patches = lpips.label if lpips else "LPIPS", evaluation.of_scope("patch")
    for protocol in evaluation.protocols:
        if protocol != PAPER:
            rows = rows_of(frame, protocol)
            other = Table(summarise(rows, of_patches), of_patches, (_PROTOCOL_NOTES[protocol], *notes), label)
            write_text(folder / f"table-{protocol}.txt", other.to_text())
            _write_patches(folder / f"metrics-{protocol}.csv", rows)
    for scope, plural in _PLURAL.items():
        if metrics := evaluation.of_scope(scope):
            write_text(folder / f"{plural}.csv", _csv(_of_scope(frame, scope, metrics)))
    rows, metrics = rows_of(frame, scope=None), evaluation.metrics
    table = Table(summarise(rows, metrics), metrics, (*notes, *_scope_notes(metrics)), label)
    write_results(folder, rows, table)
    return table


def _write_patches(path: Path, frame: "pd.DataFrame") -> None:
    """Write the rows of patches: model and pair, position and overlap, metrics."""
    if "scope" in frame:
        frame = frame[frame["scope"] == "patch"]
    metrics = [metric.name for metric in columns_in(map(str, frame.columns)) if metric.scope == "patch"]
    columns = [column for column in ("model", "pair", *POSITION) if column in frame]
    whole = {column: int for column in columns if column in ("row", "column", "height", "width")}
    write_text(path, _csv(frame[columns + metrics].astype(whole)))


def _of_scope(frame: "pd.DataFrame", scope: Scope, metrics: Iterable[Metric]) -> "pd.DataFrame":
    """Return model, pair or volume, the metrics of a scope, and their parts."""
    names = [metric.name for metric in metrics]
    columns = [column for column in frame.columns if column.partition(".")[0] in names]
    first = {"image": ["model", "pair"], "set": ["model"], "volume": ["model", "pair"]}[scope]
    return frame.loc[frame["scope"] == scope, [*first, *columns]].rename(
        columns={"pair": "volume"} if scope == "volume" else {}
    )


def _csv(frame: "pd.DataFrame") -> str:
    return frame.to_csv(index=False, lineterminator="\n", na_rep="nan")


def _scope_notes(metrics: Iterable[Metric]) -> list[str]:
    """Say which metrics are not summarised over patches."""
    notes = []
    for scope, text in (
        ("image", "over images: median [quartiles]"),
        ("set", "one value per model"),
        ("volume", "median over volumes"),
    ):
        labels = [metric.label for metric in metrics if metric.scope == scope]
        if labels:
            notes.append(f"{', '.join(labels)}: {text}.")
    return notes
