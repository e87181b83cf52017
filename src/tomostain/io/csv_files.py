"""Small CSV tables with a header line. Larger tables with calculations use pandas."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tomostain.errors import InputError
from tomostain.input_files import csv_cells, refuse_special_file
from tomostain.io.atomic import atomic_file
from tomostain.paths import StrPath

_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""First bytes of XLSX and ODS, and of XLS."""


@dataclass(frozen=True)
class CsvTable:
    """The content of a CSV file.

    Attributes
    ----------
    columns : tuple of str
        Names in the header line, without surrounding spaces.
    rows : list of dict of str to str
        The cells of each row, without surrounding spaces. A missing cell is "". Blank lines are skipped.
    lines : list of int
        The line of the file where each row ends, counted from 1.
    has_decimal_comma : bool
        The cells are separated by semicolons or tabs, as Excel writes them where the comma is the decimal sign.
    """

    columns: tuple[str, ...]
    rows: list[dict[str, str]]
    lines: list[int]
    has_decimal_comma: bool = False

    def number_text(self, text: str) -> str:
        """Return a cell with a decimal point where a table with semicolons or tabs has a decimal comma."""
        is_number = self.has_decimal_comma and re.fullmatch(r"[+-]?\d*,\d+([eE][+-]?\d+)?", text)
        return text.replace(",", ".") if is_number else text


def read_csv(path: StrPath) -> CsvTable:
    """Read a CSV table: UTF-8, or the UTF-16 of Excel; cells between commas, semicolons or tabs.

    Raises
    ------
    InputError
        If the file is missing or a pipe, is not text in CSV, has a zero byte, repeats a column, or has a line with more
        cells than the header.
    """
    refuse_special_file(path)
    try:
        content = Path(path).read_bytes()
        if content.startswith(_WORKBOOKS):
            raise InputError(f"{path}: is a workbook (XLSX, XLS or ODS), not a CSV table; save it as 'CSV UTF-8'")
        delimiter, table = csv_cells(content)
    except UnicodeDecodeError:
        raise InputError(f"{path}: cannot be read as a CSV table (not text in UTF-8); save it as 'CSV UTF-8'") from None
    except (OSError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a CSV table ({error})") from None
    for line, cells in table:
        if any("\0" in cell for cell in cells):
            raise InputError(f"{path}, line {line}: has a zero byte, so the file is damaged; export it again")
    columns = _filled(table[0][1]) if table else []
    for name, count in Counter(columns).items():
        if count > 1:
            raise InputError(f"{path}: has the column '{name}' twice; rename or remove one")
    rows, lines = [], []
    for line, cells in table[1:]:
        if not _filled(cells):
            continue
        if len(_filled(cells)) > len(columns):
            raise InputError(
                f"{path}, line {line}: has {len(_filled(cells))} cells, but the header has {len(columns)}; put a cell "
                f"that contains '{delimiter}' in quotes"
            )
        rows.append(dict(zip(columns, [*cells, *[""] * len(columns)], strict=False)))
        lines.append(line)
    return CsvTable(tuple(columns), rows, lines, has_decimal_comma=delimiter != ",")


def _filled(cells: list[str]) -> list[str]:
    """Return cells without the empty ones at the end."""
    count = max((i + 1 for i, cell in enumerate(cells) if cell), default=0)
    return cells[:count]


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]], *, line_end: str = "\n") -> str:
    r"""Return a table as the text of a CSV file; None and missing cells are empty.

    Examples
    --------
    >>> csv_text(["id", "weeks"], [{"id": "a, b", "weeks": 4}, {"id": "c"}])
    'id,weeks\n"a, b",4\nc,\n'
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator=line_end)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_csv(
    path: StrPath, columns: Sequence[str], rows: Iterable[Mapping[str, object]], *, line_end: str = "\n"
) -> None:
    """Write a CSV file completely or not at all; see `csv_text`."""
    with atomic_file(Path(path)) as temporary:
        temporary.write_bytes(csv_text(columns, rows, line_end=line_end).encode())


def append_csv(path: StrPath, columns: Sequence[str], row: Mapping[str, object]) -> None:
    """Append one row to a CSV file with these columns."""
    with Path(path).open("a", newline="", encoding="utf-8") as file:
        csv.DictWriter(file, columns, lineterminator="\n").writerow(row)
