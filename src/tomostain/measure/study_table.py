"""The table of a study: specimens, their animals and groups, and the values of their measures."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tomostain.config import suggest
from tomostain.errors import InputError
from tomostain.io.csv_files import CsvTable
from tomostain.measure.config import GROUP_COLUMNS, StudyConfig
from tomostain.measure.measures import DEFINITIONS
from tomostain.measure.study_names import WEEKS, check_spellings, with_weeks_as_numbers
from tomostain.measure.study_settings import SameSettings
from tomostain.measure.study_source import MEASURES, StudyInput, StudySource

SPECIMEN, SUBJECT, NOTE = "specimen", "subject", "note"
"""Columns of the table: the name, the animal, and a remark that is not read."""
_MAX_ROWS = 10_000


@dataclass(frozen=True)
class StudySpecimen:
    """One row of the table."""

    specimen: str
    subject: str
    group: str


@dataclass(frozen=True)
class StudyValues:
    """One measure of the specimens that have it.

    Attributes
    ----------
    measure, region, title, unit : str
    specimens : tuple of StudySpecimen
    values : tuple of float
        One for each of these specimens.
    """

    measure: str
    region: str
    title: str
    unit: str
    specimens: tuple[StudySpecimen, ...]
    values: tuple[float, ...]

    @property
    def name(self) -> str:
        """Title, region and unit, for figures."""
        region = "" if self.region == "all" else f", {self.region}"
        return f"{self.title}{region}" + (f" [{self.unit}]" if self.unit else "")


@dataclass(frozen=True)
class StudyTable:
    """The content of a table.

    Attributes
    ----------
    by : tuple of str
        The columns whose combinations are the groups.
    specimens : tuple of StudySpecimen
    values : tuple of StudyValues
        The measures to compare.
    notes : tuple of str
        Which measures and specimens are left out, and why.
    """

    by: tuple[str, ...]
    specimens: tuple[StudySpecimen, ...]
    values: tuple[StudyValues, ...]
    notes: tuple[str, ...]


def read_study(table: StudyInput, config: StudyConfig) -> StudyTable:
    """Read the table of a study, and the measures that it names or holds.

    Raises
    ------
    InputError
        As `tomostain.measure.study.measure_study`.
    """
    source = with_weeks_as_numbers(StudySource.open(table))
    _check(source)
    by = _group_columns(source.name, source.content, config)
    check_spellings(source, (SUBJECT, *by))
    specimens = _specimens(source, by)
    if len({each.group for each in specimens}) < 2:
        raise InputError(
            f"{source.name}: all specimens are in the group '{specimens[0].group}' ({', '.join(by)}); a comparison "
            "needs two"
        )
    values, notes = _select(_values(source, specimens, by, config), source.name, config)
    return StudyTable(by, specimens, tuple(values), notes)


def _check(source: StudySource) -> None:
    """Check the columns of the table and the names of the specimens."""
    table, content = source.name, source.content
    for name in (SPECIMEN, SUBJECT):
        if name not in content.columns:
            why = "; it names the animal of each specimen, which is the unit of the comparison" * (name == SUBJECT)
            raise InputError(f"{table}: has no column '{name}'{why}")
    if not content.rows:
        raise InputError(f"{table}: contains no specimens; write one line per specimen")
    if len(content.rows) > _MAX_ROWS:
        raise InputError(f"{table}: has {len(content.rows)} lines; a study has at most {_MAX_ROWS} specimens")
    for row, line in zip(content.rows, content.lines, strict=True):
        for name in (SPECIMEN, SUBJECT):
            if not row[name]:
                raise InputError(f"{source.place(line)}: '{name}' is empty; fill it in")
    for name, count in Counter(row[SPECIMEN] for row in content.rows).items():
        if count > 1:
            raise InputError(f"{table}: the specimen '{name}' occurs {count} times; each has one line")


def _group_columns(table: str, content: CsvTable, config: StudyConfig) -> tuple[str, ...]:
    columns = [name for name in content.columns if name not in (SPECIMEN, SUBJECT, MEASURES, NOTE)]
    for name in config.by:
        if name not in columns:
            raise InputError(f"{table}: has no column '{name}' of groups{suggest(name, columns)}", parameter="by")
    present = tuple(name for name in columns if name in GROUP_COLUMNS)
    varying = tuple(name for name in present if len({row[name] for row in content.rows}) > 1)
    by = config.by or varying or present
    if not by:
        raise InputError(
            f"{table}: has none of the columns {', '.join(GROUP_COLUMNS)}; state the columns of the groups with `by`",
            parameter="by",
        )
    return by


def _specimens(source: StudySource, by: Sequence[str]) -> tuple[StudySpecimen, ...]:
    result, content = [], source.content
    for row, line in zip(content.rows, content.lines, strict=True):
        for name in by:
            if not row[name]:
                raise InputError(f"{source.place(line)}: '{name}' is empty, so the specimen has no group; fill it in")
        group = ", ".join(f"{row[name]} weeks" if name == WEEKS else row[name] for name in by)
        result.append(StudySpecimen(row[SPECIMEN], row[SUBJECT], group))
    return tuple(result)


_Found = dict[tuple[str, str], list[tuple[StudySpecimen, float]]]
"""The values of each measure and region."""


def _values(
    source: StudySource, specimens: Sequence[StudySpecimen], by: Sequence[str], config: StudyConfig
) -> list[StudyValues]:
    """Return all values of the table and of the measurements in it, by measure and region. NaN is left out."""
    table, content = source.name, source.content
    skipped = {SPECIMEN, SUBJECT, MEASURES, NOTE, *by, *GROUP_COLUMNS}
    columns = [name for name in content.columns if name and name not in skipped]
    if not columns and MEASURES not in content.columns:
        raise InputError(
            f"{table}: has neither a column '{MEASURES}' with the folders of measures nor a column with values"
        )
    values_of: _Found = {}
    texts: dict[tuple[str, str], tuple[str, str]] = {}
    first_of, same = _First(table), SameSettings(table)
    for index, (specimen, row) in enumerate(zip(specimens, content.rows, strict=True)):
        where = f"{source.place(content.lines[index])}, specimen '{specimen.specimen}'"
        if row.get(MEASURES):
            measured, settings = source.measures(index, where, config.source)
            for each in measured:
                key = each["measure"], each["region"]
                first_of.check("source", "", each["source"], specimen.specimen, "state the `source`")
                remedy = "measure all with one version and the same images"
                first_of.check("method", each["measure"], each["method"], specimen.specimen, remedy)
                texts.setdefault(key, (each["title"], each["unit"]))
                if not math.isnan(each["value"]):
                    _add(values_of, key, specimen, _finite(str(each["value"]), f"{where}: {key[0]}"), where)
            same.check(settings, specimen.specimen)
        elif MEASURES in content.columns and not columns:
            raise InputError(f"{where}: '{MEASURES}' is empty; state the folder of its measures")
        for name in columns:
            if row[name]:
                texts.setdefault((name, "all"), _title_and_unit(name))
                value = _finite(content.number_text(row[name]), f"{where}: {name}")
                _add(values_of, (name, "all"), specimen, value, where)
    return [
        StudyValues(*key, *texts[key], tuple(each for each, _ in pairs), tuple(value for _, value in pairs))
        for key, pairs in values_of.items()
    ]


def _add(found: _Found, key: tuple[str, str], specimen: StudySpecimen, value: float, where: str) -> None:
    """Add a value of a specimen. Specimens come one after the other, so that only the last one can be the same."""
    pairs = found.setdefault(key, [])
    if pairs and pairs[-1][0] == specimen:
        region = "" if key[1] == "all" else f" of the region '{key[1]}'"
        raise InputError(
            f"{where}: has the measure '{key[0]}'{region} twice; state it once, in the folder or in a column"
        )
    pairs.append((specimen, value))


class _First:
    """The first value of what must be the same for all specimens, and the specimen that has it."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._seen: dict[tuple[str, str], tuple[str, str]] = {}

    def check(self, what: str, measure: str, value: str, specimen: str, remedy: str) -> None:
        """Raise if another specimen has another value."""
        first, other = self._seen.setdefault((what, measure), (value, specimen))
        if first != value:
            of = f" of '{measure}'" if measure else " of the measures"
            raise InputError(
                f"{self._table}: the {what}{of} is '{first}' of specimen '{other}' and '{value}' of '{specimen}'; "
                f"{remedy}",
                parameter=what if what == "source" else None,
            )


