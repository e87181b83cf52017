"""Which image of a file is the slide, its pixel size, and sizes that are refused before anything is decoded."""

# ruff: noqa: E501 (the tables of cases have one case in a line)

import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tomostain.errors import InputError
from tomostain.io import open_slide
from tomostain.io.image_choice import Candidate, choose_image, is_level
from tomostain.io.image_size import check_decoded_size
from tomostain.io.images import read_image, read_mask, read_rgb
from tomostain.io.tiff import opened_tiff
from tomostain.io.tiff_images import main_image

imagecodecs = pytest.importorskip("imagecodecs")

Y, X = np.mgrid[0:500, 0:700]
RGB = np.stack([230 - Y // 4, 120 + X // 10, 200 - (X + Y) // 15], -1).astype(np.uint8)
NOISE = np.random.default_rng(0).integers(0, 255, (150, 450, 3), dtype=np.uint8)
CM = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
TILED = {"tile": (64, 64)}
REDUCED = {"tile": (64, 64), "subfiletype": 1}
APERIO = "Aperio Image Library v11.2.1 \r\n700x500 [0,0 700x500] (64x64) |AppMag = 20"
MPP = {"description": APERIO + "|MPP = 0.5", "software": False}


def write(path: Path, *images: tuple[np.ndarray, dict], ome: bool = False) -> Path:
    with tifffile.TiffWriter(path, ome=ome) as tif:
        for image, options in images:
            tif.write(image, **({"photometric": "rgb", "metadata": None} | options))
    return path


def um(name: str, size: float = 0.5, unit: str = "µm") -> dict:
    units = {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    return {"metadata": {"axes": "YXS", "Name": name, "PhysicalSizeX": size, "PhysicalSizeY": size} | units}


FIRST = [
    ("preview", [(RGB[::4, ::4], {}), (RGB, TILED | CM)], False, 1),
    ("preview with a size", [(NOISE, {"resolution": (500, 500), "resolutionunit": "CENTIMETER"}), (RGB, TILED | CM)], False, 1),
    ("smallest first", [(RGB[::4, ::4], REDUCED), (RGB[::2, ::2], REDUCED), (RGB, TILED | CM)], False, 3),
    ("part of the same pixel size", [(RGB, TILED | CM), (RGB[100:350, 100:450], TILED | CM)], False, 1),
    ("Aperio levels repeat the size", [(RGB, TILED | MPP), (NOISE, {}), (RGB[::2, ::2], TILED | MPP), (RGB[::4, ::4], TILED | MPP)], False, 3),
    ("macro in between", [(RGB, TILED | CM), (NOISE, {}), (RGB[::2, ::2], REDUCED), (RGB[::4, ::4], REDUCED)], False, 3),
    ("macro of OME first", [(NOISE, um("macro image", 20)), (RGB, um("scan"))], True, 1),
    ("large label of OME", [(np.tile(NOISE, (4, 2, 1)), um("label image", 20)), (RGB, um("scan"))], True, 1),
    ("half first in OME", [(RGB[::2, ::2], um("a", 1)), (RGB, um("b"))], True, 1),
    ("Aperio macro first", [(NOISE, {"description": "Aperio Image Library \r\nmacro 450x150", "software": False}), (RGB, TILED | {"description": APERIO + "|MPP = 0.5", "software": False})], False, 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "images", "ome", "levels"), FIRST, ids=[name for name, *_ in FIRST])
def test_the_slide_is_the_largest_pyramid(tmp_path: Path, name: str, images: list, ome: bool, levels: int) -> None:
    path = write(tmp_path / ("a.ome.tif" if ome else "a.tif"), *images, ome=ome)
    slide = open_slide(path)
    assert slide.shape == RGB.shape[:2]
    assert slide.pixel_um == pytest.approx(0.5)
    assert len(slide.levels) == levels
    with opened_tiff(path) as tif:  # OpenSlide reads some of the files
        assert len(main_image(path, tif).levels) == levels
    np.testing.assert_array_equal(slide.read()[0], RGB)
    np.testing.assert_array_equal(read_rgb(path), RGB)
    if levels > 1:
        np.testing.assert_array_equal(slide.read(1.0)[0], RGB[::2, ::2])


SEVERAL = [
    ("two scenes", [(RGB, CM), (RGB[:-20], CM)], False, r"holds 2 images.*page 0 \(500 × 700 px\), page 1 \(480 × 700 px\)"),
    ("two equal", [(RGB, CM), (RGB, CM)], False, "holds a stack"),
    ("two of OME", [(RGB, um("liver")), (RGB[:-8], um("kidney"))], True, r"liver \(500 × 700 px\), kidney \(492 × 700 px\)"),
    ("stack after a preview", [(RGB[::4, ::4], {}), (RGB, {}), (RGB, {}), (RGB, {})], False, "holds a stack"),
    ("z of OME", [(np.stack([RGB] * 3), {"metadata": {"axes": "ZYXS"}})], True, "holds a stack"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "images", "ome", "message"), SEVERAL, ids=[name for name, *_ in SEVERAL])
def test_several_images_are_refused_with_a_list(
    tmp_path: Path, name: str, images: list, ome: bool, message: str
) -> None:
    path = write(tmp_path / ("a.ome.tif" if ome else "a.tif"), *images, ome=ome)
    for read in (read_image, lambda p: open_slide(p, pixel_um=1)):
        with pytest.raises(InputError, match=message) as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_levels_have_the_aspect_ratio_of_the_finest() -> None:
    assert is_level((1001, 701), (501, 351))
    assert is_level((1001, 701), (500, 350))
    assert is_level((100000, 70000), (97, 68))
    assert not is_level((1000, 700), (500, 400))
    assert not is_level((1000, 700), (1000, 700))
    assert not is_level((1000, 700), (700, 1000))
    one = Candidate("a", 100, 100)
    assert choose_image(Path("a"), [one, Candidate("b", 50, 49)]) == 0
    assert choose_image(Path("a"), [Candidate("label", 999, 999, is_aside=True), one]) == 1
    with pytest.raises(InputError, match="which one is meant is not clear"):
        choose_image(Path("a"), [one, Candidate("b", 60, 49)])


def test_the_content_of_a_slide_that_is_not_read_is_named(tmp_path: Path) -> None:
    for name in ("a.png", "a.tif", "a.svs"):
        (tmp_path / name).write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
        with pytest.raises(InputError, match=f"{name}: .*a pointer of Git LFS, not the data"):
            open_slide(tmp_path / name, pixel_um=1)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.svs", b"II*\0"), ("a.ndpi", b"MM\0*"), ("a.jpeg", b"\xff\xd8\xff\xe0"), ("a.dcm", bytes(128) + b"DICM")],
)
def test_a_damaged_slide_whose_content_has_the_ending_of_its_format_is_not_misnamed(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content + bytes(300))
    with pytest.raises(InputError, match=name) as caught:
        open_slide(tmp_path / name, pixel_um=1)
    assert "rename" not in str(caught.value)
    assert "convert the series" not in str(caught.value)


SIZES: list[tuple[str, dict, bool, float | None]] = [
    ("centimetre", CM, False, 0.5),
    ("inch", {"resolution": (50800, 50800), "resolutionunit": "INCH"}, False, 0.5),
    ("no unit", {"resolution": (2, 2), "resolutionunit": "NONE"}, False, None),
    ("zero", {"resolution": (0, 0), "resolutionunit": "CENTIMETER"}, False, None),
    ("print", {"resolution": (300, 300), "resolutionunit": "INCH"}, False, None),
    ("Aperio", {"description": APERIO + "|MPP = 0.5", "software": False} | TILED, False, 0.5),
    ("Aperio, decimal comma", {"description": APERIO + "|MPP = 0,5", "software": False} | TILED, False, 0.5),
    ("Aperio without size", {"description": APERIO, "software": False} | TILED | CM, False, None),
    ("Aperio, no number", {"description": APERIO + "|MPP = half", "software": False} | TILED, False, None),
    ("OME", um("a"), True, 0.5),
    ("OME in nm", um("a", 500, "nm"), True, 0.5),
    ("OME, default unit", {"metadata": {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}}, True, 0.5),
    ("OME, units differ", {"metadata": {"axes": "YXS", "PhysicalSizeX": 500, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.5}}, True, 0.5),
    ("OME in pixels", um("a", 1, "pixel"), True, None),
    ("OME, x only", {"metadata": {"axes": "YXS", "PhysicalSizeX": 0.5}}, True, None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "ome", "right"), SIZES, ids=[name for name, *_ in SIZES])
def test_the_pixel_size_is_read_or_asked_for(
    tmp_path: Path, name: str, options: dict, ome: bool, right: float | None
) -> None:
    path = write(tmp_path / ("a.ome.tif" if ome else "a.tif"), (RGB, options), ome=ome)
    if right is None:
        with pytest.raises(InputError, match="the pixel size is not in the file; give it with `pixel_um`"):
            open_slide(path)
        assert open_slide(path, pixel_um=2).pixel_um == 2
    else:
        assert open_slide(path).pixel_um == pytest.approx(right)


def test_an_aperio_file_is_the_same_slide_under_any_name(tmp_path: Path) -> None:
    pytest.importorskip("openslide")
    images = [
        (RGB[::step, ::step], {"description": APERIO + "|MPP = 0.5", "software": False} | TILED) for step in (1, 2)
    ]
    for name in ("a.svs", "a.tif"):
        slide = open_slide(write(tmp_path / name, *images))
        assert (slide.shape, slide.pixel_um, len(slide.levels)) == (RGB.shape[:2], 0.5, 2)
        np.testing.assert_array_equal(slide.read()[0], RGB)


def _png(path: Path, side: int, depth: int, colour_type: int, samples: int) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = b"\0" * (1 + side * samples * depth // 8)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, depth, colour_type, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def test_bombs_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    _png(tmp_path / "grey.png", 16000, 8, 0, 1)
    _png(tmp_path / "grey16.png", 10000, 16, 0, 1)
    _png(tmp_path / "bits.png", 32000, 1, 0, 1)
    Image.new("RGB", (10000, 10000)).save(tmp_path / "a.jpg", progressive=True)
    # A TIFF whose strips all have the same data.
    strip = zlib.compress(b"\0" * (1000 * 30000), 9)
    tags = [(256, 4, 1, 30000), (257, 4, 1, 30000), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1)]
    first, count = 8 + 2 + 10 * 12 + 4, 30
    tags += [(273, 4, count, first), (277, 3, 1, 1), (278, 4, 1, 1000), (279, 4, count, first + 4 * count)]
    tags += [(339, 3, 1, 1)]
    data = first + 8 * count
    (tmp_path / "shared.tif").write_bytes(
        struct.pack("<2sHIH", b"II", 42, 8, len(tags))
        + b"".join(struct.pack("<HHII", *tag) for tag in tags)
        + struct.pack("<I", 0)
        + struct.pack(f"<{count}I", *[data] * count)
        + struct.pack(f"<{count}I", *[len(strip)] * count)
        + strip
    )
    for file in sorted(tmp_path.iterdir()):
        tracemalloc.start()
        for read in (read_image, lambda path: open_slide(path, pixel_um=1)):
            with pytest.raises(InputError, match=r"declares an image of .* as a damaged or hostile file does"):
                read(file)
        assert tracemalloc.get_traced_memory()[1] < 50e6
        tracemalloc.stop()


def test_large_images_with_little_content_are_genuine(tmp_path: Path) -> None:
    mask = np.zeros((10_000, 10_000), np.uint8)
    mask[4000:4100, 3000:3200] = 255
    Image.fromarray(mask).save(tmp_path / "a.png", optimize=False)
    tifffile.imwrite(tmp_path / "a.tif", mask, compression="zlib")
    for name in ("a.png", "a.tif"):
        assert (tmp_path / name).stat().st_size < 250_000
        assert np.array_equal(read_mask(tmp_path / name), mask > 0)


def test_sizes_are_compared_with_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tomostain.memory.free_memory", lambda: 10**9)
    check_decoded_size(Path("a.png"), 10**8, 3, 10**8)
    with pytest.raises(InputError, match=r"a\.png: needs about 1\.2 GB of memory, but 1 GB are free"):
        check_decoded_size(Path("a.png"), 10**8, 4, 10**8)


def test_pipes_and_files_of_other_formats_are_refused_at_once(tmp_path: Path) -> None:
    for name in ("a.png", "a.tif", "a.svs", "a.czi"):
        os.mkfifo(tmp_path / name)
        for read in (read_image, lambda path: open_slide(path, pixel_um=1)):
            with pytest.raises(InputError, match="is a pipe, not a file"):
                read(tmp_path / name)
    (tmp_path / "postscript.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(InputError, match="is not of the format of its name"):
        read_image(tmp_path / "postscript.png")
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "film.webp", save_all=True, append_images=frames[1:], lossless=True)
    with pytest.raises(InputError, match="holds several images"):
        read_image(tmp_path / "film.webp")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif", "a.jpeg.tif"])
def test_cut_files_are_an_error(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    if name.endswith(".tif"):
        compression = {"compression": "jpeg"} if "jpeg" in name else {}
        tifffile.imwrite(tmp_path / name, noise, photometric="rgb", metadata=None, **compression)
    else:
        Image.fromarray(noise).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for part in (0, 60, len(whole) // 2, len(whole) - 200):
        (tmp_path / name).write_bytes(whole[:part])
        for read in (read_image, lambda path: open_slide(path, pixel_um=1).read()):
            with pytest.raises(InputError) as caught:
                read(tmp_path / name)
            assert "\n" not in str(caught.value)


def test_tiles_that_were_not_written_are_an_error(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tiles = [None if index == 3 else RGB[:256, :256] for index in range(6)]  # None: a sparse tile
        tif.write(iter(tiles), shape=(512, 768, 3), dtype="u1", photometric="rgb", tile=(256, 256), metadata=None)
    for read in (read_image, lambda path: open_slide(path, pixel_um=1).read()):
        with pytest.raises(InputError, match="1 of 1 planes have tiles or strips that were never written"):
            read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('<TiffData IFD="0"><UUID FileName="../b.tif">urn:uuid:1</UUID></TiffData>', "outside its folder"),
        ('<TiffData IFD="0"><UUID FileName="pipe.tif">urn:uuid:1</UUID></TiffData>', "is a pipe"),
        ('<BinaryOnly MetadataFile="c.ome" UUID="urn:uuid:1"/>', "metadata are in another file"),
    ],
)
def test_ome_files_in_other_folders_are_not_opened(tmp_path: Path, text: str, message: str) -> None:
    os.mkfifo(tmp_path / "pipe.tif")
    schema = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    sizes = 'DimensionOrder="XYCZT" Type="uint8" SizeX="700" SizeY="500" SizeC="3" SizeZ="1" SizeT="1"'
    image = f'<Image ID="Image:0"><Pixels ID="P:0" {sizes}>{text}</Pixels></Image>'
    xml = f'<OME xmlns="{schema}">{text if "Binary" in text else image}</OME>'
    tifffile.imwrite(tmp_path / "a.ome.tif", RGB, photometric="rgb", description=xml, metadata=None)
    for read in (read_image, lambda path: open_slide(path, pixel_um=1)):
        with pytest.raises(InputError, match=message):
            read(tmp_path / "a.ome.tif")


def test_levels_of_turned_and_of_separate_channels(tmp_path: Path) -> None:
    turned = [(274, "H", 1, 8, True)]
    write(
        tmp_path / "a.tif",
        (np.rot90(RGB, -1), CM | TILED | {"extratags": turned}),
        (np.rot90(RGB[::2, ::2], -1), REDUCED),
    )
    planes = np.ascontiguousarray(np.moveaxis(RGB, -1, 0)[::-1])
    metadata = {
        "axes": "CYX",
        "PhysicalSizeX": 0.5,
        "PhysicalSizeY": 0.5,
        "Channel": {"Name": ["Blue", "Green", "Red"]},
    }
    with tifffile.TiffWriter(tmp_path / "b.ome.tif", ome=True) as tif:
        options = {"photometric": "minisblack", "tile": (64, 64)}
        tif.write(planes, subifds=1, metadata=metadata, **options)
        tif.write(planes[:, ::2, ::2], subfiletype=1, **options)
    for name in ("a.tif", "b.ome.tif"):
        slide = open_slide(tmp_path / name)
        assert [shape for shape, _ in slide.levels] == [(500, 700), (250, 350)]
        np.testing.assert_array_equal(slide.read()[0], RGB)
        np.testing.assert_array_equal(slide.read(1.0)[0], RGB[::2, ::2])


def test_a_size_in_xml_of_another_image_is_not_used(tmp_path: Path) -> None:
    schema = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    pixels = '<Pixels ID="P:{0}" DimensionOrder="XYCZT" Type="uint8" SizeX="9" SizeY="9" SizeC="1" SizeZ="1" SizeT="1" PhysicalSizeX="7" PhysicalSizeY="7"/>'
    images = "".join(f'<Image ID="Image:{i}">{pixels.format(i)}</Image>' for i in range(2))
    xml = f'<OME xmlns="{schema}">{images}</OME>'
    tifffile.imwrite(tmp_path / "a.ome.tif", RGB, photometric="rgb", description=xml, metadata=None)
    with pytest.raises(InputError, match="the pixel size is not in the file"):
        open_slide(tmp_path / "a.ome.tif")


@pytest.mark.parametrize("depth", [8, 16])
def test_a_png_with_a_wrong_checksum_is_an_error(tmp_path: Path, depth: int) -> None:
    samples = RGB if depth == 8 else RGB.astype(np.uint16) * 257
    whole = bytearray(imagecodecs.png_encode(samples))
    (tmp_path / "a.png").write_bytes(whole)
    np.testing.assert_array_equal(read_rgb(tmp_path / "a.png"), RGB)
    whole[-20] ^= 0xFF  # the end of the data: all pixels are decoded before it
    (tmp_path / "a.png").write_bytes(whole)
    with pytest.raises(InputError, match=r"a\.png: "):
        read_rgb(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(bytes(whole[:-12]))
    with pytest.raises(InputError, match=r"a\.png: "):
        read_rgb(tmp_path / "a.png")
