"""One spelling for one group, week or animal in the table of a study."""

import math
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace

from tomostain.errors import InputError
from tomostain.measure.study_source import StudySource

WEEKS = "weeks"
# No underscore and no exponent, which Python reads as well: 1_1 and 2E1 are names.
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)")


def with_weeks_as_numbers(source: StudySource) -> StudySource:
    """Return a table in which 8, 8.0 and 08 weeks have one spelling. Text that is no number stays.

    Examples
    --------
    >>> source = StudySource.open([{"weeks": "8.0"}, {"weeks": "08"}, {"weeks": "early"}])
    >>> [row["weeks"] for row in with_weeks_as_numbers(source).content.rows]
    ['8', '8', 'early']
    """
    content = source.content
    if WEEKS not in content.columns:
        return source
    numbers = [_number(content.number_text(row[WEEKS])) for row in content.rows]
    rows = [
        row if number is None else row | {WEEKS: f"{number:g}"}
        for row, number in zip(content.rows, numbers, strict=True)
    ]
    return replace(source, content=replace(content, rows=rows))


def check_spellings(source: StudySource, columns: Iterable[str]) -> None:
    """Raise if two names of a column are equal apart from case, spaces and the form of a number.

    Raises
    ------
    InputError
        The message names both, and their lines.
    """
    for column in columns:
        first: dict[str | float, tuple[str, int]] = {}
        for row, line in zip(source.content.rows, source.content.lines, strict=True):
            name = row[column]
            other, where = first.setdefault(_key(source.content.number_text(name)), (name, line))
            if other != name:
                raise InputError(
                    f"{source.place(line)}: '{column}' is '{name}', but '{other}' in {source.place(where)}; write one "
                    "name, or names that differ in more than case, spaces and the form of a number"
                )


def _key(name: str) -> str | float:
    """Return what is equal for two spellings of one name.

    Accents that are stored as one or as two characters are equal. A² and A2 are two names.

    Examples
    --------
    >>> _key("Ti ") == _key("ti"), _key("8.0") == _key("08"), _key("Mg-5Gd") == _key("Mg-10Gd")
    (True, True, False)
    >>> _key("1_1") == _key("11"), _key("2E1") == _key("20"), _key("A²") == _key("A2")
    (False, False, False)
    """
    number = _number(name)
    return " ".join(unicodedata.normalize("NFC", name).casefold().split()) if number is None else number


def _number(text: str) -> float | None:
    """Return a decimal number, or None if the text is none."""
    if not _DECIMAL.fullmatch(text.strip()):
        return None
    number = float(text)
    return number if math.isfinite(number) else None
