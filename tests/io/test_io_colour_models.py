"""Photometric interpretation, sample format and orientation: the declared colours come out, or the file is refused."""

# ruff: noqa: E501 (the tables of cases have one case in a line)

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps

from tomostain.errors import InputError
from tomostain.imaging.intensity import normalise_ct
from tomostain.io import open_slide, open_volume, read_image
from tomostain.io.colour_conversion import converted
from tomostain.io.colour_model import ColourModel, YCbCr
from tomostain.io.images import read_grey, read_mask, read_rgb
from tomostain.stain.intensity_reference import find_reference

imagecodecs = pytest.importorskip("imagecodecs")

Y, X = np.mgrid[0:48, 0:80]
RGB = np.stack([230 - Y, 120 + X // 2, 200 - (X + Y) // 3], -1).astype(np.uint8)
WIDE = RGB.astype(np.uint16)
GREY = RGB[..., 0]
ALPHA = np.where(Y[..., None] < 10, 0, 255).astype(np.uint8)
ON_WHITE = np.where(Y[..., None] < 10, 255, RGB)
YCC = np.asarray(Image.fromarray(RGB).convert("YCbCr"))
MASK = (Y > 10) & (X < 30)


def _tiff(path: Path, samples: np.ndarray, **options: object) -> None:
    tifffile.imwrite(path, samples, metadata=None, **options)  # type: ignore[arg-type]


def _lab(path: Path) -> None:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    ImageCms.profileToProfile(Image.fromarray(RGB), *profiles, outputMode="LAB").save(path)


def _jp2k(path: Path, samples: np.ndarray, compression: int, photometric: str, container: str = "j2k") -> None:
    tile = imagecodecs.jpeg2k_encode(samples, codecformat=container, mct=False, reversible=True, level=0)
    tile_shape = (48, 80)
    with tifffile.TiffWriter(path) as tif:
        tif.write(
            iter([tile]),
            shape=samples.shape,
            dtype="u1",
            compression=compression,
            tile=tile_shape,
            photometric=photometric,
            metadata=None,
            **({"subsampling": (1, 1)} if photometric == "ycbcr" else {}),
        )


def _ome(path: Path, bits: int) -> None:
    metadata = {"axes": "YXS", "SignificantBits": bits}
    tifffile.imwrite(path, WIDE << (bits - 8), photometric="rgb", metadata=metadata)


def _planes(path: Path, planes: np.ndarray, names: list[str], colours: list[int] | None = None) -> None:
    channel = {"Name": names} | ({"Color": colours} if colours else {})
    metadata = {"axes": "CYX", "Channel": channel}
    tifffile.imwrite(path, np.ascontiguousarray(planes), photometric="minisblack", metadata=metadata)


def _argb(red: int, green: int, blue: int) -> int:
    value = red << 24 | green << 16 | blue << 8 | 255
    return value - (1 << 32) if value >> 31 else value


def _imagej(path: Path, order: tuple[int, ...]) -> None:
    tables = [np.zeros((3, 256), np.uint8) for _ in order]
    for table, channel in zip(tables, order, strict=True):
        table[channel] = np.arange(256)
    planes = np.ascontiguousarray(np.moveaxis(RGB[..., list(order)], -1, 0))
    tifffile.imwrite(path, planes, imagej=True, metadata={"mode": "composite", "LUTs": tables})


RED, GREEN, BLUE, WHITE = _argb(255, 0, 0), _argb(0, 255, 0), _argb(0, 0, 255), _argb(255, 255, 255)
PLANES = np.moveaxis(RGB, -1, 0)
RGBA = np.concatenate([RGB, ALPHA], -1)
FLAT = np.concatenate([np.where(ALPHA > 0, RGB, 0), ALPHA], -1).astype(np.uint8)

# Name of the file, how it is written, the right RGB, and the largest error (rounding of the writer).
COLOURS: list[tuple[str, Callable[[Path], object], np.ndarray, float]] = [
    ("planar.tif", lambda p: _tiff(p, PLANES, photometric="rgb", planarconfig="separate", compression="zlib"), RGB, 0),
    ("big-endian.tif", lambda p: _tiff(p, WIDE * 257, photometric="rgb", byteorder=">"), RGB, 0),
    ("32.tif", lambda p: _tiff(p, RGB.astype(np.uint32) * 0x01010101, photometric="rgb"), RGB, 0),
    *[
        (f"packed{b}.tif", lambda p, b=b: _tiff(p, WIDE << (b - 8), photometric="rgb", bitspersample=b), RGB, 0)
        for b in (10, 12, 14)
    ],
    ("scaled12.tif", lambda p: _tiff(p, np.rint(RGB * (4095 / 255)).astype(np.uint16), photometric="rgb", bitspersample=12), RGB, 0),
    ("significant10.ome.tif", lambda p: _ome(p, 10), RGB, 0),
    ("significant12.ome.tif", lambda p: _ome(p, 12), RGB, 0),
    ("largest4095.tif", lambda p: _tiff(p, WIDE << 4, photometric="rgb", extratags=[(281, "H", 3, (4095,) * 3, True)]), RGB, 0),
    ("4bit.tif", lambda p: _tiff(p, GREY // 16, photometric="minisblack", bitspersample=4), np.stack([GREY // 16 * 17] * 3, -1), 0),
    ("straight.tif", lambda p: _tiff(p, RGBA, photometric="rgb", extrasamples=["unassalpha"]), ON_WHITE, 0),
    ("premultiplied.tif", lambda p: _tiff(p, FLAT, photometric="rgb", extrasamples=["assocalpha"]), ON_WHITE, 0),
    ("unspecified.tif", lambda p: _tiff(p, RGBA, photometric="rgb", extrasamples=["unspecified"]), RGB, 0),
    ("two-extra.tif", lambda p: _tiff(p, np.concatenate([RGB, ALPHA, ALPHA], -1), photometric="rgb", extrasamples=[0, 0]), RGB, 0),
    ("white-is-zero.tif", lambda p: _tiff(p, 255 - GREY, photometric="miniswhite"), np.stack([GREY] * 3, -1), 0),
    ("white12.tif", lambda p: _tiff(p, 4095 - (WIDE[..., 0] << 4), photometric="miniswhite", bitspersample=12), np.stack([GREY] * 3, -1), 0),
    ("ycbcr.tif", lambda p: _tiff(p, YCC, photometric="ycbcr", compression="lzw", subsampling=(1, 1)), RGB, 3),
    ("jpeg.tif", lambda p: _tiff(p, RGB, photometric="rgb", compression="jpeg", compressionargs={"level": 98}), RGB, 3),
    ("webp.tif", lambda p: _tiff(p, RGB, photometric="rgb", compression="webp"), RGB, 0),
    ("jxl.tif", lambda p: _tiff(p, RGB, photometric="rgb", compression="jpegxl"), RGB, 0),
    ("jp2k.tif", lambda p: _tiff(p, RGB, photometric="rgb", compression="jpeg2000"), RGB, 0),
    ("33003.tif", lambda p: _jp2k(p, YCC, 33003, "ycbcr"), RGB, 3),
    ("33003-rgb-tag.tif", lambda p: _jp2k(p, YCC, 33003, "rgb"), RGB, 3),
    ("33005.tif", lambda p: _jp2k(p, RGB, 33005, "rgb"), RGB, 0),
    ("34712.tif", lambda p: _jp2k(p, YCC, 34712, "ycbcr"), RGB, 3),
    ("cmyk.tif", lambda p: Image.fromarray(RGB).convert("CMYK").save(p), RGB, 0),
    ("cmyk-jpeg.tif", lambda p: Image.fromarray(RGB).convert("CMYK").save(p, compression="jpeg", quality=98), RGB, 6),
    ("cmyk.jpg", lambda p: Image.fromarray(RGB).convert("CMYK").save(p, quality=98, subsampling=0), RGB, 3),
    ("lab.tif", _lab, RGB, 3),
    ("palette.tif", lambda p: Image.fromarray(RGB).quantize(16).save(p), np.asarray(Image.fromarray(RGB).quantize(16).convert("RGB")), 0),
    ("palette.png", lambda p: Image.fromarray(RGB).quantize(16).save(p), np.asarray(Image.fromarray(RGB).quantize(16).convert("RGB")), 0),
    ("palette.bmp", lambda p: Image.fromarray(RGB).quantize(16).save(p), np.asarray(Image.fromarray(RGB).quantize(16).convert("RGB")), 0),
    ("16.png", lambda p: p.write_bytes(imagecodecs.png_encode(WIDE * 257)), RGB, 0),
    ("16a.png", lambda p: p.write_bytes(imagecodecs.png_encode(RGBA.astype(np.uint16) * 257)), ON_WHITE, 0),
    ("16la.png", lambda p: p.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(RGBA[..., [0, 3]].astype(np.uint16) * 257))), ON_WHITE[..., [0, 0, 0]], 0),
    ("16key.png", lambda p: Image.fromarray(WIDE[..., 0] * 257).save(p, transparency=200 * 257), np.stack([np.where(GREY == 200, 255, GREY)] * 3, -1), 0),
    ("rgba.webp", lambda p: Image.fromarray(RGBA).save(p, lossless=True, exact=True), ON_WHITE, 0),
    ("bgr.ome.tif", lambda p: _planes(p, PLANES[::-1], ["Blue", "Green", "Red"], [BLUE, GREEN, RED]), RGB, 0),
    ("by-name.ome.tif", lambda p: _planes(p, PLANES[[1, 0, 2]], ["G", "R", "B"]), RGB, 0),
    ("by-colour.ome.tif", lambda p: _planes(p, PLANES[[1, 2, 0]], ["C1", "C2", "C3"], [GREEN, BLUE, RED]), RGB, 0),
    ("imagej.tif", lambda p: _imagej(p, (2, 1, 0)), RGB, 0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "write", "right", "error"), COLOURS, ids=[name for name, *_ in COLOURS])
def test_declared_colours(
    tmp_path: Path, name: str, write: Callable[[Path], object], right: np.ndarray, error: float
) -> None:
    write(tmp_path / name)
    rgb = read_rgb(tmp_path / name)
    assert rgb.dtype == np.uint8
    assert rgb.shape == right.shape
    assert np.abs(rgb.astype(int) - right).max() <= error
    slide = open_slide(tmp_path / name, pixel_um=1)
    assert slide.shape == right.shape[:2]
    np.testing.assert_array_equal(slide.read()[0], rgb)


REFUSED: list[tuple[str, Callable[[Path], object], str]] = [
    ("float.tif", lambda p: _tiff(p, RGB.astype(np.float32) / 255, photometric="rgb"), "of type float32"),
    ("signed.tif", lambda p: _tiff(p, RGB.astype(np.int16), photometric="rgb"), "of type int16"),
    ("signed8.tif", lambda p: _tiff(p, (RGB.astype(int) - 128).astype(np.int8), photometric="rgb"), "of type int8"),
    ("grey-float.tif", lambda p: _tiff(p, GREY.astype(np.float32)), "of type float32"),
    ("white-float.tif", lambda p: _tiff(p, GREY.astype(np.float32), photometric="miniswhite"), "white is zero"),
    ("white-signed.tif", lambda p: _tiff(p, GREY.astype(np.int16), photometric="miniswhite"), "white is zero"),
    ("unstated12.tif", lambda p: _tiff(p, WIDE << 4, photometric="rgb"), "use 12 of 16 bits"),
    ("unstated12.png", lambda p: p.write_bytes(imagecodecs.png_encode(WIDE << 4)), "use 12 of 16 bits"),
    ("wrong-bits.ome.tif", lambda p: tifffile.imwrite(p, WIDE << 4, photometric="rgb", metadata={"axes": "YXS", "SignificantBits": 10}), "states 10 significant bits"),
    ("bits-of-the-type.ome.tif", lambda p: tifffile.imwrite(p, WIDE << 4, photometric="rgb", metadata={"axes": "YXS", "SignificantBits": 16}), "use 12 of 16 bits"),
    ("bayer.tif", lambda p: _tiff(p, GREY, photometric="cfa"), "CFA is not supported"),
    ("two.tif", lambda p: _tiff(p, RGB[..., :2], photometric="minisblack", planarconfig="contig"), "2 channels of no stated"),
    ("three.tif", lambda p: _tiff(p, PLANES, photometric="minisblack", planarconfig="separate"), "3 channels of no stated"),
    ("pages.tif", lambda p: _tiff(p, PLANES, photometric="minisblack"), "holds a stack"),
    ("imagej.tif", lambda p: tifffile.imwrite(p, np.ascontiguousarray(PLANES), imagej=True, metadata={"mode": "composite"}), "colours are not stated"),
    ("dapi.ome.tif", lambda p: _planes(p, PLANES[:2], ["DAPI", "FITC"], [BLUE, GREEN]), "DAPI #0000ff, FITC"),
    ("four.ome.tif", lambda p: _planes(p, PLANES[[0, 1, 2, 0]], ["DAPI", "FITC", "Cy3", "Cy5"], [BLUE, GREEN, RED, WHITE]), "4 separate channels"),
    ("three.ome.tif", lambda p: _planes(p, PLANES, ["DAPI", "FITC", "Cy3"], [BLUE, GREEN, RED]), "not red, green and blue"),
    ("contradiction.ome.tif", lambda p: _planes(p, PLANES, ["Red", "Green", "Blue"], [BLUE, GREEN, RED]), "not red, green and blue"),
    ("unnamed.ome.tif", lambda p: tifffile.imwrite(p, np.ascontiguousarray(PLANES), photometric="minisblack", metadata={"axes": "CYX"}), "3 separate channels"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "write", "message"), REFUSED, ids=[name for name, *_ in REFUSED])
def test_samples_that_are_not_colours_are_refused(
    tmp_path: Path, name: str, write: Callable[[Path], object], message: str
) -> None:
    write(tmp_path / name)
    for read in (read_rgb, lambda path: open_slide(path, pixel_um=1).read()):
        with pytest.raises(InputError, match=message) as caught:
            read(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
        assert "\n" not in str(caught.value)


def test_one_fluorescence_channel_is_not_a_slide_but_may_be_an_image(tmp_path: Path) -> None:
    _planes(tmp_path / "dapi.ome.tif", PLANES[:1], ["DAPI"], [BLUE])
    with pytest.raises(InputError, match="its channel DAPI #0000ff is not a brightfield image"):
        open_slide(tmp_path / "dapi.ome.tif", pixel_um=1)
    np.testing.assert_array_equal(read_image(tmp_path / "dapi.ome.tif"), GREY)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_upright_in_every_format(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(RGB)
    stored.save(tmp_path / "a.png", exif=exif)
    stored.save(tmp_path / "a.jpg", exif=exif, quality=98, subsampling=0)
    with Image.open(tmp_path / "a.png") as image:
        right = np.asarray(ImageOps.exif_transpose(image))
    tag = [(274, "H", 1, orientation, True)]
    per_cm = {"resolution": (10000, 5000), "resolutionunit": "CENTIMETER"}  # stored pixels of 2 × 1 µm
    _tiff(tmp_path / "a.tif", RGB, photometric="rgb", extratags=tag)
    for name in ("a.tif", "a.png", "a.jpg"):
        slide = open_slide(tmp_path / name, pixel_um=1)
        image = slide.read()[0]
        assert image.shape[:2] == slide.shape == right.shape[:2]
        assert np.abs(image.astype(int) - right).max() <= (3 if name == "a.jpg" else 0)
    # Grey values, as one image and as a slice of a volume; the voxel size turns with them.
    (tmp_path / "volume").mkdir()
    for name in ("a_00.tif", "a_01.tif"):
        _tiff(tmp_path / "volume" / name, WIDE[..., 0], photometric="minisblack", extratags=tag, **per_cm)
    np.testing.assert_array_equal(read_grey(tmp_path / "volume/a_00.tif"), right[..., 0])
    volume = open_volume(tmp_path / "volume", voxel_um=3)
    assert volume.shape == (2, *right.shape[:2])
    np.testing.assert_array_equal(volume.read(0, 2)[1], right[..., 0])


def test_colour_spaces_against_references() -> None:
    # Red, green, blue and a grey of sRGB in CIELab under D50, after Bradford (B. Lindbloom's calculator), in 16 bits.
    values = [[54.29, 80.81, 69.89], [87.82, -79.27, 80.99], [29.57, 68.30, -112.03], [53.59, 0, 0]]
    codes = np.rint(np.array(values) * [65535 / 100, 256, 256]).astype(np.int32).astype(np.uint16)[None]
    primaries = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [128, 128, 128]]
    assert np.abs(converted(codes, ColourModel("lab"), Path("a"))[0].astype(int) - primaries).max() <= 1
    rng = np.random.default_rng(0)
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = np.asarray(ImageCms.profileToProfile(Image.fromarray(RGB), *profiles, outputMode="LAB"))
    ours = converted(lab, ColourModel("lab"), Path("a"))  # a* and b* in two's complement, as Pillow has them too
    assert np.abs(ours.astype(int) - RGB).max() <= 3
    offset = lab ^ np.array([0, 128, 128], np.uint8)
    np.testing.assert_array_equal(converted(offset, ColourModel("lab", lab_offset=True), Path("a")), ours)
    # 16 bits: L* of 100 is 0xFFFF in CIELab and 0xFF00 in ICCLab; a* and b* count 1/256.
    white = np.array([[[0xFFFF, 0, 0], [0, 0, 0]]], np.uint16)
    assert converted(white, ColourModel("lab"), Path("a")).tolist() == [[[255, 255, 255], [0, 0, 0]]]
    white = np.array([[[0xFF00, 0x8000, 0x8000], [0, 0x8000, 0x8000]]], np.uint16)
    assert converted(white, ColourModel("lab", lab_offset=True), Path("a")).tolist() == [[[255, 255, 255], [0, 0, 0]]]
    ink = rng.integers(0, 256, (60, 50, 4), dtype=np.uint8)
    naive = np.asarray(Image.fromarray(ink, mode="CMYK").convert("RGB"))
    assert np.abs(converted(ink, ColourModel("cmyk"), Path("a")).astype(int) - naive).max() <= 1


def test_subsampled_ycbcr_without_jpeg_is_refused_with_a_way_out(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", YCC, photometric="ycbcr", subsampling=(1, 1), metadata=None)
    data = (tmp_path / "a.tif").read_bytes()
    tag = data.index((530).to_bytes(2, "little"))
    (tmp_path / "a.tif").write_bytes(data[: tag + 8] + b"\2\0\2\0" + data[tag + 12 :])
    with pytest.raises(InputError, match=r"YCbCr colours of reduced resolution .* save it as RGB$"):
        open_slide(tmp_path / "a.tif", pixel_um=1).read(1)


def test_studio_range_and_coefficients_of_ycbcr() -> None:
    # ITU-R BT.709 in studio range: black 16, white 235, chroma 16 to 240 about 128 (tags 529 and 532).
    model = ColourModel("ycbcr", ycbcr=YCbCr((0.2126, 0.7152, 0.0722), (16, 235, 128, 240, 128, 240)))
    samples = np.array([[[16, 128, 128], [235, 128, 128], [63, 102, 240]]], np.uint8)
    rgb = converted(samples, model, Path("a"))[0].astype(int)
    np.testing.assert_array_equal(rgb[:2], [[0, 0, 0], [255, 255, 255]])
    assert np.abs(rgb[2] - [255, 0, 0]).max() <= 2


def test_grey_values_keep_their_bits(tmp_path: Path) -> None:
    values = np.arange(3000, 3000 + GREY.size, dtype=np.uint16).reshape(GREY.shape)
    _tiff(tmp_path / "rgb.tif", np.stack([values] * 3, -1), photometric="rgb")
    (tmp_path / "rgb.png").write_bytes(imagecodecs.png_encode(np.stack([values] * 3, -1)))
    _tiff(tmp_path / "signed.tif", values.astype(np.int16) - 4000)
    _tiff(tmp_path / "packed.tif", values % 4096, photometric="minisblack", bitspersample=12)
    for name in ("rgb.tif", "rgb.png"):
        np.testing.assert_array_equal(read_grey(tmp_path / name), values)
    np.testing.assert_array_equal(read_grey(tmp_path / "signed.tif"), values.astype(np.float32) - 4000)
    np.testing.assert_array_equal(read_grey(tmp_path / "packed.tif"), values % 4096)
    _tiff(tmp_path / "colour.tif", RGB, photometric="rgb")
    _tiff(tmp_path / "alpha.tif", RGBA[..., [0, 3]], photometric="minisblack", extrasamples=["unassalpha"])
    for name, message in {"colour.tif": "is a colour image", "alpha.tif": "partly transparent"}.items():
        with pytest.raises(InputError, match=message):
            read_grey(tmp_path / name)


def test_slices_of_a_volume_with_a_palette_or_white_as_zero(tmp_path: Path) -> None:
    grey = np.linspace(0, 255, 256).astype(np.uint16) * 257
    ramp = np.stack([grey] * 3)
    for name, colours, options in (
        ("ramp", ramp, {}),
        ("inverted", ramp[:, ::-1], {}),
        ("fire", np.stack([grey, grey[::-1], grey]), {}),
        ("display", np.stack([grey, grey[::-1], grey]), {"description": "ImageJ=1.54f\n", "software": "ImageJ"}),
    ):
        (tmp_path / name).mkdir()
        tifffile.imwrite(
            tmp_path / name / "a_00.tif", GREY, photometric="palette", colormap=colours, metadata=None, **options
        )
    np.testing.assert_array_equal(open_volume(tmp_path / "ramp", voxel_um=1).read(0, 1)[0], GREY)
    np.testing.assert_array_equal(open_volume(tmp_path / "inverted", voxel_um=1).read(0, 1)[0], 255 - GREY)
    np.testing.assert_array_equal(open_volume(tmp_path / "display", voxel_um=1).read(0, 1)[0], GREY)
    with pytest.raises(InputError, match="a palette of colours"):
        open_volume(tmp_path / "fire", voxel_um=1)
    (tmp_path / "white").mkdir()
    _tiff(tmp_path / "white/a_00.tif", 4095 - (WIDE[..., 0] << 4), photometric="miniswhite", bitspersample=12)
    np.testing.assert_array_equal(open_volume(tmp_path / "white", voxel_um=1).read(0, 1)[0], WIDE[..., 0] << 4)


MASKS: list[tuple[str, Callable[[Path], object]]] = [
    ("group4.tif", lambda p: Image.fromarray(MASK).save(p, compression="group4")),
    ("bit.tif", lambda p: _tiff(p, MASK, photometric="minisblack")),
    ("white-is-zero.tif", lambda p: _tiff(p, ~MASK, photometric="miniswhite")),
    ("labels.tif", lambda p: _tiff(p, MASK.astype(np.uint8) * 3)),
    ("float.tif", lambda p: _tiff(p, MASK.astype(np.float32))),
    ("bit.png", lambda p: Image.fromarray(MASK).save(p)),
    ("palette.png", lambda p: Image.fromarray(MASK.astype(np.uint8) * 255).convert("RGB").quantize(2).save(p)),
    ("opaque.png", lambda p: Image.fromarray(np.stack([MASK * 255] * 3 + [MASK * 0 + 255], -1).astype(np.uint8)).save(p)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "write"), MASKS, ids=[name for name, _ in MASKS])
def test_masks_mark_the_same_pixels_in_every_format(tmp_path: Path, name: str, write: Callable[[Path], object]) -> None:
    write(tmp_path / name)
    np.testing.assert_array_equal(read_mask(tmp_path / name), MASK)


def test_ambiguous_masks_are_refused(tmp_path: Path) -> None:
    drawn = np.stack([MASK * 255] * 4, -1).astype(np.uint8)  # white on nothing: on white, all of it would be marked
    Image.fromarray(drawn).save(tmp_path / "drawn.png")
    Image.fromarray((MASK * 255).astype(np.uint8)).save(tmp_path / "blurred.jpg", quality=60)
    _tiff(tmp_path / "nan.tif", np.where(MASK, 1, np.nan).astype(np.float32))
    for name, message in {
        "drawn.png": "partly transparent",
        "blurred.jpg": "JPEG changes the zeros",
        "nan.tif": "not finite",
    }.items():
        with pytest.raises(InputError, match=message):
            read_mask(tmp_path / name)


def test_a_profile_of_cmyk_is_applied_and_a_broken_one_is_named(tmp_path: Path) -> None:
    ink = Image.fromarray(RGB).convert("CMYK")
    ink.save(tmp_path / "broken.tif", icc_profile=b"not a profile")
    with pytest.raises(InputError, match="its colour profile cannot be used"):
        read_rgb(tmp_path / "broken.tif")


def test_the_full_range_of_a_volume_is_that_of_its_significant_bits(tmp_path: Path) -> None:
    (tmp_path / "slices").mkdir()
    _tiff(tmp_path / "slices/a_00.tif", WIDE[..., 0] << 4, photometric="minisblack", bitspersample=12)
    stack = np.stack([WIDE[..., 0] << 4] * 6)
    tifffile.imwrite(
        tmp_path / "a.ome.tif", stack, photometric="minisblack", metadata={"axes": "ZYX", "SignificantBits": 12}
    )
    for name in ("slices", "a.ome.tif"):
        volume = open_volume(tmp_path / name, voxel_um=1)
        assert volume.bits == 12
        reference = find_reference(volume, "range", "a")
        assert reference is not None
        assert normalise_ct(np.array([0, 4095], np.uint16), reference).tolist() == [0, 40000]
