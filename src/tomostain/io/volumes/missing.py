"""Slices of which data are missing: never written, or not copied. Libraries return zeros there without an error."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

Ranges = tuple[tuple[int, int], ...]
"""Slices as half-open ranges (start, stop), sorted and disjoint."""


@dataclass(frozen=True)
class MissingData:
    """What is missing in a volume.

    Attributes
    ----------
    slices : Ranges
        The slices that are missing, or of which a part is missing; () if only their number is known.
    reason : str
        What is missing, as the beginning of a message: "slice number 3 is missing (a_2.tif is followed by a_4.tif)".
    remedy : str
        What else than filling can be done.
    """

    slices: Ranges = ()
    reason: str = ""
    remedy: str = "copy or write the data again"

    def __bool__(self) -> bool:
        return bool(self.reason)

    def message(self) -> str:
        """Return the message of the error, without the path."""
        return f"{self.reason}; {self.remedy}, or add `allow_missing=True` to fill with zeros"


NOTHING_MISSING = MissingData()


def ranges_of(indices: Iterable[int]) -> Ranges:
    """Return sorted, disjoint ranges of some indices.

    Examples
    --------
    >>> ranges_of([7, 2, 3, 8])
    ((2, 4), (7, 9))
    """
    return merged((index, index + 1) for index in indices)


def merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Return the union of ranges, sorted and disjoint.

    Examples
    --------
    >>> merged([(5, 8), (0, 2), (2, 3), (6, 9)])
    ((0, 3), (5, 9))
    """
    result: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(stop, result[-1][1]))
        elif start < stop:
            result.append((start, stop))
    return tuple(result)


def clipped(ranges: Ranges, start: int, stop: int) -> Ranges:
    """Return the part of ranges between `start` and `stop`, counted from `start`.

    Examples
    --------
    >>> clipped(((0, 3), (5, 9)), 2, 7)
    ((0, 1), (3, 5))
    """
    return merged((max(low, start) - start, min(high, stop) - start) for low, high in ranges)


def present_slices(volume: object, length: int) -> list[int]:
    """Return the slices of a volume that are complete; all slices if a part of each is missing.

    Zeros that were filled in would shift estimates of the grey values.

    Parameters
    ----------
    volume : Volume
        Or any other object; without an attribute ``missing`` all slices are present.
    length : int
        Number of slices.
    """
    missing = {z for start, stop in getattr(volume, "missing", ()) for z in range(start, stop)}
    return [z for z in range(length) if z not in missing] or list(range(length))


def format_slices(ranges: Ranges) -> str:
    """Return ranges as text for a message: "slice 3", "slices 1, 5 to 8 and 12".

    Examples
    --------
    >>> format_slices(((3, 4),)), format_slices(((7, 9),)), format_slices(((1, 2), (5, 9), (12, 13)))
    ('slice 3', 'slices 7 and 8', 'slices 1, 5 to 8 and 12')
    """
    words: list[str] = []
    for start, stop in ranges:
        words += [f"{start} to {stop - 1}"] if stop - start > 2 else [str(index) for index in range(start, stop)]
    if len(words) > 6:
        words = [*words[:5], f"{len(words) - 5} more"]
    text = words[-1] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
    return f"slice{'' if sum(stop - start for start, stop in ranges) == 1 else 's'} {text}"


def missing_layers(chunks_in_layer: Mapping[int, int], expected: int, layers: int, depth: int, length: int) -> Ranges:
    """Return the slices of the layers of chunks that are not complete.

    Parameters
    ----------
    chunks_in_layer : mapping of int to int
        Number of stored chunks by the index of their layer along z. Layers without a chunk are left out, so that a
        damaged header that states 10⁹ layers costs nothing.
    expected : int
        Chunks of a complete layer.
    layers : int
        Number of layers.
    depth : int
        Slices of a layer.
    length : int
        Slices of the volume; the last layer may extend beyond them.

    Examples
    --------
    >>> missing_layers({0: 2, 1: 1, 3: 2}, expected=2, layers=4, depth=8, length=30)
    ((8, 24),)
    """
    complete = sorted(layer for layer, count in chunks_in_layer.items() if count >= expected and 0 <= layer < layers)
    gaps = [(before + 1, after) for before, after in pairwise([-1, *complete, layers]) if after > before + 1]
    return merged((low * depth, min(high * depth, length)) for low, high in gaps)
