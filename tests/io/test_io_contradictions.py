"""Files and logs that contradict each other, or themselves: read as the format defines, or refused with the reason."""

import gzip
import logging
import re
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from tomostain.errors import InputError
from tomostain.io import open_volume

VOLUME = np.random.default_rng(0).integers(0, 60000, (6, 16, 20)).astype(np.uint16)
NRECON = (
    "[Acquisition]\nImage Pixel Size (um)=5\n[Reconstruction]\nPixel Size (um)=5\nSections Count={count}\n"
    "First Section={first}\nLast Section={last}\n[File name convention]\nFilename Prefix=s_\n"
)


def _slices(folder: Path, first: int = 0, count: int = 6, **options: object) -> Path:
    folder.mkdir()
    for number, image in enumerate(VOLUME[:count], first):
        tifffile.imwrite(folder / f"s_{number:04d}.tif", image, metadata=None, **options)
    return folder


def _log(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    (folder / "s__rec.log").write_bytes(text.encode(encoding))
    return folder


@pytest.mark.parametrize("levels", [1, 2])
def test_slices_with_their_own_pyramid_in_sub_ifds(tmp_path: Path, levels: int) -> None:
    for name, stacks in (("pages.tif", list(VOLUME)), ("shaped.tif", [VOLUME])):
        options = {"metadata": None} if name == "pages.tif" else {}
        with tifffile.TiffWriter(tmp_path / name) as writer:
            for stack in stacks:
                writer.write(stack, subifds=levels, **options)
                for level in range(1, levels + 1):
                    writer.write(stack[..., :: 2**level, :: 2**level], subfiletype=1, **options)
        np.testing.assert_array_equal(open_volume(tmp_path / name, voxel_um=5).read(0, 6), VOLUME)


def test_the_last_slices_that_the_log_states_are_missing(tmp_path: Path) -> None:
    path = _log(_slices(tmp_path / "a", first=421, count=4), NRECON.format(count=6, first=421, last=426))
    for voxel_um in (5, None):
        with pytest.raises(InputError, match=r"4 of 6 slices that s__rec\.log .*slice numbers 425 to 426 are missing"):
            open_volume(path, voxel_um=voxel_um)
    volume = open_volume(path, allow_missing=True)
    assert volume.shape[0] == 6
    assert volume.missing == ((4, 6),)
    np.testing.assert_array_equal(volume.read(0, 4), VOLUME[:4])


@pytest.mark.parametrize(("step", "missing"), [("1", ((4, 6),)), ("2", ()), (None, ())])
def test_a_log_without_the_count_of_its_sections(tmp_path: Path, step: str | None, missing: tuple) -> None:
    text = NRECON.replace("Sections Count={count}\n", "").format(first=421, last=426)
    if step is not None:
        text = text.replace("First Section", f"Section to Section Step={step}\nFirst Section")
    path = _slices(tmp_path / "a", first=421, count=4 if missing or step is None else 3)
    assert open_volume(_log(path, text), voxel_um=5, allow_missing=True).missing == missing
    # Slices with numbers that the log does not state were renamed.
    renamed = _log(_slices(tmp_path / "renamed", first=0, count=3), text)
    assert open_volume(renamed, voxel_um=5).shape[0] == 3


def test_all_slices_that_the_log_states(tmp_path: Path) -> None:
    path = _log(_slices(tmp_path / "a", first=3), NRECON.format(count=6, first=3, last=8))
    assert open_volume(path).voxel_um == (5, 5, 5)
    # Slices of another size than the log states were cropped: so may have been their number.
    cropped = NRECON.replace("[Recon", "[Recon").replace("Sections", "Result Image Width (pixels)=24\nSections")
    cropped = cropped.replace("Sections", "Result Image Height (pixels)=20\nSections", 1)
    assert open_volume(_log(path, cropped.format(count=9, first=0, last=8))).shape == (6, 16, 20)


def test_the_depth_that_a_log_of_hereon_states(tmp_path: Path) -> None:
    folder = _slices(tmp_path / "float_rawBin2", count=5)
    (folder / "reco.log").write_text("scan_name : s\neff_pixel_size_binned : 5 micron\nvol_shape : [16 20 6]\n")
    with pytest.raises(InputError, match=r"5 of 6 slices that reco\.log states"):
        open_volume(folder)


IMAGEJ = "ImageJ=1.54f\nimages=1\nunit={unit}\nspacing=5.0\n"


@pytest.mark.parametrize(("unit", "size"), [("micron", 10), ("mm", 5)])
def test_a_slice_of_another_scan(tmp_path: Path, unit: str, size: float) -> None:
    path = _slices(tmp_path / "a", resolution=(0.2, 0.2), description=IMAGEJ.format(unit="micron"))
    assert open_volume(path).voxel_um == (5, 5, 5)
    odd = {"resolution": (1 / size, 1 / size), "description": IMAGEJ.format(unit=unit)}
    tifffile.imwrite(path / "s_0003.tif", VOLUME[3], metadata=None, **odd)
    with pytest.raises(InputError, match=r"s_0003\.tif states pixels of .*, s_0000\.tif of .* 5 µm; give the right"):
        open_volume(path)
    assert open_volume(path, voxel_um=7).shape == VOLUME.shape


def test_a_page_of_another_scan(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for image, size in zip(VOLUME, (5, 5, 5, 10, 10, 10), strict=True):
            writer.write(image, metadata=None, resolution=(1e4 / size,) * 2, resolutionunit="CENTIMETER")
    with pytest.raises(InputError, match="slice 3 states voxels of y 10 µm, x 10 µm, slice 0 of y 5 µm"):
        open_volume(tmp_path / "a.tif")


@pytest.mark.parametrize(("axis", "what"), [("T", "6 time points"), ("C", "6 channels")])
def test_an_axis_that_is_not_z(tmp_path: Path, axis: str, what: str, caplog: pytest.LogCaptureFixture) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", VOLUME, metadata={"axes": f"{axis}YX"})
    with pytest.raises(InputError, match=f"its metadata state {what}"):
        open_volume(tmp_path / "a.ome.tif", voxel_um=5)
    # ImageJ users often have their slices there.
    tifffile.imwrite(tmp_path / "a.tif", VOLUME, imagej=True, metadata={"axes": f"{axis}YX"})
    with caplog.at_level(logging.WARNING):
        assert open_volume(tmp_path / "a.tif", voxel_um=5).shape == VOLUME.shape
    assert f"{what}; they are read as slices" in caplog.text


@pytest.mark.parametrize("in_folder", [True, False])
def test_the_calibration_of_imagej_is_applied(tmp_path: Path, in_folder: bool) -> None:
    def description(images: int) -> str:
        return f"ImageJ=1.54f\nimages={images}\nslices={images}\ncf=0\nc0=-32768.0\nc1=1.0\nvunit=gray value\n"

    if in_folder:
        path = _slices(tmp_path / "a", description=description(1))
    else:
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, VOLUME, metadata=None, description=description(6))
    volume = open_volume(path, voxel_um=5)
    assert volume.dtype == np.float32
    np.testing.assert_array_equal(volume.read(1, 3), VOLUME[1:3].astype(np.float32) - 32768)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-le"])
def test_the_encoding_of_a_log(tmp_path: Path, encoding: str) -> None:
    text = NRECON.format(count=6, first=0, last=5).replace("(um)", "(µm)")
    assert open_volume(_log(_slices(tmp_path / "a"), text, encoding)).voxel_um == (5, 5, 5)


def test_units_in_the_plural_and_unknown_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for unit, size in (("micrometers", 5), ("Millimetres", 5000)):
        tifffile.imwrite(path, VOLUME, imagej=True, resolution=(0.2, 0.2), metadata={"unit": unit, "spacing": 5})
        assert open_volume(path).voxel_um == (size, size, size)
    tifffile.imwrite(path, VOLUME, imagej=True, resolution=(0.2, 0.2), metadata={"unit": "furlong", "spacing": 5})
    with pytest.raises(InputError, match=r"not in the file in a known unit \('furlong'\); give it with `voxel_um`"):
        open_volume(path)


def _hdf5(path: Path, name: str = "data", values: np.ndarray = VOLUME, **attributes: object) -> Path:
    with h5py.File(path, "a") as file:
        file.create_dataset(name, data=values).attrs.update(attributes)
    return path


@pytest.mark.parametrize(
    ("name", "angles"),
    [("positioners/omega", np.linspace(0, 180, 6)), ("process/acquisition/theta", np.arange(6)), ("scan/th", None)],
)
def test_angles_far_from_the_images_or_without_a_name(tmp_path: Path, name: str, angles: np.ndarray | None) -> None:
    path = _hdf5(tmp_path / "a.h5", "scan/images")
    _hdf5(path, name, np.linspace(0, np.pi, 6) if angles is None else angles)
    with pytest.raises(InputError, match=f"holds projections and no volume .*{name}"):
        open_volume(path, voxel_um=5)
    assert open_volume(path, voxel_um=5, dataset="scan/images").shape == VOLUME.shape


def test_other_signs_of_projections(tmp_path: Path) -> None:
    _hdf5(tmp_path / "a.h5", "entry/d", angles=np.linspace(0, 3, 6))
    _hdf5(_hdf5(tmp_path / "b.h5", "entry/d"), "entry/definition", np.bytes_("nxtomo"))
    for name in "ab":
        with pytest.raises(InputError, match="holds projections and no volume"):
            open_volume(tmp_path / f"{name}.h5", voxel_um=5)
    # A volume by its name, and numbers that are no angles.
    path = _hdf5(tmp_path / "c.h5", "result/volume", rotation=np.zeros(3))
    _hdf5(_hdf5(path, "scan/theta", np.arange(6)), "result/index", np.arange(6))
    assert open_volume(path, voxel_um=5).shape == VOLUME.shape


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"axistags": '{"axes": [{"key": "x"'}, "its attribute axistags is damaged"),
        ({"axistags": '{"axes": [{"key": "y"}, {"key": "x"}]}'}, r"axistags names 2 axes \(y, x\), but it has 3"),
        ({"axes": "zyxc"}, r"its attribute axes names 4 axes \(z, y, x, c\), but it has 3"),
        ({"dimension_names": ["x", "y"]}, r"dimension_names names 2 axes"),
    ],
)
def test_an_order_of_axes_that_is_not_understood(tmp_path: Path, attributes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_volume(_hdf5(tmp_path / "a.h5", **attributes), voxel_um=5)


def test_names_of_another_number_of_dimensions_in_zarr(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", data=VOLUME, zarr_format=2)
    array.attrs["_ARRAY_DIMENSIONS"] = ["x", "y"]
    with pytest.raises(InputError, match=r"names 2 dimensions \(x, y\), but its array has 3"):
        open_volume(tmp_path / "a.zarr", voxel_um=5)


SCALED = (VOLUME * 0.5 - 1000).astype(np.float32)


@pytest.mark.parametrize(
    "attributes",
    [
        {"scale_factor": 0.5, "add_offset": -1000.0},
        {"scaling_factor": 0.5, "offset": [-1000.0]},
        {"RescaleSlope": 0.5, "RescaleIntercept": -1000},
    ],
)
def test_a_scale_and_an_offset_next_to_the_values(tmp_path: Path, attributes: dict) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=VOLUME).attrs.update(attributes)
    for path in (_hdf5(tmp_path / "a.h5", **attributes), tmp_path / "a.zarr"):
        volume = open_volume(path, voxel_um=5)
        np.testing.assert_array_equal(volume.read(1, 4), SCALED[1:4])
    with pytest.raises(InputError, match=r"states a scale of 0 and an offset of .* which are not understood"):
        open_volume(_hdf5(tmp_path / "b.h5", **{**attributes, next(iter(attributes)): 0}), voxel_um=5)


def test_a_scale_in_nxdata(tmp_path: Path) -> None:
    path = _hdf5(_hdf5(tmp_path / "a.h5", "entry/data/ct"), "entry/data/scaling_factor", np.float64(0.5))
    _hdf5(path, "entry/data/offset", np.float64(-1000))
    with h5py.File(path, "a") as file:
        file["entry/data"].attrs.update({"NX_class": "NXdata", "signal": "ct"})
    np.testing.assert_array_equal(open_volume(path, voxel_um=5).read(0, 6), SCALED)


def test_sizes_that_contradict_each_other_in_hdf5(tmp_path: Path) -> None:
    path = _hdf5(tmp_path / "a.h5", element_size_um=[5.0, 5.0, 5.0])
    with h5py.File(path, "a") as file:
        scale = file.create_dataset("z", data=np.arange(6) * 0.01)
        scale.attrs["units"] = "mm"
        file["data"].dims[0].attach_scale(scale)
    with pytest.raises(InputError, match=r"its attribute states voxels of z 5 µm, .* the scales .* of z 10 µm; give"):
        open_volume(path)
    assert open_volume(path, voxel_um=5).voxel_um == (5, 5, 5)


def _multiscale(path: Path, *images: list[dict]) -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("0", data=VOLUME)
    group.create_array("1", data=VOLUME[::2, ::2, ::2])
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": levels} for levels in images]
    return path


def _level(path: str, size: float) -> dict:
    return {"path": path, "coordinateTransformations": [{"type": "scale", "scale": [size] * 3}]}


def test_levels_from_coarse_to_fine(tmp_path: Path) -> None:
    volume = open_volume(_multiscale(tmp_path / "a.zarr", [_level("1", 10), _level("0", 5)]))
    assert volume.voxel_um == (5, 5, 5)
    np.testing.assert_array_equal(volume.read(0, 6), VOLUME)


def test_several_images_in_a_group(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"describes 2 images \(arrays 0, 1\), and it is ambiguous"):
        open_volume(_multiscale(tmp_path / "a.zarr", [_level("0", 5)], [_level("1", 10)]))
    assert open_volume(_multiscale(tmp_path / "b.zarr", *[[_level("0", 5)]] * 2)).shape == VOLUME.shape
    nested = _multiscale(tmp_path / "c.zarr" / "0", [_level("0", 5)])
    zarr.open_group(nested.parent, mode="a", zarr_format=2)
    with pytest.raises(InputError, match=r"holds its images in folders .*; give \S+c\.zarr/0"):
        open_volume(nested.parent)


def _nrrd(path: Path, fields: str, after: bytes = b"") -> Path:
    head = "NRRD0005\ntype: uint16\ndimension: 3\nsizes: 20 16 6\nencoding: raw\nendian: little\n"
    path.write_bytes(f"{head}{fields}\n\n".encode() + VOLUME.tobytes() + after)
    return path


def _mha(path: Path, fields: str, after: bytes = b"") -> Path:
    head = "ObjectType = Image\nNDims = 3\nDimSize = 20 16 6\nElementType = MET_USHORT\n"
    path.write_bytes(f"{head}{fields}\nElementDataFile = LOCAL\n".encode() + VOLUME.tobytes() + after)
    return path


def _nifti(
    path: Path, *, scale: tuple = (0.0, 0.0), forms: tuple = (1, 0), rows: object = 0, after: bytes = b""
) -> Path:
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, 20, 16, 6, 1, 1, 1, 1)
    struct.pack_into("<hh", head, 70, 512, 16)
    struct.pack_into("<8f", head, 76, 1, 5, 6, 7, 1, 1, 1, 1)
    struct.pack_into("<fff", head, 108, 352, *scale)
    head[123] = 3
    struct.pack_into("<hh", head, 252, *forms)
    struct.pack_into("<12f", head, 280, *np.broadcast_to(np.ravel(rows), 12))
    head[344:348] = b"n+1\0"
    path.write_bytes(bytes(head) + VOLUME.tobytes() + after)
    return path


