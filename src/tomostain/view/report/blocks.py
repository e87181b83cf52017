"""What a report says, and how it is written: ONE page that needs nothing but itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

Picture = NDArray[Any] | Path
"""An image array (grey or RGB, see `to_rgb`) or the path of a PNG or JPEG."""
FLOORS = ("raw µCT", "mean training image", "grey-value look-up")
"""Rows of an evaluation that no training, or no network, was needed for."""


@dataclass(frozen=True)
class Figure:
    """One picture. `alt` describes it for those who do not see it; `narrow` keeps it from filling the width."""

    image: Picture
    caption: str
    alt: str = ""
    narrow: bool = False


@dataclass(frozen=True)
class Row:
    """Figures beside each other where the screen is wide enough."""

    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Compare:
    """Two pictures of one grid on top of each other, with a slider between them (side by side without JavaScript)."""

    before: Picture
    after: Picture
    labels: tuple[str, str]
    caption: str


@dataclass(frozen=True)
class Frames:
    """Pictures to leaf through, e.g. slices of a volume; `labels` has one text a picture, e.g. ``z = 640 µm``."""

    images: Sequence[Picture]
    labels: Sequence[str]
    caption: str


@dataclass(frozen=True)
class MetricTable:
    """A table with the rows of the floor set apart below the others.

    Attributes
    ----------
    header : tuple of str
        Headings; the first column names the rows.
    rows : tuple of tuple of str
        Cells. What stands in brackets behind a number is set small; `` *`` at the end marks the best of a column.
    floor : tuple of str
        First cells of the rows that are floors.
    caption : str
        Sentences below the table.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    floor: tuple[str, ...] = ()
    caption: str = ""

    @classmethod
    def of(
        cls, table: Any, floor: Sequence[str] = ("raw µCT", "mean training image", "grey-value look-up")
    ) -> "MetricTable":
        """Take over an `evaluate.Table` (anything with ``cells()`` and ``notes``)."""
        header, *rows = table.cells()
        caption = " ".join(("Median [quartiles] over patches; the best median of each column is bold.", *table.notes))
        return cls(tuple(header), tuple(map(tuple, rows)), tuple(floor), caption)


Block = Figure | Row | Compare | Frames | MetricTable


@dataclass(frozen=True)
class Section:
    """A heading, its paragraphs, and pictures and tables below them."""

    heading: str
    text: tuple[str, ...] = ()
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Report:
    """Everything on the page.

    Attributes
    ----------
    title : str
        Heading.
    summary : tuple of str
        One to three sentences, a paragraph each.
    key_figures : tuple of (label, value)
        The few numbers one should see first.
    sections : tuple of Section
        In order.
    next_commands : tuple of str
        What to type next.
    provenance : mapping of str to str
        What the page was made of: model hash, input, versions, settings.
    """

    title: str
    summary: tuple[str, ...] = ()
    key_figures: tuple[tuple[str, str], ...] = ()
    sections: tuple[Section, ...] = ()
    next_commands: tuple[str, ...] = ()
    provenance: Mapping[str, str] | None = None
