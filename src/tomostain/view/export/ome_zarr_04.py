"""Export of a stained volume as OME-Zarr 0.4 (Zarr 2), for viewers that do not read 0.5 yet.

Source: the OME-Zarr (OME-NGFF) 0.4 specification. It has no shards, so each chunk is a file.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tomostain.io.atomic import atomic_folder
from tomostain.io.checksums import sha256
from tomostain.io.metadata.placement import Placement
from tomostain.io.ome_zarr.metadata import ome_metadata
from tomostain.io.ome_zarr.pyramid import Shape
from tomostain.io.ome_zarr.reader import StainedVolume
from tomostain.io.ome_zarr.shards import write_shard_sums
from tomostain.io.outputs import FolderKind, check_output
from tomostain.progress import Progress, silent

if TYPE_CHECKING:
    import zarr

_CHUNK = 64
OME_ZARR_04 = FolderKind(
    "export to ome-zarr-0.4",
    r"\.zgroup|\.zattrs|\.zmetadata|\d+/(\.zarray|\.zattrs|SHA256SUMS|\d+(/\d+)*)",
    ".zattrs",
    '"tomostain"',
    is_zarr=True,
)
"""The folder that is written, as `tomostain.io.outputs.check_output` recognises it."""


def write_ome_zarr_04(
    volume: StainedVolume, out: Path, *, level: int = 0, overwrite: bool = False, progress: Progress = silent
) -> None:
    """Write the levels of a stained volume from `level` on as OME-Zarr 0.4, one layer of chunks at a time.

    Parameters
    ----------
    volume : StainedVolume
    out : Path
        Folder. It appears when it is complete.
    level : int
        The level that becomes the finest.
    overwrite : bool
        Replace an existing folder.
    progress : Progress
        Listener.

    Raises
    ------
    InputError
        If the folder exists, or the volume is damaged.
    """
    import zarr

    check_output(out, OME_ZARR_04, [volume.path], overwrite=overwrite)
    levels = volume.levels[level:]
    with atomic_folder(out, overwrite) as temporary:
        group = zarr.open_group(temporary, mode="w", zarr_format=2)
        for number, (shape, _) in enumerate(levels):
            array = _new_array(group, str(number), shape)
            for z0 in range(0, shape[0], _CHUNK):
                z1 = min(z0 + _CHUNK, shape[0])
                array[:, z0:z1] = np.moveaxis(volume.read(z0, z1, level + number), -1, 0)
                progress(f"level {level + number}", z1, shape[0])
        group.attrs.update(_attributes(volume, out.name, level))
        files = [path for number in range(len(levels)) for path in (temporary / str(number)).rglob("*")]
        chunks = sorted(path for path in files if path.is_file() and path.name.isdigit())
        write_shard_sums(temporary, {path.relative_to(temporary).as_posix(): sha256(path) for path in chunks})


def _new_array(group: "zarr.Group", name: str, shape: Shape) -> "zarr.Array":
    """Create an empty level. The three channels share one chunk, as in 0.5, for the same viewers."""
    from numcodecs import Blosc

    return group.create_array(
        name,
        shape=(3, *shape),
        chunks=(3, *(min(_CHUNK, side) for side in shape)),
        dtype="uint8",
        compressors=Blosc(cname="zstd", clevel=3, shuffle=Blosc.NOSHUFFLE),
        fill_value=0,
        chunk_key_encoding={"name": "v2", "separator": "/"},
    )


def _attributes(volume: StainedVolume, name: str, level: int) -> dict[str, Any]:
    """Return the attributes of the group: those of 0.5, with the version in each part."""
    finest = np.asarray(volume.levels[level][1])
    placement = volume.placements[level] or Placement()
    # The centre of the first voxel moves by half the growth of the voxel, as in `level_scales`.
    scales = [
        (list(step), list(placement.moved((np.asarray(step) - finest) / 2).origin_um))
        for _, step in volume.levels[level:]
    ]
    ome = ome_metadata(name, scales)
    image = {"version": "0.4", **ome["multiscales"][0]}
    omero = {"version": "0.4", **ome["omero"]}
    own_metadata = {"level": level, "stained": volume.path.name, "provenance": volume.provenance}
    if not placement.is_default:
        own_metadata["placement"] = placement.to_dict()
    return {"multiscales": [image], "omero": omero, "tomostain": own_metadata}