def test_kinds_and_labels_of_a_nrrd(tmp_path: Path) -> None:
    path = _nrrd(tmp_path / "a.nrrd", "kinds: domain domain time")
    with pytest.raises(InputError, match=r"one of its axes is of kind 'time' \(6 values\)"):
        open_volume(path, voxel_um=5)
    assert open_volume(_nrrd(path, 'kinds: space domain ???\nlabels: "x" "y" "z"'), voxel_um=5).shape == VOLUME.shape


@pytest.mark.parametrize("order", ["ElementSpacing", "Offset"])
def test_fields_of_a_meta_image_before_the_number_of_dimensions(tmp_path: Path, order: str) -> None:
    path = _mha(tmp_path / "a.mha", "DistanceUnits = micron\nElementSpacing = 5 6 7")
    assert open_volume(path).voxel_um == (7, 6, 5)
    path.write_bytes(f"{order} = 5 6 7\n".encode() + path.read_bytes().replace(f"{order} = 5 6 7\n".encode(), b""))
    with pytest.raises(InputError, match=f"states {order.lower()} before NDims, which is not read"):
        open_volume(path)


def test_the_scale_of_a_meta_image(tmp_path: Path) -> None:
    fields = "ElementToIntensityFunctionSlope = 0.5\nElementToIntensityFunctionOffset = -1000"
    np.testing.assert_array_equal(open_volume(_mha(tmp_path / "a.mha", fields), voxel_um=5).read(0, 6), SCALED)
    with pytest.raises(InputError, match="states a scale of '0' and an offset of '0' for its values"):
        open_volume(_mha(tmp_path / "a.mha", "ElementToIntensityFunctionSlope = 0"), voxel_um=5)
    with pytest.raises(InputError, match="states ElementType twice, differently"):
        open_volume(_mha(tmp_path / "a.mha", "ElementType = MET_SHORT"), voxel_um=5)


