"""Virtual datasets of HDF5: their parts, and the voxels that no part holds. HDF5 returns the fill value there."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.volumes.missing import Ranges, merged

if TYPE_CHECKING:
    import h5py

Place = tuple[Ranges, ...]
"""A part of an array: the product of ranges along each axis."""

MAX_PARTS = 10_000
_MAX_CELLS = 2**26
_UNLIMITED = 2**64 - 1
_NUMBER = re.compile("%([b%])")


@dataclass(frozen=True)
class Part:
    """A part of a virtual dataset.

    Attributes
    ----------
    file : str
        The file as it is named, "." for that of the virtual dataset.
    dataset : str
        The dataset in that file.
    places : tuple of Place
        Where its values are in the virtual dataset.
    bounds : tuple of (int, int) or None
        The range along each axis of the part that is mapped; None for all of it.
    """

    file: str
    dataset: str
    places: tuple[Place, ...]
    bounds: tuple[tuple[int, int], ...] | None

    @property
    def size(self) -> int:
        """Number of voxels that are mapped."""
        return sum(prod(sum(stop - start for start, stop in axis) for axis in place) for place in self.places)


def virtual_parts(dataset: "h5py.Dataset") -> Iterator[Part]:
    """Yield the parts of a virtual dataset; numbered parts (``scan_%b.h5``) each with their number.

    Raises
    ------
    InputError
        If there are more than `MAX_PARTS`, or the mapping is one of points.
    """
    import h5py

    count = 0
    for source in dataset.virtual_sources():
        space = source.vspace
        for number, places in enumerate(_blocks(dataset, space, source.file_name, source.dset_name)):
            count += 1
            if count > MAX_PARTS:
                raise InputError(
                    f"{dataset.file.filename}: dataset {dataset.name} is virtual, of more than {MAX_PARTS} parts; "
                    "store its values in one file"
                )
            bounds = None
            if source.src_space.get_select_type() == h5py.h5s.SEL_HYPERSLABS and not _is_unlimited(source.src_space):
                low, high = source.src_space.get_select_bounds()
                bounds = tuple((int(first), int(last) + 1) for first, last in zip(low, high, strict=True))
            yield Part(_numbered(source.file_name, number), _numbered(source.dset_name, number), places, bounds)


def _numbered(name: str, number: int) -> str:
    return _NUMBER.sub(lambda match: str(number) if match[1] == "b" else "%", name)


def _is_unlimited(space: "h5py.h5s.SpaceID") -> bool:
    return space.is_regular_hyperslab() and _UNLIMITED in [n for part in space.get_regular_hyperslab() for n in part]


def _blocks(dataset: "h5py.Dataset", space: "h5py.h5s.SpaceID", *names: str) -> Iterator[tuple[Place, ...]]:
    """Yield the places of a mapping; one after another where parts are numbered."""
    import h5py

    shape = dataset.shape
    kind = space.get_select_type()
    if kind == h5py.h5s.SEL_ALL:
        yield (tuple(((0, side),) for side in shape),)
    elif kind == h5py.h5s.SEL_HYPERSLABS and space.is_regular_hyperslab():
        starts, strides, counts, sides = ([int(n) for n in each] for each in space.get_regular_hyperslab())
        hyperslabs = list(zip(starts, strides, counts, sides, strict=True))
        numbered = [axis for axis, hyperslab in enumerate(hyperslabs) if hyperslab[2] == _UNLIMITED]
        place = tuple(_ranges(*hyperslab, side) for hyperslab, side in zip(hyperslabs, shape, strict=True))
        if numbered and any("b" in _NUMBER.findall(name) for name in names):
            axis = numbered[0]
            start, stride, _, block = hyperslabs[axis]
            for first in range(start, shape[axis], stride):
                yield ((*place[:axis], ((first, min(first + block, shape[axis])),), *place[axis + 1 :]),)
        else:
            yield (place,)
    elif kind == h5py.h5s.SEL_HYPERSLABS:
        blocks = space.get_select_hyper_blocklist()
        yield tuple(
            tuple(((int(first), int(last) + 1),) for first, last in zip(low, high, strict=True)) for low, high in blocks
        )
    elif kind == h5py.h5s.SEL_POINTS:
        raise InputError(
            f"{dataset.file.filename}: dataset {dataset.name} is virtual, of single points; store its values in one "
            "file"
        )


def _ranges(start: int, stride: int, count: int, block: int, length: int) -> Ranges:
    """Return a regular selection along an axis as ranges.

    Examples
    --------
    >>> _ranges(1, 4, 3, 2, 20), _ranges(0, 2, 2**64 - 1, 2, 7)
    (((1, 3), (5, 7), (9, 11)), ((0, 7),))
    """
    if block == _UNLIMITED:
        return merged([(start, length)])
    if count == _UNLIMITED:
        count = ceil(max(0, length - start) / stride)
    if count == 1 or stride == block:
        return merged([(start, min(length, start + (count - 1) * stride + block))])
    return merged((start + n * stride, min(length, start + n * stride + block)) for n in range(count))


class Coverage:
    """Which voxels of an array are covered by some places.

    The edges of the places divide the array into cells, so that the cost depends on the number of places, not of
    voxels.

    Parameters
    ----------
    shape : sequence of int
    places : sequence of Place

    Raises
    ------
    ValueError
        If there are too many cells.
    """

    def __init__(self, shape: Sequence[int], places: Sequence[Place]) -> None:
        edges: list[set[int]] = [{0, side} for side in shape]
        for place in places:
            for axis, ranges in enumerate(place):
                edges[axis].update(min(edge, shape[axis]) for pair in ranges for edge in pair)
        self._edges = [np.array(sorted(each), dtype=np.int64) for each in edges]
        sides = [len(each) - 1 for each in self._edges]
        if prod(sides) > _MAX_CELLS:
            raise ValueError("too many parts that begin at different places")
        self._cells = np.zeros(sides, dtype=bool)
        for place in places:
            self._cells[np.ix_(*(self._inside(axis, ranges) for axis, ranges in enumerate(place)))] = True

    def _inside(self, axis: int, ranges: Ranges) -> NDArray[np.bool_]:
        inside = np.zeros(len(self._edges[axis]) - 1, dtype=bool)
        for start, stop in ranges:
            first, last = np.searchsorted(self._edges[axis], (start, stop))
            inside[first:last] = True
        return inside

    def gaps(self, axis: int) -> Ranges:
        """Return the indices along an axis of which a part is not covered."""
        others = tuple(other for other in range(self._cells.ndim) if other != axis)
        complete: list[bool] = np.asarray(self._cells.all(axis=others)).tolist()
        pairs = pairwise(int(edge) for edge in self._edges[axis])
        return merged(pair for pair, is_complete in zip(pairs, complete, strict=True) if not is_complete)

    def zero_outside(self, values: NDArray[Any], index: Sequence[slice | int]) -> None:
        """Set what is not covered to 0.

        Parameters
        ----------
        values : ndarray
            ``array[index]``; changed in place.
        index : sequence of slice or int
            One for each axis, without steps.
        """
        cells: NDArray[np.bool_] = self._cells
        repeats: list[NDArray[np.int64]] = []
        for part, edges in zip(index, self._edges, strict=True):
            axis = len(repeats)
            if isinstance(part, slice):
                start, stop, _ = part.indices(int(edges[-1]))
                repeats.append(np.maximum(np.minimum(edges[1:], stop) - np.maximum(edges[:-1], start), 0))
            else:
                cells = np.take(cells, int(np.searchsorted(edges, part, side="right")) - 1, axis=axis)
        if cells.all():
            return
        for axis, counts in enumerate(repeats):
            cells = np.repeat(cells, counts, axis=axis)
        values[~cells] = 0
