"""Baselines for a model: the raw µCT, the mean of the training images, a colour for each grey value."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.imaging.network_range import DISPLAY_WINDOW, ct_to_network
from tomostain.integers import to_integers

RGB = NDArray[np.uint8]


class ImagePair(Protocol):
    """The part of a training pair that baselines use: ``ct`` (Y, X), ``histology`` (Y, X, 3) and ``mask`` (Y, X)."""

    @property
    def ct(self) -> NDArray[np.uint16]: ...
    @property
    def histology(self) -> RGB: ...
    @property
    def mask(self) -> NDArray[np.bool_]: ...


def raw_ct(ct: NDArray[np.uint16]) -> RGB:
    """Show the µCT as a grey RGB image: the baseline without training (paper section 3.2).

    Parameters
    ----------
    ct : ndarray of uint16, shape (Y, X)
        Normalised µCT.

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)
        Grey values from 0 to 40000, as 0 to 255.

    Examples
    --------
    >>> raw_ct(np.array([[0, 40000]], np.uint16)).tolist()
    [[[0, 0, 0], [255, 255, 255]]]
    """
    grey = to_integers((ct_to_network(ct.astype(np.float32), DISPLAY_WINDOW) + 1) * 127.5, np.uint8, "µCT grey values")
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
        """Average the training pairs, which are read once, one at a time.

        Raises
        ------
        InputError
            If there is no pair, or no pixel in any mask.
        """
        sums = _MeanSums()
        for pair in pairs:
            sums.add(pair)
        return sums.result()

    def __call__(self, ct: NDArray[np.uint16]) -> RGB:
        """Return the mean image, or the mean colour everywhere if `ct`, shape (Y, X), has another shape."""
        if self.image is not None and self.image.shape[:2] == ct.shape:
            return to_integers(self.image, np.uint8, "mean image")
        return np.broadcast_to(to_integers(self.colour, np.uint8, "mean colour"), (*ct.shape, 3)).copy()


@dataclass(frozen=True)
class ColourLookup:
    """The mean histology colour of each µCT grey value in training: the best mapping by grey value alone.

    The row means of the joint histogram minimise the squared error among all functions of the binned grey value, so no
    look-up table has a higher PSNR over the training pixels. Khimchenko et al. (2016), NeuroImage, introduced the joint
    histogram of the two modalities.

    Attributes
    ----------
    colours : ndarray of float, shape (bins, 3)
        Colours from 0 to 255; a bin without training pixels is interpolated from its neighbours.
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
        sums = _LookupSums(bins)
        for pair in pairs:
            sums.add(pair)
        return sums.result()

    def __call__(self, ct: NDArray[np.uint16]) -> RGB:
        """Colour a normalised µCT image, shape (Y, X); returns uint8, shape (Y, X, 3)."""
        return to_integers(self.colours, np.uint8, "colour look-up")[_grey_bin(ct, len(self.colours))]


def fit_baselines(pairs: Iterable[ImagePair]) -> tuple[MeanImage, ColourLookup]:
    """Fit both trained baselines in one pass over the training pairs.

    Raises
    ------
    InputError
        If there is no pair, or no pixel in any mask.
    """
    mean, lookup = _MeanSums(), _LookupSums()
    for pair in pairs:
        mean.add(pair)
        lookup.add(pair)
    return mean.result(), lookup.result()


class _MeanSums:
    """Sums over the training pairs for `MeanImage`."""

    def __init__(self) -> None:
        self.total = np.zeros(3)
        self.count = 0
        self.sums: NDArray[np.float64] | None = None
        self.weights: NDArray[np.float64] = np.zeros(0)
        self.same_shape = True

    def add(self, pair: ImagePair) -> None:
        inside = pair.mask.astype(bool)
        masked = np.where(inside[..., None], pair.histology, 0).astype(np.float64)
        self.total += masked.sum(axis=(0, 1))
        self.count += int(inside.sum())
        if self.sums is None:
            self.sums, self.weights = np.zeros_like(masked), np.zeros(inside.shape)
        self.same_shape = self.same_shape and masked.shape == self.sums.shape
        if self.same_shape:
            self.sums += masked
            self.weights += inside

    def result(self) -> MeanImage:
        if self.sums is None or self.count == 0:
            raise _no_training_pixel()
        colour = self.total / self.count
        if not self.same_shape:
            return MeanImage(colour, None)
        weights = self.weights[..., None]
        return MeanImage(colour, np.where(weights > 0, self.sums / np.maximum(weights, 1), colour))


class _LookupSums:
    """Sums over the training pairs for `ColourLookup`."""

    def __init__(self, bins: int = 256) -> None:
        self.counts = np.zeros(bins)
        self.sums = np.zeros((bins, 3))

    def add(self, pair: ImagePair) -> None:
        inside, bins = pair.mask.astype(bool), len(self.counts)
        index = _grey_bin(pair.ct[inside], bins)
        self.counts += np.bincount(index, minlength=bins)
        for channel in range(3):
            self.sums[:, channel] += np.bincount(index, pair.histology[inside][:, channel], minlength=bins)

    def result(self) -> ColourLookup:
        occupied = np.flatnonzero(self.counts)
        if not len(occupied):
            raise _no_training_pixel()
        means = self.sums[occupied] / self.counts[occupied, None]
        bins = np.arange(len(self.counts))
        return ColourLookup(np.stack([np.interp(bins, occupied, means[:, c]) for c in range(3)], axis=1))


def _no_training_pixel() -> InputError:
    return InputError(
        "baselines: no training pixel inside a mask; use a dataset with training pairs, or set `baselines=False`",
        parameter="baselines",
    )


def _grey_bin(ct: NDArray[np.uint16], bins: int) -> NDArray[np.intp]:
    """Return the histogram bin of each grey value; the bins divide the grey values from 0 to 40000."""
    unit = (ct_to_network(ct.astype(np.float64), DISPLAY_WINDOW) + 1) / 2
    return to_integers(np.minimum(unit * bins, bins - 1), np.intp, "µCT grey values", rounded=False)
