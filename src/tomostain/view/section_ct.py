"""The µCT of a section: the volume that was stained, on the grid of the stained volume."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tomostain.errors import InputError, OtherInputWarning, warn_user
from tomostain.imaging.resampling import resample_volume
from tomostain.io import Volume, open_volume
from tomostain.io.metadata.units import check_voxel_um, format_sides, nearly_equal
from tomostain.io.ome_zarr.reader import StainedVolume
from tomostain.io.stained_input import (
    ADVICE,
    describe_other_input,
    has_stored_fingerprint,
    is_stained_input,
    note_of_stated_size,
    stated_voxel_um,
)
from tomostain.paths import StrPath

_log = logging.getLogger("tomostain.view")


def open_ct(
    ct: StrPath, volume: StainedVolume, allow_missing: bool = False, voxel_um: float | Sequence[float] | None = None
) -> Volume:
    """Open the µCT of a stained volume, on the grid of the stained volume.

    If the µCT was resampled before it was stained, it is resampled in the same way while it is read.

    Parameters
    ----------
    ct : path
        A file that states no voxel size has that of the volume that was stained.
    volume : StainedVolume
    allow_missing : bool
        Fill slices of which data are missing with zeros.
    voxel_um : float or sequence of float, optional
        Voxel size, or (z, y, x), µm, instead of that of the file.

    Raises
    ------
    InputError
        If it cannot be opened, or its shape is another one, or its file states another voxel size and it is not known
        to be the volume that was stained.

    Warns
    -----
    OtherInputWarning
        If it is not the volume that was stained, by the stored fingerprint.
    """
    option_um = None if voxel_um is None else check_voxel_um(voxel_um, "voxel_um")
    size_um = option_um or _original_voxel_um(volume) or volume.voxel_um
    opened = open_volume(Path(ct), voxel_um=size_um, allow_missing=allow_missing)
    scan, used, is_input = _on_grid(opened, volume)
    if scan.shape != volume.shape:
        raise InputError(
            f"{scan.path}: has the shape {scan.shape}, but the stained volume has {volume.shape}; "
            "state the volume that was stained"
        )
    owner = "the stained volume" if used is scan else "the volume that was stained"
    if option_um is None:
        stated = stated_voxel_um(ct, allow_missing=allow_missing)
        note = note_of_stated_size(used, stated, is_input=is_input, owner=owner)
        if note is not None:
            _log.info(note)
    elif not all(nearly_equal(*pair) for pair in zip(option_um, used.voxel_um, strict=True)):
        raise InputError(
            f"{used.path}: `voxel_um` is {format_sides(option_um)} µm, but {owner} has {format_sides(used.voxel_um)} "
            "µm; omit it, or give the µCT that was stained",
            parameter="voxel_um",
        )
    if is_input is False:
        warn_user(f"{describe_other_input(used, volume)}. {ADVICE}", OtherInputWarning)
    return scan


def _original_voxel_um(volume: StainedVolume) -> tuple[float, float, float] | None:
    """Return the voxel size of the µCT before it was resampled; None if it was stained as it is."""
    resampled = volume.provenance.get("resampled")
    return check_voxel_um(resampled["original_voxel_um"]) if isinstance(resampled, Mapping) else None


def _on_grid(opened: Volume, volume: StainedVolume) -> tuple[Volume, Volume, bool | None]:
    """Return the µCT on the grid of the stained volume, the same before resampling, and whether it was stained."""
    original_um = _original_voxel_um(volume)
    if original_um is not None:
        original = replace(opened, voxel_um=original_um)
        is_input = has_stored_fingerprint(original, volume)
        if is_input or opened.shape != volume.shape:
            interpolation = volume.provenance["resampled"].get("interpolation", "linear")
            return resample_volume(original, volume.voxel_um, interpolation=interpolation), original, is_input
    scan = replace(opened, voxel_um=volume.voxel_um)  # not resampled, or a copy that was resampled before
    return scan, scan, is_stained_input(scan, volume)
