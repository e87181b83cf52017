"""Images and stacks: round trips against Pillow and tifffile, and a one-line error for each invalid input."""

import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from tomostain.errors import InputError
from tomostain.io import open_volume, read_image, write_image, write_stack
from tomostain.io.pillow_images import opened_pillow, pillow_shape

SHARED = Path(__file__).parents[2] / "../shared/data"
few = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@few
@given(
    image=st.sampled_from(["uint8", "uint16", "rgb"]).flatmap(
        lambda kind: hnp.arrays(
            np.uint16 if kind == "uint16" else np.uint8,
            st.tuples(st.integers(1, 40), st.integers(1, 40)).map(lambda s: (*s, 3) if kind == "rgb" else s),
        )
    ),
    suffix=st.sampled_from([".png", ".tif"]),
)
def test_images_come_back_as_they_were(tmp_path: Path, image: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"image{suffix}"
    write_image(path, image, overwrite=True)
    back = read_image(path)
    assert back.dtype == image.dtype
    np.testing.assert_array_equal(back, image)


def test_written_images_are_what_other_programs_read(tmp_path: Path) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    write_image(tmp_path / "a.png", rgb)
    write_image(tmp_path / "a.tif", rgb)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), rgb)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.tif")), rgb)


def test_masks_are_written_as_0_and_255(tmp_path: Path) -> None:
    mask = np.array([[True, False]])
    for name in ("m.png", "m.tif"):
        write_image(tmp_path / name, mask)
        assert read_image(tmp_path / name).tolist() == [[255, 0]]
    Image.fromarray(mask).save(tmp_path / "bit.png")
    assert read_image(tmp_path / "bit.png").tolist() == [[255, 0]]


def test_transparency_is_composited_on_white(tmp_path: Path) -> None:
    rgba = np.array([[[10, 20, 30, 0], [10, 20, 30, 255], [0, 0, 0, 51]]], np.uint8)
    for name in ("a.png", "a.tif"):
        write_image(tmp_path / name, rgba)
        assert read_image(tmp_path / name).tolist() == [[[255, 255, 255], [10, 20, 30], [204, 204, 204]]]


def test_other_kinds_of_pixels(tmp_path: Path) -> None:
    deep = np.array([[[0, 32768, 65535]]], np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb")
    assert read_image(tmp_path / "deep.tif").tolist() == [[[0, 128, 255]]]
    tifffile.imwrite(tmp_path / "planar.tif", np.moveaxis(deep, -1, 0), photometric="rgb", planarconfig="separate")
    assert read_image(tmp_path / "planar.tif").tolist() == [[[0, 128, 255]]]
    tifffile.imwrite(tmp_path / "white.tif", np.array([[0, 200]], np.uint8), photometric="miniswhite")
    assert read_image(tmp_path / "white.tif").tolist() == [[255, 55]]
    tifffile.imwrite(tmp_path / "double.tif", np.array([[0.5, -1.0]]), byteorder=">")
    assert read_image(tmp_path / "double.tif").dtype == np.float32
    Image.new("P", (2, 1), 0).save(tmp_path / "palette.png")
    assert read_image(tmp_path / "palette.png").shape == (1, 2, 3)


def test_a_photograph_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate a quarter turn clockwise
    Image.new("L", (4, 2)).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (4, 2)


def test_two_dimensional_mha_of_the_real_pair() -> None:
    folder = SHARED / "microct_histology_pair"
    if not folder.is_dir():
        pytest.skip("optional real data are not there")
    for name in ("microct.mha", "histology.mha"):
        image = read_image(folder / name)
        # The text header of each file gives width, height and type. The raw values are at the end of the file.
        assert (image.shape, image.dtype) == ((700, 851), np.uint8)
        raw = np.frombuffer((folder / name).read_bytes()[-700 * 851 :], np.uint8)
        np.testing.assert_array_equal(image.ravel(), raw)


def test_damaged_images_give_a_one_line_error(tmp_path: Path) -> None:
    write_image(tmp_path / "good.png", np.random.default_rng(0).integers(0, 256, (50, 50), dtype=np.uint8))
    (tmp_path / "half.png").write_bytes((tmp_path / "good.png").read_bytes()[:1000])
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "text.tif").write_text("not a picture")
    (tmp_path / "a.docx").touch()
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((5, 8, 8), np.uint8), photometric="minisblack")
    for name, message in {
        "none.png": "no such file",
        ".": "is a folder, not an image",
        "half.png": "truncated or damaged",
        "text.png": "is not of the format of its name",
        "text.tif": "cannot be read as TIFF",
        "a.docx": "'.docx' is not an image format known here",
        "stack.tif": "holds a stack of shape",
    }.items():
        with pytest.raises(InputError, match=message) as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"written as \.png or \.tif"):
        write_image(tmp_path / "a.jpg", np.zeros((2, 2), np.uint8))
    with pytest.raises(InputError, match="exists already"):
        write_image(tmp_path / "good.png", np.zeros((2, 2), np.uint8))


