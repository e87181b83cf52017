"""Regions of background and bone that a person drew on slices of a volume or on a slide."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon2mask

from tomostain.errors import InputError
from tomostain.imaging.intensity import IntensityReference, check_finite, reference_from_values
from tomostain.imaging.regions import block_mean
from tomostain.integers import to_integers
from tomostain.io.volumes.base import VolumeLike

_SIDE_PX = 512
Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class DrawnRegion:
    """A polygon on a slice of a volume.

    Attributes
    ----------
    z : int
        Index of the slice.
    outline : ndarray of float64, shape (N, 2)
        Corners (row, column), px. The centre of the first pixel is at 0.
    """

    z: int
    outline: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DrawnReference:
    """The reference of drawn regions, and the slices on which they were drawn.

    Attributes
    ----------
    reference : IntensityReference
    samples : ndarray of float32, shape (N, Y, X)
        The slices, averaged down to at most 512 px per side, for `tomostain.imaging.intensity_figure`.
    background, bone : ndarray of bool, shape (N, Y, X)
        The regions on them.
    """

    reference: IntensityReference
    samples: NDArray[np.float32]
    background: NDArray[np.bool_]
    bone: NDArray[np.bool_]


def drawn_reference(
    volume: VolumeLike, background: Sequence[DrawnRegion], bone: Sequence[DrawnRegion], source: str = "µCT"
) -> DrawnReference:
    """Compute the intensity reference of a volume from regions that a person drew (paper section 2.5).

    Parameters
    ----------
    volume : VolumeLike
        Only the slices with a region are read.
    background, bone : sequence of DrawnRegion
        At least one of each.
    source : str
        Named in error messages.

    Raises
    ------
    InputError
        If there is no region of one kind, a region contains no pixel of the volume, or bone is not brighter.
    """
    for name, regions in (("background", background), ("bone", bone)):
        if not regions:
            raise InputError(f"{source}: no region of {name} is drawn; draw one")
    shape = (volume.shape[1], volume.shape[2])
    step = max(1, -(-max(shape) // _SIDE_PX))
    values: dict[str, list[NDArray[np.generic]]] = {"background": [], "bone": []}
    samples, masks = [], []
    for z in sorted({region.z for region in (*background, *bone)}):
        if not 0 <= z < volume.shape[0]:
            raise InputError(f"{source}: a region is drawn on slice {z}; the volume has {volume.shape[0]} slices")
        image = volume.read(z, z + 1)[0]
        check_finite(image, f"{source}, slice {z}")
        both = []
        for name, regions in (("background", background), ("bone", bone)):
            mask = np.zeros(shape, bool)
            for region in regions:
                if region.z == z:
                    mask |= polygon2mask(shape, region.outline)
            values[name].append(image[mask])
            both.append(block_mean(mask, step) > 0.5)
        samples.append(block_mean(image, step))
        masks.append(both)
    reference = reference_from_values(*(np.concatenate(values[name]) for name in ("background", "bone")))
    drawn = np.array(masks)
    return DrawnReference(reference, np.stack(samples), drawn[:, 0], drawn[:, 1])


def outline_box(outline: NDArray[np.float64], shape: tuple[int, int], what: str = "region") -> Box:
    """Return the box (row0, row1, column0, column1) of a drawn rectangle, ends excluded, inside an image.

    Parameters
    ----------
    outline : ndarray, shape (N, 2)
        Corners (row, column), px. The centre of the first pixel is at 0, so its edges are at -0.5 and 0.5.
    shape : tuple of int
        (rows, columns) of the image.
    what : str
        Named in error messages.

    Raises
    ------
    InputError
        If the box contains no pixel of the image.

    Examples
    --------
    >>> outline_box(np.array([[-5.0, 2.5], [9.5, 30.0]]), (20, 20))
    (0, 10, 3, 20)
    """
    edges = to_integers(np.stack([outline.min(axis=0), outline.max(axis=0)]) + 0.5, np.int64, what)
    (row0, column0), (row1, column1) = np.clip(edges, 0, np.array(shape)).tolist()
    if row0 >= row1 or column0 >= column1:
        raise InputError(f"{what}: contains no pixel of the image; draw it on the image, and larger")
    return row0, row1, column0, column1
