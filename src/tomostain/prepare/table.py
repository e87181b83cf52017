"""The CSV table of specimens."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tomostain.config import suggest
from tomostain.dataset.pair import check_id
from tomostain.errors import InputError
from tomostain.io.csv_files import read_csv

_NEEDED = ("specimen", "volume", "slide")
_OPTIONAL = ("section", "subject", "implant", "weeks", "stain", "voxel_um", "pixel_um", "dataset", "exclude", "rois")

_MAX_ROWS = 10_000
_NUMBERS = ("weeks", "voxel_um", "pixel_um")


@dataclass(frozen=True)
class SpecimenRow:
    """One line of the table."""

    id: str
    values: Mapping[str, str]
    folder: Path
    line: str

    def path(self, column: str) -> Path:
        """Return a file named in the table, relative to the table."""
        return self.folder / self.values[column]

    def number(self, column: str) -> float | None:
        """Return a number above 0, or None where the cell is empty."""
        text = self.values.get(column, "")
        try:
            value = float(text) if text else None
            if "_" in text:  # Python reads 1_0 as 10
                raise ValueError
        except ValueError:
            value = -1.0
        if value is not None and not 0 < value < 1e6:
            raise InputError(f"{self.line}: {column} is '{text}'; state a number above 0 or leave it empty")
        return value


def read_table(table: Path) -> list[SpecimenRow]:
    """Read and check the CSV table of `prepare_specimens`.

    Raises
    ------
    InputError
        If it is missing or empty, a required column or cell is missing, or a column is unknown.
    """
    content = read_csv(table)
    columns = [*_NEEDED, *_OPTIONAL]
    for name in content.columns:
        if name not in columns:
            raise InputError(f"{table}: unknown column '{name[:60]}'{suggest(name.lower(), columns)}")
    if not content.rows:
        raise InputError(
            f"{table}: contains no specimens; write one line per specimen, with the columns {', '.join(_NEEDED)}"
        )
    if len(content.rows) > _MAX_ROWS:
        raise InputError(f"{table}: has {len(content.rows)} lines; a study has at most {_MAX_ROWS} specimens, split it")
    counts = Counter(row.get("specimen", "") for row in content.rows)
    numbers: Counter[str] = Counter()
    rows = []
    for line, cells in zip(content.lines, content.rows, strict=True):
        name = cells.get("specimen", "")
        position = f"{table}, line {line}" + (f", specimen '{name}'" if name else "")
        for column in _NEEDED:
            if not cells.get(column):
                raise InputError(f"{position}: '{column}' is empty; fill it in")
        numbers[name] += 1
        pair_id = f"{name}-{numbers[name]}" if counts[name] > 1 else name
        numbers_as_text = {column: content.number_text(cells.get(column, "")) for column in _NUMBERS}
        values = cells | {column: text for column, text in numbers_as_text.items() if text}
        rows.append(SpecimenRow(_checked_id(pair_id, position), values, table.parent, position))
    return rows


def _checked_id(pair_id: str, position: str) -> str:
    """Return a name that a pair may have; the error names the line of the table."""
    try:
        return check_id(pair_id)
    except InputError as error:
        raise InputError(f"{position}: {error}") from None
