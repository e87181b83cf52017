"""Similarity of µCT and histology: joint histogram and mutual information (paper section 2.3)."""

import numpy as np
from numpy.typing import NDArray

from tomostain.integers import to_integers


def joint_histogram(
    a: NDArray[np.generic], b: NDArray[np.generic], mask: NDArray[np.bool_] | None = None, bins: int = 64
) -> NDArray[np.float64]:
    """Count pairs of grey values.

    Parameters
    ----------
    a, b : ndarray, of one shape
    mask : ndarray of bool, optional
        Pixels to count. None: all.
    bins : int
        Number of bins between the 0.5th and the 99.5th percentile of each. Values beyond are counted in the first and
        last bin.

    Returns
    -------
    ndarray of float64, shape (bins, bins)
        Relative frequencies, which sum to 1. Rows are bins of `a`.

    Raises
    ------
    ValueError
        If the shapes differ or the mask is empty.
    """
    if a.shape != b.shape or (mask is not None and mask.shape != a.shape):
        raise ValueError(f"images of shapes {a.shape} and {b.shape} cannot be compared")
    counted = [x.ravel() if mask is None else x[mask] for x in (a, b)]
    if counted[0].size == 0:
        raise ValueError("the mask is empty; nothing can be compared")
    index = [_bin(values.astype(np.float64), bins) for values in counted]
    counts = np.bincount(index[0] * bins + index[1], minlength=bins * bins).reshape(bins, bins)
    return np.asarray(counts / counts.sum())


def _bin(values: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    low, high = np.percentile(values, [0.5, 99.5])
    if high <= low:
        low, high = values.min(), values.max()
    scaled = (values - low) / max(high - low, 1e-12) * bins
    return to_integers(np.clip(scaled, 0, bins - 1), np.int64, "values to compare", rounded=False)


def mutual_information(
    a: NDArray[np.generic], b: NDArray[np.generic], mask: NDArray[np.bool_] | None = None, bins: int = 64
) -> float:
    """Return the mutual information H(a) + H(b) - H(a, b), bits (Viola & Wells 1997, IJCV 24, 137).

    Parameters
    ----------
    a, b : ndarray, of one shape
    mask : ndarray of bool, optional
    bins : int
        See `joint_histogram`.

    Examples
    --------
    >>> values = np.repeat(np.arange(4), 100)
    >>> round(mutual_information(values, values), 6)
    2.0
    """
    row, column, joint = entropies(joint_histogram(a, b, mask, bins))
    return row + column - joint


def normalised_mutual_information(
    a: NDArray[np.generic], b: NDArray[np.generic], mask: NDArray[np.bool_] | None = None, bins: int = 64
) -> float:
    """Return (H(a) + H(b)) / H(a, b), 1 to 2 (Studholme et al. 1999, Pattern Recognition 32, 71)."""
    row, column, joint = entropies(joint_histogram(a, b, mask, bins))
    return (row + column) / joint if joint > 0 else 1.0


def entropies(joint: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the entropy of the rows, of the columns, and the joint entropy, bits."""

    def entropy(p: NDArray[np.float64]) -> float:
        p = p[p > 0]
        return float(-(p * np.log2(p)).sum())

    return entropy(joint.sum(axis=1)), entropy(joint.sum(axis=0)), entropy(joint)
