"""Comparison of the groups of a study: from a table of specimens to tests, intervals and tables of results."""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tomostain import __version__
from tomostain.errors import InputError
from tomostain.io.atomic import write_text
from tomostain.io.csv_files import csv_text
from tomostain.io.outputs import FolderKind, check_output
from tomostain.measure.config import StudyConfig
from tomostain.measure.statistics.groups import Comparison, PairEffect, compare_groups, holm
from tomostain.measure.study_source import StudyInput
from tomostain.measure.study_table import StudySpecimen, StudyValues, read_study
from tomostain.paths import StrPath
from tomostain.progress import Progress, silent, track

if TYPE_CHECKING:
    import pandas as pd

SETTINGS, GROUPS, VALUES, PAGE = "study.yaml", "groups.csv", "values.csv", "report.html"
_STUDY = FolderKind("study", r"study\.yaml|groups\.csv|values\.csv|report\.html|[^/]+\.png", SETTINGS)
GROUP_TABLE = (
    "measure",
    "region",
    "title",
    "unit",
    "comparison",
    "test",
    "statistic",
    "p",
    "p_holm",
    "difference",
    "difference_low",
    "difference_high",
    "hedges_g",
    "hedges_g_low",
    "hedges_g_high",
    "animals",
    "specimens",
    "reason",
)
"""Columns of ``groups.csv``: one row for each measure ("all groups"), and one for each pair of groups."""
_NUMBERS = GROUP_TABLE[GROUP_TABLE.index("statistic") : GROUP_TABLE.index("animals")]
VALUE_TABLE = ("specimen", "subject", "group", "measure", "region", "title", "unit", "value")


@dataclass(frozen=True)
class StudyComparison:
    """The comparison of one measure.

    Attributes
    ----------
    values : StudyValues
    result : Comparison
    p_holm : float
        Corrected for the number of measures.
    """

    values: StudyValues
    result: Comparison
    p_holm: float


@dataclass(frozen=True)
class StudyResult:
    """All comparisons of a study.

    Attributes
    ----------
    out : Path or None
        The folder of the results; None if nothing was written.
    by : tuple of str
        The columns whose combinations are the groups.
    specimens : tuple of StudySpecimen
    comparisons : tuple of StudyComparison
    notes : tuple of str
        Which measures were left out, and why.
    """

    out: Path | None
    by: tuple[str, ...]
    specimens: tuple[StudySpecimen, ...]
    comparisons: tuple[StudyComparison, ...]
    notes: tuple[str, ...]

    @property
    def groups(self) -> "pd.DataFrame":
        """The statistics, as in ``groups.csv``: a row per measure ("all groups") and one per pair of groups.

        Numbers have six digits; NaN where there is none. `comparisons` has all digits.
        """
        import pandas as pd

        frame = pd.DataFrame(group_rows(self), columns=list(GROUP_TABLE))
        numbers = {name: pd.to_numeric(frame[name]) for name in _NUMBERS}
        return frame.assign(**numbers).fillna({name: "" for name in GROUP_TABLE if name not in _NUMBERS})

    @property
    def values(self) -> "pd.DataFrame":
        """The compared values, as in ``values.csv``: a row per specimen and measure."""
        import pandas as pd

        frame = pd.DataFrame(_value_rows(self), columns=list(VALUE_TABLE))
        return frame.assign(value=pd.to_numeric(frame["value"]))


def measure_study(
    table: StudyInput,
    out: StrPath | None = None,
    *,
    config: StudyConfig | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> StudyResult:
    """Compare the groups of a study; write ``groups.csv`` and ``values.csv``, or return them.

    Parameters
    ----------
    table : path, DataFrame or sequence of mapping
        CSV, or a table in memory, with one row per specimen: ``specimen``, ``subject`` (the animal), columns of groups
        such as ``implant`` and ``weeks``, and either ``measures`` (the folder of ``tomostain measure``, relative to the
        table; in memory also the result of `tomostain.measure_volume` or `tomostain.measure_section`) or one column per
        measure with its values, or both. An empty cell is a missing value.
    out : path, optional
        Folder for the results. None: nothing is written.
    config : StudyConfig, optional
    overwrite : bool
        Replace an earlier comparison.
    progress : Progress
        Called for each measure.

    Returns
    -------
    StudyResult
        Its `groups` and `values` are DataFrames.

    Raises
    ------
    InputError
        If a column is missing, a specimen occurs twice, a value is not a finite number, there is one group only, or the
        output exists.

    Examples
    --------
    >>> rows = [{"specimen": f"s{n}", "subject": f"rat {n}", "implant": "Ti" if n < 3 else "Mg"} for n in range(6)]
    >>> table = [row | {"BIC (%)": 40.0 + n * n} for n, row in enumerate(rows)]
    >>> measure_study(table).groups.loc[0, ["title", "test", "animals"]].tolist()
    ['BIC', 'Mann–Whitney', '3 + 3']
    """
    config = config or StudyConfig()
    _require_statsmodels()
    folder = None if out is None else Path(out)
    if folder is not None:
        sources = [table] if isinstance(table, str | os.PathLike) else []
        check_output(folder, _STUDY, sources, overwrite=overwrite)
    study = read_study(table, config)
    tested = [
        compare_groups(each.values, [s.group for s in each.specimens], [s.subject for s in each.specimens])
        for each in track(study.values, "comparing", progress)
    ]
    corrected = holm([each.p for each in tested])
    comparisons = tuple(
        StudyComparison(value, result, float(p))
        for value, result, p in zip(study.values, tested, corrected, strict=True)
    )
    result = StudyResult(folder, study.by, study.specimens, comparisons, study.notes)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / SETTINGS, config.to_yaml())
        write_text(folder / VALUES, csv_text(VALUE_TABLE, _value_rows(result)))
        write_text(folder / GROUPS, csv_text(GROUP_TABLE, group_rows(result)))
    return result


