"""OME-TIFF of single images: every kind of number, levels, metadata, and the same bytes for the same image."""

import numpy as np
import pytest
import tifffile

from tomostain.io import open_slide
from tomostain.io.ome_tiff import OmeImage, write_ome_tiff

ABOUT = OmeImage("middle, µCT", "µCT", (30.0, 20.0, 10.0), "made for a test")


def read(path):
    """Return the levels, the image of the OME-XML, and the predictor."""
    with tifffile.TiffFile(path) as tiff:
        levels = tiff.series[0].levels
        assert all(level.pages[0].is_tiled for level in levels)
        about = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]
        return [level.asarray() for level in levels], about, tiff.pages[0].predictor


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_grey_values(dtype, tmp_path):
    image = (np.random.default_rng(0).random((514, 31)) * 200).astype(dtype)
    write_ome_tiff(tmp_path / "a.ome.tif", image, 2.5, ABOUT)
    (whole, half), about, predictor = read(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(whole, image)
    assert (whole.dtype, half.dtype, half.shape) == (dtype, dtype, (257, 16))
    mean = image[:, :30].astype(float).reshape(257, 2, 15, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(half[:, :15], mean, atol=1e-4 if dtype == np.float32 else 0.5)
    assert (about["Name"], about["Description"]) == ("middle, µCT", "made for a test")
    pixels = about["Pixels"]
    assert (pixels["Channel"]["Name"], pixels["Channel"]["SamplesPerPixel"]) == ("µCT", 1)
    assert [pixels["Plane"][f"Position{axis}"] for axis in "XYZ"] == [10, 20, 30]
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeXUnit"]) == (2.5, "µm")
    # Bio-Formats does not read the predictor of floating-point numbers, 3.
    assert predictor == (1 if dtype == np.float32 else 2)


def test_levels_of_labels_are_labels(tmp_path):
    labels = np.random.default_rng(0).choice([0, 5, 255], (1100, 20)).astype(np.uint8)
    write_ome_tiff(tmp_path / "a.ome.tif", labels, 1.0, has_labels=True)
    levels, _, _ = read(tmp_path / "a.ome.tif")
    assert [level.shape for level in levels] == [(1100, 20), (550, 10), (275, 5)]
    np.testing.assert_array_equal(levels[2], labels[::4, ::4])


def test_colours_open_as_a_slide(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    for name in ("a.ome.tif", "b.ome.tif"):
        write_ome_tiff(tmp_path / name, rgb, 2.5, ABOUT)
    slide = open_slide(tmp_path / "a.ome.tif")
    assert slide.pixel_um == pytest.approx(2.5)
    np.testing.assert_array_equal(slide.read()[0], rgb)
    assert (tmp_path / "a.ome.tif").read_bytes() == (tmp_path / "b.ome.tif").read_bytes()


@pytest.mark.parametrize("image", [np.zeros((3, 4)), np.zeros((3, 4, 2), np.uint8), np.zeros((3, 4, 3), np.uint16)])
def test_other_arrays_are_refused(image, tmp_path):
    with pytest.raises(ValueError, match="an image is uint8 RGB"):
        write_ome_tiff(tmp_path / "a.ome.tif", image, 1.0)
    assert list(tmp_path.iterdir()) == []
