"""Small CSV tables with a header line. Larger tables with calculations use pandas."""

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tomostain.errors import InputError
from tomostain.input_files import refuse_special_file
from tomostain.io.atomic import atomic_file


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
    """

    columns: tuple[str, ...]
    rows: list[dict[str, str]]
    lines: list[int]


def read_csv(path: str | os.PathLike[str]) -> CsvTable:
    """Read a CSV table (UTF-8, with or without a byte order mark).

    Raises
    ------
    InputError
        If the file is missing, or is not text in CSV.
    """
    refuse_special_file(path)
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = [str(name).strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            rows, lines = [], []
            for row in reader:
                rows.append({name: (row[name] or "").strip() for name in columns})
                lines.append(reader.line_num)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a CSV table ({error})") from None
    return CsvTable(tuple(columns), rows, lines)


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
    path: str | os.PathLike[str], columns: Sequence[str], rows: Iterable[Mapping[str, object]], *, line_end: str = "\n"
) -> None:
    """Write a CSV file completely or not at all; see `csv_text`."""
    with atomic_file(Path(path)) as temporary:
        temporary.write_bytes(csv_text(columns, rows, line_end=line_end).encode())


def append_csv(path: str | os.PathLike[str], columns: Sequence[str], row: Mapping[str, object]) -> None:
    """Append one row to a CSV file with these columns."""
    with Path(path).open("a", newline="", encoding="utf-8") as file:
        csv.DictWriter(file, columns, lineterminator="\n").writerow(row)
