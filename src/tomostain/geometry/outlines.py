"""Exact outlines of the regions of a label image: polygons with holes, along the edges of the pixels.

Pixel (row, column) covers the square from (column, row) to (column + 1, row + 1) in (x, y), as in QuPath and GeoJSON.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Points = NDArray[np.int64]
# Directions of an edge: 0 right, 1 down, 2 left, 3 up. Regions lie to the right of their edges.
_STEPS = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])


@dataclass(frozen=True)
class Outline:
    """One region without gaps: a polygon with holes.

    Attributes
    ----------
    exterior : ndarray of int64, shape (N, 2)
        Corners (x, y), pixels. The last one is the first one. The signed area is positive.
    holes : tuple of ndarray of int64, shape (M, 2)
        The same for each hole. The signed areas are negative.
    """

    exterior: Points
    holes: tuple[Points, ...] = ()

    @property
    def area(self) -> int:
        """Area without the holes, pixels."""
        return signed_area(self.exterior) + sum(map(signed_area, self.holes))


def trace_outlines(mask: NDArray[np.bool_]) -> list[Outline]:
    """Return the outlines of the regions of a mask.

    Pixels that touch at a corner only belong to different regions. So each polygon is valid in the sense of OGC Simple
    Features: a ring does not touch itself, and the regions together have the area of the mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, columns)

    Returns
    -------
    list of Outline
        Ordered by the first row of each region, then by its first column.

    Notes
    -----
    Straight edges of pixels are joined. At the end of each edge the outline turns left if the region has an edge there,
    and otherwise right. This choice matters only where two pixels of one region touch at a corner: there a left turn
    leads around the gap next to the corner, so that the ring does not return to it.

    Examples
    --------
    >>> ring = np.ones((3, 3), bool)
    >>> ring[1, 1] = False
    >>> outline, = trace_outlines(ring)
    >>> outline.exterior.tolist()
    [[0, 0], [3, 0], [3, 3], [0, 3], [0, 0]]
    >>> [hole.tolist() for hole in outline.holes], outline.area
    ([[[1, 1], [1, 2], [2, 2], [2, 1], [1, 1]]], 8)
    """
    mask = np.asarray(mask, dtype=bool)
    if mask.ndim != 2:
        raise ValueError(f"a mask is (rows, columns), found shape {mask.shape}")
    regions, count = ndimage.label(mask)
    region, start, end, direction = _edges(regions.astype(np.int64))
    exteriors: dict[int, Points] = {}
    holes: dict[int, list[Points]] = {}
    for ring in _rings(_following(region, start, end, direction, mask.shape)):
        corners = start[[*ring, ring[0]]]
        number = int(region[ring[0]])
        if signed_area(corners) > 0:
            exteriors[number] = corners
        else:
            holes.setdefault(number, []).append(corners)
    return [Outline(exteriors[number], tuple(holes.get(number, ()))) for number in range(1, count + 1)]


def signed_area(ring: Points) -> int:
    """Return the signed area of a closed ring of corners (x, y).

    Examples
    --------
    >>> signed_area(np.array([(0, 0), (2, 0), (2, 1), (0, 1), (0, 0)]))
    2
    """
    (x0, y0), (x1, y1) = ring[:-1].T, ring[1:].T
    return int((x0 * y1 - x1 * y0).sum()) // 2


def _edges(regions: NDArray[np.int64]) -> tuple[NDArray[np.int64], Points, Points, NDArray[np.int64]]:
    """Return the straight edges of all regions: the number of the region, start and end (x, y), and direction."""
    padded = np.pad(regions, 1)
    parts = []
    for direction in range(4):
        vertical = direction in (1, 3)
        image = padded.T if vertical else padded
        # Rows of `image` are lines. The region is below its edge to the right, and to the left of its edge down.
        after = direction in (0, 3)
        labels, other = (image[1:], image[:-1]) if after else (image[:-1], image[1:])
        line, first, last, region = _runs(np.where(labels != other, labels, 0))
        ends = (first, last) if direction in (0, 1) else (last, first)
        points = [np.stack([line, along] if vertical else [along, line], axis=1) for along in ends]
        parts.append((region, *points, np.full(len(region), direction)))
    region, start, end, directions = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    order = np.lexsort((directions, start[:, 0], start[:, 1], region))
    return region[order], start[order], end[order], directions[order]


def _runs(edges: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Return line, first corner, last corner and region of the runs of equal numbers above 0 in each row."""
    line, pixel = np.nonzero(edges)
    region = edges[line, pixel]
    begins = np.ones(len(line), bool)
    begins[1:] = (np.diff(line) != 0) | (np.diff(pixel) != 1) | (np.diff(region) != 0)
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(line)) - 1 if len(first) else first
    # The padding moved the image by one pixel, so the left corner of pixel p is p - 1.
    return line[first], pixel[first] - 1, pixel[last], region[first]


def _following(
    region: NDArray[np.int64],
    start: Points,
    end: Points,
    direction: NDArray[np.int64],
    shape: tuple[int, ...],
) -> NDArray[np.int64]:
    """Return the index of the edge that follows each edge."""

    def key(points: Points, directions: NDArray[np.int64]) -> NDArray[np.int64]:
        corner = (region * (shape[0] + 1) + points[:, 1]) * (shape[1] + 1) + points[:, 0]
        return np.asarray(corner * len(_STEPS) + directions)

    starts = key(start, direction)
    order = np.argsort(starts)
    neighbours = []
    for turn in (3, 1):  # left, right
        target = key(end, (direction + turn) % 4)
        place = np.minimum(np.searchsorted(starts, target, sorter=order), len(starts) - 1)
        index = order[place] if len(order) else order
        neighbours.append((index, starts[index] == target))
    (left, has_left), (right, _) = neighbours
    return np.where(has_left, left, right)


def _rings(following: NDArray[np.int64]) -> Iterator[list[int]]:
    """Yield the cycles of a permutation, each from its smallest index on."""
    remaining = following.tolist()
    for first in range(len(remaining)):
        ring = []
        index = first
        while remaining[index] >= 0:
            ring.append(index)
            remaining[index], index = -1, remaining[index]
        if ring:
            yield ring
