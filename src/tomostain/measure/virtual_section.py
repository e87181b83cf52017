"""The virtual section of a pair: stained by a model, or cut from a stained volume."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tomostain.dataset.pair import Pair
from tomostain.errors import InputError
from tomostain.geometry.sampling import sample_section
from tomostain.geometry.section import Section
from tomostain.geometry.surfaces import section_cut
from tomostain.integers import to_integers
from tomostain.io.ome_zarr.reader import StainedVolume

if TYPE_CHECKING:
    from tomostain.stain.stainer import Stainer

RGB = NDArray[np.uint8]
Mask = NDArray[np.bool_]
VOXEL_TOLERANCE = 0.02
"""Largest relative difference between the pixel size of a pair and the voxel size of a model."""


def stain_pair(pair: Pair, stainer: "Stainer") -> RGB:
    """Stain the µCT of a pair.

    Parameters
    ----------
    pair : Pair
        With as many slices as the model sees (`load_pair`).
    stainer : Stainer
        Of `tomostain.load_stainer`.

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)

    Raises
    ------
    InputError
        If the model was trained on pixels of another size, or needs neighbouring slices that the pair does not hold.
    """
    if abs(pair.voxel_um / stainer.voxel_um - 1) > VOXEL_TOLERANCE:
        raise InputError(
            f"pair '{pair.id}': has pixels of {pair.voxel_um:g} µm, but the model was trained on "
            f"{stainer.voxel_um:g} µm; prepare the pair with `voxel_um={stainer.voxel_um:g}`, or use another model",
            parameter="model",
        )
    slices = stainer.translator.spec.ct_slices
    if slices > 1:
        return stainer(pair.context(slices), intensity="normalised", source=f"pair '{pair.id}'")[slices // 2]
    return stainer(pair.ct, intensity="normalised", source=f"pair '{pair.id}'")


def section_of(pair: Pair) -> Section | None:
    """Return where the section of a pair lies in its volume; None if the pair does not state it."""
    return None if pair.section is None else Section.from_dict(pair.section, f"pair '{pair.id}'")


def cut_volume(volume: StainedVolume, section: Section, shape: tuple[int, int], pixel_um: float) -> tuple[RGB, Mask]:
    """Resample a stained volume on a plane, as one layer.

    Parameters
    ----------
    volume : StainedVolume
    section : Section
        In the coordinates of the µCT that the slide was registered to: (0, 0, 0) is the centre of its first voxel. The
        stained volume may be a region of it, or resampled.
    shape : tuple of int
        (rows, columns).
    pixel_um : float

    Returns
    -------
    rgb : ndarray of uint8, shape (rows, columns, 3)
        White outside the volume.
    inside : ndarray of bool, shape (rows, columns)

    Raises
    ------
    InputError
        If the plane does not cross the volume.
    """
    offset_um = volume.offset_from(section.volume_origin_um, section.region_um, section.volume_voxel_um)
    cut = section_cut(section, shape, pixel_um).moved(-np.asarray(offset_um))
    colours = sample_section(volume.block, volume.shape, volume.voxel_um, cut)
    inside: Mask = np.asarray(np.isfinite(colours).all(axis=-1), dtype=bool)
    if not inside.any():
        raise InputError(
            f"{volume.path}: the section of the pair does not cross this volume; give the volume that the slide was "
            "registered to",
            parameter="volume",
        )
    filled = np.where(inside[..., None], colours, np.float32(255))
    return to_integers(filled, np.uint8, "colours of the section", clip=True), inside
