"""The table of a study as it is given: a CSV file, a DataFrame or rows, with folders or results of measurements."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tomostain.config import suggest
from tomostain.errors import InputError
from tomostain.io.csv_files import CsvTable, read_csv
from tomostain.measure.result_files import read_rows
from tomostain.measure.results import MeasureResult, SectionResult
from tomostain.measure.rows import MeasureRow
from tomostain.measure.study_settings import Setting, measured_with, settings_of
from tomostain.paths import StrPath

if TYPE_CHECKING:
    import pandas as pd

MEASURES = "measures"
"""The column with the folders or results of measurements."""
StudyInput: TypeAlias = "StrPath | pd.DataFrame | Sequence[Mapping[str, object]]"
"""A CSV file, a DataFrame, or one mapping per specimen."""
Result: TypeAlias = MeasureResult | SectionResult


@dataclass(frozen=True)
class StudySource:
    """The cells of a table, and the results that it holds.

    Attributes
    ----------
    name : str
        For messages.
    content : CsvTable
        The cells as text.
    folder : Path
        Paths in the table are relative to it.
    results : tuple of MeasureResult, SectionResult or None
        Of each row of a table in memory; empty for a file.
    """

    name: str
    content: CsvTable
    folder: Path
    results: tuple[Result | None, ...] = ()

    @classmethod
    def open(cls, table: StudyInput) -> "StudySource":
        """Read a file, or convert a table in memory.

        Raises
        ------
        InputError
            If the file cannot be read, or the table is something else.

        Examples
        --------
        >>> source = StudySource.open([{"specimen": "a", "weeks": 8, "BIC": 43.5}])
        >>> source.content.rows
        [{'specimen': 'a', 'weeks': '8', 'BIC': '43.5'}]
        """
        if isinstance(table, str | os.PathLike):
            path = Path(table)
            return cls(str(path), read_csv(path), path.parent)
        records = _records(table)
        columns = tuple(dict.fromkeys(str(name) for record in records for name in record))
        rows = [{name: _text(record.get(name)) for name in columns} for record in records]
        measured = [record.get(MEASURES) for record in records]
        results = tuple(each if isinstance(each, Result) else None for each in measured)
        return cls("the table", CsvTable(columns, rows, list(range(1, len(rows) + 1))), Path(), results)

    def place(self, line: int) -> str:
        """Return the name of a row, for messages."""
        return f"row {line} of the table" if self.results else f"{self.name}, line {line}"

    def measures(self, index: int, where: str, source: str | None) -> tuple[list[MeasureRow], dict[str, Setting]]:
        """Return the measures of a row of one source, of all voxels, and how they were measured.

        Parameters
        ----------
        index : int
            Of the row.
        where : str
            For messages.
        source : str, optional
            What was measured; by default the first source.

        Raises
        ------
        InputError
            If they cannot be read, or there are none of this source.
        """
        result = self.results[index] if self.results else None
        if result is not None:
            rows = _of_source(result.rows, where, "the result", source)
            return rows, settings_of(result, rows)
        path = self.folder / self.content.rows[index][MEASURES]
        try:
            rows = read_rows(path)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        rows = _of_source(rows, where, str(path), source)
        return rows, measured_with(path, rows)


def _records(table: object) -> list[Mapping[Any, object]]:
    """Return the rows of a DataFrame or of a sequence of mappings."""
    if hasattr(table, "to_dict") and hasattr(table, "columns"):
        table = table.to_dict("records")
    rows = list(table) if isinstance(table, Sequence) else []
    if not rows or not all(isinstance(row, Mapping) for row in rows):
        raise InputError(
            "`table`: expected the path of a CSV file, a DataFrame or a list of mappings, found "
            f"{type(table).__name__}",
            parameter="table",
        )
    return rows


def _text(cell: object) -> str:
    """Return a cell as text. A result is named after its specimen; a missing value is empty.

    Examples
    --------
    >>> [_text(cell) for cell in (None, float("nan"), 8.0, 0.1, "Ti ")]
    ['', '', '8', '0.1', 'Ti']
    """
    if isinstance(cell, Result):
        return cell.specimen or "measured"
    if cell is None:
        return ""
    if isinstance(cell, Real) and not isinstance(cell, bool):
        number = float(cell)
        if math.isnan(number):
            return ""
        return f"{number:.0f}" if number.is_integer() else repr(number)
    return str(cell).strip()


def _of_source(rows: Sequence[MeasureRow], where: str, name: str, source: str | None) -> list[MeasureRow]:
    """Return the measures of one source, of all voxels."""
    rows = [row for row in rows if row["voxels"] == "all"]
    sources = list(dict.fromkeys(row["source"] for row in rows))
    if source is not None and source not in sources:
        raise InputError(f"{where}: {name} has no measures of '{source}'{suggest(source, sources)}", parameter="source")
    chosen = source or (sources[0] if sources else None)
    return [row for row in rows if row["source"] == chosen]
