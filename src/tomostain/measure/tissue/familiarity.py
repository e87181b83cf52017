"""Whether what is classified is like the training data: the share of voxels far from all classes of tissue.

The distance of a voxel is the smallest Mahalanobis distance of its features from the mean of a class, with the
covariance within classes, which all classes share. A voxel is far if its distance is above a quantile of the training
data. A volume is unlike the training data if the share of far voxels is above the largest one of training specimens
that were left out of the estimate, with a margin.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import OutOfDistributionWarning, warn_user

Float = NDArray[np.float32]
_QUANTILE = 0.99
_MARGIN, _MIN_LIMIT = 1.5, 0.05
_RIDGE = 1e-3


@dataclass(frozen=True, eq=False)
class Familiarity:
    """Distances from the training data of a classifier.

    Attributes
    ----------
    centres : ndarray of float32, shape (K, F)
        Mean features of each class.
    whitening : ndarray of float32, shape (F, F)
        Maps features to coordinates in which the covariance within classes is the identity.
    max_distance : float
        A larger distance is far.
    max_share : float
        A larger share of far voxels is unlike the training data.
    """

    centres: Float
    whitening: Float
    max_distance: float
    max_share: float

    def distances(self, features: Float) -> Float:
        """Return the distance of features (F, N) from the nearest class, shape (N,)."""
        values = self.whitening @ features
        centres = self.whitening @ self.centres.T
        squares = (values**2).sum(axis=0) - 2 * centres.T @ values + (centres**2).sum(axis=0)[:, None]
        return np.asarray(np.sqrt(np.maximum(squares.min(axis=0), 0)))

    def far(self, features: Float) -> tuple[int, int]:
        """Return the number of far voxels, and of all voxels, for features (F, N)."""
        return int((self.distances(features) > self.max_distance).sum()), features.shape[1]

    def warn(self, share: float, source: str, stacklevel: int | None = None) -> None:
        """Issue an `OutOfDistributionWarning` if the share of far voxels is above the limit."""
        if share > self.max_share:
            warn_user(
                f"{source}: {100 * share:.0f} % of the voxels are unlike the training data of the tissue classifier "
                f"(usual up to {100 * self.max_share:.0f} %); check stain, voxel size and grey values, "
                "or give `labels`",
                OutOfDistributionWarning,
                stacklevel=None if stacklevel is None else stacklevel + 1,
            )


def estimate_familiarity(features: Float, classes: NDArray[np.integer], specimens: NDArray[np.integer]) -> Familiarity:
    """Estimate the distances from training data.

    Parameters
    ----------
    features : ndarray of float32, shape (F, N)
    classes : ndarray of int, shape (N,)
        Index of the class, from 0.
    specimens : ndarray of int, shape (N,)
        Index of the specimen.

    Returns
    -------
    Familiarity
        With `max_share` from estimates that leave out one specimen each.
    """
    whole = _fit(features, classes, 1.0)
    shares = []
    for specimen in np.unique(specimens):
        inside = specimens == specimen
        if inside.all():
            break
        far, total = _fit(features[:, ~inside], classes[~inside], 1.0).far(features[:, inside])
        shares.append(far / total)
    limit = max(_MIN_LIMIT, _MARGIN * max(shares, default=0.0))
    return Familiarity(whole.centres, whole.whitening, whole.max_distance, min(limit, 1.0))


def _fit(features: Float, classes: NDArray[np.integer], max_share: float) -> Familiarity:
    values = features.astype(np.float64)
    present = np.unique(classes)
    centres = np.stack([values[:, classes == each].mean(axis=1) for each in present])
    within = values - centres[np.searchsorted(present, classes)].T
    covariance = within @ within.T / within.shape[1]
    covariance += np.diag(_RIDGE * np.diag(covariance) + 1e-12)
    variances, vectors = np.linalg.eigh(covariance)
    whitening = (vectors / np.sqrt(variances)).T
    fitted = Familiarity(centres.astype(np.float32), whitening.astype(np.float32), np.inf, max_share)
    limit = float(np.quantile(fitted.distances(features), _QUANTILE))
    return Familiarity(fitted.centres, fitted.whitening, limit, max_share)
