"""Rendering of a report to HTML with Jinja2. All text is escaped; the page's policy forbids it to load anything."""

import re
from functools import lru_cache
from itertools import count

import jinja2

from tomostain.view.report.blocks import Block, Colour, MetricTable, Picture, Report
from tomostain.view.report.encoding import Encoded, Encoding, encode


def page(report: Report, encoding: Encoding) -> str:
    """Return the page as text.

    Parameters
    ----------
    report : Report
    encoding : Encoding
        How its images are stored.
    """
    numbers = count(1)

    def encoded(picture: Picture) -> Encoded:
        return encode(picture, encoding)

    return _template().render(report=report, encoded=encoded, next_number=lambda: next(numbers))


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tomostain.view.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"kind": _kind, "groups": _groups, "cell": _cell, "rgb": _rgb}
    return environment.get_template("report.html.j2")


def _kind(block: Block) -> str:
    """Return the name of the macro that renders a block."""
    return type(block).__name__


def _rgb(colour: Colour) -> str:
    """Return a colour for a style sheet."""
    red, green, blue = (int(value) for value in colour)
    return f"rgb({red}, {green}, {blue})"


def _groups(table: MetricTable) -> list[tuple[str, list[tuple[str, ...]]]]:
    """Return the class and the rows of each table body: models first, then the baselines."""
    groups = [
        ("", [row for row in table.rows if row[0] not in table.baselines]),
        ("baselines", [row for row in table.rows if row[0] in table.baselines]),
    ]
    return [(name, rows) for name, rows in groups if rows]


def _cell(text: str) -> tuple[str, str, str]:
    """Split a cell into its class, its value, and the part in brackets. `` *`` at the end marks the best value.

    Examples
    --------
    >>> _cell("0.59 [0.48, 0.71] *")
    ('best', '0.59', '[0.48, 0.71]')
    """
    match = re.fullmatch(r"(.*?)(\s*\[.*\])?", text.removesuffix(" *"), re.DOTALL)
    value, brackets = match.groups() if match else (text, None)
    return "best" if text.endswith(" *") else "", value, (brackets or "").strip()
