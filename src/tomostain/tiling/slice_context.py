"""Slice context: several neighbouring slices as one input of a network (2.5D).

A histological section is thicker than a slice of the µCT: 40 µm are 2 slices of 20 µm, or 8 of 5 µm. A network that
sees them at once has more of the stained tissue as its input. Its results for neighbouring slices are similar, because
they share most of their input. The slices are the channels of the network, and the stained one is in the middle.
"""

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from tomostain.deprecation import renamed
from tomostain.errors import InputError

MAX_CT_SLICES = 65


def _odd(number: int) -> int:
    if number % 2 == 0:
        raise ValueError(f"{number} slices have none in the middle; give an odd number")
    return number


SliceCount = Annotated[int, Field(ge=1, le=MAX_CT_SLICES), AfterValidator(_odd)]
"""Number of slices that a network sees at once: odd."""


def middle_slices(ct: NDArray[Any], number: int, source: str = "µCT") -> NDArray[Any]:
    """Return the slices in the middle, as the input of a network that sees `number` of them.

    Parameters
    ----------
    ct : ndarray, shape (Y, X) or (S, Y, X)
        One slice, or an odd number of neighbours.
    number : int
        Odd.
    source : str
        Named in the error message.

    Returns
    -------
    ndarray, shape (Y, X) for one slice, else (number, Y, X)

    Raises
    ------
    InputError
        If there are fewer slices, an even number, or no pixels.

    Examples
    --------
    >>> slices = np.arange(5)[:, None, None] * np.ones((1, 2, 2))
    >>> middle_slices(slices, 3)[:, 0, 0].tolist(), middle_slices(slices, 1).shape
    ([1.0, 2.0, 3.0], (2, 2))
    """
    count = 1 if ct.ndim == 2 else len(ct)
    if ct.ndim not in (2, 3) or not ct.size or count % 2 == 0:
        raise InputError(
            f"{source}: has shape {ct.shape}; expected rows and columns (Y, X), or an odd number of slices (S, Y, X)"
        )
    if count < number:
        raise InputError(
            f"{source}: holds {count} slice(s), and {number} are needed, with the stained one in the middle; "
            "give it with its neighbours"
        )
    if number == 1:
        return ct if ct.ndim == 2 else ct[count // 2]
    first = (count - number) // 2
    return ct[first : first + number]


def clip_slices(first: int, last: int, depth: int) -> tuple[int, int, tuple[int, int]]:
    """Clip a range of slices to the volume, and return how often the slices at its ends are repeated.

    Parameters
    ----------
    first, last : int
        Half-open; may extend beyond the volume.
    depth : int
        Number of slices of the volume.

    Returns
    -------
    start, stop : int
        The slices to read.
    repeat : (int, int)
        Number of copies of the first slice to add before it, and of the last slice after it.

    Examples
    --------
    >>> clip_slices(-2, 4, 10), clip_slices(7, 12, 10)
    ((0, 4, (2, 0)), (7, 10, (0, 2)))
    """
    start, stop = min(max(first, 0), depth - 1), max(min(last, depth), 1)
    return start, stop, (start - first, last - stop)


def repeat_ends(slices: NDArray[Any], repeat: tuple[int, int]) -> NDArray[Any]:
    """Return slices (n, Y, X) with copies of the first and the last one added; see `clip_slices`."""
    if repeat == (0, 0):
        return slices
    return np.pad(slices, (repeat, *[(0, 0)] * (slices.ndim - 1)), mode="edge")


def slice_contexts(slices: NDArray[Any], number: int) -> NDArray[Any]:
    """Return each slice with its neighbours, as a view.

    Parameters
    ----------
    slices : ndarray, shape (n + number - 1, Y, X)
        The slices, and the neighbours of the first and the last one.
    number : int
        Odd.

    Returns
    -------
    ndarray, shape (n, Y, X) for one slice each, else (n, number, Y, X)

    Examples
    --------
    >>> slice_contexts(np.arange(4).reshape(4, 1, 1), 3).reshape(2, 3).tolist()
    [[0, 1, 2], [1, 2, 3]]
    """
    if number == 1:
        return slices
    windows = np.lib.stride_tricks.sliding_window_view(slices, number, axis=0)
    return np.moveaxis(windows, -1, 1)


__getattr__ = renamed(
    __name__,
    {"slabs_of": "slice_contexts", "with_edges": "clip_slices", "MOST_SLICES": "MAX_CT_SLICES"},
)
