"""One volume in every input format, written as each facility and program writes it (`facilities`, and below)."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import tifffile
import zarr
from numpy.typing import DTypeLike, NDArray

from tests.support import facilities
from tomostain.io import open_stained, open_volume
from tomostain.io.ome_zarr.shards import read_shard_sums
from tomostain.stain import StainConfig, stain_volume

Array = NDArray[Any]
SINGLE: DTypeLike = np.float32
# The attenuation in a real scan is small; a power of two changes no digit of a float.
ATTENUATION = 2.0**-8
# The factor between random weights and initial weights: without it all volumes would have the same grey.
GAIN = 5.0


class Format(NamedTuple):
    """A way to write a volume: the program, the number type, the writer, and whether it states the voxel size."""

    dtype: DTypeLike | None
    write: Callable[..., Path]
    says_size: bool = True
    unit: float = 1.0


def imagej(folder: Path, volume: Array, voxel_um: float) -> Path:
    """Write a stack as Fiji saves it: big-endian, spacing and unit in the description."""
    metadata = {"spacing": voxel_um, "unit": "micron", "axes": "ZYX"}
    per_um = (1 / voxel_um, 1 / voxel_um)
    tifffile.imwrite(folder / "stack.tif", volume, imagej=True, resolution=per_um, metadata=metadata)
    return folder / "stack.tif"


def ome_tiff(folder: Path, volume: Array, voxel_um: float, **options: Any) -> Path:
    """Write an OME-TIFF."""
    metadata = {"axes": "ZYX"} | {f"PhysicalSize{axis}": voxel_um for axis in "XYZ"}
    metadata |= {f"PhysicalSize{axis}Unit": "µm" for axis in "XYZ"}
    tifffile.imwrite(folder / "volume.ome.tif", volume, metadata=metadata, **options)
    return folder / "volume.ome.tif"


def plain_hdf5(folder: Path, volume: Array, voxel_um: float) -> Path:
    """Write one compressed dataset with its size, as ilastik and Fiji do."""
    with h5py.File(folder / "volume.h5", "w") as file:
        data = file.create_dataset("exported_data", data=volume, chunks=True, compression="gzip")
        data.attrs["element_size_um"] = [voxel_um] * 3
    return folder / "volume.h5"


def ome_zarr(folder: Path, volume: Array, voxel_um: float, version: str) -> Path:
    """Write an OME-Zarr according to the specification of its version, by zarr alone; 0.5 sharded."""
    path = folder / "volume.ome.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    shape = (1, *volume.shape)
    chunks = (1, *(min(64, side) for side in volume.shape))
    shards = None if version == "0.4" else (1, *(2 * side for side in chunks[1:]))
    array = group.create_array("0", shape=shape, dtype=volume.dtype, chunks=chunks, shards=shards)
    array[...] = volume[None]
    axes: list[dict[str, str]] = [{"name": "c", "type": "channel"}]
    axes += [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"]
    scale = [{"type": "scale", "scale": [1.0, *[voxel_um] * 3]}]
    image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    if version == "0.4":
        group.attrs["multiscales"] = [image | {"version": version}]
    else:
        group.attrs["ome"] = {"version": version, "multiscales": [image]}
    return path


def itk(folder: Path, volume: Array, voxel_um: float, name: str, compress: bool = False) -> Path:
    """Write NRRD, MHA or NIfTI, whose spacings are mm."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(volume)
    image.SetSpacing([voxel_um / 1000] * 3)
    sitk.WriteImage(image, str(folder / name), compress)
    return folder / name


FORMATS: dict[str, Format] = {
    "Hereon (P05, P07), folder and log": Format(SINGLE, facilities.hereon),
    "the same, attenuation": Format(SINGLE, facilities.hereon, unit=ATTENUATION),
    "Hereon, HDF5 and log": Format(SINGLE, facilities.hereon_hdf5),
    "Bruker NRecon, `_Rec` and log": Format(np.uint16, facilities.skyscan),
    "ImageJ stack": Format(None, imagej),
    "ImageJ stack, 32 bit": Format(SINGLE, imagej),
    "OME-TIFF": Format(None, ome_tiff),
    "OME-TIFF, tiled, zlib": Format(np.uint16, partial(ome_tiff, tile=(64, 64), compression="zlib")),
    "HDF5 (ilastik)": Format(None, plain_hdf5),
    "NeXus NXtomoproc": Format(SINGLE, facilities.nxtomoproc),
    "NeXus NXtomoproc, x first": Format(SINGLE, partial(facilities.nxtomoproc, axes="xyz", old=True)),
    "nabu, HDF5": Format(SINGLE, facilities.nabu),
    "nabu, HDF5, binned": Format(SINGLE, partial(facilities.nabu, binning=2)),
    "nabu, TIFF": Format(SINGLE, facilities.nabu_tiff),
    "nabu, OME-Zarr": Format(SINGLE, facilities.nabu_zarr),
    "httomo, HDF5": Format(SINGLE, facilities.httomo, says_size=False),
    "httomo, TIFF": Format(SINGLE, facilities.httomo_tiff, says_size=False),
    "TomoPy, TIFF": Format(SINGLE, facilities.tomopy, says_size=False),
    "OME-Zarr 0.4": Format(None, partial(ome_zarr, version="0.4")),
    "OME-Zarr 0.5, sharded": Format(None, partial(ome_zarr, version="0.5")),
    "NRRD": Format(None, partial(itk, name="volume.nrrd")),
    "NRRD, gzip": Format(np.uint16, partial(itk, name="volume.nrrd", compress=True)),
    "MHA": Format(np.int16, partial(itk, name="volume.mha")),
    "NIfTI, gzip": Format(SINGLE, partial(itk, name="volume.nii.gz")),
}


def read_slices(folder: Path) -> Array:
    """Return the slices of a folder in the order of their names, read by tifffile alone."""
    files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in (".tif", ".tiff")]
    return np.stack([tifffile.imread(path) for path in files])


def stained(model: Path, volume: Path, out: Path, voxel_um: float | None) -> tuple[Any, dict[str, str]]:
    """Stain a volume; return it as it was opened, and the checksums of all shards by name."""
    size = {} if voxel_um is None else {"voxel_um": voxel_um}
    settings = StainConfig(blend="exact")
    stain_volume(model, volume, out, config=settings, allow_voxel_mismatch=True, overwrite=True, **size)
    return open_volume(volume, **size), read_shard_sums(out) or {}


def in_another_scale(model: Path, slices: Path, out: Path, voxel_um: float) -> tuple[int, float]:
    """Stain the slices as attenuation, with rounding; return the largest difference and the share of differing values.

    Parameters
    ----------
    out : Path
        Folder of `studies.volumes.formats.compare`, with the stained original slices.

    Returns
    -------
    int
        Largest difference, grey levels.
    float
        Share of the values that differ.
    """
    folder = out / "another-scale"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    attenuation = (read_slices(slices) * 0.0137 - 0.21).astype(SINGLE)
    path = facilities.hereon(folder, attenuation, voxel_um=voxel_um)
    stained(model, path, folder / "stained.ome.zarr", None)
    volumes = [open_stained(name) for name in (out / "as-it-came.ome.zarr", folder / "stained.ome.zarr")]
    largest, differing = 0, 0
    for z in range(len(attenuation)):
        first, second = (volume.read(z, z + 1).astype(np.int16) for volume in volumes)
        difference = np.abs(first - second)
        largest, differing = max(largest, int(difference.max())), differing + int(np.count_nonzero(difference))
    return largest, differing / (3 * attenuation.size)