def test_a_nifti_with_a_slope_of_zero_is_not_scaled(tmp_path: Path) -> None:
    np.testing.assert_array_equal(open_volume(_nifti(tmp_path / "a.nii", scale=(0, 5))).read(0, 6), VOLUME)
    np.testing.assert_array_equal(open_volume(_nifti(tmp_path / "a.nii", scale=(0.5, -1000))).read(0, 6), SCALED)


ROWS = [[10, 0, 0, 1], [0, 12, 0, 2], [0, 0, 14, 3]]


@pytest.mark.parametrize(("forms", "voxel_um"), [((0, 2), (14, 12, 10)), ((1, 4), (7, 6, 5)), ((1, 1), None)])
def test_the_forms_of_a_nifti(tmp_path: Path, forms: tuple[int, int], voxel_um: tuple | None) -> None:
    path = _nifti(tmp_path / "a.nii", forms=forms, rows=ROWS)
    if voxel_um is not None:
        assert open_volume(path).voxel_um == voxel_um
        return
    with pytest.raises(InputError, match="its pixdim states voxels of 7 x 6 x 5 µm, its sform of 14 x 12 x 10 µm"):
        open_volume(path)


def test_the_ending_of_a_nifti_states_its_compression(tmp_path: Path) -> None:
    plain = _nifti(tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match=r"is not compressed by gzip, .*rename it to end in \.nii"):
        open_volume(plain)
    (tmp_path / "b.nii").write_bytes(gzip.compress(plain.read_bytes()))
    with pytest.raises(InputError, match=r"is compressed by gzip, .*rename it to end in \.nii\.gz"):
        open_volume(tmp_path / "b.nii")


