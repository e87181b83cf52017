"""Units, origin and directions: read as each format states them, and carried through to a stained volume."""

import math
import struct
from pathlib import Path

import numpy as np
import pytest
import zarr

from tomostain.errors import InputError, PlacementWarning
from tomostain.imaging.resampling import resample_volume
from tomostain.io import Volume, create_stained, open_stained, open_volume
from tomostain.io.metadata.placement import Placement

sitk = pytest.importorskip("SimpleITK")
VOLUME = np.random.default_rng(0).integers(0, 60000, (4, 5, 6)).astype(np.uint16)
SPACING, ORIGIN = (0.05, 0.06, 0.07), (12.5, -30.0, 7.25)  # (x, y, z), mm
DIRECTION = (-1, 0, 0, 0, 0, 1, 0, 1, 0)
EXPECTED = Placement((7250.0, -30000.0, 12500.0), ((0, 1, 0), (1, 0, 0), (0, 0, -1)), "left-posterior-superior")


def _itk(path: Path, direction: tuple[float, ...] = DIRECTION) -> Path:
    image = sitk.GetImageFromArray(VOLUME)
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    image.SetDirection(direction)
    sitk.WriteImage(image, str(path))
    return path


def _ome_zarr(path: Path, axes: list[dict], transforms: list[dict], image_transforms: list[dict] | None = None) -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("0", data=VOLUME)
    image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": transforms}]}
    if image_transforms:
        image["coordinateTransformations"] = image_transforms
    group.attrs["multiscales"] = [{"version": "0.4", **image}]
    return path


def _axes(*units: str | None) -> list[dict]:
    return [
        {"name": name, "type": "space"} | ({"unit": unit} if unit else {})
        for name, unit in zip("zyx", units, strict=True)
    ]


@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.mha", "a.mhd", "a.nii", "a.nii.gz"])
def test_origin_and_directions_are_those_of_itk(tmp_path: Path, name: str) -> None:
    volume = open_volume(_itk(tmp_path / name))
    np.testing.assert_allclose(volume.voxel_um, (70, 60, 50), rtol=1e-6)
    assert volume.placement is not None
    np.testing.assert_allclose(volume.placement.origin_um, EXPECTED.origin_um)
    np.testing.assert_allclose(volume.placement.direction, EXPECTED.direction, atol=1e-6)
    assert volume.placement.space == EXPECTED.space
    np.testing.assert_array_equal(volume.read(0, 4), VOLUME)
    assert "first voxel at 7250, -30000, 12500 µm" in volume.describe()


def test_an_oblique_nifti(tmp_path: Path) -> None:
    c, s = math.cos(0.3), math.sin(0.3)
    path = _itk(tmp_path / "a.nii", (c, -s, 0, s, c, 0, 0, 0, 1))
    placement = open_volume(path).placement
    assert placement is not None
    np.testing.assert_allclose(placement.direction, ((1, 0, 0), (0, c, s), (0, -s, c)), atol=1e-6)


@pytest.mark.parametrize(("code", "micrometres"), [(2, 1e3), (3, 1.0)])
def test_the_origin_of_a_nifti_has_all_digits_of_the_file(tmp_path: Path, code: int, micrometres: float) -> None:
    image = sitk.GetImageFromArray(VOLUME)
    image.SetSpacing(tuple(um / micrometres for um in (5.3, 5.3, 7.123457)))
    image.SetOrigin((12345.678, -98765.43, 0.1))
    sitk.WriteImage(image, str(tmp_path / "a.nii"))
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[123] = code
    (tmp_path / "a.nii").write_bytes(data)
    volume = open_volume(tmp_path / "a.nii")
    assert volume.placement is not None
    expected = np.array((0.1, -98765.43, 12345.678)) * micrometres
    np.testing.assert_allclose(volume.placement.origin_um, expected, rtol=1e-12)
    assert volume.voxel_um == (7.123457, 5.3, 5.3)


