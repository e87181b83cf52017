"""Whether a µCT volume is the one that was stained."""

import warnings
from collections.abc import Mapping

from tomostain.errors import OtherInputWarning
from tomostain.io.ome_zarr.reader import StainedVolume
from tomostain.io.volumes.volume import Volume


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
    source = stained.provenance.get("input")
    if not isinstance(source, Mapping) or "fingerprint" not in source:
        return
    stored, name = source["fingerprint"], source.get("name")
    if stained.provenance.get("resampled") is not None or ct.fingerprint() == stored:
        return
    warnings.warn(
        f"{ct.path}: is not the volume '{name}' that was stained as {stained.path}: shape, type, voxel size or grey "
        "values differ. Compare only what belongs together",
        OtherInputWarning,
        stacklevel=3,
    )
