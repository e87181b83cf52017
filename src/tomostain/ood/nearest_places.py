"""The nearest places of a reference of texture, and the distance from them."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from tomostain.io.parallel import in_parallel

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
# Neighbours whose distances are averaged, and neighbours over which the density of the reference is smoothed.
NEIGHBOURS, _DENSITY_NEIGHBOURS = 5, 15
_QUERY_PLACES = 4096
# Places of a leaf of the tree: in many dimensions few leaves can be left out, so larger ones are faster.
_LEAF_PLACES = 64


def whiten(places: NDArray[np.floating], mean: Float32, whitening: Float32) -> Float64:
    """Return places from their mean in the white space of the reference."""
    return np.einsum("ij,jk->ik", places.astype(np.float64) - mean, whitening.astype(np.float64))


def nearest_places(
    places: NDArray[np.floating], reference: Float32, count: int = NEIGHBOURS
) -> tuple[Float64, NDArray[np.intp]]:
    """Return distances and indices of the nearest places of a reference, shape (n, count)."""
    ranks, tree = list(range(1, min(count, len(reference)) + 1)), cKDTree(reference, leafsize=_LEAF_PLACES)
    blocks = np.array_split(places, max(1, len(places) // _QUERY_PLACES))
    queries = in_parallel(lambda block: tree.query(block, k=ranks), blocks)
    distances, indices = (np.concatenate(parts) for parts in zip(*queries, strict=True))
    return distances, indices


def smooth_density(places: Float32, apart: Float64) -> Float32:
    """Return the distances of places from other pairs, smoothed over similar places, relative to the median."""
    _, nearest = nearest_places(places, places, _DENSITY_NEIGHBOURS)
    median = np.median(apart)
    smooth = np.exp(np.log(apart)[nearest].mean(axis=1))
    return (np.maximum(smooth, 0.5 * median) / median).astype(np.float32)


def distance_score(places: Float64, reference: Float32, density: Float32) -> Float64:
    """Return the mean distance from the nearest places, by the root of their density: rare content is farther apart."""
    distances, nearest = nearest_places(places, reference)
    score: Float64 = distances.mean(axis=1) / np.sqrt(density[nearest].mean(axis=1))
    return score
