"""Writing of slices that arrive in other portions than a file takes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.io import OmeZarrWriter


class SequentialWriter:
    """Collects slices that arrive in the order of z, and writes them as the z chunks of an OME-Zarr volume.

    At most one portion and one z chunk are held.

    Parameters
    ----------
    writer : OmeZarrWriter
        Of a volume that was just created.

    Examples
    --------
    >>> out = SequentialWriter(writer)          # doctest: +SKIP
    >>> out(0, first_ten_slices)                # doctest: +SKIP
    >>> out.finish()                            # doctest: +SKIP
    """

    def __init__(self, writer: OmeZarrWriter) -> None:
        self._writer = writer
        self._chunks = list(writer.z_chunks())
        self._parts: list[NDArray[Any]] = []
        self._next = 0

    def __call__(self, start: int, values: NDArray[Any]) -> None:
        """Take the slices from `start` on.

        Raises
        ------
        ValueError
            If they do not follow the slices of the last call.
        """
        if start != self._next:
            raise ValueError(f"slices from {start} on arrived after those up to {self._next}")
        self._next += len(values)
        self._parts.append(values)
        while self._chunks and self._next >= self._chunks[0][1]:
            first, end = self._chunks.pop(0)
            held = np.concatenate(self._parts) if len(self._parts) > 1 else self._parts[0]
            self._writer.write(first, held[: end - first])
            self._parts = [held[end - first :]]

    def finish(self) -> None:
        """Complete the volume.

        Raises
        ------
        ValueError
            If slices are missing.
        """
        if self._chunks:
            raise ValueError(f"slices from {self._next} on are missing")
        self._writer.finish()