@pytest.mark.parametrize(("code", "micrometres"), [(0, None), (1, 1e6), (2, 1e3), (3, 1.0), (8, None), (11, 1.0)])
def test_the_unit_of_a_nifti(tmp_path: Path, code: int, micrometres: float | None) -> None:
    data = bytearray(_itk(tmp_path / "a.nii").read_bytes())
    data[123] = code
    (tmp_path / "a.nii").write_bytes(data)
    if micrometres is None:
        with pytest.raises(InputError, match=r"the voxel size is not in the file; give it with `voxel_um`"):
            open_volume(tmp_path / "a.nii")
        volume, micrometres = open_volume(tmp_path / "a.nii", voxel_um=(70, 60, 50)), 1e3
    else:
        expected = (70, 60, 50) if code == 1 else None  # 50 mm: not used
        volume = open_volume(tmp_path / "a.nii", voxel_um=expected)
        micrometres = 1e3 if expected else micrometres
    np.testing.assert_allclose(volume.voxel_um, np.array((0.07, 0.06, 0.05)) * micrometres, rtol=1e-5)
    assert volume.placement is not None
    np.testing.assert_allclose(volume.placement.origin_um, np.array(ORIGIN[::-1]) * micrometres, rtol=1e-5)


def _nrrd(path: Path, *fields: str) -> Path:
    lines = ["NRRD0004", "type: uint16", "dimension: 3", "sizes: 6 5 4", "endian: little", "encoding: raw", *fields]
    path.write_bytes("\n".join([*lines, "", ""]).encode() + VOLUME.astype("<u2").tobytes())
    return path


_VECTORS = "space directions: (0.05,0,0) (0,0.06,0) (0,0,0.07)"
_VECTORS_1 = "space directions: (1,0,0) (0,1,0) (0,0,1)"


@pytest.mark.parametrize(
    ("fields", "stated"),
    [
        (("space: LPS", _VECTORS), (70, 60, 50)),
        (("space: right-anterior-superior", _VECTORS), (70, 60, 50)),
        (("space dimension: 3", _VECTORS), None),
        (("space: 3D-right-handed", _VECTORS), None),
        (("space: scanner-xyz", _VECTORS), None),
        (("space dimension: 3", 'space units: "mm" "mm" "mm"', _VECTORS), (70, 60, 50)),
        (("space dimension: 3", 'space units: "cm" "mm" "um"', _VECTORS), (0.07, 60, 500)),
        (("space: LPS", 'space units: "um" "um" "um"', _VECTORS), (0.07, 0.06, 0.05)),
        (("space: LPS", 'space units: "furlong" "mm" "mm"', _VECTORS), r"only z 70 µm, y 60 µm"),
        (("spacings: 0.05 0.06 0.07",), None),
        (("spacings: 0.05 0.06 0.07", 'units: "mm" "mm" "mm"'), (70, 60, 50)),
        (("spacings: 5 6 7", 'units: "um" "um" "mm"'), (7000, 6, 5)),
        (("spacings: 5 6 7", 'units: "um" "um" ""'), r"only y 6 µm, x 5 µm"),
        (("spacings: 0.05 0.06 nan", 'units: "mm" "mm" "mm"'), r"only y 60 µm, x 50 µm"),
        (("space: LPS", 'space units: "um" "um" "um"', _VECTORS_1), (1, 1, 1)),
        (("space: LPS", _VECTORS_1), None),
        (("space: LPS", 'space units: "mm" "mm" "mm"', _VECTORS_1), None),
        (("spacings: 1 1 1", 'units: "um" "um" "um"'), (1, 1, 1)),
        (("spacings: 1 1 1",), None),
        ((), None),
    ],
)
def test_the_units_of_a_nrrd(tmp_path: Path, fields: tuple[str, ...], stated: tuple[float, ...] | str | None) -> None:
    path = _nrrd(tmp_path / "a.nrrd", *fields)
    if isinstance(stated, tuple):
        np.testing.assert_allclose(open_volume(path).voxel_um, stated, rtol=1e-6)
        return
    with pytest.raises(InputError, match=stated or r"the voxel size is not in the file; give it"):
        open_volume(path)
    np.testing.assert_array_equal(open_volume(path, voxel_um=5).read(0, 4), VOLUME)


def test_spaces_of_a_nrrd(tmp_path: Path) -> None:
    origin = "space origin: (1,2,3)"
    for space, first in (("RAS", (3000, -2000, -1000)), ("LAS", (3000, -2000, 1000)), ("LPS", (3000, 2000, 1000))):
        volume = open_volume(_nrrd(tmp_path / "a.nrrd", f"space: {space}", _VECTORS, origin))
        assert volume.placement is not None
        assert volume.placement.origin_um == first
        if tuple(int(part) for part in sitk.Version_VersionString().split(".")[:3]) < (2, 5, 7):
            continue  # older versions keep the axes of some spaces
        image = sitk.ReadImage(str(tmp_path / "a.nrrd"))
        np.testing.assert_allclose(image.GetOrigin(), np.array(first[::-1]) / 1000)
        np.testing.assert_allclose(
            np.reshape(image.GetDirection(), (3, 3)), np.array(volume.placement.direction)[::-1, ::-1]
        )


