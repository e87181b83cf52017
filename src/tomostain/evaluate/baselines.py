"""What a model has to beat: the raw µCT, the mean of the training images, a colour for each grey value."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.imaging.network_range import ct_to_network

RGB = NDArray[np.uint8]


class ImagePair(Protocol):
    """What a baseline needs of a training pair: ``ct`` (Y, X), ``histology`` (Y, X, 3) and ``mask`` (Y, X)."""

    @property
    def ct(self) -> NDArray[np.uint16]: ...
    @property
    def histology(self) -> RGB: ...
    @property
    def mask(self) -> NDArray[np.bool_]: ...


def raw_ct(ct: NDArray[np.uint16]) -> RGB:
    """Show the µCT as a grey RGB image: the floor, which needs no training (paper section 3.2).

    Parameters
    ----------
    ct : ndarray of uint16, shape (Y, X)
        Normalised µCT.

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)
        The image a network sees, from 0 to 255.

    Examples
    --------
    >>> raw_ct(np.array([[0, 40000]], np.uint16)).tolist()
    [[[0, 0, 0], [255, 255, 255]]]
    """
    grey = np.rint((ct_to_network(ct.astype(np.float32)) + 1) * 127.5).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


@dataclass(frozen=True)
class MeanImage:
    """The mean of the training histology, pixel by pixel.

    Attributes
    ----------
    colour : ndarray of float, shape (3,)
        Mean colour of all training pixels in the mask.
    image : ndarray of float, shape (Y, X, 3), or None
        Mean image over the pairs whose mask holds the pixel (`colour` where none does); None if the pairs differ in
        shape.
    """

    colour: NDArray[np.float64]
    image: NDArray[np.float64] | None

    @classmethod
    def fit(cls, pairs: Iterable[ImagePair]) -> "MeanImage":
        """Average the training pairs; they are read once, one at a time.

        Raises
        ------
        InputError
            If there is no pair, or no pixel in any mask.
        """
        total = np.zeros(3)
        count = 0
        sums: NDArray[np.float64] | None = None
        weights: NDArray[np.float64] = np.zeros(0)
        same_shape = True
        for pair in pairs:
            inside = pair.mask.astype(bool)
            masked = np.where(inside[..., None], pair.histology, 0).astype(np.float64)
            total += masked.sum(axis=(0, 1))
            count += int(inside.sum())
            if sums is None:
                sums, weights = np.zeros_like(masked), np.zeros(inside.shape)
            same_shape = same_shape and masked.shape == sums.shape
            if same_shape:
                sums += masked
                weights += inside
        if sums is None or count == 0:
            raise InputError(
                "baselines: no training pixel inside a mask; use a dataset with training pairs, or no baselines"
            )
        colour = total / count
        image = (
            np.where(weights[..., None] > 0, sums / np.maximum(weights, 1)[..., None], colour) if same_shape else None
        )
        return cls(colour, image)

    def __call__(self, ct: NDArray[np.uint16]) -> RGB:
        """Return the mean image; the mean colour throughout if `ct`, shape (Y, X), has another shape than it."""
        if self.image is not None and self.image.shape[:2] == ct.shape:
            return np.rint(self.image).astype(np.uint8)
        return np.broadcast_to(np.rint(self.colour).astype(np.uint8), (*ct.shape, 3)).copy()


@dataclass(frozen=True)
class ColourLookup:
    """For each µCT grey value the mean histology colour it had in training: the best that grey values alone can do.

    The means of the joint histogram's rows minimise the squared error among all functions of the binned grey value, so
    no look-up table has a higher PSNR over the training pixels. The idea of joining the two modalities' grey values in
    one histogram is that of Khimchenko et al. (2016), NeuroImage.

    Attributes
    ----------
    colours : ndarray of float, shape (bins, 3)
        Colours from 0 to 255; a bin that training never saw is interpolated from its neighbours.
    """

    colours: NDArray[np.float64]

    @classmethod
    def fit(cls, pairs: Iterable[ImagePair], bins: int = 256) -> "ColourLookup":
        """Average the colours of the training pixels in the masks by grey value; pairs are read one at a time.

        Raises
        ------
        InputError
            If there is no pixel in any mask.
        """
        counts = np.zeros(bins)
        sums = np.zeros((bins, 3))
        for pair in pairs:
            inside = pair.mask.astype(bool)
            index = _grey_bin(pair.ct[inside], bins)
            counts += np.bincount(index, minlength=bins)
            for channel in range(3):
                sums[:, channel] += np.bincount(index, pair.histology[inside][:, channel], minlength=bins)
        seen = np.flatnonzero(counts)
        if not len(seen):
            raise InputError(
                "baselines: no training pixel inside a mask; use a dataset with training pairs, or no baselines"
            )
        means = sums[seen] / counts[seen, None]
        return cls(np.stack([np.interp(np.arange(bins), seen, means[:, c]) for c in range(3)], axis=1))

    def __call__(self, ct: NDArray[np.uint16]) -> RGB:
        """Colour a normalised µCT image, shape (Y, X); returns uint8, shape (Y, X, 3)."""
        return np.rint(self.colours).astype(np.uint8)[_grey_bin(ct, len(self.colours))]


def _grey_bin(ct: NDArray[np.uint16], bins: int) -> NDArray[np.intp]:
    """Return the histogram bin of each grey value; the bins divide the window that the networks see."""
    unit = (ct_to_network(ct.astype(np.float64)) + 1) / 2
    return np.minimum(unit * bins, bins - 1).astype(np.intp)