def _finite(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where} is '{text}'; state a finite number, or leave the cell empty")
    return value


def _title_and_unit(column: str) -> tuple[str, str]:
    """Return the title and the unit of a column: of the definition with this identifier, or "title (unit)".

    Examples
    --------
    >>> _title_and_unit("BV/TV [%]"), _title_and_unit("stiffness (N/mm)"), _title_and_unit("score")
    (('BV/TV', '%'), ('stiffness', 'N/mm'), ('score', ''))
    """
    if column in DEFINITIONS:
        return DEFINITIONS[column].title, DEFINITIONS[column].unit
    match = re.fullmatch(r"(.+?)\s*[\[(]([^\])]+)[\])]", column)
    return (match[1], match[2]) if match else (column, "")


def _select(
    values: Sequence[StudyValues], table: str, config: StudyConfig
) -> tuple[list[StudyValues], tuple[str, ...]]:
    """Return the measures to compare, and notes on the others."""
    measures: Mapping[str, None] = dict.fromkeys(each.measure for each in values)
    for name in config.measures:
        if name not in measures:
            raise InputError(f"{table}: no specimen has the measure '{name}'{suggest(name, list(measures))}")
    notes, chosen = [], []
    for each in values:
        if config.measures and each.measure not in config.measures:
            continue
        if len({specimen.group for specimen in each.specimens}) < 2:
            notes.append(f"{each.name}: values in one group only, so it is not compared.")
            continue
        chosen.append(each)
    if not chosen:
        raise InputError(f"{table}: no measure has values in two groups")
    total = max(len(each.values) for each in values)
    for each in chosen:
        missing = total - len(each.values)
        if missing:
            notes.append(f"{each.name}: {missing} specimen(s) have no value and are left out.")
    return chosen, tuple(notes)