def _mhd(path: Path, *fields: str) -> Path:
    lines = ["ObjectType = Image", "NDims = 3", "DimSize = 6 5 4", *fields, "ElementType = MET_USHORT"]
    path.write_text("\n".join([*lines, "ElementDataFile = a.raw", ""]))
    (path.parent / "a.raw").write_bytes(VOLUME.astype("<u2").tobytes())
    return path


@pytest.mark.parametrize(
    ("fields", "stated"),
    [
        (("ElementSpacing = 0.05 0.06 0.07",), None),
        (("AnatomicalOrientation = ???", "ElementSpacing = 0.05 0.06 0.07"), None),
        (("AnatomicalOrientation = RAI", "ElementSpacing = 0.05 0.06 0.07"), (70, 60, 50)),
        (("DistanceUnits = um", "ElementSpacing = 5 6 7"), (7, 6, 5)),
        (("DistanceUnits = cm", "ElementSpacing = 0.005 0.006 0.007"), (70, 60, 50)),
        (("DistanceUnits = um", "AnatomicalOrientation = RAI", "ElementSpacing = 5 6 7"), (7, 6, 5)),
        (("DistanceUnits = um", "ElementSpacing = 1 1 1"), (1, 1, 1)),
        (("DistanceUnits = mm", "ElementSpacing = 1 1 1"), None),
        (("AnatomicalOrientation = RAI",), None),
    ],
)
def test_the_unit_of_a_meta_image(tmp_path: Path, fields: tuple[str, ...], stated: tuple[float, ...] | None) -> None:
    path = _mhd(tmp_path / "a.mhd", *fields)
    if stated is not None:
        np.testing.assert_allclose(open_volume(path).voxel_um, stated, rtol=1e-6)
    else:
        with pytest.raises(InputError, match=r"the voxel size is not in the file; give it with `voxel_um`"):
            open_volume(path)


def test_an_origin_of_unknown_unit_follows_the_given_voxel_size(tmp_path: Path) -> None:
    path = _mhd(tmp_path / "a.mhd", "ElementSpacing = 0.05 0.05 0.05", "Offset = 1 2 3")
    placement = open_volume(path, voxel_um=50).placement
    assert placement is not None
    assert placement.origin_um == (3000, 2000, 1000)
    with pytest.warns(PlacementWarning, match=r"a\.mhd: its position is not passed on"):
        assert open_volume(path, voxel_um=(100, 50, 50)).placement is None


@pytest.mark.parametrize(
    ("units", "transforms", "stated"),
    [
        (("micrometer",) * 3, [{"type": "scale", "scale": [7, 6, 5]}], (7, 6, 5)),
        (("millimeter", "micrometer", "nanometer"), [{"type": "scale", "scale": [0.007, 6, 5000]}], (7, 6, 5)),
        (("micrometer", None, "micrometer"), [{"type": "scale", "scale": [7, 6, 5]}], "only z 7 µm, x 5 µm"),
        ((None,) * 3, [{"type": "scale", "scale": [7, 6, 5]}], "is not in the file; give it"),
        (("micrometer",) * 3, [], "is not in the file; give it"),
        (("micrometer",) * 3, [{"type": "translation", "translation": [1, 2, 3]}], "is not in the file; give it"),
        (("pixel",) * 3, [{"type": "scale", "scale": [7, 6, 5]}], "is not in the file; give it"),
    ],
)
def test_the_units_of_an_ome_zarr(tmp_path: Path, units: tuple, transforms: list, stated: tuple | str) -> None:
    path = _ome_zarr(tmp_path / "a.zarr", _axes(*units), transforms)
    if isinstance(stated, tuple):
        np.testing.assert_allclose(open_volume(path).voxel_um, stated)
    else:
        with pytest.raises(InputError, match=stated):
            open_volume(path)