def test_bytes_after_the_values(tmp_path: Path) -> None:
    for make, name in ((_nrrd, "a.nrrd"), (_nifti, "a.nii"), (_mha, "a.mha")):
        options = {"fields": "spacings: 1 1 1"} if make is _nrrd else {"fields": "Comment = a"} if make is _mha else {}
        with pytest.raises(InputError, match="but its header states"):
            open_volume(make(tmp_path / name, after=b"1234", **options), voxel_um=5)
        padded = make(tmp_path / name, after=b"\n" if make is _mha else b"\0" * 160, **options)
        np.testing.assert_array_equal(open_volume(padded, voxel_um=5).read(0, 6), VOLUME)


def test_ways_out_of_formats_that_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(VOLUME.tobytes())
    with pytest.raises(InputError, match="holds values without a header") as caught:
        open_volume(tmp_path / "a.raw")
    lines = re.findall(r"'(\w+ = .*?)'", str(caught.value))
    text = "\n".join(lines).replace("COLUMNS ROWS SLICES", "20 16 6")
    (tmp_path / "a.mhd").write_text(text + "\n")
    with pytest.raises(InputError, match=r"its header is next to it: give \S+a\.mhd"):
        open_volume(tmp_path / "a.raw")
    volume = open_volume(tmp_path / "a.mhd")
    assert volume.voxel_um == (5, 5, 5)
    np.testing.assert_array_equal(volume.read(0, 6), VOLUME)
    (tmp_path / "n5").mkdir()
    (tmp_path / "n5" / "attributes.json").write_text("{}")
    with pytest.raises(InputError, match="is N5, which is not read"):
        open_volume(tmp_path / "n5")


