"""Iteration over a volume by z blocks, which are successive z slices, with overlap, within a memory budget.

A measure that needs the neighbourhood of a voxel up to n slices reads `n` slices of overlap on both sides and returns
results for the slices between them only. Tests check that its result does not depend on the thickness of the blocks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tomostain.errors import InputError
from tomostain.memory import format_bytes

BLOCK_BYTES = 400_000_000
"""The memory of one block, bytes, unless another budget is given."""


@dataclass(frozen=True)
class ZBlock:
    """Successive z slices, and the slices that are read on both sides of them.

    Attributes
    ----------
    start, stop : int
        The slices that this block stands for (half-open). Those of all blocks together are the volume, each once.
    before, after : int
        Slices of overlap below `start` and from `stop` on; fewer at the ends of the volume.
    """

    start: int
    stop: int
    before: int
    after: int

    @property
    def first(self) -> int:
        """The first slice to read."""
        return self.start - self.before

    @property
    def last(self) -> int:
        """The end (exclusive) of the slices to read."""
        return self.stop + self.after

    @property
    def inner(self) -> slice:
        """The slices `start` to `stop` in an array that begins at `first`."""
        return slice(self.before, self.before + self.stop - self.start)


def z_blocks(
    shape: Sequence[int], *, overlap: int = 0, bytes_per_voxel: float = 8.0, max_bytes: int = BLOCK_BYTES
) -> Iterator[ZBlock]:
    """Divide a volume into z blocks.

    A block of n slices needs ``(n + 2 * overlap) * Y * X * bytes_per_voxel`` bytes, and at most as much as the volume
    (``Z * Y * X * bytes_per_voxel``). `n` is as large as `max_bytes` allows.

    Parameters
    ----------
    shape : sequence of int
        (Z, Y, X), voxels.
    overlap : int
        Slices of overlap on each side.
    bytes_per_voxel : float
        What the computation holds at once for each voxel of a z block with its overlap: input, output and intermediate
        arrays.
    max_bytes : int
        The budget of one block.

    Yields
    ------
    ZBlock
        In the order of z.

    Raises
    ------
    InputError
        If one slice with its overlap needs more than `max_bytes`. The message names `memory_gb`, the parameter of a
        measurement from which the budget follows.

    Examples
    --------
    >>> [(block.first, block.start, block.stop, block.last) for block in z_blocks((10, 4, 4), overlap=1, max_bytes=800)]
    [(0, 0, 4, 5), (3, 4, 8, 9), (7, 8, 10, 10)]
    """
    depth, rows, columns = (int(side) for side in shape)
    slice_bytes = max(1.0, rows * columns * bytes_per_voxel)
    affordable = int(max_bytes // slice_bytes)
    thickness = depth if affordable >= depth else affordable - 2 * overlap
    if thickness < 1:
        needed = format_bytes(slice_bytes * (1 + 2 * overlap))
        raise InputError(
            f"one slice of {rows} × {columns} voxels with {overlap} slices of overlap needs {needed} of memory; "
            f"raise `memory_gb` (now {format_bytes(max_bytes)})",
            parameter="memory_gb",
        )
    for start in range(0, depth, thickness):
        stop = min(start + thickness, depth)
        yield ZBlock(start, stop, min(overlap, start), min(overlap, depth - stop))