def test_the_transformations_of_an_ome_zarr_are_applied_in_their_order(tmp_path: Path) -> None:
    level = [{"type": "scale", "scale": [1, 1, 1]}, {"type": "translation", "translation": [10, 20, 30]}]
    image = [{"type": "scale", "scale": [0.007, 0.006, 0.005]}, {"type": "translation", "translation": [0, 0, 1]}]
    volume = open_volume(_ome_zarr(tmp_path / "a.zarr", _axes(*["millimeter"] * 3), level, image))
    np.testing.assert_allclose(volume.voxel_um, (7, 6, 5))
    assert volume.placement is not None
    np.testing.assert_allclose(volume.placement.origin_um, (70, 120, 1150))


def test_a_region_and_a_resampled_volume_keep_the_position_of_their_voxels() -> None:
    turned = Placement((100.0, 0.0, 0.0), ((1, 0, 0), (0, 1, 0), (0, 0, -1)))
    volume = Volume.from_array(VOLUME, voxel_um=(4, 2, 2), placement=turned)
    region = volume.region((1, 0, 2), (4, 5, 6))
    assert region.placement is not None
    assert region.placement.origin_um == (104, 0, -4)
    resampled = resample_volume(volume, (8, 4, 4))
    assert resampled.placement is not None
    assert resampled.placement.origin_um == (102, 1, -1)
    assert Volume.from_array(VOLUME, 5).placement is None


def _write(path: Path, placement: Placement | None, **options: bool) -> Path:
    writer = create_stained(path, (3, 300, 5), (70, 60, 50), provenance={}, placement=placement, **options)
    for start, stop in writer.pending():
        writer.write(start, np.zeros((stop - start, 300, 5, 3), np.uint8))
    writer.finish()
    return path


def test_a_stained_volume_holds_the_placement(tmp_path: Path) -> None:
    stained = open_stained(_write(tmp_path / "a.ome.zarr", EXPECTED))
    assert stained.placement == EXPECTED
    coarse = stained.placements[1]
    assert coarse is not None
    np.testing.assert_allclose(coarse.origin_um, EXPECTED.moved((35, 30, 25)).origin_um)
    attributes = zarr.open_group(tmp_path / "a.ome.zarr", mode="r").attrs.asdict()
    transforms = attributes["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    assert transforms[1]["translation"] == [0, *EXPECTED.origin_um]
    assert open_stained(_write(tmp_path / "b.ome.zarr", None)).placement is None


def test_a_volume_of_an_older_version_is_continued_without_its_placement(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.ome.zarr", None)
    writer = create_stained(path, (3, 300, 5), (70, 60, 50), provenance={}, placement=EXPECTED, resume=True)
    assert writer.complete
    assert open_stained(_write(path, EXPECTED, overwrite=True)).placement == EXPECTED


@pytest.mark.parametrize("turned", [False, True])
def test_a_grey_volume_that_was_written_is_read_with_its_placement(tmp_path: Path, turned: bool) -> None:
    from tomostain.imaging.resampled_files import ResampleOptions, resample_file

    placement = EXPECTED if turned else Placement((1.0, 2.0, 3.0))
    volume = Volume.from_array(VOLUME, 5, placement=placement)
    resample_file(volume, tmp_path / "a.ome.zarr", ResampleOptions(10))
    assert open_volume(tmp_path / "a.ome.zarr").placement == placement.moved((2.5, 2.5, 2.5))
    with pytest.warns(PlacementWarning, match="TIFF cannot hold the position of the volume"):
        resample_file(volume, tmp_path / "slices", ResampleOptions(10))


def test_axes_that_are_not_perpendicular(tmp_path: Path) -> None:
    sheared = "space directions: (0.05,0,0) (0.02,0.06,0) (0,0,0.07)"
    path = _nrrd(tmp_path / "a.nrrd", "space: LPS", sheared, "space origin: (1,2,3)")
    with pytest.warns(PlacementWarning, match="its axes are not perpendicular to each other"):
        assert open_volume(path, voxel_um=5).placement is None


@pytest.mark.parametrize("offset", [math.nan, math.inf, -1.0, 1e30])
def test_an_impossible_offset_of_a_nifti(tmp_path: Path, offset: float) -> None:
    path = _itk(tmp_path / "a.nii")
    data = bytearray(path.read_bytes())
    data[108:112] = struct.pack("<f", offset)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"states that its values begin at byte .*; the file is damaged"):
        open_volume(path)
