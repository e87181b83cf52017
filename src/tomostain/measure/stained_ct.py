"""The µCT of a measurement with a stained volume: whether it is the one that was stained, and its voxel size."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tomostain.errors import InputError, OtherInputWarning, warn_user
from tomostain.imaging.intensity import IntensityReference
from tomostain.imaging.intensity_estimation import volume_reference
from tomostain.io import StainedVolume, Volume, open_volume
from tomostain.io.metadata.units import format_sides
from tomostain.io.stained_input import (
    describe_other_input,
    is_stained_input,
    note_of_stated_size,
    stated_voxel_um,
)
from tomostain.io.volumes.volume import VolumeSource
from tomostain.measure.label_files import check_grid
from tomostain.measure.label_source import VoxelSize


@dataclass(frozen=True, eq=False)
class StainedCt:
    """The µCT of a stained volume.

    Attributes
    ----------
    volume : Volume
        With the voxel size of the stained volume.
    notes : tuple of str
        Sentences about another µCT, or another voxel size in its file.
    has_stored_levels : bool
        Whether the grey values of background and bone that the stained volume states are those of this µCT. True if
        nothing contradicts.
    """

    volume: Volume
    notes: tuple[str, ...] = ()
    has_stored_levels: bool = True


def open_stained_ct(ct: VolumeSource, stained: StainedVolume, voxel_um: VoxelSize | None = None) -> StainedCt:
    """Open the µCT of a stained volume.

    Parameters
    ----------
    ct : path, Volume, array-like or tuple (array, voxel_um)
        A file that states no voxel size has that of the stained volume.
    stained : StainedVolume
    voxel_um : tuple of float, optional
        Voxel size (z, y, x), µm, instead of that of the file.

    Raises
    ------
    InputError
        If it cannot be opened, lies on another grid, or its file states another voxel size and it is not known to be
        the volume that was stained.

    Warns
    -----
    OtherInputWarning
        If it is not the volume that was stained, by the stored fingerprint.
    """
    opened = ct if isinstance(ct, Volume) else open_volume(ct, voxel_um=voxel_um or stained.voxel_um)
    if tuple(opened.shape) != tuple(stained.shape) and stained.provenance.get("resampled") is not None:
        size = stained.voxel_um[0]  # staining resamples to cubes
        raise InputError(
            f"{opened.path}: has {format_sides(opened.shape)} voxels, but the measured volume has "
            f"{format_sides(stained.shape)}, because it was resampled to {size:g} µm; resample the µCT, too "
            f"('tomostain resample' with `voxel_um={size:g}`), and give the result as `ct`",
            parameter="ct",
        )
    check_grid(opened.path, opened, stained)
    volume = replace(opened, voxel_um=stained.voxel_um)
    is_input = is_stained_input(volume, stained)
    stated = None if voxel_um is not None or isinstance(ct, Volume) else stated_voxel_um(ct)
    note = note_of_stated_size(volume, stated, is_input=is_input)
    notes = [] if note is None else [note]
    if is_input is False:
        other = f"{describe_other_input(volume, stained)}; give the µCT that was stained"
        warn_user(other, OtherInputWarning)
        notes.append(other)
    return StainedCt(volume, tuple(notes), is_input is not False)


def reference_of(ct: Volume, provenance: Mapping[str, Any], *, has_stored_levels: bool = True) -> IntensityReference:
    """Return the grey values of background and bone of a µCT: those of the staining, or estimated.

    Parameters
    ----------
    ct : Volume
    provenance : mapping
        That of the stained volume; {} without one.
    has_stored_levels : bool
        False: another µCT was stained, whose grey values may have another scale.

    Raises
    ------
    InputError
        If the type of the µCT cannot hold the grey values of the staining, or they cannot be estimated.
    """
    stated = provenance.get("levels", {}) if has_stored_levels else {}
    if isinstance(stated, dict) and {"background", "bone"} <= stated.keys():
        reference = IntensityReference(float(stated["background"]), float(stated["bone"]))
        if ct.dtype.kind in "iu" and max(stated.values()) > np.iinfo(ct.dtype).max:
            raise InputError(
                f"{ct.path}: holds {ct.dtype}, but the stained volume was made from a µCT whose bone has the grey "
                f"value {reference.bone:.0f}; give the µCT that was stained",
                parameter="ct",
            )
        return reference
    return _estimated_reference(ct, is_other=not has_stored_levels)


def _estimated_reference(ct: Volume, *, is_other: bool) -> IntensityReference:
    """Estimate the grey values of a µCT: of one that is not the one that was stained, or that no result states."""
    way_out = (
        "give the µCT that was stained"
        if is_other
        else "give `labels`, or the µCT with a stained volume that was made with both grey values"
    )
    try:
        return volume_reference(ct, source=str(ct.path), way_out=way_out)
    except InputError as error:
        problem = "its grey values of background and bone cannot be estimated"
        other = "is not the µCT that was stained, and " if is_other else ""
        raise InputError(f"{ct.path}: {other}{problem}; {way_out}", parameter="ct") from error