@pytest.mark.parametrize(("unit", "factor"), [("µm", 1.0), ("mm", 1000.0), ("reference frame", None)])
def test_the_stage_position_of_an_ome_tiff(tmp_path: Path, unit: str, factor: float | None) -> None:
    planes = {f"Position{axis}": [value] * 6 for axis, value in zip("XYZ", (10.0, 20.0, 30.0), strict=True)}
    planes |= {f"Position{axis}Unit": [unit] * 6 for axis in "XYZ"}
    sizes = {f"PhysicalSize{axis}": 5 for axis in "XYZ"}
    tifffile.imwrite(tmp_path / "a.ome.tif", VOLUME, metadata={"axes": "ZYX", "Plane": planes, **sizes})
    placement = open_volume(tmp_path / "a.ome.tif").placement
    if factor is None:
        assert placement is None
    else:
        assert placement is not None
        np.testing.assert_allclose(placement.origin_um, (30 * factor, 20 * factor, 10 * factor))


@pytest.mark.parametrize("name", ["_FillValue", "missing_value"])
def test_voxels_that_the_file_states_to_hold_no_data(tmp_path: Path, name: str) -> None:
    attributes = {name: int(VOLUME[4, 2, 3]), "scale_factor": 0.5}
    zarr.create_array(tmp_path / "a.zarr", data=VOLUME).attrs.update(attributes)
    for path in (_hdf5(tmp_path / "a.h5", **attributes), tmp_path / "a.zarr"):
        volume = open_volume(path, voxel_um=5)
        np.testing.assert_array_equal(volume.read(0, 4), VOLUME[:4] * np.float32(0.5))
        message = rf"voxels hold no data \(value {attributes[name]}, stated by {name}; first in slice 4\); crop them"
        with pytest.raises(InputError, match=message):
            volume.read(2, 6)


@pytest.mark.parametrize("value", [0, float("nan"), "AAAAAAAA+H8=", [0.0]])  # the text is NaN as xarray writes it
def test_zero_and_nan_as_fill_values(tmp_path: Path, value: object) -> None:
    volume = VOLUME.copy()
    volume[2, :, 5] = 0
    zarr.create_array(tmp_path / "a.zarr", data=volume).attrs["_FillValue"] = value
    np.testing.assert_array_equal(open_volume(tmp_path / "a.zarr", voxel_um=5).read(0, 6), volume)
    zarr.open_array(tmp_path / "a.zarr").attrs["_FillValue"] = "none!"
    with pytest.raises(InputError, match=r"its _FillValue 'none!' is not a number"):
        open_volume(tmp_path / "a.zarr", voxel_um=5)
