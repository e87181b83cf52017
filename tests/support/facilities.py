"""Volumes in the file layouts of facilities, each written according to its program's source or output; see the URLs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import tifffile
import zarr

VOXEL_UM = 5.0
Array = np.ndarray


def slices(folder: Path, volume: Array, name: str, **options: object) -> Path:
    """Write slices without a voxel size; `name` is formatted with the number."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(volume):
        tifffile.imwrite(folder / name.format(number), image, metadata=None, **options)
    return folder


def hereon_log(unbinned: float = 2.5, binned: float = 5.0, scan: str = "syn7_Mg10Gd", more: str = "") -> str:
    """Return a log as matlab/experiments/p05/p05_reco.m, https://github.com/moosmann/matlab at e3c5f0d, prints it."""
    # formattedDisplayText(par) repeats the sizes in metres and without a unit: a trap.
    return (
        f"scan_name : {scan}\nbeamtime_id : 11012345\nscan_path : /asap3/p05/11012345/raw/{scan}/\n"
        f"reco_path : /asap3/p05/11012345/processed/{scan}/reco/\n"
        "rot_axis_offset = par.raw_bin / 2 * 12.500000\nrot_axis_offset_reco : 12.500000\n"
        f"eff_pixel_size : {unbinned:g} micron\neff_pixel_size_binned : {binned:g} micron\n"
        "energy : 45000 eV\nsample_detector_distance : 1.000000 m\ns_stage_z : 21.3 \n"
        "date_of_reconstruction : 03-Mar-2023 10:11:12\nMATLAB version : 9.13.0\n\n\nParamters\n"
        f'        scan_path: "/asap3/raw/{scan}/"\n          raw_bin: {round(binned / unbinned)}\n'
        f"    eff_pixel_size: {unbinned * 1e-6:.4e}\n    eff_pixel_size_binned: {binned * 1e-6:.4e}\n{more}"
    )


def old_hereon_log(unbinned: float = 2.5, binned: float = 5.0, scan: str = "syn7_Mg10Gd", more: str = "") -> str:
    """Return a log as matlab/hzg/sino_reco.m of the same repository prints it."""
    return (
        f"scan_name : {scan}\nbeamtime_id : 11004016\nscan_path : /raw/{scan}/\nreco_path : /processed/{scan}/reco/\n"
        "MATLAB notation, index of first element: 1, range: first:stride:last\nMATLAB version : 9.4\n"
        f"effective_pixel_size : {unbinned:g} micron\neffective_pixel_size_binned : {binned:g} micron\n"
        f"energy : 45000 eV\nsample_detector_distance : 0.300000 m\n{more}"
    )


def skyscan_log(pixel: float = 5.0, step: int = 1, prefix: str = "rat3_A12__rec", last: int = 2050) -> str:
    """Return an NRecon log, shortened, with the sections and keys of one that a user shows (NRecon 1.7.1.2).

    https://discourse.slicer.org/t/problems-with-openning-tiff-by-loading-log-document-on-skyscanreconimport-module/26898
    """
    lines = f"""[System]
Scanner=SkyScan1275
Camera Pixel Size (um)=75.0
[User]
User Name=Müller
[Acquisition]
Filename Prefix=rat3_A12_~00
Number Of Rows= 1536
Camera binning=1x1
Object to Source (mm)=24.755
Image Pixel Size (um)=7.000817
Scaled Image Pixel Size (um)=7.000817
[Reconstruction]
Reconstruction Program=NRecon
Program Version=Version: 1.7.1.2
First Section=421
Last Section={last}
Section to Section Step={step}
Result File Type=TIF
Pixel Size (um)={pixel:.5f}
Undersampling factor=1
[File name convention]
Filename Index Length=8
Filename Prefix={prefix}
"""
    return lines.replace("\n", "\r\n")


