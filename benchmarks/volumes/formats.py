"""One real volume in every input format that the program reads, each stained, and whether all come out the same.

    python -m benchmarks.volumes.formats SLICES OUT --voxel-um 19.5 [--model FOLDER] [--keep]

SLICES is a folder of grey TIFF slices. It is written as each facility and program would write it (`facilities`, and
below), stained by one model, and the checksums of all shards are compared with those of the slices as they came: the
grey levels are estimated on each anew, so reading, estimating and staining must all come out the same. Prints a table;
ends with 1 if a format differs.
"""

import argparse
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import tifffile
import zarr
from numpy.typing import DTypeLike, NDArray

from benchmarks.volumes import facilities
from benchmarks.volumes.common import random_model, where_and_when
from tomostain.io import open_stained, open_volume
from tomostain.io.ome_zarr.shards import read_sums
from tomostain.stain import StainConfig, stain_volume

Array = NDArray[Any]
SINGLE: DTypeLike = np.float32
# What is attenuation in a real scan is small; a power of two changes no digit of a float.
ATTENUATION = 2.0**-8
# So much larger are random weights than at the beginning of training: else all volumes would come out the same grey.
GAIN = 5.0


class Format(NamedTuple):
    """A way to write a volume: who writes so, in which type of number, by what, and whether it says the voxel size."""

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
    """Write an OME-Zarr after the specification of its version, by zarr alone; 0.5 sharded."""
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


class Found(NamedTuple):
    """What became of one format."""

    name: str
    dtype: str
    voxel_from: str
    voxel_um: tuple[float, float, float]
    sums: dict[str, str]
    same: bool


def read_slices(folder: Path) -> Array:
    """Return the slices of a folder in the order of their names, read by tifffile alone."""
    files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in (".tif", ".tiff")]
    return np.stack([tifffile.imread(path) for path in files])


def stained(model: Path, volume: Path, out: Path, voxel_um: float | None) -> tuple[Any, dict[str, str]]:
    """Stain a volume; return it as it was opened, and the checksums of all shards by name."""
    size = {} if voxel_um is None else {"voxel_um": voxel_um}
    settings = StainConfig(blend="exact")
    stain_volume(model, volume, out, config=settings, allow_voxel_mismatch=True, overwrite=True, **size)
    return open_volume(volume, **size), read_sums(out) or {}


def compare(model: Path, slices: Path, out: Path, voxel_um: float, keep: bool = False) -> list[Found]:
    """Stain the slices as they are and in every format; the first of what is returned is as they are."""
    out.mkdir(parents=True, exist_ok=True)
    opened, wanted = stained(model, slices, out / "as-it-came.ome.zarr", voxel_um)
    found = [Found("as it came", opened.dtype.name, opened.voxel_from, opened.voxel_um, wanted, bool(wanted))]
    values = read_slices(slices)
    for number, (name, form) in enumerate(FORMATS.items()):
        folder = out / f"format-{number:02d}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        laid = values if form.dtype is None else (values * form.unit).astype(form.dtype)
        size = {"voxel_um": voxel_um} if form.says_size else {}
        path = form.write(folder, laid, **size)
        opened, sums = stained(model, path, folder / "stained.ome.zarr", None if form.says_size else voxel_um)
        sized = bool(np.allclose(opened.voxel_um, voxel_um, rtol=1e-5))
        found.append(Found(name, opened.dtype.name, opened.voxel_from, opened.voxel_um, sums, sums == wanted and sized))
        print(line(found[-1]), flush=True)
        if not keep:
            shutil.rmtree(folder)
    return found


def in_another_scale(model: Path, slices: Path, out: Path, voxel_um: float) -> tuple[int, float]:
    """Stain the slices in a scale that rounds; return the largest difference, grey levels, and how many values differ.

    Parameters
    ----------
    out : Path
        The folder of `compare`.
    """
    folder = out / "another-scale"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    attenuation = (read_slices(slices) * 0.0137 - 0.21).astype(SINGLE)
    path = facilities.hereon(folder, attenuation, voxel_um=voxel_um)
    stained(model, path, folder / "stained.ome.zarr", None)
    volumes = [open_stained(name) for name in (out / "as-it-came.ome.zarr", folder / "stained.ome.zarr")]
    most, differing = 0, 0
    for z in range(len(attenuation)):
        first, second = (volume.read(z, z + 1).astype(np.int16) for volume in volumes)
        wrong = np.abs(first - second)
        most, differing = max(most, int(wrong.max())), differing + int(np.count_nonzero(wrong))
    return most, differing / (3 * attenuation.size)


def line(found: Found) -> str:
    """Return a line of the table."""
    voxel = "{:g} × {:g} × {:g}".format(*found.voxel_um)
    cells = (found.name, found.dtype, voxel, found.voxel_from, "same" if found.same else "**differs**")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slices", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--voxel-um", type=float, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    model = options.model or options.out / "model"
    if not model.exists():
        random_model(model, norm="channel", width=4, gain=GAIN)
    print(where_and_when(), "\n| format | read as | voxel / µm | size from | stain |", "|---" * 5 + "|", sep="\n")
    found = compare(model, options.slices, options.out, options.voxel_um, options.keep)
    volume = open_stained(options.out / "as-it-came.ome.zarr")
    middle = volume.read(volume.shape[0] // 2, volume.shape[0] // 2 + 1)
    spread = ", ".join(f"{value:.0f}" for value in middle.std(axis=(0, 1, 2)))
    print(f"\n{len(found[0].sums)} shards, all levels; the colours of the middle slice spread by {spread}")
    most, part = in_another_scale(model, options.slices, options.out, options.voxel_um)
    print(f"as attenuation in a scale that rounds: {most} grey level(s) off at most, in {part:.1e} of the values")
    odd = [one.name for one in found if not one.same]
    sys.exit(f"differ: {', '.join(odd)}" if odd else 0)


if __name__ == "__main__":
    main()
