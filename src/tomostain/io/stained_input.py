"""Whether a µCT volume is the one that was stained."""

import warnings
from collections.abc import Mapping

from tomostain.errors import OtherInputWarning
from tomostain.io.ome_zarr.reader import StainedVolume
from tomostain.io.volumes.volume import Volume


def is_stained_input(ct: Volume, stained: StainedVolume) -> bool | None:
    """Return whether a µCT volume is the input of a stained volume, by the stored fingerprint.

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
    source = stained.provenance.get("input")
    if not isinstance(source, Mapping) or "fingerprint" not in source:
        return None
    if stained.provenance.get("resampled") is not None:
        return None
    return bool(ct.fingerprint() == source["fingerprint"])


def describe_other_input(ct: Volume, stained: StainedVolume) -> str:
    """Return the sentence that a µCT volume is not the input of a stained volume."""
    source = stained.provenance.get("input")
    name = source.get("name") if isinstance(source, Mapping) else None
    return (
        f"{ct.path}: is not the volume '{name}' that was stained as {stained.path}: shape, type, voxel size or grey "
        "values differ"
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
        If shape, type, voxel size, or the first, middle or last slice differ.
    """
    if is_stained_input(ct, stained) is False:
        message = f"{describe_other_input(ct, stained)}. Compare only what belongs together"
        warnings.warn(message, OtherInputWarning, stacklevel=3)
