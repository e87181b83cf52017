"""Measures as text for people: values with their spread, and a table for the terminal."""

import math
from collections.abc import Sequence

from tomostain.measure.rows import MeasureRow


def format_value(value: float, sd_model: float = math.nan, sd_registration: float = math.nan) -> str:
    """Return a value with its standard deviations.

    Parameters
    ----------
    value : float
        NaN if it cannot be measured.
    sd_model, sd_registration : float
        NaN where they are not known. Both are combined as independent.

    Returns
    -------
    str

    Examples
    --------
    >>> format_value(41.2345), format_value(41.2345, 0.83), format_value(0.00123), format_value(math.nan)
    ('41.2', '41.23 ± 0.83', '0.00123', '–')
    >>> format_value(41.2345, 3.0, 4.0), format_value(123456.7), format_value(50.0, 0.0)
    ('41.2 ± 5.0', '123457', '50 ± 0')
    """
    if math.isnan(value):
        return "–"
    known = [sd for sd in (sd_model, sd_registration) if not math.isnan(sd)]
    if not known:
        return _plain(value)
    spread = math.hypot(*known)
    if spread == 0:
        return f"{value:.4g} ± 0"
    digits = max(0, 1 - math.floor(math.log10(spread)))
    return f"{value:.{digits}f} ± {spread:.{digits}f}"


def _plain(value: float) -> str:
    """Return three significant digits, but no fewer than the digits before the decimal point."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}"


def measures_text(rows: Sequence[MeasureRow]) -> str:
    """Return the measures as a table with one column per source, for the terminal.

    Parameters
    ----------
    rows : sequence of MeasureRow

    Returns
    -------
    str
        One line per measure and region. Values without refused voxels have their own column.
    """
    header, table = measures_table(rows)
    cells = [["measure", "symbol", "region", *header, "unit"], *table]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join(lines)


def measures_table(rows: Sequence[MeasureRow]) -> tuple[list[str], list[list[str]]]:
    """Return the names of the sources, and for each measure and region: title, symbol, region, values and unit.

    Parameters
    ----------
    rows : sequence of MeasureRow

    Returns
    -------
    sources : list of str
        Such as ``stained`` and ``stained, without refused``.
    table : list of list of str
        In the order in which the measures first occur.
    """
    sources: dict[str, None] = {}
    values: dict[tuple[str, str], dict[str, MeasureRow]] = {}
    for row in rows:
        source = row["source"] if row["voxels"] == "all" else f"{row['source']}, {row['voxels']}"
        sources.setdefault(source)
        values.setdefault((row["measure"], row["region"]), {})[source] = row
    table = []
    for (_, region), by_source in values.items():
        first = next(iter(by_source.values()))
        cells = [
            format_value(row["value"], row["sd_model"], row["sd_registration"]) if row is not None else ""
            for row in (by_source.get(source) for source in sources)
        ]
        table.append([first["title"], first["symbol"], region, *cells, first["unit"]])
    return list(sources), table
