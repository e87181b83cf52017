"""Novelty: how unlike all training data the surroundings of a pixel are.

Models of one recipe have the same training data. Where it has no example, they can all be wrong and still agree. So a
model stores a sample of its training data (`TrainingReference`), and a slice is compared with it without a network. The
novelty is the distance from the nearest places in the sample, relative to the distances between training pairs. Such
nearest-neighbour detectors need no assumption about the unknown (Sun et al. 2022, ICML, arXiv:2204.06507, there with
features of a network).
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.dataset.pair import Pair
from tomostain.deprecation import renamed
from tomostain.io.parallel import in_parallel
from tomostain.memory import free_memory
from tomostain.ood.grey_limits import GREY_LIMITS
from tomostain.ood.neighbourhoods import NeighbourhoodReference
from tomostain.ood.reference_fit import fit_reference
from tomostain.ood.regional_reference import Augmentation, RegionalReference

Float32 = NDArray[np.float32]
NOVEL_SHARE_LIMIT: float = RegionalReference.share_limit
BYTES_PER_PIXEL = 64
"""Memory in which a slice is compared with the training data, by its pixels."""


class TrainingReference(Protocol):
    """A sample of the training data, as a model stores it.

    `RegionalReference` for models of this version, `NeighbourhoodReference` for older ones.
    """

    @property
    def share_limit(self) -> float:
        """A larger novel share of a volume is out of distribution."""
        ...

    @property
    def grid_px(self) -> int:
        """The step of the grid that `grid` returns, px."""
        ...

    def grid(self, ct: NDArray[Any]) -> Float32:
        """Return the novelty of a slice (Y, X) on a coarse grid that begins at its first pixel."""
        ...

    def sample(self, ct: NDArray[Any]) -> Float32:
        """Return the novelty at evenly spaced pixels of a slice, to estimate a share."""
        ...

    def to_arrays(self) -> dict[str, Float32]:
        """Return the arrays that a model folder stores."""
        ...

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]], source: str) -> "TrainingReference":
        """Build the reference of this or an older version from the arrays of `to_arrays`.

        Raises
        ------
        InputError
            If the arrays have other names, shapes or values; the message names `source`.
        """
        if "neighbourhoods" in arrays:
            return NeighbourhoodReference.from_arrays(arrays, source)
        return RegionalReference.from_arrays(arrays, source)


def training_reference(
    pairs: Iterable[Pair],
    seed: int = 0,
    augmentation: Augmentation | None = None,
    limits: tuple[float, float] = GREY_LIMITS,
) -> RegionalReference:
    """Sample the texture of the training pairs, and calibrate the distances between them.

    Parameters
    ----------
    pairs : iterable of Pair
        At least one.
    seed : int
    augmentation : Augmentation, optional
        Of the training: the reference includes augmented views of the pairs.
    limits : (float, float)
        Lowest and highest grey value that is distinguished: the window of the networks.

    Returns
    -------
    RegionalReference
    """
    return fit_reference([pair.ct for pair in pairs], seed, augmentation, limits)


def novelty(ct: NDArray[Any], reference: TrainingReference) -> Float32:
    """Return the novelty of each pixel of a slice.

    Parameters
    ----------
    ct : ndarray, shape (Y, X)
        Normalised µCT: background 10000, bone 30000.
    reference : TrainingReference

    Returns
    -------
    ndarray of float32, shape (Y, X)
        0: the same as in the training data; below 1: usual; above 1: novel.
    """
    coarse, step = reference.grid(ct), reference.grid_px
    rows, columns = (np.minimum(np.arange(n) / step, m - 1) for n, m in zip(ct.shape, coarse.shape, strict=True))
    positions = np.meshgrid(rows, columns, indexing="ij")
    return ndimage.map_coordinates(coarse, positions, order=1, mode="nearest").astype(np.float32)


def novel_share(slices: NDArray[Any], reference: TrainingReference) -> float:
    """Return the fraction of some slices that has a novelty above 1.

    Parameters
    ----------
    slices : ndarray, shape (N, Y, X)
        Normalised µCT. In each slice some thousand positions are examined.
    reference : TrainingReference
    """
    shares = in_parallel(lambda ct: (reference.sample(ct) > 1.0).mean(), slices, at_once=slices_at_once(slices))
    return float(np.mean(shares))


def slices_at_once(slices: NDArray[Any]) -> int | None:
    """Return how many slices may be compared at the same time: in half of the free memory; None if it is not known."""
    free = free_memory()
    return None if free is None else max(1, free // 2 // (BYTES_PER_PIXEL * slices[0].size))


__getattr__ = renamed(
    __name__, {"remember": "training_reference", "new_share": "novel_share", "SHARE": "NOVEL_SHARE_LIMIT"}
)
