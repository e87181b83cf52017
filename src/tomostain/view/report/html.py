"""From a report to HTML. Every text is escaped here; the page forbids itself to load anything."""

import re
from html import escape
from importlib.resources import files
from itertools import count

from tomostain.view.report.blocks import Block, Compare, Figure, Frames, MetricTable, Picture, Report, Row, Section
from tomostain.view.report.encoding import Encoding, encode

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page(report: Report, encoding: Encoding) -> str:
    """Return the whole page as text.

    Parameters
    ----------
    report : Report
        What it says.
    encoding : Encoding
        How its pictures are stored.
    """
    return _Page(encoding).page(report)


class _Page:
    """Builds one page; knows how pictures are stored and counts the figures."""

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding
        self.numbers = count(1)

    def page(self, report: Report) -> str:
        style = files("tomostain.view.report").joinpath("report.css").read_text(encoding="utf-8")
        script = files("tomostain.view.report").joinpath("report.js").read_text(encoding="utf-8")
        parts = [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(report.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>",
            f"<header>\n<h1>{escape(report.title)}</h1>",
            *(f'<p class="lead">{escape(sentence)}</p>' for sentence in report.summary),
            _keys(report.key_figures),
            "</header>\n<main>",
            *(self.section(section) for section in report.sections),
            _commands(report.next_commands),
            "</main>",
            _provenance(report),
            f"<script>\n{script}</script>\n</body>\n</html>\n",
        ]
        return "\n".join(part for part in parts if part)

    def section(self, section: Section) -> str:
        text = "".join(f"<p>{escape(paragraph)}</p>\n" for paragraph in section.text)
        blocks = "\n".join(self.block(block) for block in section.blocks)
        return f"<section>\n<h2>{escape(section.heading)}</h2>\n{text}{blocks}\n</section>"

    def block(self, block: Block) -> str:
        if isinstance(block, Figure):
            kind = ' class="narrow"' if block.narrow else ""
            image = self.image(block.image, block.alt or block.caption)
            return f"<figure{kind}>{image}{self.caption(block.caption)}</figure>"
        if isinstance(block, Row):
            return '<div class="row">' + "".join(self.block(figure) for figure in block.figures) + "</div>"
        if isinstance(block, Compare):
            return self.compare(block)
        if isinstance(block, Frames):
            return self.frames(block)
        return _table(block)

    def compare(self, block: Compare) -> str:
        sides = "".join(
            f'<div><span class="label">{escape(label)}</span>{self.image(picture, label)}</div>'
            for picture, label in zip((block.before, block.after), block.labels, strict=True)
        )
        left, right = (escape(label) for label in block.labels)
        slider = f'<input type="range" min="0" max="100" step="0.1" value="50" aria-label="{left} or {right}">'
        tools = f'<div class="tools"><span>{left}</span>{slider}<span>{right}</span></div>'
        return f'<figure class="compare"><div class="pair">{sides}</div>{tools}{self.caption(block.caption)}</figure>'

    def frames(self, block: Frames) -> str:
        pairs = list(zip(block.images, block.labels, strict=True))
        middle = len(pairs) // 2
        # The middle one is the one that shows without JavaScript and on paper.
        images = "".join(self.image(*pair, kind=' class="shown"' * (n == middle)) for n, pair in enumerate(pairs))
        slider = f'<input type="range" min="0" max="{len(pairs) - 1}" value="{middle}" aria-label="frame">'
        tools = f'<div class="tools">{slider}<output>{escape(block.labels[middle])}</output></div>'
        return f'<figure class="frames">{images}{tools}{self.caption(block.caption)}</figure>'

    def image(self, picture: Picture, alt: str, kind: str = "") -> str:
        stored = encode(picture, self.encoding)
        size = f'width="{stored.width}" height="{stored.height}"'
        return f'<img{kind} src="{stored.uri}" {size} alt="{escape(alt)}">'

    def caption(self, text: str) -> str:
        return f"<figcaption><b>Figure {next(self.numbers)}</b> {escape(text)}</figcaption>"


def _keys(key_figures: tuple[tuple[str, str], ...]) -> str:
    if not key_figures:
        return ""
    cells = "".join(f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>" for label, value in key_figures)
    return f'<dl class="keys">{cells}</dl>'


def _table(table: MetricTable) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    groups = [
        ("", [row for row in table.rows if row[0] not in table.floor]),
        (' class="floor"', [row for row in table.rows if row[0] in table.floor]),
    ]
    bodies = "".join(f"<tbody{kind}>{''.join(map(_table_row, rows))}</tbody>" for kind, rows in groups if rows)
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    return f'<div class="scroll"><table>{caption}<thead><tr>{head}</tr></thead>{bodies}</table></div>'


def _table_row(row: tuple[str, ...]) -> str:
    return f'<tr><th scope="row">{escape(row[0])}</th>{"".join(map(_cell, row[1:]))}</tr>'


def _cell(text: str) -> str:
    """Set a cell: bold if it ends with `` *``, what stands in brackets small."""
    kind = ' class="best"' if text.endswith(" *") else ""
    value, brackets = re.fullmatch(r"(.*?)(\s*\[.*\])?", text.removesuffix(" *"), re.DOTALL).groups()  # type: ignore[union-attr]
    small = f"<small>{escape(brackets.strip())}</small>" if brackets else ""
    return f"<td{kind}>{escape(value)}{small}</td>"


def _commands(commands: tuple[str, ...]) -> str:
    if not commands:
        return ""
    lines = "\n".join(map(escape, commands))
    return f"<section>\n<h2>What to type next</h2>\n<pre>{lines}</pre>\n</section>"


def _provenance(report: Report) -> str:
    entries = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in (report.provenance or {}).items()
    )
    return f"<footer>\n<h2>How this page was made</h2>\n<dl>{entries}</dl>\n</footer>" if entries else ""