def group_rows(result: StudyResult) -> list[dict[str, object]]:
    """Return the rows of ``groups.csv``. The p of a pair is corrected for the number of pairs of its measure."""
    rows: list[dict[str, object]] = []
    for each in result.comparisons:
        common = {name: getattr(each.values, name) for name in ("measure", "region", "title", "unit")}
        common |= {"test": each.result.test}
        summaries = {summary.group: summary for summary in each.result.summaries}
        rows.append(
            common
            | {
                "comparison": "all groups",
                "statistic": _number(each.result.statistic),
                "p": _number(each.result.p),
                "p_holm": _number(each.p_holm),
                "animals": " + ".join(str(summary.animals) for summary in summaries.values()),
                "specimens": " + ".join(str(summary.specimens) for summary in summaries.values()),
                "reason": each.result.reason,
            }
        )
        corrected = holm([pair.p for pair in each.result.pairs])
        for pair, p in zip(each.result.pairs, corrected, strict=True):
            both = [summaries[pair.first], summaries[pair.second]]
            rows.append(
                common
                | _pair_cells(pair, float(p))
                | {
                    "animals": " + ".join(str(summary.animals) for summary in both),
                    "specimens": " + ".join(str(summary.specimens) for summary in both),
                }
            )
    return rows


def _pair_cells(pair: PairEffect, p_holm: float) -> dict[str, object]:
    return {
        "comparison": f"{pair.first} − {pair.second}",
        "p": _number(pair.p),
        "p_holm": _number(p_holm),
        "difference": _number(pair.difference),
        "difference_low": _number(pair.low),
        "difference_high": _number(pair.high),
        "hedges_g": _number(pair.effect),
        "hedges_g_low": _number(pair.effect_low),
        "hedges_g_high": _number(pair.effect_high),
    }


def _number(value: float) -> str:
    """Return a cell: six digits, empty for NaN, ``inf`` or ``-inf`` for an interval without an end."""
    return "" if math.isnan(value) else f"{value:.6g}"


def _value_rows(result: StudyResult) -> list[dict[str, object]]:
    return [
        {
            "specimen": specimen.specimen,
            "subject": specimen.subject,
            "group": specimen.group,
            "measure": each.values.measure,
            "region": each.values.region,
            "title": each.values.title,
            "unit": each.values.unit,
            "value": repr(value),
        }
        for each in result.comparisons
        for specimen, value in zip(each.values.specimens, each.values.values, strict=True)
    ]


def _require_statsmodels() -> None:
    try:
        import statsmodels  # noqa: F401
    except ImportError:
        raise InputError("the comparison of groups needs statsmodels: pip install 'tomostain[measure]'") from None


def study_text(result: StudyResult) -> str:
    """Return one line per measure for the terminal: the test, p, and the corrected p."""
    lines = [f"groups: {', '.join(dict.fromkeys(each.group for each in result.specimens))} ({' and '.join(result.by)})"]
    for each in result.comparisons:
        p = "no test" if math.isnan(each.result.p) else f"p = {each.result.p:.2g}, Holm {each.p_holm:.2g}"
        lines.append(f"{each.values.name}: {p} ({each.result.test}). {each.result.reason}")
    return "\n".join(lines)


def study_json(result: StudyResult) -> str:
    """Return the rows of ``groups.csv`` as JSON; numbers as numbers, null where there is none."""

    def value(name: str, cell: object) -> object:
        if name not in _NUMBERS:
            return cell
        number = float(str(cell)) if cell not in ("", None) else math.nan
        return number if math.isfinite(number) else None

    rows = [{name: value(name, row.get(name)) for name in GROUP_TABLE} for row in group_rows(result)]
    content = {"tomostain": __version__, "by": list(result.by), "notes": list(result.notes), "groups": rows}
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
