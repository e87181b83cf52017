"""CZI slides, written by the library of Zeiss: colours, pixel size, levels, and what is refused."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tomostain.errors import InputError
from tomostain.inspection import check_path
from tomostain.io import open_slide

czi = pytest.importorskip("pylibCZIrw.czi")

Y, X = np.mgrid[0:1100, 0:900]
RGB = np.stack([230 - Y // 8, 120 + X // 20, 200 - (X + Y) // 30], -1).astype(np.uint8)
BGR = np.ascontiguousarray(RGB[..., ::-1])


def write(path: Path, *planes: tuple[np.ndarray, dict], um: float = 0.5, **metadata: object) -> Path:
    with czi.create_czi(str(path)) as document:
        for plane, options in planes:
            document.write(plane, **options)
        document.write_metadata("slide", scale_x=um * 1e-6, scale_y=um * 1e-6, **metadata)
    return path


def test_a_czi_is_read_at_every_level(tmp_path: Path) -> None:
    slide = open_slide(write(tmp_path / "a.czi", (BGR, {"location": (100, 50)})))
    assert slide.shape == (1100, 900)
    assert slide.pixel_um == pytest.approx(0.5)
    assert [shape for shape, _ in slide.levels] == [(1100, 900), (550, 450), (275, 225)]
    np.testing.assert_array_equal(slide.read()[0], RGB)
    half, pixel_um = slide.read(1.0)
    assert pixel_um == pytest.approx(1.0)
    assert np.abs(half.astype(int) - RGB[::2, ::2]).max() <= 1


def test_deep_colours_tiles_and_gaps(tmp_path: Path) -> None:
    left, right = BGR[:, :400].astype(np.uint16) * 257, BGR[:, 500:].astype(np.uint16) * 257
    tiles = [(np.ascontiguousarray(tile), {"location": (x, 0)}) for tile, x in ((left, 0), (right, 500))]
    image = open_slide(write(tmp_path / "a.czi", *tiles)).read()[0]
    np.testing.assert_array_equal(image[:, :400], RGB[:, :400])
    np.testing.assert_array_equal(image[:, 500:], RGB[:, 500:])
    assert (image[:, 400:500] == 255).all()


def test_grey_is_repeated(tmp_path: Path) -> None:
    image = open_slide(write(tmp_path / "a.czi", (RGB[..., :1].copy(), {}))).read()[0]
    np.testing.assert_array_equal(image, RGB[..., [0, 0, 0]])


def test_a_czi_says_that_it_states_no_profile(tmp_path: Path) -> None:
    colour, grey = (write(tmp_path / name, (BGR[:50, :60, :n].copy(), {})) for name, n in (("a.czi", 3), ("b.czi", 1)))
    assert open_slide(colour).colours == {"profile": "not stated by CZI", "conversion": "none, read as sRGB"}
    assert open_slide(grey).colours == {"profile": "not stated by CZI", "conversion": "none, grey"}
    np.testing.assert_array_equal(open_slide(colour).read()[0], RGB[:50, :60])


def test_the_largest_scene_or_a_list(tmp_path: Path) -> None:
    small = (BGR[:200, :300].copy(), {"location": (0, 0), "scene": 0})
    large = (BGR, {"location": (1000, 0), "scene": 1})
    np.testing.assert_array_equal(open_slide(write(tmp_path / "a.czi", small, large)).read()[0], RGB)
    other = (BGR[:800].copy(), {"location": (0, 0), "scene": 0})
    with pytest.raises(InputError, match=r"scene 1 \(800 × 900 px\), scene 2 \(1100 × 900 px\)"):
        open_slide(write(tmp_path / "b.czi", other, large))


def test_the_pixel_size_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.czi", (BGR, {}), um=0.0)
    with pytest.raises(InputError, match="the pixel size is not in the file; give it with `pixel_um`"):
        open_slide(path)
    assert open_slide(path, pixel_um=3).pixel_um == 3


def test_planes_that_are_not_brightfield_are_refused(tmp_path: Path) -> None:
    grey = RGB[:50, :60, :1].copy()
    two = [(grey, {"plane": {"C": c}}) for c in (0, 1)]
    with pytest.raises(InputError, match=r"2 separate channels \(DAPI, FITC\)"):
        open_slide(write(tmp_path / "c.czi", *two, channel_names={0: "DAPI", 1: "FITC"}), pixel_um=1)
    with pytest.raises(InputError, match="holds 2 planes in z"):
        open_slide(write(tmp_path / "z.czi", *[(BGR[:50, :60].copy(), {"plane": {"Z": z}}) for z in (0, 1)]))
    with pytest.raises(InputError, match="pixels of type Gray32Float"):
        open_slide(write(tmp_path / "f.czi", (grey.astype(np.float32), {})))


def test_damaged_files_and_a_missing_library_give_a_one_line_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = write(tmp_path / "a.czi", (BGR, {})).read_bytes()
    for size in (0, 11, 600, len(whole) // 2):
        (tmp_path / "cut.czi").write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"cut\.czi: cannot be read as CZI") as caught:
            open_slide(tmp_path / "cut.czi", pixel_um=1).read()
        assert "\n" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "pylibCZIrw.czi", None)
    monkeypatch.delattr("pylibCZIrw.czi")
    with pytest.raises(InputError, match=r"pip install 'tomostain\[czi\]', or export the slide as OME-TIFF"):
        open_slide(tmp_path / "a.czi")


def _state_bits(monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    """Let the metadata of all CZI state significant bits, which the library cannot write."""
    plain = czi.CziReader.metadata.fget

    def metadata(reader: object) -> dict:
        values = plain(reader)
        values["ImageDocument"]["Metadata"]["Information"]["Image"]["ComponentBitCount"] = str(bits)
        return values

    monkeypatch.setattr(czi.CziReader, "metadata", property(metadata))


def test_significant_bits_of_the_metadata_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.czi", (BGR.astype(np.uint16) << 4, {}))
    with pytest.raises(InputError, match="use 12 of 16 bits"):
        open_slide(path).read()
    _state_bits(monkeypatch, 12)
    np.testing.assert_array_equal(open_slide(path).read()[0], RGB)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_gaps_are_white_with_any_significant_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    tile = (BGR[:, :100].astype(np.uint16) << (bits - 8)).copy()
    path = write(tmp_path / "a.czi", (tile, {"location": (0, 0)}), (tile, {"location": (150, 0)}))
    _state_bits(monkeypatch, bits)
    slide = open_slide(path)
    assert (slide.read()[0][:, 100:150] == 255).all()
    assert (slide.read(2 * slide.pixel_um)[0][:, 52:73] == 255).all()


def test_check_describes_a_czi(tmp_path: Path) -> None:
    inspection = check_path(write(tmp_path / "a.czi", (BGR, {})))
    assert (inspection.kind, inspection.summary) == ("slide", "1100 x 900 px of 0.5 µm, 3 level(s)")
