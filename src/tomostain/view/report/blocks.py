"""The content of a report: sections, figures and tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

Picture = NDArray[Any] | Path
"""An image array (grey or RGB, see `to_rgb`) or the path of a PNG or JPEG."""
FLOORS = ("raw µCT", "mean training image", "grey-value look-up")
"""Rows of an evaluation that need no training or no network: the baselines."""


class SupportsCells(Protocol):
    """A table of metrics: `tomostain.evaluate.Table` is one."""

    @property
    def notes(self) -> Sequence[str]:
        """Sentences below the table."""

    def cells(self) -> Sequence[Sequence[str]]:
        """Return the header and the rows as text."""


@dataclass(frozen=True)
class Figure:
    """One image. `alt` is the text alternative; `narrow` limits its width."""

    image: Picture
    caption: str
    alt: str = ""
    narrow: bool = False


@dataclass(frozen=True)
class Row:
    """Figures side by side if the screen is wide enough."""

    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Compare:
    """Two images on one grid, with a slider between them (side by side without JavaScript)."""

    before: Picture
    after: Picture
    labels: tuple[str, str]
    caption: str


@dataclass(frozen=True)
class Frames:
    """Images with a slider, e.g. slices of a volume. `labels` has one text per image, e.g. ``z = 640 µm``."""

    images: Sequence[Picture]
    labels: Sequence[str]
    caption: str


@dataclass(frozen=True)
class MetricTable:
    """A table. The baselines are separated below the other rows.

    Attributes
    ----------
    header : tuple of str
        Headings; the first column names the rows.
    rows : tuple of tuple of str
        Cells. Text in brackets after a number is set small. `` *`` at the end marks the best value of a column.
    floor : tuple of str
        First cells of the rows that are baselines.
    caption : str
        Sentences below the table.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    floor: tuple[str, ...] = ()
    caption: str = ""

    @classmethod
    def of(
        cls, table: SupportsCells, floor: Sequence[str] = ("raw µCT", "mean training image", "grey-value look-up")
    ) -> "MetricTable":
        """Convert an `evaluate.Table` (any object with ``cells()`` and ``notes``)."""
        header, *rows = table.cells()
        caption = " ".join(("Median [quartiles] over patches; the best median of each column is bold.", *table.notes))
        return cls(tuple(header), tuple(map(tuple, rows)), tuple(floor), caption)


Block = Figure | Row | Compare | Frames | MetricTable


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs, and figures and tables below them."""

    heading: str
    text: tuple[str, ...] = ()
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Report:
    """The content of the page.

    Attributes
    ----------
    title : str
        Heading.
    summary : tuple of str
        One to three sentences, one per paragraph.
    key_figures : tuple of (label, value)
        The most important numbers.
    sections : tuple of Section
        In order.
    next_commands : tuple of str
        Suggested next commands.
    provenance : mapping of str to str
        Origin of the page: model hash, input, versions, settings.
    """

    title: str
    summary: tuple[str, ...] = ()
    key_figures: tuple[tuple[str, str], ...] = ()
    sections: tuple[Section, ...] = ()
    next_commands: tuple[str, ...] = ()
    provenance: Mapping[str, str] | None = None
