"""Which of several images in a file is the slide."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tomostain.errors import InputError

_SIMILAR = 0.25
"""Another image of more than this part of the largest one may be the one that is meant."""
_LISTED = 8


@dataclass(frozen=True)
class Candidate:
    """An image of a file.

    Attributes
    ----------
    name : str
    rows, columns : int
        Of its finest level.
    planes : int
        More than 1 for a stack.
    is_aside : bool
        The file calls it a label, macro image, thumbnail or mask.
    """

    name: str
    rows: int
    columns: int
    planes: int = 1
    is_aside: bool = False

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self.rows * self.columns * self.planes


def choose_image(path: Path, candidates: Sequence[Candidate]) -> int:
    """Return the index of the largest image.

    Images that can be its coarser levels by their aspect ratio, and those that are called label, macro or thumbnail, do
    not count.

    Raises
    ------
    InputError
        If another image has more than a quarter of its pixels, with a list of the images.
    """
    usable = [i for i, one in enumerate(candidates) if not one.is_aside] or list(range(len(candidates)))
    chosen = max(usable, key=lambda i: candidates[i].size)
    largest = candidates[chosen]
    for index in usable:
        other = candidates[index]
        coarser = largest.planes == other.planes and is_level(
            (largest.rows, largest.columns), (other.rows, other.columns)
        )
        half = coarser and 2 * other.rows <= largest.rows + 1
        if index != chosen and not half and other.size > _SIMILAR * largest.size:
            raise InputError(
                f"{path}: holds {len(candidates)} images, and which one is meant is not clear: {_listed(candidates)}; "
                "save the intended one as a separate file"
            )
    return chosen


def is_level(finest: tuple[int, int], coarser: tuple[int, int]) -> bool:
    """Return whether an image can be a coarser level of another: smaller, and of the same aspect ratio within a pixel.

    Examples
    --------
    >>> is_level((1201, 700), (601, 350)), is_level((1201, 700), (400, 350)), is_level((8, 8), (8, 8))
    (True, False, False)
    """
    (rows, columns), (fewer_rows, fewer_columns) = finest, coarser
    if fewer_rows < 1 or fewer_columns < 1 or fewer_rows > rows or fewer_columns > columns or finest == coarser:
        return False
    # Each side is rounded up or down: the ranges of the two factors must overlap.
    low = max(rows / (fewer_rows + 1), columns / (fewer_columns + 1))
    high = min(rows / max(fewer_rows - 1, 0.5), columns / max(fewer_columns - 1, 0.5))
    return low <= high


def _listed(candidates: Sequence[Candidate]) -> str:
    """Return the images as text."""
    parts = [
        f"{one.name} ({f'{one.planes} × ' if one.planes > 1 else ''}{one.rows} × {one.columns} px)"
        for one in candidates[:_LISTED]
    ]
    return ", ".join(parts) + (", …" if len(candidates) > _LISTED else "")
