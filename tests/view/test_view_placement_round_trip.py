"""Position, directions and voxel size from every input format through staining and every export, read back."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from tests.support.toys import LEVELS, grey_values, toy_model
from tomostain.errors import PlacementWarning
from tomostain.io import create_stained, open_stained, open_volume
from tomostain.io.images import write_stack
from tomostain.io.metadata.placement import Placement
from tomostain.stain import StainConfig, stain_volume
from tomostain.view.export.formats import export

sitk = pytest.importorskip("SimpleITK")
pytest.importorskip("vtkmodules")

VALUES = grey_values((3, 20, 24))
VOXEL_UM = (70.0, 60.0, 50.0)
ORIGIN_MM = (12.5, -30.0, 7.25)  # (x, y, z)
TURNED = (-1, 0, 0, 0, 0, 1, 0, 1, 0)
Facts = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
"""Voxel size (x, y, z), mm; centre of the first voxel (x, y, z), mm; directions, columns x, y, z."""


def _itk_file(path: Path) -> Path:
    image = sitk.GetImageFromArray(VALUES)
    image.SetSpacing(tuple(size / 1000 for size in VOXEL_UM[::-1]))
    image.SetOrigin(ORIGIN_MM)
    image.SetDirection(TURNED)
    sitk.WriteImage(image, str(path))
    return path


def _nifti(path: Path, form: str) -> Path:
    data = bytearray(_itk_file(path).read_bytes())
    start = {"sform": 252, "qform": 254}[form]  # the code of the other form
    data[start : start + 2] = b"\0\0"
    path.write_bytes(data)
    return path


def _nrrd(path: Path, *fields: str) -> Path:
    sizes = " ".join(map(str, VALUES.shape[::-1]))
    lines = ["NRRD0004", "type: uint16", "dimension: 3", f"sizes: {sizes}", "endian: little", "encoding: raw", *fields]
    path.write_bytes("\n".join([*lines, "", ""]).encode() + VALUES.astype("<u2").tobytes())
    return path


_PER_AXIS = ("spacings: 0.05 0.06 0.07", 'units: "mm" "mm" "mm"', "axis mins: 12.5 -30 7.25")
_ENDS = ('units: "mm" "mm" "mm"', "axis mins: 12.5 -30 7.25", "axis maxs: 13.7 -28.8 7.46")


def _ome_zarr(path: Path) -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("0", data=VALUES)
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    scale = {"type": "scale", "scale": list(VOXEL_UM)}
    translation = {"type": "translation", "translation": [1000 * value for value in ORIGIN_MM[::-1]]}
    levels = [{"path": "0", "coordinateTransformations": [scale, translation]}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": levels}]
    return path


def _tiff(path: Path) -> Path:
    path.mkdir()
    write_stack(path, VALUES, voxel_um=VOXEL_UM)
    return path


def _facts(image: Any) -> Facts:
    direction = np.reshape(image.GetDirection(), (3, 3))
    return np.array(image.GetSpacing()), np.array(image.GetOrigin()), direction


_PLAIN = (np.array(VOXEL_UM[::-1]) / 1000, np.array(ORIGIN_MM), np.eye(3))
_CELL = (_PLAIN[0], _PLAIN[1] + _PLAIN[0] / 2, np.eye(3))  # the axes begin at the edges of the first voxel
# For each input: how it is made, and what it states; None: as ITK reads it.
INPUTS: dict[str, tuple[Callable[[Path], Path], str, Facts | None]] = {
    "NRRD, space directions": (_itk_file, "a.nrrd", None),
    "NRRD, axis mins": (lambda path: _nrrd(path, *_PER_AXIS), "a.nrrd", None),
    "NRRD, axis mins, node": (lambda path: _nrrd(path, *_PER_AXIS, "centerings: node node node"), "a.nrrd", _PLAIN),
    "NRRD, axis mins and maxs": (lambda path: _nrrd(path, *_ENDS), "a.nrrd", _CELL),
    "NIfTI, sform and qform": (_itk_file, "a.nii", None),
    "NIfTI, sform": (lambda path: _nifti(path, "sform"), "a.nii", None),
    "NIfTI, qform": (lambda path: _nifti(path, "qform"), "a.nii", None),
    "MHD, offset": (_itk_file, "a.mhd", None),
    "MHA, offset": (_itk_file, "a.mha", None),
    "OME-Zarr, translation": (_ome_zarr, "a.zarr", _PLAIN),
    "TIFF": (_tiff, "slices", (_PLAIN[0], np.zeros(3), np.eye(3))),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_model(tmp_path_factory.mktemp("models") / "model")


def _read_vti(path: Path) -> Facts:
    from vtkmodules.vtkIOXML import vtkXMLImageDataReader

    reader = vtkXMLImageDataReader()
    reader.SetFileName(str(path))
    reader.Update()
    grid = reader.GetOutput()
    matrix = grid.GetDirectionMatrix()
    direction = np.array([[matrix.GetElement(row, column) for column in range(3)] for row in range(3)])
    return np.array(grid.GetSpacing()) / 1000, np.array(grid.GetOrigin()) / 1000, direction


def _of_placement(voxel_um: tuple[float, ...], placement: Placement | None) -> Facts:
    placement = placement or Placement()
    origin = np.array(placement.origin_um[::-1]) / 1000
    return np.array(voxel_um[::-1]) / 1000, origin, np.array(placement.direction)[::-1, ::-1]


def _read_ome_zarr(path: Path) -> Facts:
    stained = open_stained(path)
    attributes = zarr.open_group(path, mode="r").attrs.asdict()
    steps = attributes["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    # What other software reads: the position, not the directions.
    assert steps[0]["scale"][1:] == list(stained.voxel_um)
    if stained.placement is not None:
        np.testing.assert_allclose(steps[1]["translation"][1:], stained.placement.origin_um)
    return _of_placement(stained.voxel_um, stained.placement)


def _read_tiff(path: Path) -> Facts:
    description = yaml.safe_load((path / "export.yaml").read_text(encoding="utf-8"))
    voxel_um = tuple(description["voxel_um"])
    with tifffile.TiffFile(path / "slice_0000.tif") as tif:
        tags = tif.pages[0].tags
        pixels = [tags[name].value for name in ("YResolution", "XResolution")]
        assert tif.imagej_metadata is not None
        stated = (tif.imagej_metadata["spacing"], *(below / above for above, below in pixels))
        assert tif.imagej_metadata["unit"] in ("um", "µm", "micron", "\\u00B5m")
    np.testing.assert_allclose(stated, voxel_um, rtol=1e-6)
    placement = description.get("placement")
    return _of_placement(voxel_um, None if placement is None else Placement.from_dict(placement))


EXPORTS: dict[str, tuple[str, Callable[[Path], Facts]]] = {
    "nrrd": ("out.nrrd", lambda path: _facts(sitk.ReadImage(str(path)))),
    "vti": ("out.vti", _read_vti),
    "ome-zarr-0.4": ("out.ome.zarr", _read_ome_zarr),
    "rgb-tiff": ("out", _read_tiff),
}


def _check_exports(stained: Path, folder: Path, expected: Facts) -> None:
    folder.mkdir()
    for to, (name, read) in EXPORTS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PlacementWarning)
            out = export(stained, folder / name, to)
        for values, right in zip(read(out), expected, strict=True):
            np.testing.assert_allclose(values, right, rtol=1e-7, atol=1e-6, err_msg=to)


@pytest.mark.parametrize("name", INPUTS)
def test_every_export_lies_where_the_input_lies(model: Path, tmp_path: Path, name: str) -> None:
    make, file, stated = INPUTS[name]
    path = make(tmp_path / file)
    expected = _facts(sitk.ReadImage(str(path))) if stated is None else stated
    options: dict[str, Any] = {"intensity": LEVELS, "allow_voxel_mismatch": True}
    config = StainConfig(patch_px=32, stride_px=16, z_chunk=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlacementWarning)
        stained = stain_volume(model, open_volume(path), tmp_path / "a.ome.zarr", config=config, **options)
    _check_exports(stained, tmp_path / "exports", expected)


_COORDINATE = st.floats(-1e6, 1e6, allow_subnormal=False)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    origin=st.tuples(_COORDINATE, _COORDINATE, _COORDINATE),
    voxel_um=st.tuples(*[st.floats(0.1, 500)] * 3),
    axes=arrays.arrays(np.float64, (3, 3), elements=st.floats(-1, 1)),
)
def test_any_placement_comes_back_from_every_export(
    tmp_path_factory: pytest.TempPathFactory, origin: Any, voxel_um: Any, axes: NDArray[np.float64]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    direction = np.linalg.qr(axes + 3 * np.eye(3))[0]
    placement = Placement(origin, tuple(map(tuple, direction.tolist())))  # type: ignore[arg-type]
    writer = create_stained(folder / "a.ome.zarr", (2, 3, 4), voxel_um, provenance={}, placement=placement)
    for start, stop in writer.pending():
        writer.write(start, np.full((stop - start, 3, 4, 3), 99, np.uint8))
    writer.finish()
    _check_exports(folder / "a.ome.zarr", folder / "exports", _of_placement(voxel_um, placement))
