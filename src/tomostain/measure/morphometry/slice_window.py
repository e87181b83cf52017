"""A window of successive slices that moves through a volume in the order of z, in one block of memory."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class SliceWindow:
    """The slices `first` to `last` (half-open) of an array that is computed slice by slice.

    All slices are in one array. A separate array for each slice would leave the memory of the process fragmented, so
    that it is not returned to the system.

    Parameters
    ----------
    shape : tuple of int
        (Y, X) of a slice.
    dtype : data type

    Attributes
    ----------
    first, last : int

    Examples
    --------
    >>> window = SliceWindow((1, 1), np.int64)
    >>> for first, last in ((0, 3), (1, 5)):
    ...     for z in window.move(first, last):
    ...         window[z] = 10 * z
    >>> window.slices[:, 0, 0].tolist()
    [10, 20, 30, 40]
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.first = self.last = 0
        self._buffer = np.empty((0, *shape), dtype)

    def move(self, first: int, last: int) -> range:
        """Move the window, and return the slices that have no values yet: all, if it moves back.

        Parameters
        ----------
        first, last : int
        """
        retained = max(min(self.last, last) - first, 0) if first >= self.first else 0
        source = self._buffer
        if last - first > len(source):
            self._buffer = np.empty((last - first, *source.shape[1:]), source.dtype)
        for index in range(retained):
            self._buffer[index] = source[first - self.first + index]
        self.first, self.last = first, last
        return range(first + retained, last)

    @property
    def slices(self) -> NDArray[Any]:
        """All slices of the window, shape (last - first, Y, X). They are valid until the next move."""
        return self._buffer[: self.last - self.first]

    def __contains__(self, z: int) -> bool:
        return self.first <= z < self.last

    def __getitem__(self, z: int) -> NDArray[Any]:
        return self._buffer[z - self.first]

    def __setitem__(self, z: int, values: NDArray[Any]) -> None:
        self._buffer[z - self.first] = values
