"""Band-limited noise and cell patterns as functions of position in µm, independent of the resolution."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.integers import to_integers

Float32 = NDArray[np.float32]
_STEPS = (-1, 0, 1)
# Points of a foam that are computed together, so that the vectors to 27 cells stay in the cache.
_TOGETHER = 2048


def _squared_length(*components: Float32) -> Float32:
    """Return the squared lengths (n,) of vectors, given by their components."""
    total = components[0] * components[0]
    for each in components[1:]:
        total += each * each
    return total


def dot(points: Float32, vector: Float32) -> Float32:
    """Return the product of each point (n, 3) with a vector (3,).

    Computed term by term, because the rounding of a matrix product may depend on the other points. A specimen must not
    depend on which points are sampled together.
    """
    return np.asarray(points[:, 0] * vector[0] + points[:, 1] * vector[1] + points[:, 2] * vector[2])


@dataclass(frozen=True)
class Lattice:
    """Values on a periodic cubic lattice, linear between the nodes.

    Attributes
    ----------
    table : ndarray of float32, shape (nodes³, channels)
        Values of each node. The last axis of space varies fastest. With one row per node, one look-up reads all
        channels, which is several times faster than interpolating each channel separately.
    nodes : int
        Nodes along a side.
    step_um : float
        Distance of the nodes, µm.
    """

    table: Float32
    nodes: int
    step_um: float

    @classmethod
    def random(
        cls, rng: np.random.Generator, channels: int, nodes: int, step_um: float, smooth: float = 1.3
    ) -> "Lattice":
        """Draw smooth noise of mean 0 and standard deviation 1 in each channel.

        Parameters
        ----------
        rng : numpy.random.Generator
            Random numbers.
        channels, nodes : int
            Channels, and nodes along a side.
        step_um : float
            Distance of the nodes, µm.
        smooth : float
            Standard deviation of the Gaussian that limits the band, in nodes. Details are about five times as large.
        """
        white = rng.standard_normal((nodes, nodes, nodes, channels), dtype=np.float32)
        noise = ndimage.gaussian_filter(white, smooth, mode="wrap", axes=(0, 1, 2))
        noise -= noise.mean(axis=(0, 1, 2))
        noise /= noise.std(axis=(0, 1, 2))
        return cls(noise.reshape(-1, channels), nodes, step_um)

    def sample(self, points_um: Float32) -> Float32:
        """Interpolate.

        Parameters
        ----------
        points_um : ndarray of float32, shape (n, 3)
            Positions (z, y, x), µm. The lattice is periodic.

        Returns
        -------
        ndarray of float32, shape (channels, n)
        """
        n = self.nodes
        position = points_um.T / np.float32(self.step_um)
        low = np.floor(position)
        t = position - low
        i = to_integers(low, np.int64, "positions") % n
        j = (i + 1) % n
        planes, rows, columns = (i[0] * n * n, j[0] * n * n), (i[1] * n, j[1] * n), (i[2], j[2])
        weights = [(1 - t[axis], t[axis]) for axis in range(3)]
        total = np.zeros((len(points_um), self.table.shape[1]), dtype=np.float32)
        for a, b, c in product((0, 1), repeat=3):
            weight = weights[0][a] * weights[1][b] * weights[2][c]
            total += self.table.take(planes[a] + rows[b] + columns[c], axis=0) * weight[:, None]
        return np.ascontiguousarray(total.T)


@dataclass(frozen=True)
class Cells:
    """Feature points, one in each cell of a periodic grid, with additional random numbers.

    Attributes
    ----------
    table : ndarray of float32, shape (product of sides, dimensions + extras)
        For each cell the position of its point (0 to 1 along each side), then its extras, uniform in 0 to 1.
    sides : tuple of int
        Cells before the pattern repeats, along each dimension.
    cell_um : float
        Side of a cell, µm.
    """

    table: Float32
    sides: tuple[int, ...]
    cell_um: float

    @classmethod
    def random(
        cls,
        rng: np.random.Generator,
        sides: tuple[int, ...],
        cell_um: float,
        *,
        extras: int = 0,
        margin: float = 0.0,
    ) -> "Cells":
        """Draw points, each at least `margin` (a fraction of the side of a cell) away from the walls of its cell."""
        table = rng.random((int(np.prod(sides)), len(sides) + extras), dtype=np.float32)
        table[:, : len(sides)] = margin + (1 - 2 * margin) * table[:, : len(sides)]
        return cls(table, sides, cell_um)

    def in_same_cell(self, points_um: Float32) -> tuple[Float32, Float32]:
        """Return the vector (µm) from the feature point of the cell of each position, and the extras of that point.

        Sufficient for objects smaller than the margin, which do not reach the next cell.

        Parameters
        ----------
        points_um : ndarray of float32, shape (n, dimensions)

        Returns
        -------
        vectors : ndarray of float32, shape (n, dimensions)
        extras : ndarray of float32, shape (n, extras)
        """
        cell, inside = self._split(points_um)
        rows = self.table.take(self._index(cell), axis=0)
        dimensions = len(self.sides)
        return (inside - rows[:, :dimensions]) * np.float32(self.cell_um), rows[:, dimensions:]

    def around(self, points_um: Float32) -> tuple[list[Float32], list[NDArray[np.int64]]]:
        """Return the vectors (µm) from the feature points of the 3^dimensions cells around, and their table rows."""
        parts, rows = zip(*self._neighbours(points_um), strict=True)
        return [np.stack(vector, axis=1) for vector in parts], list(rows)

    def _neighbours(self, points_um: Float32) -> Iterator[tuple[list[Float32], NDArray[np.int64]]]:
        """Yield for each of the 3^dimensions cells around the components (n,) of the vectors, and the table rows."""
        cell, inside = self._split(points_um)
        columns = [np.ascontiguousarray(self.table[:, axis]) for axis in range(len(self.sides))]
        within = [np.ascontiguousarray(part) for part in inside.T]
        # The steps along an axis repeat, so that their remainders are computed once.
        steps = [{o: (cell[:, axis] + o) % side for o in _STEPS} for axis, side in enumerate(self.sides)]
        for offset in product(_STEPS, repeat=len(self.sides)):
            index = steps[0][offset[0]]
            for axis in range(1, len(self.sides)):
                index = index * self.sides[axis] + steps[axis][offset[axis]]
            vector = []
            for part, column, step in zip(within, columns, offset, strict=True):
                point = column.take(index)
                point += np.float32(step)
                np.subtract(part, point, out=point)
                point *= np.float32(self.cell_um)
                vector.append(point)
            yield vector, index

    def foam(self, points_um: Float32) -> tuple[Float32, Float32]:
        """Return the distance to the nearest and to the next wall of the points' Voronoi cells, µm.

        The first is 0 on the walls of a foam; both are 0 on its edges, where three cells meet.

        Parameters
        ----------
        points_um : ndarray of float32, shape (n, 3)

        Returns
        -------
        wall, edge : ndarray of float32, shape (n,)
        """
        parts = [self._foam(points_um[i : i + _TOGETHER]) for i in range(0, max(1, len(points_um)), _TOGETHER)]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _foam(self, points_um: Float32) -> tuple[Float32, Float32]:
        cells: list[tuple[list[Float32], Float32]] = []
        nearest = np.full(len(points_um), np.inf, dtype=np.float32)
        best, home = np.zeros(len(points_um), dtype=np.int64), np.zeros(points_um.T.shape, dtype=np.float32)
        for number, (vector, _) in enumerate(self._neighbours(points_um)):
            square = _squared_length(*vector)
            cells.append((vector, square))
            closer = square < nearest
            np.copyto(best, number, where=closer)
            for target, values in zip((nearest, *home), (square, *vector), strict=True):
                np.copyto(target, values, where=closer)
        wall = np.full(len(best), np.inf, dtype=np.float32)
        edge = wall.copy()
        for number, (vector, square) in enumerate(cells):
            gap = np.sqrt(_squared_length(*(part - start for part, start in zip(vector, home, strict=True))))
            gap *= 2
            distance = square - nearest
            distance /= np.maximum(gap, 1e-3, out=gap)
            distance[best == number] = np.inf
            np.minimum(edge, np.maximum(wall, distance), out=edge)
            np.minimum(wall, distance, out=wall)
        return wall, edge

    def _split(self, points_um: Float32) -> tuple[NDArray[np.int64], Float32]:
        position = points_um / np.float32(self.cell_um)
        low = np.floor(position)
        return to_integers(low, np.int64, "positions"), position - low

    def _index(self, cell: NDArray[np.int64]) -> NDArray[np.int64]:
        index = cell[:, 0] % self.sides[0]
        for axis in range(1, len(self.sides)):
            index = index * self.sides[axis] + cell[:, axis] % self.sides[axis]
        return index