def hereon(folder: Path, volume: Array, voxel_um: float = VOXEL_UM) -> Path:
    """Write ``<scan>/reco/float_rawBin2/reco_<scan>_000000.tif`` and the log one folder up."""
    reco = folder / "processed" / "syn7_Mg10Gd" / "reco"
    path = slices(reco / "float_rawBin2", volume, "reco_syn7_Mg10Gd_{:06d}.tif")
    (reco / "reco_rawBin2.log").write_text(hereon_log(voxel_um / 2, voxel_um))
    return path


def hereon_hdf5(folder: Path, volume: Array, voxel_um: float = VOXEL_UM) -> Path:
    """Write one file ``<scan>.h5`` with ``/volume`` and the log next to it (outputformat hdf_volume of p05_reco.m)."""
    (folder / "reco_rawBin2.log").write_text(hereon_log(voxel_um / 2, voxel_um))
    with h5py.File(folder / "syn7_Mg10Gd.h5", "w") as file:
        file["volume"] = volume
    return folder / "syn7_Mg10Gd.h5"


def skyscan(folder: Path, volume: Array, voxel_um: float = VOXEL_UM) -> Path:
    """Write NRecon's slices, numbered by section from 421, its preview and its log in the code page of Windows."""
    path = folder / "rat3_A12__Rec"
    slices(path, volume, "rat3_A12__rec{:08d}.tif")
    for file in sorted(path.iterdir(), reverse=True):
        file.rename(path / f"rat3_A12__rec{int(file.stem[-8:]) + 421:08d}.tif")
    tifffile.imwrite(path / "rat3_A12__rec_spr.tif", volume[0, :5], metadata=None)
    (path / "rat3_A12__rec.log").write_bytes(skyscan_log(voxel_um, last=420 + len(volume)).encode("cp1252"))
    return path


