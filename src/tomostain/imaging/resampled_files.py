"""Writing a resampled volume, as OME-Zarr or as a folder of TIFF slices."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain import __version__
from tomostain.errors import InputError, InterruptedRunError, PlacementWarning, warn_user
from tomostain.imaging.resampling import Interpolation, Resampling, Triple, resample_volume, resampling_of
from tomostain.io import Volume, create_ome_zarr, open_volume, write_stack
from tomostain.io.full_disk import naming_full_disk
from tomostain.io.ome_zarr.create import check_zarr_output
from tomostain.io.output_folder import ending_of
from tomostain.io.outputs import FolderKind, check_output
from tomostain.io.own_files import is_own_tiff
from tomostain.paths import StrPath
from tomostain.progress import AGAIN, Progress, ShouldStop, how_to_continue, never, raising_on_stop, silent

logger = logging.getLogger(__name__)

Z_CHUNK = 32
SLICE_FOLDER = FolderKind("resampled volume", r"slice_\d+\.tif", is_own=is_own_tiff)


@dataclass(frozen=True)
class ResampleOptions:
    """How a file is resampled.

    Attributes
    ----------
    target_um : float or tuple of float
        New voxel size, or (z, y, x), µm.
    interpolation : "linear" or "cubic"
    overwrite : bool
        Replace existing output.
    """

    target_um: float | Triple
    interpolation: Interpolation = "linear"
    overwrite: bool = False


def resample_file(
    volume: Volume | StrPath,
    out: StrPath,
    options: ResampleOptions,
    *,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
) -> Path:
    """Resample a volume from disk to disk.

    Parameters
    ----------
    volume : Volume or path
        A µCT volume; `open_volume` opens one whose file does not state the voxel size.
    out : path
        ``NAME.zarr`` for an OME-Zarr, a name without suffix for a folder of TIFF slices.
    options : ResampleOptions
    progress : Progress
        Called for each z chunk, or slice.
    should_stop : callable
        Asked between z chunks of an OME-Zarr, or between some slices.

    Returns
    -------
    Path
        `out`. An OME-Zarr that was interrupted is continued by the same call.

    Raises
    ------
    InputError
        If an option is not valid, the volume cannot be read, or `out` exists.
    InterruptedRunError
        After `should_stop` returned True.

    Notes
    -----
    Memory: `planned_bytes`.
    """
    volume, out = volume if isinstance(volume, Volume) else open_volume(volume), Path(out)
    resampling = resampling_of(volume, options.target_um, options.interpolation)
    is_zarr = ending_of(out).endswith(".zarr")
    if not is_zarr and ending_of(out):
        raise InputError(
            f"{out}: give NAME.ome.zarr, or a name without suffix for a folder of TIFF slices", parameter="out"
        )
    if is_zarr:
        check_zarr_output(out, [volume.path], overwrite=options.overwrite)
    else:
        check_output(out, SLICE_FOLDER, [volume.path], overwrite=options.overwrite)
    for sentence in describe_doubts(resampling):
        logger.warning("%s: %s", volume.path, sentence)
    resampled = resample_volume(volume, options.target_um, interpolation=options.interpolation)
    if is_zarr:
        provenance = _provenance(volume, resampling)
        _write_ome_zarr(resampled, out, provenance, options.overwrite, progress, should_stop)
        return out
    if volume.placement is not None and resampled.placement is not None:
        warn_user(
            f"{out}: TIFF cannot hold the position of the volume ({resampled.placement.describe()}); write "
            "NAME.ome.zarr to keep it",
            PlacementWarning,
        )
    stopping = raising_on_stop(progress, should_stop, out, next_step=f"nothing was written; {AGAIN}")
    with naming_full_disk(out, AGAIN):
        write_stack(out, _slices(resampled, stopping), voxel_um=resampled.voxel_um, overwrite=options.overwrite)
    return out


def describe_doubts(resampling: Resampling) -> list[str]:
    """Return sentences about a result that is probably not intended: a copy, or a volume that is one voxel thick.

    Examples
    --------
    >>> describe_doubts(Resampling((4, 40, 40), (10.0, 10.0, 10.0), (10.0, 10.0, 10.0)))
    ['has this voxel size already; the result is a copy']
    >>> describe_doubts(Resampling((4, 400, 400), (10.0, 10.0, 10.0), (40.0, 40.0, 40.0)))
    ['the result has only 1 voxel along z; is the voxel size (40, 40, 40) µm (z, y, x) right?']
    """
    if np.allclose(resampling.original_um, resampling.target_um, rtol=1e-6):
        return ["has this voxel size already; the result is a copy"]
    sizes = zip("zyx", resampling.original_shape, resampling.shape, strict=True)
    thin = [axis for axis, before, after in sizes if after == 1 < before]
    if not thin:
        return []
    voxel = ", ".join(f"{size:g}" for size in resampling.target_um)
    return [f"the result has only 1 voxel along {' and '.join(thin)}; is the voxel size ({voxel}) µm (z, y, x) right?"]


def planned_bytes(volume: Volume, resampling: Resampling) -> tuple[int, int]:
    """Return the peak memory, without the libraries, and the uncompressed size of the output, bytes.

    A z chunk of the result with the buffers of the writer, and what reading takes (`Resampling.memory_bytes`).
    """
    depth, height, width = resampling.shape
    itemsize = volume.dtype.itemsize
    chunk = min(Z_CHUNK, depth) * height * width * itemsize
    return 4 * chunk + resampling.memory_bytes(itemsize), depth * height * width * itemsize


def _provenance(volume: Volume, resampling: Resampling) -> dict[str, Any]:
    return {
        "input": {"name": volume.path.name, "fingerprint": volume.fingerprint(), **volume.missing_record()},
        "resampled": resampling.to_dict(),
        "tomostain_version": __version__,
    }


def _write_ome_zarr(
    volume: Volume, out: Path, provenance: dict[str, Any], overwrite: bool, progress: Progress, should_stop: ShouldStop
) -> None:
    next_step = how_to_continue(overwrite=overwrite)
    with naming_full_disk(out, AGAIN):
        writer = create_ome_zarr(
            out,
            volume.shape,
            volume.voxel_um,
            z_chunk=Z_CHUNK,
            provenance=provenance,
            overwrite=overwrite,
            resume=not overwrite,
            dtype=volume.dtype,
            origin_um=provenance["resampled"]["origin_um"],
            placement=volume.placement,
        )
    with naming_full_disk(out, next_step):
        try:
            for start, stop in writer.pending():
                if should_stop():
                    raise InterruptedRunError(f"{out}: stopped at slice {start}; {next_step}")
                with writer.lock(start) as is_locked:
                    if is_locked:
                        writer.write(start, volume.read(start, stop))
                progress("resampling", stop, volume.shape[0])
            if not writer.pending():
                writer.finish(raising_on_stop(progress, should_stop, out, next_step=next_step))
        finally:
            writer.release()


def _slices(volume: Volume, progress: Progress) -> Iterator[NDArray[np.generic]]:
    """Yield the slices; a few are computed at a time, because they share input slices."""
    step = 8
    for start in range(0, volume.shape[0], step):
        yield from volume.read(start, min(start + step, volume.shape[0]))
        progress("resampling", min(start + step, volume.shape[0]), volume.shape[0])
