"""Exports hold the position, directions and unit of a stained volume, or say that they cannot."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml

from tomostain.cli.main import run
from tomostain.errors import PlacementWarning
from tomostain.io import create_stained, open_stained
from tomostain.io.metadata.placement import Placement
from tomostain.view.export.formats import export

VOXEL_UM = (70.0, 60.0, 50.0)
TURNED = Placement((7250.0, -30000.0, 12500.0), ((1, 0, 0), (0, -1, 0), (0, 0, -1)), "left-posterior-superior")
SHIFTED = Placement((1000.0, 2000.0, 3000.0))


def _stained(path: Path, placement: Placement | None) -> Path:
    writer = create_stained(path, (3, 300, 5), VOXEL_UM, provenance={}, placement=placement)
    for start, stop in writer.pending():
        writer.write(start, np.full((stop - start, 300, 5, 3), 99, np.uint8))
    writer.finish()
    return path


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("placement", [TURNED, SHIFTED, None])
def test_nrrd_and_vti_have_the_same_position_and_state_their_unit(
    tmp_path: Path, placement: Placement | None, level: int
) -> None:
    sitk = pytest.importorskip("SimpleITK")
    pytest.importorskip("vtkmodules")
    from vtkmodules.vtkIOXML import vtkXMLImageDataReader

    path = _stained(tmp_path / "a.ome.zarr", placement)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nrrd = export(path, tmp_path / "a.nrrd", "nrrd", level=level)
        vti = export(path, tmp_path / "a.vti", "vti", level=level)
    lies = (placement or Placement()).moved((35, 30, 25) if level else (0, 0, 0))
    image = sitk.ReadImage(str(nrrd))
    np.testing.assert_allclose(image.GetOrigin(), np.array(lies.origin_um[::-1]) / 1000)
    np.testing.assert_allclose(np.reshape(image.GetDirection(), (3, 3)), np.array(lies.direction)[::-1, ::-1])
    assert b'space units: "mm" "mm" "mm"' in nrrd.read_bytes()[:1000]
    reader = vtkXMLImageDataReader()
    reader.SetFileName(str(vti))
    reader.Update()
    grid = reader.GetOutput()
    assert grid.GetFieldData().GetAbstractArray("unit").GetValue(0) == "micrometer"
    point = [0.0, 0.0, 0.0]
    for index in ((0, 0, 0), (2, 3, 1), (0, 7, 0)):
        grid.TransformIndexToPhysicalPoint(index, point)
        np.testing.assert_allclose(np.array(point) / 1000, image.TransformIndexToPhysicalPoint(index), atol=1e-9)


@pytest.mark.parametrize("level", [0, 1])
def test_ome_zarr_04_holds_the_position(tmp_path: Path, level: int) -> None:
    path = _stained(tmp_path / "a.ome.zarr", SHIFTED)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = export(path, tmp_path / "b.ome.zarr", "ome-zarr-0.4", level=level)
    assert open_stained(out).placements == open_stained(path).placements[level:]
    turned = _stained(tmp_path / "turned.ome.zarr", TURNED)
    with pytest.warns(PlacementWarning, match="OME-Zarr cannot hold the directions"):
        out = export(turned, tmp_path / "c.ome.zarr", "ome-zarr-0.4")
    assert open_stained(out).placements == open_stained(turned).placements


def test_tiff_slices_say_that_the_position_is_lost(tmp_path: Path) -> None:
    with pytest.warns(PlacementWarning, match=r"TIFF cannot hold the position of the volume \(first voxel at 1000, 20"):
        out = export(_stained(tmp_path / "a.ome.zarr", SHIFTED), tmp_path / "slices")
    assert Placement.from_dict(yaml.safe_load((out / "export.yaml").read_text())["placement"]) == SHIFTED


def test_the_command_line_states_the_unit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(_stained(tmp_path / "a.ome.zarr", SHIFTED))
    for to, says in (
        ("nrrd", "0.07 x 0.06 x 0.05 mm"),
        ("vti", "70 x 60 x 50 µm"),
        ("ome-zarr-0.4", "70 x 60 x 50 µm"),
    ):
        suffix = "ome.zarr" if to.startswith("ome") else to
        assert run(["export", path, str(tmp_path / f"out.{suffix}"), "--to", to]) == 0
        captured = capsys.readouterr()
        assert re.search(rf"written: .*, voxels of {says} \(z, y, x\), lengths are in", captured.out)
    assert run(["export", path, str(tmp_path / "slices"), "--to", "rgb-tiff"]) == 0
    assert "TIFF cannot hold the position" in capsys.readouterr().err
