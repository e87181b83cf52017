"""The content of a report: sections, figures and tables."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from tomostain.deprecation import renamed
from tomostain.paths import StrPath

Picture = NDArray[Any] | StrPath
"""An image array (grey or RGB, see `to_rgb`) or the path of a PNG or JPEG."""
Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""
BASELINES = ("raw µCT", "raw input", "mean training image", "grey-value look-up")
"""Names of the baselines in a table of `tomostain.evaluate`."""


class SupportsCells(Protocol):
    """A table of metrics: `tomostain.evaluate.Table` is one."""

    @property
    def notes(self) -> Sequence[str]:
        """Sentences below the table."""

    def cells(self) -> Sequence[Sequence[str]]:
        """Return the header and the rows as text."""


@dataclass(frozen=True)
class Figure:
    """One image. `alt` is the text alternative.

    `narrow` limits its width. `wide` keeps it readable on a narrow screen, where it scrolls sideways.
    """

    image: Picture
    caption: str
    alt: str = ""
    narrow: bool = False
    wide: bool = False


@dataclass(frozen=True)
class Row:
    """Figures side by side if the screen is wide enough."""

    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Panels:
    """Images of one region, side by side across the whole page, or one below the other on a narrow screen.

    They are not reduced in size.
    """

    images: tuple[Picture, ...]
    labels: tuple[str, ...]
    caption: str


@dataclass(frozen=True)
class Legend:
    """Colours and what they mean."""

    entries: tuple[tuple[Colour, str], ...]
    caption: str = ""


@dataclass(frozen=True)
class KeyFigures:
    """The most important numbers: (label, value, remark)."""

    items: tuple[tuple[str, str, str], ...]


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
    baselines : tuple of str
        First cells of the rows that are baselines.
    caption : str
        Sentences below the table.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    baselines: tuple[str, ...] = ()
    caption: str = ""

    @property
    def floor(self) -> tuple[str, ...]:
        """Older name of `baselines`."""
        warnings.warn("MetricTable.floor is now MetricTable.baselines", DeprecationWarning, stacklevel=2)
        return self.baselines

    @classmethod
    def of(cls, table: SupportsCells, baselines: Sequence[str] = BASELINES) -> "MetricTable":
        """Convert an `evaluate.Table` (any object with ``cells()`` and ``notes``)."""
        header, *rows = table.cells()
        caption = " ".join(("Median [quartiles] over patches; the best median of each column is bold.", *table.notes))
        return cls(tuple(header), tuple(map(tuple, rows)), tuple(baselines), caption)


Block = Figure | Row | Panels | Compare | Frames | Legend | KeyFigures | MetricTable


@dataclass(frozen=True)
class ReportSection:
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
    opening : tuple of blocks
        Shown below the title, before the summary.
    key_figures : tuple of (label, value)
        The most important numbers.
    sections : tuple of ReportSection
        In order.
    next_commands : tuple of str
        Suggested next commands.
    provenance : mapping of str to str
        Origin of the page: model hash, input, versions, settings.
    """

    title: str
    summary: tuple[str, ...] = ()
    key_figures: tuple[tuple[str, str], ...] = ()
    sections: tuple[ReportSection, ...] = ()
    next_commands: tuple[str, ...] = ()
    provenance: Mapping[str, str] | None = None
    opening: tuple[Block, ...] = ()


__getattr__ = renamed(__name__, {"FLOORS": "BASELINES", "Section": "ReportSection"})
