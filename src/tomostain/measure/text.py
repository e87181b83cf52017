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
    >>> format_value(6.406528, 0.00004)
    '6.407 ± 4e-05'
    """
    if math.isnan(value):
        return "–"
    spreads = [sd for sd in (sd_model, sd_registration) if not math.isnan(sd)]
    if not spreads:
        return _plain(value)
    spread = math.hypot(*spreads)
    if spread == 0:
        return f"{value:.4g} ± 0"
    digits = max(0, 1 - math.floor(math.log10(spread)))
    max_digits = max(0, 3 - math.floor(math.log10(abs(value)))) if value else digits
    if digits > max_digits:
        return f"{value:.{max_digits}f} ± {spread:.1g}"
    return f"{value:.{digits}f} ± {spread:.{digits}f}"


def _plain(value: float) -> str:
    """Return three significant digits, but no fewer than the digits before the decimal point."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}"


def measures_text(rows: Sequence[MeasureRow]) -> str:
    """Return the measures as tables for the terminal: those of the whole volume, and those of regions.

    Parameters
    ----------
    rows : sequence of MeasureRow

    Returns
    -------
    str
        One line per measure with a column per source; then one line per measure and source with a column per region.
    """
    return "\n\n".join(
        _aligned([header, *table]) for header, table in (measures_table(rows), regions_table(rows)) if table
    )


def _aligned(cells: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join(lines)


def measures_table(rows: Sequence[MeasureRow]) -> tuple[list[str], list[list[str]]]:
    """Return the measures that have one region, with a column per source.

    Parameters
    ----------
    rows : sequence of MeasureRow

    Returns
    -------
    header : list of str
        ``measure``, ``symbol``, the sources, such as ``stained`` and ``stained, without refused``, and ``unit``.
    table : list of list of str
        In the order in which the measures first occur.
    """
    chosen = [row for row in rows if not _has_regions(row, rows)]
    sources = list(dict.fromkeys(_source(row) for row in chosen))
    values: dict[str, dict[str, MeasureRow]] = {}
    for row in chosen:
        values.setdefault(row["measure"], {})[_source(row)] = row
    table = []
    for by_source in values.values():
        first = next(iter(by_source.values()))
        cells = [_value(by_source.get(source)) for source in sources]
        table.append([first["title"], first["symbol"], *cells, first["unit"]])
    return ["measure", "symbol", *sources, "unit"], table


def regions_table(rows: Sequence[MeasureRow]) -> tuple[list[str], list[list[str]]]:
    """Return the measures of several regions, such as shells around the implant, with a column per region.

    Parameters
    ----------
    rows : sequence of MeasureRow

    Returns
    -------
    header : list of str
        ``measure``, which is the symbol with the unit, ``source``, and the regions.
    table : list of list of str
    """
    chosen = [row for row in rows if _has_regions(row, rows)]
    regions = list(dict.fromkeys(row["region"] for row in chosen))
    values: dict[tuple[str, str], dict[str, MeasureRow]] = {}
    for row in chosen:
        values.setdefault((row["measure"], _source(row)), {})[row["region"]] = row
    order = list(dict.fromkeys(measure for measure, _ in values))
    table = []
    for (_, source), by_region in sorted(values.items(), key=lambda item: order.index(item[0][0])):
        first = next(iter(by_region.values()))
        cells = [_value(by_region.get(region)) for region in regions]
        unit = f" [{first['unit']}]" if first["unit"] else ""
        table.append([f"{first['symbol']}{unit}", source, *cells])
    return ["measure", "source", *regions], table


def _has_regions(row: MeasureRow, rows: Sequence[MeasureRow]) -> bool:
    return any(each["measure"] == row["measure"] and each["region"] != "all" for each in rows)


def _source(row: MeasureRow) -> str:
    return row["source"] if row["voxels"] == "all" else f"{row['source']}, {row['voxels']}"


def _value(row: MeasureRow | None) -> str:
    return "" if row is None else format_value(row["value"], row["sd_model"], row["sd_registration"])
