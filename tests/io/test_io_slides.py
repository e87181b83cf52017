"""Slides: real whole-slide formats, our pyramid in tifffile and OpenSlide, and one-line errors for invalid files."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from tomostain.errors import InputError
from tomostain.io import open_slide, write_image, write_slide

SLIDES = Path(__file__).parents[2] / "../shared/data/slides"
real = pytest.mark.skipif(not SLIDES.is_dir(), reason="optional real slides are not there")


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1201, 700, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, rgb: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("slides") / "slide.ome.tif"
    write_slide(path, rgb, 0.5)
    return path


def test_a_written_slide_comes_back_at_every_level(written: Path, rgb: np.ndarray) -> None:
    slide = open_slide(written)
    assert slide.shape == (1201, 700)
    assert slide.pixel_um == 0.5
    assert [shape for shape, _ in slide.levels] == [(1201, 700), (601, 350), (301, 175)]
    finest, pixel_um = slide.read()
    assert pixel_um == 0.5
    np.testing.assert_array_equal(finest, rgb)
    half, pixel_um = slide.read(1.9)
    assert pixel_um == pytest.approx(1.0, rel=1e-2)
    truth = rgb[:1200].reshape(600, 2, 350, 2, 3).mean(axis=(1, 3))
    assert np.abs(half[:600] - truth).max() <= 0.5


def test_the_same_slide_has_the_same_bytes(tmp_path: Path, rgb: np.ndarray) -> None:
    for name, image in (("a", rgb), ("b", rgb), ("c", rgb[::-1])):
        write_slide(tmp_path / f"{name}.ome.tif", image, 2.0)
    a, b, c = ((tmp_path / f"{name}.ome.tif").read_bytes() for name in "abc")
    assert a == b
    assert tifffile.tiffcomment(tmp_path / "a.ome.tif") != tifffile.tiffcomment(tmp_path / "c.ome.tif")
    assert a != c


@pytest.mark.parametrize(
    ("requested_um", "rows"), [(0.1, 1201), (0.5, 1201), (0.99, 1201), (1.0, 601), (2.0, 301), (50, 301)]
)
def test_the_coarsest_level_that_is_fine_enough_is_read(written: Path, requested_um: float, rows: int) -> None:
    image, pixel_um = open_slide(written).read(requested_um)
    assert image.shape[0] == rows
    assert pixel_um <= max(requested_um * 1.001, 0.5)


def test_other_readers_agree_on_a_written_slide(written: Path, rgb: np.ndarray) -> None:
    openslide = pytest.importorskip("openslide")
    with openslide.OpenSlide(written) as slide:
        assert slide.dimensions == (700, 1201)
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.5)
        np.testing.assert_array_equal(np.asarray(slide.read_region((0, 0), 0, (700, 1201)))[..., :3], rgb)
    with tifffile.TiffFile(written) as tif:
        assert tif.is_ome
        assert 'PhysicalSizeX="0.5"' in (tif.ome_metadata or "")


def test_plain_tiff_pyramids_are_read_through_openslide(tmp_path: Path, rgb: np.ndarray) -> None:
    pytest.importorskip("openslide")

    def write(name: str, per_unit: float, unit: str) -> Path:
        with tifffile.TiffWriter(tmp_path / name) as writer:
            for kind, image in ((0, rgb), (1, rgb[::2, ::2])):
                writer.write(
                    image,
                    photometric="rgb",
                    tile=(256, 256),
                    subfiletype=kind,
                    resolution=(per_unit / (kind + 1),) * 2,
                    resolutionunit=unit,
                    metadata=None,
                )
        return tmp_path / name

    slide = open_slide(write("measured.tif", 20000, "CENTIMETER"))
    assert slide.pixel_um == pytest.approx(0.5)
    image, pixel_um = slide.read(1.0)
    assert image.shape == (601, 350, 3)
    assert pixel_um == pytest.approx(1.0, rel=1e-2)
    with pytest.raises(InputError, match="the pixel size is not in the file; give it with `pixel_um`"):
        open_slide(write("printed.tif", 96, "INCH"))


def test_the_pixel_size_is_not_assumed(tmp_path: Path, rgb: np.ndarray) -> None:
    write_image(tmp_path / "a.png", rgb)
    tifffile.imwrite(tmp_path / "a.tif", rgb, resolution=(300, 300), resolutionunit="INCH", metadata=None)
    for name in ("a.png", "a.tif"):
        with pytest.raises(InputError, match=r"the pixel size is not in the file; give it with `pixel_um`"):
            open_slide(tmp_path / name)
        slide = open_slide(tmp_path / name, pixel_um=3.0)
        assert slide.levels == (((1201, 700), 3.0),)
        np.testing.assert_array_equal(slide.read(100)[0], rgb)
    for bad in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InputError, match=r"`pixel_um`: .* is not a length"):
            open_slide(tmp_path / "a.png", pixel_um=bad)


def test_pixels_must_be_square(tmp_path: Path, rgb: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", rgb, metadata={"axes": "YXS", "PhysicalSizeX": 1.0, "PhysicalSizeY": 1.5})
    with pytest.raises(InputError, match="are not square"):
        open_slide(tmp_path / "a.ome.tif")


def test_grey_palette_and_16_bit_slides_become_8_bit_rgb(tmp_path: Path) -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    write_image(tmp_path / "grey.tif", grey)
    np.testing.assert_array_equal(open_slide(tmp_path / "grey.tif", pixel_um=1).read()[0], np.stack([grey] * 3, -1))
    colours = np.zeros((3, 256), np.uint16)
    colours[1] = np.arange(256) * 257
    tifffile.imwrite(tmp_path / "palette.tif", grey, photometric="palette", colormap=colours)
    image = open_slide(tmp_path / "palette.tif", pixel_um=1).read()[0]
    np.testing.assert_array_equal(image, np.stack([0 * grey, grey, 0 * grey], -1))


@real
@pytest.mark.parametrize(
    # Pixel sizes are from the README of the data. Shapes are from the pages of OpenSlide and QuPath.
    ("name", "shape", "pixel_um"),
    [("cmu_small_region.svs", (2967, 2220), 0.499), ("OS-2-ndpi.ome.tif", (2202, 2202), 0.2271)],
)
def test_real_slides(name: str, shape: tuple[int, int], pixel_um: float) -> None:
    slide = open_slide(SLIDES / name)
    assert slide.shape == shape
    assert slide.pixel_um == pytest.approx(pixel_um, rel=1e-3)
    image, _ = slide.read(1000)
    assert image.dtype == np.uint8
    assert image.shape == (*shape, 3)
    assert image.mean() > 150  # stained tissue on bright glass
    assert image.std() > 10


@real
def test_a_real_czi() -> None:
    pytest.importorskip("pylibCZIrw.czi")
    slide = open_slide(SLIDES / "RGB-8bit.czi")
    assert (slide.shape, len(slide.levels)) == ((624, 924), 2)
    assert slide.pixel_um == pytest.approx(1.0833, rel=1e-3)
    red, green, blue = slide.read()[0].reshape(-1, 3).mean(axis=0)
    assert green > 1.5 * max(red, blue)  # a stem with green walls of cells


@real
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken.svs", "OpenSlide cannot read this slide"),
        ("none.svs", "no such file"),
    ],
)
def test_real_slides_that_cannot_be_read(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_slide(SLIDES / name)
    assert "\n" not in str(caught.value)


def test_damaged_slides_give_a_one_line_error(tmp_path: Path, written: Path, rgb: np.ndarray) -> None:
    (tmp_path / "fake.svs").write_text("not a slide")
    (tmp_path / "fake.czi").write_text("not a slide")
    (tmp_path / "fake.xyz").write_text("not a slide")
    (tmp_path / "half.ome.tif").write_bytes(written.read_bytes()[: written.stat().st_size // 2])
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((7, 8, 8), np.uint8), photometric="minisblack")
    for name, message in {
        "fake.svs": "OpenSlide cannot read this slide",
        "fake.czi": "cannot be read as CZI|reading CZI needs pylibCZIrw",
        "fake.xyz": "not a slide format known here",
        "half.ome.tif": "truncated|damaged",
        "stack.tif": "holds a stack",
        ".": "is a folder, not a slide",
    }.items():
        with pytest.raises(InputError, match=message) as caught:
            open_slide(tmp_path / name, pixel_um=1)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="exists already"):
        write_slide(written, rgb, 0.5)


def test_a_level_too_large_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    # A sparse file: the tags declare 50000 × 50000 pixels, but the strips are in a hole of the file.
    path = tmp_path / "huge.tif"
    tifffile.memmap(path, shape=(50000, 50000), dtype=np.uint8, metadata=None).flush()
    with pytest.raises(InputError, match="50000 × 50000 pixels is more than can be read at once"):
        open_slide(path, pixel_um=1).read()
