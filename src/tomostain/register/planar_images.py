"""A µCT slice and a slide on pixels of one size, as planar registration compares them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.cluster.vq import kmeans2, vq

from tomostain.errors import InputError
from tomostain.imaging.colour import background_region
from tomostain.integers import to_integers

Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]
# Classes of the µCT (equal numbers of pixels) and of the slide (clusters of its colours).
CT_CLASSES, COLOUR_CLASSES = 16, 16
# Empty glass around the tissue that is compared too: the outline is a structure.
_RIM_UM = 150.0
_SEED_PIXELS = 4000
_DARKEST_GLASS = 0.86
# A border region of one value is outside of the field of view, if it covers more than this fraction of the slice.
_MIN_PADDING = 0.001
# Pixel sizes count as equal if they move no pixel of the image by more than this, pixels.
_SAME_PX = 0.05


@dataclass(frozen=True, eq=False)
class PlanarImages:
    """Both images on pixels of `pixel_um`. The first pixel of each is at 0 µm.

    Attributes
    ----------
    ct : ndarray of float32, shape (Y, X)
    valid : ndarray of bool, shape (Y, X)
        Where the slice was measured.
    rgb : ndarray of float32, shape (rows, columns, 3)
    tissue : ndarray of bool, shape (rows, columns)
        Tissue and a rim of empty glass around it.
    pixel_um : float
    """

    ct: Float32
    valid: Bool
    rgb: Float32
    tissue: Bool
    pixel_um: float

    @property
    def grey(self) -> Float32:
        """Mean of the colours of the slide."""
        return np.asarray(self.rgb.mean(axis=2), dtype=np.float32)

    @property
    def middle_um(self) -> NDArray[np.float64]:
        """Middle of the bounding box of the tissue on the slide (row, column), µm."""
        rows, columns = np.nonzero(self.tissue)
        return np.array([rows.min() + rows.max(), columns.min() + columns.max()]) / 2 * self.pixel_um

    @property
    def side_um(self) -> float:
        """Longest side of slice and slide, µm."""
        return float(max(*self.ct.shape, *self.rgb.shape[:2]) * self.pixel_um)

    @property
    def size_um(self) -> float:
        """Longest side of the bounding box of the tissue, µm."""
        return float(max(np.ptp(axis) + 1 for axis in np.nonzero(self.tissue)) * self.pixel_um)

    def at(self, pixel_um: float) -> "PlanarImages":
        """Return the images on larger pixels. Smaller ones return the images themselves."""
        factor = pixel_um / self.pixel_um
        if factor < 1.05:
            return self
        weights = self.valid.astype(np.float32)
        ct, share = shrink(self.ct * weights, factor), shrink(weights, factor)
        rgb = np.stack([shrink(self.rgb[..., c], factor) for c in range(3)], axis=-1)
        tissue = shrink(self.tissue.astype(np.float32), factor) > 0.5
        return PlanarImages(
            (ct / np.maximum(share, 1e-3)).astype(np.float32), share > 0.7, rgb, tissue, self.pixel_um * factor
        )

    @cached_property
    def ct_edges(self) -> Float32:
        """Grey values between the classes of the µCT."""
        values = self.ct[self.valid]
        return np.unique(np.quantile(values, np.linspace(0, 1, CT_CLASSES + 1)[1:-1])).astype(np.float32)

    @cached_property
    def colours(self) -> NDArray[np.int64]:
        """Class of the colour of each pixel of the slide, shape (rows, columns)."""
        pixels = self.rgb[self.tissue]
        spread = np.linspace(0, len(pixels) - 1, min(len(pixels), _SEED_PIXELS))
        chosen = pixels[to_integers(spread, np.int64, "positions of pixels", rounded=False)]
        # Seeds at quantiles of the brightness, so that the result is the same in every run.
        order = np.argsort(chosen.sum(axis=1), kind="stable")
        places = (np.arange(COLOUR_CLASSES) + 0.5) / COLOUR_CLASSES * len(chosen)
        seeds = np.unique(chosen[order[places.astype(int)]], axis=0)
        centres, _ = kmeans2(chosen, seeds, iter=10, minit="matrix", missing="warn")
        labels, _ = vq(self.rgb.reshape(-1, 3), centres)
        return np.asarray(labels.reshape(self.rgb.shape[:2]), dtype=np.int64)


def shrink(image: Float32, factor: float) -> Float32:
    """Return an image on pixels larger by `factor`, smoothed. The centre of the first pixel stays."""
    shape = [max(1, int((n - 1) / factor) + 1) for n in image.shape]
    smooth = ndimage.gaussian_filter(image, 0.45 * factor, mode="nearest")
    small = ndimage.affine_transform(smooth, [factor] * 2, output_shape=shape, order=1, mode="nearest")
    return np.asarray(small, dtype=np.float32)


def planar_images(
    ct: NDArray[np.generic], voxel_um: float, rgb: NDArray[np.uint8], pixel_um: float, max_side: int
) -> PlanarImages:
    """Bring a slice and a slide to pixels of one size.

    Parameters
    ----------
    ct : ndarray, shape (Y, X)
        NaN where it was not measured. A border of constant lowest value is not measured either.
    voxel_um : float
    rgb : ndarray of uint8, shape (rows, columns, 3)
    pixel_um : float
    max_side : int
        Largest number of pixels along a side.

    Raises
    ------
    InputError
        If the slice is constant or no tissue is on the slide.
    """
    values = np.asarray(ct, dtype=np.float32)
    valid = measured(values)
    if not valid.any() or values[valid].min() == values[valid].max():
        raise InputError("µCT: the slice holds one grey value only; nothing can be registered")
    tissue = tissue_with_rim(rgb, pixel_um)
    sides = max(values.shape) * voxel_um, max(rgb.shape[:2]) * pixel_um
    target = max(voxel_um, pixel_um, max(sides) / max_side)
    weights = valid.astype(np.float32)
    values = np.where(valid, values, values[valid].mean())
    grown = [(values * weights, voxel_um), (weights, voxel_um), (tissue.astype(np.float32), pixel_um)]
    grown += [(rgb[..., c].astype(np.float32), pixel_um) for c in range(3)]
    small = [image if _has_pixels_of(image, um, target) else shrink(image, target / um) for image, um in grown]
    share = small[1]
    ct_small = (small[0] / np.maximum(share, 1e-3)).astype(np.float32)
    return PlanarImages(ct_small, share > 0.7, np.stack(small[3:], axis=-1), small[2] > 0.5, target)


def _has_pixels_of(image: Float32, pixel_um: float, target_um: float) -> bool:
    """Return whether the pixels of an image are those of `target_um`: a few percent are many pixels at its far side."""
    return (target_um / pixel_um - 1) * max(image.shape) <= _SAME_PX


def measured(ct: Float32) -> Bool:
    """Return where a slice was measured: finite, and not in a border region that has the lowest value throughout."""
    finite = np.isfinite(ct)
    if not finite.any():
        return finite
    lowest = finite & (ct == ct[finite].min())
    labels, _ = ndimage.label(lowest)
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    sizes = np.bincount(labels.ravel())
    padding = [label for label in border if label and sizes[label] > _MIN_PADDING * ct.size]
    return np.asarray(finite & ~np.isin(labels, padding)) if padding else finite


def tissue_with_rim(rgb: NDArray[np.uint8], pixel_um: float) -> Bool:
    """Return where tissue is on a slide, with a rim of empty glass.

    Raises
    ------
    InputError
        If there is none.
    """
    glass = background_region(rgb)
    white = float(np.median(rgb[glass].mean(axis=1))) if glass.any() else 255.0
    grey = ndimage.gaussian_filter(rgb.min(axis=2).astype(np.float32), 1.0)
    stained = grey < _DARKEST_GLASS * white
    tissue = ndimage.binary_opening(stained, iterations=1)
    if tissue.sum() < 64:
        raise InputError("slide: no tissue found; check that it is the right image, and not inverted")
    return np.asarray(ndimage.distance_transform_edt(~tissue) * pixel_um <= _RIM_UM)
