"""Whether a µCT volume is the one that was stained."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tomostain.errors import InputError, OtherInputWarning, warn_user
from tomostain.integers import to_integers
from tomostain.io.metadata.units import format_sides, nearly_equal
from tomostain.io.ome_zarr.reader import StainedVolume
from tomostain.io.volumes.fingerprint import fingerprint_of, fingerprint_slices
from tomostain.io.volumes.opening import open_volume
from tomostain.io.volumes.volume import Volume, VolumeSource

ADVICE = "Compare only what belongs together"
# The types of grey values: see `tomostain.io.images.grey_dtype`.
_GREY_TYPES = (np.uint8, np.uint16, np.float32)


def is_stained_input(ct: Volume, stained: StainedVolume) -> bool | None:
    """Return whether a µCT volume is the input of a stained volume, by the stored fingerprint.

    A copy with the same grey values in another type is the input, too.

    Parameters
    ----------
    ct : Volume
        Its voxel size is part of the fingerprint.
    stained : StainedVolume

    Returns
    -------
    bool or None
        None if nothing is known: a volume of other software or an older version stores no fingerprint, and that of a
        resampled µCT is of the original.
    """
    return None if stained.provenance.get("resampled") is not None else has_stored_fingerprint(ct, stained)


def has_stored_fingerprint(ct: Volume, stained: StainedVolume) -> bool | None:
    """Return whether a µCT volume has the fingerprint that a stained volume stores: of the µCT before resampling.

    Parameters
    ----------
    ct : Volume
        A copy with the same grey values in another type has it, too.
    stained : StainedVolume

    Returns
    -------
    bool or None
        None if none is stored.
    """
    source = stained.provenance.get("input")
    if not isinstance(source, Mapping) or "fingerprint" not in source:
        return None
    expected = source["fingerprint"]
    return bool(ct.fingerprint() == expected) or expected in _fingerprints_as_other_types(ct)


def _fingerprints_as_other_types(ct: Volume) -> Iterator[str]:
    """Yield the fingerprints of the same grey values in the other types that hold them."""
    slices = [ct.read(index, index + 1) for index in fingerprint_slices(ct.shape[0])]
    if not all(np.isfinite(each).all() for each in slices):
        return
    for dtype in map(np.dtype, _GREY_TYPES):
        if dtype == ct.dtype:
            continue
        if ct.dtype.kind == "f":
            copies = [to_integers(each, dtype, "grey values", clip=True) for each in slices]
        else:
            copies = [each.astype(dtype) for each in slices]
        if all(np.array_equal(copy, each) for copy, each in zip(copies, slices, strict=True)):
            yield fingerprint_of(ct.shape, dtype.name, ct.voxel_um, copies)


def stated_voxel_um(ct: VolumeSource, *, allow_missing: bool = False) -> tuple[float, float, float] | None:
    """Return the voxel size that a file or (array, voxel_um) states, µm; None if it states none."""
    try:
        return open_volume(ct, allow_missing=allow_missing).voxel_um
    except InputError:  # no file states the voxel size; other errors occur when it is opened with a voxel size
        return None


def note_of_stated_size(
    ct: Volume, stated_um: Sequence[float] | None, *, is_input: bool | None, owner: str = "the stained volume"
) -> str | None:
    """Return the sentence that the file of a µCT states another voxel size than it is used with.

    Parameters
    ----------
    ct : Volume
        With the voxel size that is used.
    stated_um : sequence of float, optional
        That of its file. By default nothing is compared.
    is_input : bool, optional
        Whether it is the volume that was stained, by the fingerprint. Then it was stained with a given voxel size.
    owner : str
        What has the voxel size that is used.

    Returns
    -------
    str or None
        None if the sizes are the same within 1 %.

    Raises
    ------
    InputError
        If they differ, and it is not known to be the volume that was stained.
    """
    if stated_um is None or all(nearly_equal(*pair) for pair in zip(stated_um, ct.voxel_um, strict=True)):
        return None
    sizes = f"states voxels of {format_sides(stated_um)} µm, but {owner} has {format_sides(ct.voxel_um)} µm"
    if not is_input:
        raise InputError(
            f"{ct.path}: {sizes}; give the µCT that was stained, or its right size with `voxel_um`",
            parameter="voxel_um",
        )
    return f"{ct.path}: {sizes}, which is used; if it is wrong, stain again with the right size"


def describe_other_input(ct: Volume, stained: StainedVolume) -> str:
    """Return the sentence that a µCT volume is not the input of a stained volume."""
    source = stained.provenance.get("input")
    name = source.get("name") if isinstance(source, Mapping) else None
    return (
        f"{ct.path}: is not the volume '{name}' that was stained as {stained.path}: shape, voxel size or grey values "
        "differ"
    )


def warn_of_other_input(ct: Volume, stained: StainedVolume) -> None:
    """Warn if a µCT volume is not the input of a stained volume, by the stored fingerprint.

    Parameters
    ----------
    ct : Volume
    stained : StainedVolume
        Of other software or an older version, it stores no fingerprint, and nothing is compared.

    Warns
    -----
    OtherInputWarning
        If shape, voxel size, or the grey values of the first, middle or last slice differ.
    """
    if is_stained_input(ct, stained) is False:
        warn_user(f"{describe_other_input(ct, stained)}. {ADVICE}", OtherInputWarning)
