"""Samples and their declared colour model: conversions against the formulas, and an error for what does not fit."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from tomostain.errors import InputError
from tomostain.io import colour_conversion, read_image, write_image
from tomostain.io.colour_model import ColourModel
from tomostain.io.images import read_mask
from tomostain.io.interpret import interpret, interpret_by_samples, interpret_grey

FILE = Path("a.tif")
GREY = np.zeros((2, 3), np.uint8)
RGB = np.zeros((2, 3, 3), np.uint8)


@pytest.mark.parametrize(
    ("samples", "model", "message"),
    [
        (GREY, ColourModel("rgb"), "is not a grey or RGB image"),
        (np.zeros((2, 3, 3, 3), np.uint8), ColourModel("rgb"), "is not a grey or RGB image"),
        (RGB, ColourModel("rgb", alpha="straight"), "is not a grey or RGB image"),
        (RGB, ColourModel("grey"), "3 channels of no stated colour"),
        (RGB.astype(np.float32), ColourModel("ycbcr"), "ycbcr of type float32"),
        (GREY, ColourModel("palette"), "not in its palette"),
        (GREY + np.uint8(2), ColourModel("palette", palette=np.zeros((2, 3), np.uint8)), "not in its palette"),
        (GREY.astype(np.float32), ColourModel("grey", white_is_zero=True), "white is zero, for float32 values"),
        (GREY.astype(np.uint16) + 4096, ColourModel("grey", bits=12, white_is_zero=True), "has larger values"),
    ],
)
def test_samples_that_do_not_fit_their_model(samples: np.ndarray, model: ColourModel, message: str) -> None:
    with pytest.raises(InputError, match=rf"^a\.tif: .*{message}"):
        interpret(samples, model, FILE)


def test_five_samples_have_no_known_meaning() -> None:
    with pytest.raises(InputError, match="not a grey or RGB image"):
        interpret_by_samples(np.zeros((2, 3, 5), np.uint8), FILE)


def test_further_samples_without_a_meaning_are_ignored() -> None:
    samples = np.arange(30, dtype=np.uint8).reshape(2, 3, 5)
    np.testing.assert_array_equal(interpret(samples, ColourModel("rgb"), FILE).rgb(), samples[..., :3])


def test_a_volume_takes_grey_values_only() -> None:
    palette = np.array([[0, 0, 0], [9, 9, 9]], np.uint8)
    ones = np.ones((1, 2, 3), np.uint8)
    assert (interpret_grey(ones, ColourModel("palette", palette=palette), FILE) == 9).all()
    palette[1, 0] = 8
    with pytest.raises(InputError, match="has a palette of colours"):
        interpret_grey(ones, ColourModel("palette", palette=palette), FILE)
    with pytest.raises(InputError, match=r"is a colour image \(cmyk\)"):
        interpret_grey(ones, ColourModel("cmyk"), FILE)


def test_white_as_zero() -> None:
    values = np.array([[0, 1, 4095]], np.uint16)
    inverted = interpret(values, ColourModel("grey", bits=12, white_is_zero=True), FILE).image()
    assert inverted.tolist() == [[4095, 4094, 0]]
    flags = interpret(np.array([[True, False]]), ColourModel("grey", white_is_zero=True), FILE)
    assert flags.samples.tolist() == [[False, True]]


@pytest.mark.parametrize("kind", ["ycbcr", "cmyk", "lab"])
def test_a_conversion_in_blocks_of_rows_is_that_of_the_whole(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.random.default_rng(0).integers(0, 256, (17, 5, 4 if kind == "cmyk" else 3), np.uint8)
    model = ColourModel(kind)  # type: ignore[arg-type]
    whole = interpret(samples, model, FILE).rgb()
    monkeypatch.setattr(colour_conversion, "_BLOCK_SAMPLES", 40)
    np.testing.assert_array_equal(interpret(samples, model, FILE).rgb(), whole)
    assert len(np.unique(whole)) > 50


def test_the_opacity_of_inks_is_applied() -> None:
    """Black ink with opacity 0, 128 and 255 on white."""
    samples = np.array([[[0, 0, 0, 255, alpha] for alpha in (0, 128, 255)]], np.uint8)
    grey = interpret(samples, ColourModel("cmyk", alpha="straight"), FILE).rgb()
    assert grey[0, :, 0].tolist() == [255, 127, 0]


def test_a_profile_that_is_damaged_is_named() -> None:
    inks = np.zeros((2, 3, 4), np.uint8)
    with pytest.raises(InputError, match="its colour profile cannot be used"):
        interpret(inks, ColourModel("cmyk", profile=b"no profile"), FILE)


def test_a_profile_of_another_colour_space_is_named() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with pytest.raises(InputError, match="its colour profile cannot be used"):
        interpret(np.zeros((2, 3, 4), np.uint8), ColourModel("cmyk", profile=profile), FILE)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ([(529, 5, 3, (1, 3, 0, 1, 1, 3), True)], "coefficients of YCbCr are damaged"),
        ([(532, 5, 6, (0, 1, 0, 1) + (128, 1, 255, 1) * 2, True)], "coefficients of YCbCr are damaged"),
    ],
)
def test_damaged_coefficients_of_ycbcr(tmp_path: Path, tags: list, message: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB, photometric="ycbcr", extratags=tags, metadata=None)
    with pytest.raises(InputError, match=message):
        read_image(path)


@pytest.mark.parametrize(
    ("photometric", "samples", "tags", "message"),
    [
        ("cielab", 3, [(318, 5, 2, (2, 1, 1, 3), True)], "is not a chromaticity"),
        ("separated", 4, [(332, 3, 1, 2, True)], "inks other than CMYK"),
        ("separated", 4, [(336, 3, 2, (0, 100), True)], "use the range"),
        ("logluv", 3, [], "photometric interpretation LOGLUV is not supported"),
    ],
)
def test_tiff_that_declares_what_cannot_be_read(
    tmp_path: Path, photometric: str, samples: int, tags: list, message: str
) -> None:
    path = tmp_path / "a.tif"
    values = np.zeros((8, 8, samples), np.uint8)
    tifffile.imwrite(path, values, photometric=photometric, planarconfig="contig", extratags=tags, metadata=None)
    with pytest.raises(InputError, match=message):
        read_image(path)


def test_a_palette_that_is_not_scaled_to_16_bits(tmp_path: Path) -> None:
    """Some programs write 8-bit colours; libtiff recognises them by their maximum."""
    colours = np.zeros((3, 256), np.uint16)
    colours[:, 1] = (200, 100, 50)
    tifffile.imwrite(tmp_path / "a.tif", np.ones((4, 4), np.uint8), photometric="palette", colormap=colours)
    assert read_image(tmp_path / "a.tif")[0, 0].tolist() == [200, 100, 50]


def test_a_grey_mask_in_jpeg_is_refused_and_a_binary_one_read(tmp_path: Path) -> None:
    Image.fromarray(np.tile(np.arange(64, dtype=np.uint8), (64, 1))).save(tmp_path / "grey.jpg")
    with pytest.raises(InputError, match="JPEG changes the zeros of a mask"):
        read_mask(tmp_path / "grey.jpg")
    Image.fromarray(np.full((16, 16), 255, np.uint8)).save(tmp_path / "full.jpg")
    assert read_mask(tmp_path / "full.jpg").all()


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("a.png", np.zeros((4, 4), np.float32), "PNG takes uint8"),
        ("a.png", np.zeros((4, 4, 3), np.uint16), "PNG takes uint8"),
        ("a.tif", np.zeros((4, 4, 2), np.uint8), "an image is"),
        ("a.tif", np.zeros(4, np.uint8), "an image is"),
        ("a.jpg", np.zeros((4, 4), np.uint8), r"written as \.png or \.tif"),
    ],
)
def test_arrays_that_are_not_images_are_not_written(tmp_path: Path, name: str, array: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_image(tmp_path / name, array)
    assert list(tmp_path.iterdir()) == []


def test_a_flat_image_through_simpleitk(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    values = np.arange(12, dtype=np.uint16).reshape(3, 4)
    sitk.WriteImage(sitk.GetImageFromArray(values), tmp_path / "flat.nrrd")
    sitk.WriteImage(sitk.GetImageFromArray(values[None]), tmp_path / "slice.mha")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4), np.uint16)), tmp_path / "volume.nrrd")
    np.testing.assert_array_equal(read_image(tmp_path / "flat.nrrd"), values)
    np.testing.assert_array_equal(read_image(tmp_path / "slice.mha"), values)
    with pytest.raises(InputError, match=r"array of shape \(2, 3, 4\), but one image is expected"):
        read_image(tmp_path / "volume.nrrd")
