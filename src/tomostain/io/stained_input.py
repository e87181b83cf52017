"""Whether a µCT volume is the one that was stained."""

import warnings
from collections.abc import Iterator, Mapping

import numpy as np

from tomostain.errors import OtherInputWarning
from tomostain.integers import to_integers
from tomostain.io.ome_zarr.reader import StainedVolume
from tomostain.io.volumes.fingerprint import fingerprint_of, fingerprint_slices
from tomostain.io.volumes.volume import Volume

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
    source = stained.provenance.get("input")
    if not isinstance(source, Mapping) or "fingerprint" not in source:
        return None
    if stained.provenance.get("resampled") is not None:
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
        message = f"{describe_other_input(ct, stained)}. Compare only what belongs together"
        warnings.warn(message, OtherInputWarning, stacklevel=3)
