"""Exports read back by the libraries whose formats they are."""

import numpy as np
import pytest
import tifffile
import yaml

from tomostain.errors import InputError
from tomostain.io.stained_writer import create_stained
from tomostain.view import view_path
from tomostain.view.export import export
from tomostain.view.rgba import rgba

VOXEL_UM = (12.0, 5.0, 7.0)


@pytest.fixture(scope="module")
def stained(tmp_path_factory):
    """A stained volume of 19 × 30 × 41 voxels (two slabs of the exporter) and its colours."""
    path = tmp_path_factory.mktemp("stained") / "stained.ome.zarr"
    volume = np.random.default_rng(3).integers(0, 256, (19, 30, 41, 3), dtype=np.uint8)
    writer = create_stained(path, volume.shape[:3], VOXEL_UM, slab=8, provenance={"model": "none"})
    for z0, z1 in writer.pending():
        writer.write(z0, volume[z0:z1])
    writer.finish()
    return path, volume


@pytest.mark.parametrize("to", ["rgba-tiff", "rgb-tiff"])
def test_tiff_stacks(stained, tmp_path, to):
    path, volume = stained
    out = export(path, tmp_path / "slices", to)
    names = sorted(file.name for file in out.iterdir())
    assert names == ["export.yaml", *(f"slice_{z:04d}.tif" for z in range(19))]
    read = np.stack([tifffile.imread(out / name) for name in names[1:]])
    np.testing.assert_array_equal(read, rgba(volume) if to == "rgba-tiff" else volume)
    with tifffile.TiffFile(out / names[1]) as file:
        assert file.pages[0].tags["XResolution"].value[1] / file.pages[0].tags["XResolution"].value[0] == pytest.approx(
            7
        )
        assert "spacing=12" in file.pages[0].description
        if to == "rgba-tiff":
            assert file.pages[0].extrasamples == (tifffile.EXTRASAMPLE.UNASSALPHA,)
    assert yaml.safe_load((out / "export.yaml").read_text())["voxel_um"] == list(VOXEL_UM)


def test_vti(stained, tmp_path):
    pytest.importorskip("vtkmodules")
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkIOXML import vtkXMLImageDataReader

    path, volume = stained
    out = export(path, tmp_path / "stained.vti", "vti")
    reader = vtkXMLImageDataReader()
    reader.SetFileName(str(out))
    reader.Update()
    image = reader.GetOutput()
    assert image.GetDimensions() == (41, 30, 19)
    assert image.GetSpacing() == (7.0, 5.0, 12.0)
    scalars = image.GetPointData().GetScalars()
    assert scalars.GetName() == "RGBA"
    np.testing.assert_array_equal(vtk_to_numpy(scalars).reshape(19, 30, 41, 4), rgba(volume))


def test_nrrd(stained, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    path, volume = stained
    image = sitk.ReadImage(str(export(path, tmp_path / "stained.nrrd", "nrrd")))
    assert image.GetSpacing() == pytest.approx((0.007, 0.005, 0.012))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), rgba(volume))


def test_what_is_refused(stained, tmp_path):
    path, _ = stained
    with pytest.raises(InputError, match="did you mean 'rgba-tiff'"):
        export(path, tmp_path / "a", "rgba-tif")
    with pytest.raises(InputError, match=r"--level 9: .* has the levels 0 to"):
        export(path, tmp_path / "a", level=9)
    with pytest.raises(InputError, match=r"must be named \*\.vti"):
        export(path, tmp_path / "a.vtk", "vti")
    with pytest.raises(InputError, match=r"give --to rgba-tiff"):
        export(path, tmp_path / "a.nrrd", "nrrd", max_bytes=100)
    (tmp_path / "there.nrrd").write_text("mine")
    with pytest.raises(InputError, match="--overwrite"):
        export(path, tmp_path / "there.nrrd", "nrrd")
    assert (tmp_path / "there.nrrd").read_text() == "mine"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["there.nrrd"]


def test_pictures_of_a_stained_and_of_a_grey_volume(stained, tmp_path):
    from tomostain.io import read_image, write_stack

    path, volume = stained
    names = [file.name for file in view_path(path, tmp_path / "view")]
    assert names == ["planes.png", "rendering.png", "rendering-half.png"]
    assert all(read_image(tmp_path / "view" / name).shape[2] == 3 for name in names)
    write_stack(tmp_path / "grey", [image[..., 0] for image in volume], voxel_um=VOXEL_UM)
    assert [file.name for file in view_path(tmp_path / "grey", tmp_path / "planes")] == ["planes.png"]
    with pytest.raises(InputError, match="--overwrite"):
        view_path(path, tmp_path / "view")