def test_an_absurd_size_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    # The header of a PNG: signature, then width and height of 2^20 in IHDR (PNG specification, 11.2.2), CRC by zlib.
    import struct
    import zlib

    ihdr = b"IHDR" + struct.pack(">IIBBBBB", 2**20, 2**20, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + ihdr + struct.pack(">I", zlib.crc32(ihdr))
    (tmp_path / "bomb.png").write_bytes(png + struct.pack(">I", 0) + b"IDAT" + b"\0" * 8)
    with pytest.raises(InputError, match="more than can be read at once"):
        read_image(tmp_path / "bomb.png")


@few
@given(
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 20), st.integers(1, 20)),
    voxel_um=st.tuples(*[st.floats(0.01, 1000)] * 3),
)
def test_a_grey_stack_comes_back_with_its_voxel_size(
    tmp_path: Path, dtype: str, shape: tuple[int, int, int], voxel_um: tuple[float, float, float]
) -> None:
    stack = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    write_stack(tmp_path / "stack", stack, voxel_um=voxel_um, overwrite=True)
    volume = open_volume(tmp_path / "stack")
    assert (volume.shape, volume.dtype) == (shape, np.dtype(dtype))
    # TIFF stores the resolution as a ratio of two 32-bit integers.
    np.testing.assert_allclose(volume.voxel_um, voxel_um, rtol=1e-5)
    np.testing.assert_array_equal(volume.read(0, shape[0]), stack)


@pytest.mark.parametrize("samples", [3, 4])
def test_a_colour_stack_carries_its_voxel_size(tmp_path: Path, samples: int) -> None:
    stack = np.random.default_rng(0).integers(0, 256, (3, 8, 9, samples), dtype=np.uint8)
    write_stack(tmp_path / "rgb", stack, stem="stained", voxel_um=(10, 5, 5))
    assert [p.name for p in sorted((tmp_path / "rgb").iterdir())] == [f"stained_000{i}.tif" for i in range(3)]
    with tifffile.TiffFile(tmp_path / "rgb" / "stained_0001.tif") as tif:
        np.testing.assert_array_equal(tif.asarray(), stack[1])
        assert tif.imagej_metadata is not None
        assert (tif.imagej_metadata["unit"], tif.imagej_metadata["spacing"]) == ("micron", 10.0)
        assert tif.pages[0].tags["XResolution"].value == (1, 5)


def test_a_stack_of_unequal_or_no_slices_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="slice 1 is"):
        write_stack(tmp_path / "a", [np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8)], voxel_um=1)
    with pytest.raises(ValueError, match="at least one slice"):
        write_stack(tmp_path / "a", [], voxel_um=1)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="`voxel_um`: 0 is not a length"):
        write_stack(tmp_path / "a", [np.zeros((2, 2), np.uint8)], voxel_um=0)


def test_two_threads_read_at_once(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "a.png")
    shapes: list[tuple[int, int]] = []
    thread = threading.Thread(target=lambda: shapes.append(pillow_shape(tmp_path / "a.png")), daemon=True)
    with opened_pillow(tmp_path / "a.png"):
        thread.start()
        thread.join(60)
        assert shapes == [(4, 5)]


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "P"])
def test_a_png_with_fewer_rows_than_it_states_is_refused(tmp_path: Path, mode: str, interlaced: bool) -> None:
    """Decoders leave the rows black that are missing."""
    depth, colour = {"1": (1, 0), "L": (8, 0), "RGB": (8, 2), "RGBA": (8, 6), "P": (8, 3)}[mode]
    samples = {0: 1, 2: 3, 6: 4, 3: 1}[colour]
    width, height = 21, 13
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    sizes = [(len(range(x, width, dx)), len(range(y, height, dy))) for x, y, dx, dy in passes]
    sizes = sizes if interlaced else [(width, height)]
    rows = b"".join((b"\0" + bytes((columns * samples * depth + 7) // 8)) * count for columns, count in sizes)

    def write(data: bytes) -> Path:
        def chunk(kind: bytes, content: bytes) -> bytes:
            return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

        header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
        parts = [(b"IHDR", header), *([(b"PLTE", bytes(12))] if mode == "P" else []), (b"IDAT", zlib.compress(data))]
        content = b"".join(chunk(*part) for part in [*parts, (b"IEND", b"")])
        (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
        return tmp_path / "a.png"

    assert read_image(write(rows)).shape[:2] == (height, width)
    for bad in (rows[:-1], rows[: len(rows) // 2], b""):
        with pytest.raises(InputError, match="cannot be read"):
            read_image(write(bad))
