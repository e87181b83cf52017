"""Opening a volume: a file, a folder, an array, or an array with its voxel size."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.input_files import refuse_special_file, refuse_url
from tomostain.io.array_source import split_source
from tomostain.io.content import what_it_is
from tomostain.io.metadata.units import check_voxel_um
from tomostain.io.volumes.base import ReadSlices, Source
from tomostain.io.volumes.missing import clipped
from tomostain.io.volumes.registry import find_reader, volume_formats
from tomostain.io.volumes.slice_folder import SLICE_FOLDER
from tomostain.io.volumes.stated import check_size
from tomostain.io.volumes.volume import Volume, VolumeSource, logger, volume_of_source
from tomostain.io.volumes.voxel_size import check_numbering_step
from tomostain.io.volumes.ways_out import way_out


def open_volume(
    path: "VolumeSource",
    *,
    voxel_um: float | Sequence[float] | None = None,
    dataset: str | None = None,
    allow_missing: bool = False,
) -> Volume:
    """Open a µCT volume; no grey value is read yet.

    Parameters
    ----------
    path : path, Volume, array-like or tuple (array, voxel_um)
        A folder of TIFF slices, one TIFF or OME-TIFF, HDF5, NRRD, MHA, NIfTI, or an OME-Zarr folder (0.4 or 0.5). An
        open volume is returned as it is; an array becomes one (`Volume.from_array`).
    voxel_um : float or sequence of float, optional
        Voxel size, or (z, y, x), µm. It takes precedence over the files, and these over the log of the reconstruction
        next to them. It must be given if neither states it.
    dataset : str, optional
        Path of the volume inside an HDF5 file; required if the file holds more than one and shows none by default.
    allow_missing : bool
        Fill slices of which data are missing (never written, or not copied) with zeros. `Volume.missing` lists them.

    Returns
    -------
    Volume

    Raises
    ------
    InputError
        If there is no volume, it is damaged, data are missing, its values are not grey values, or its voxel size is
        neither stated nor given, or stated twice with a contradiction.

    Notes
    -----
    The formats, and the source of the voxel size for each facility, are listed in ``docs/reference/files.md``. The
    sources of the layouts are cited in `tomostain.io.metadata.nexus`, `tomostain.io.metadata.logs` and
    `tomostain.io.metadata.sidecar_logs`.
    """
    if isinstance(path, Volume):
        if voxel_um is not None or dataset is not None:
            raise InputError(f"{path.path}: `voxel_um` and `dataset` are for files; this volume is open already")
        return path
    if (array := split_source(path, voxel_um, "voxel_um")) is not None:
        return Volume.from_array(*array)
    path = Path(path)  # type: ignore[arg-type]  # no array
    refuse_special_file(path)
    voxel = None if voxel_um is None else check_voxel_um(voxel_um)
    source = _open_source(path, dataset)
    check_size(path, source)
    if voxel is None or len(set(voxel)) == 1:  # the command line turns one number into three
        check_numbering_step(path, source, voxel)
    if not source.missing:
        return volume_of_source(path, source, voxel)
    if not allow_missing:
        raise InputError(f"{path}: {source.missing.message()}", parameter="allow_missing")
    logger.warning("%s: %s; filled with zeros", path, source.missing.reason)
    volume = volume_of_source(path, replace(source, read=_filled(source)), voxel)
    return replace(volume, missing=source.missing.slices)


def _filled(source: Source) -> ReadSlices:
    """Return the reader of a source with zeros instead of a fill value that is not finite."""

    def read(start: int, stop: int) -> NDArray[Any]:
        values = source.read(start, stop)
        for low, high in clipped(source.missing.slices, start, stop) if values.dtype.kind == "f" else ():
            part = values[low:high]
            part[~np.isfinite(part)] = 0
        return values

    return read


def _open_source(path: Path, dataset: str | None) -> Source:
    """Choose the reader by the name or, for a folder, by its content."""
    if not path.exists():
        refuse_url(path)
        raise InputError(f"{path}: no such file or folder")
    reader = find_reader(path) or (SLICE_FOLDER if path.is_dir() else None)
    if dataset is not None and (reader is None or not reader.has_datasets):
        raise InputError(
            f"`dataset`: {dataset} names a dataset inside HDF5, but {path} is not an HDF5 file; leave it out",
            parameter="dataset",
        )
    if reader is None:
        advice = way_out(path) or what_it_is(path)
        if advice:
            raise InputError(f"{path}: {_ending(path)} is not a volume format known here; {advice}")
        formats = ", ".join(volume_formats())
        raise InputError(
            f"{path}: {_ending(path)} is not a volume format known here; use {SLICE_FOLDER.label}, or a file in one of "
            f"the formats {formats}"
        )
    logger.info("%s: reading as %s", path, reader.label)
    return reader.source(path, dataset)


def _ending(path: Path) -> str:
    return f"'{path.suffix}'" if path.suffix else "a name without an ending"