def nxtomoproc(folder: Path, volume: Array, axes: str = "zyx", old: bool = False, voxel_um: float = VOXEL_UM) -> Path:
    """Write a file according to https://manual.nexusformat.org/classes/applications/NXtomoproc.html."""
    stored = volume.transpose(["zyx".index(axis) for axis in axes])
    with h5py.File(folder / "recon.nxs", "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        entry["definition"] = "NXtomoproc"
        entry["other/mask"] = np.ones(volume.shape, np.uint8)
        group = entry.create_group("data")
        group.attrs["NX_class"] = "NXdata"
        group["data"] = stored
        for place, axis in enumerate(axes):
            field = group.create_dataset(axis, data=1.5 + voxel_um / 1000 * np.arange(stored.shape[place]))
            field.attrs["units"] = "mm"
            if old:
                field.attrs["axis"] = place + 1
        if old:
            group["data"].attrs["signal"] = 1
        else:
            group.attrs["signal"] = "data"
            group.attrs["axes"] = list(axes)
    return folder / "recon.nxs"


def nabu(folder: Path, volume: Array, binning: int = 1, voxel_um: float = VOXEL_UM) -> Path:
    """Write nabu's master file with its virtual dataset, as nabu/io/writer.py of nabu 2026.1.2 writes it.

    https://gitlab.esrf.fr/tomotools/nabu
    """
    half = len(volume) // 2
    (folder / "rec").mkdir()
    together = h5py.VirtualLayout(volume.shape, volume.dtype)
    inside = "entry0000/reconstruction/results/data"
    for start, stop in ((0, half), (half, len(volume))):
        name = f"rec/rec_{start:05d}.hdf5"
        with h5py.File(folder / name, "w") as part:
            part[inside] = volume[start:stop]
        together[start:stop] = h5py.VirtualSource(name, inside, (stop - start, *volume.shape[1:]))
    with h5py.File(folder / "rec.hdf5", "w") as file:
        entry = file.create_group("entry0000")
        entry.attrs["NX_class"], entry.attrs["default"] = "NXentry", "reconstruction/results"
        process = entry.create_group("reconstruction")
        process.attrs["NX_class"], process["program"] = "NXprocess", "nabu"
        process["configuration/processing_options/reconstruction/voxel_size_cm"] = [voxel_um / binning * 1e-4] * 3
        process["configuration/nabu_config/dataset/binning"] = binning
        process["configuration/nabu_config/dataset/binning_z"] = binning
        results = process.create_group("results")
        results.attrs["NX_class"], results.attrs["signal"] = "NXdata", "data"
        results.create_virtual_dataset("data", together)
    return folder / "rec.hdf5"


def nabu_infos(voxel_cm: str, binning: int = 1) -> str:
    """Return the description next to nabu's TIFF slices, as silx/io/configdict.py writes a dictionary.

    https://github.com/silx-kit/silx
    """
    return (
        f"\n[nabu_config]\n\n[nabu_config.dataset]\nlocation = /data/visitor/scan.nx\nbinning = {binning}\n"
        f"binning_z = {binning}\n\n[processing_options]\n\n[processing_options.phase]\npixel_size_microns = 0.7\n\n"
        f"[processing_options.reconstruction]\nangles = [ 0.0 0.1 0.2 ]\nvoxel_size_cm = {voxel_cm}\n"
    )


def nabu_tiff(folder: Path, volume: Array, voxel_um: float = VOXEL_UM) -> Path:
    """Write nabu's slices and their description (tomoscan/esrf/volume/singleframebase.py, tomoscan 2.5.1)."""
    path = slices(folder / "bone_vol", volume, "bone_vol_{:06d}.tiff")
    (path / "bone_vol_infos.txt").write_text(nabu_infos(", ".join([f"{voxel_um / 2 * 1e-4:.9g}"] * 3), binning=2))
    return path


def httomo(folder: Path, volume: Array, angles: int = 181) -> Path:
    """Write httomo's file: (y, z, x), no voxel size (httomo/methods.py, https://github.com/DiamondLightSource/httomo)."""
    with h5py.File(folder / "6-httomolibgpu-FBP3d_tomobar.h5", "w") as file:
        file["angles"] = np.linspace(0, np.pi, angles)
        file["6-httomolibgpu-FBP3d_tomobar.h5"] = [0, 0]
        file["data_dims/detector_x_y"] = [volume.shape[2], volume.shape[0]]
        file["data"] = volume.swapaxes(0, 1)
    return folder / "6-httomolibgpu-FBP3d_tomobar.h5"


def httomo_tiff(folder: Path, volume: Array) -> Path:
    """Write the slices of httomolib/misc/images.py, https://github.com/DiamondLightSource/httomolib."""
    return slices(folder / "images" / "images32bit_tif", volume, "{:05d}.tif")


def tomopy(folder: Path, volume: Array) -> Path:
    """Write slices as TomoPy's demos do, by dxchange.write_tiff_stack (https://github.com/data-exchange/dxchange)."""
    return slices(folder / "recon_dir", volume, "recon_{:05d}.tiff")


def nabu_zarr(folder: Path, volume: Array, unit: str = "micrometer", voxel_um: float = VOXEL_UM) -> Path:
    """Write nabu's OME-Zarr (nabu/io/ome_zarr.py, 2026.1.2), whose z step is negative where it began with the last."""
    group = zarr.open_group(folder / "rec.zarr", mode="w", zarr_format=3)
    group.create_array("0", data=volume)
    axes = [{"name": axis, "type": "space", "unit": unit} for axis in "zyx"]
    scale = [{"type": "scale", "scale": [-voxel_um, voxel_um, voxel_um]}]
    image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    return folder / "rec.zarr"


Write = Callable[..., Path]
"""(folder, volume of shape (z, y, x), voxel_um=…) → what `open_volume` opens."""

LAYOUTS: dict[str, Write] = {
    "Hereon": hereon,
    "Hereon HDF5": hereon_hdf5,
    "Bruker": skyscan,
    "NXtomoproc": nxtomoproc,
    "NXtomoproc x first": partial(nxtomoproc, axes="xyz", old=True),
    "nabu": nabu,
    "nabu binned": partial(nabu, binning=2),
    "nabu TIFF": nabu_tiff,
    "nabu Zarr": nabu_zarr,
}
SILENT: dict[str, Write] = {"httomo": httomo, "httomo TIFF": httomo_tiff, "TomoPy": tomopy}
"""Programs that write no voxel size."""
