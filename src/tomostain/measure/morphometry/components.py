"""Connected components of a binary volume, block by block: the whole volume is never labelled at once."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from tomostain.measure.morphometry.z_blocks import BLOCK_BYTES, ZBlock, z_blocks

Mask = NDArray[np.bool_]
Shape = tuple[int, int, int]
BYTES_PER_VOXEL = 12.0
"""Mask and labels (int32) of a z block, and the table that is looked up with them."""


@dataclass(frozen=True)
class Components:
    """The connected components of a binary volume. Voxels are connected through their faces.

    Attributes
    ----------
    voxels : ndarray of int64, shape (n,)
        Size of each component.
    at_border : ndarray of bool, shape (n,)
        Whether it reaches a face of the volume.
    shape : tuple of int
        (Z, Y, X) of the volume, voxels.
    read_mask : callable
        Returns the slices start to stop of the binary volume.
    blocks : tuple of ZBlock
    tables : tuple of ndarray of int64
        For each block: the component of each label of `scipy.ndimage.label` of this block; -1 for label 0.
    """

    voxels: NDArray[np.int64]
    at_border: NDArray[np.bool_]
    shape: Shape
    read_mask: Callable[[int, int], Mask]
    blocks: tuple[ZBlock, ...]
    tables: tuple[NDArray[np.int64], ...]

    def read(self, number: int, selected: Mask) -> Mask:
        """Return where a z block contains voxels of selected components.

        Parameters
        ----------
        number : int
            Number of the block.
        selected : ndarray of bool, shape (n,)
            Which components.
        """
        block = self.blocks[number]
        chosen = np.append(selected, False)[self.tables[number]]
        if not chosen.any():
            return np.zeros((block.stop - block.start, *self.shape[1:]), bool)
        labels, _ = ndimage.label(self.read_mask(block.start, block.stop))
        return np.asarray(chosen[labels], dtype=bool)


def find_components(read_mask: Callable[[int, int], Mask], shape: Shape, *, max_bytes: int = BLOCK_BYTES) -> Components:
    """Find the connected components of a binary volume.

    Each block is labelled alone (`scipy.ndimage.label`). Labels that touch across the border of two blocks are then
    joined (`scipy.sparse.csgraph.connected_components`). The components do not depend on the blocks; their order does.

    Parameters
    ----------
    read_mask : callable
        Returns the slices start to stop (half-open) as bool of shape (stop - start, Y, X).
    shape : tuple of int
        (Z, Y, X), voxels.
    max_bytes : int
        Memory of a z block; 12 bytes per voxel.

    Returns
    -------
    Components
    """
    parts = tuple(z_blocks(shape, bytes_per_voxel=BYTES_PER_VOXEL, max_bytes=max_bytes))
    counts, borders, pairs = [], [], [np.zeros((2, 0), np.int64)]
    offsets = [0]
    previous: NDArray[np.int64] | None = None
    for block in parts:
        labels, n = ndimage.label(read_mask(block.start, block.stop))
        counts.append(np.bincount(labels.reshape(-1), minlength=n + 1)[1:])
        borders.append(_at_border(labels, n, block, shape[0]))
        if previous is not None:
            touching = (previous > 0) & (labels[0] > 0)
            joined = np.stack([previous[touching] - 1 + offsets[-2], labels[0][touching] - 1 + offsets[-1]])
            pairs.append(np.unique(joined, axis=1))
        previous = labels[-1].astype(np.int64)
        offsets.append(offsets[-1] + n)
    first, second = np.concatenate(pairs, axis=1)
    graph = sparse.coo_array((np.ones(len(first), bool), (first, second)), shape=(offsets[-1], offsets[-1]))
    n_components, component = sparse.csgraph.connected_components(graph, directed=False)
    voxels = np.bincount(component, np.concatenate(counts), minlength=n_components).astype(np.int64)
    at_border = np.bincount(component, np.concatenate(borders), minlength=n_components) > 0
    tables = tuple(np.append(-1, component[start:stop]).astype(np.int64) for start, stop in pairwise(offsets))
    return Components(voxels, np.asarray(at_border), shape, read_mask, parts, tables)


def _at_border(labels: NDArray[np.int32], n: int, block: ZBlock, depth: int) -> NDArray[np.bool_]:
    """Return which labels 1 to n of a z block reach a face of the volume."""
    faces = [labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]]
    faces += [labels[0]] if block.start == 0 else []
    faces += [labels[-1]] if block.stop == depth else []
    reached = np.zeros(n + 1, bool)
    for face in faces:
        reached[face.reshape(-1)] = True
    return reached[1:]
