"""RGB of other colour spaces becomes sRGB; masks that are ambiguous are refused or reported."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from tomostain.errors import AmbiguousMaskWarning, ColourProfileWarning, InputError
from tomostain.io import Slide, open_slide
from tomostain.io.images import read_grey, read_mask, read_rgb

RGB = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
S = ((0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
ADOBE = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))


def profile_of(primaries: tuple[tuple[float, float, float], ...], gamma: float) -> bytes:
    """Return an ICC profile (version 2) of three primaries (XYZ, D50) and a gamma."""

    def xyz(values: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    white = (0.9642, 1.0, 0.8249)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    name = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + b"\0" * 79
    tags = {b"desc": name, b"cprt": b"text\0\0\0\0x\0\0\0", b"wtpt": xyz(white)}
    tags |= {key: xyz(values) for key, values in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body, offset = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for key, value in tags.items():
        table += key + struct.pack(">II", offset + len(body), len(value))
        body += value + b"\0" * (-len(value) % 4)
    head = struct.pack(">I4sI", offset + len(body), b"\0" * 4, 0x02100000) + b"mntrRGB XYZ " + b"\0" * 12 + b"acsp"
    return (head + b"\0" * 28 + xyz(white)[8:]).ljust(128, b"\0") + table + body


def written(path: Path, profile: bytes) -> Path:
    if path.suffix == ".png":
        Image.fromarray(RGB).save(path, icc_profile=profile)
    else:
        tifffile.imwrite(path, RGB, photometric="rgb", iccprofile=profile, metadata=None)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("profile", [profile_of(S, 1.0), profile_of(ADOBE, 2.2)], ids=["linear", "adobe"])
def test_rgb_of_another_profile_becomes_srgb(tmp_path: Path, name: str, profile: bytes) -> None:
    path = written(tmp_path / name, profile)
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    srgb = ImageCms.createProfile("sRGB")
    right = np.asarray(ImageCms.profileToProfile(Image.fromarray(RGB), source, srgb, outputMode="RGB"))
    with pytest.warns(ColourProfileWarning, match=r"colours are converted from 'test' to sRGB"):
        colours = read_rgb(path)
    assert np.abs(colours.astype(int) - right).max() <= 1
    with pytest.warns(ColourProfileWarning):
        np.testing.assert_array_equal(open_slide(path, pixel_um=1.0).read()[0], colours)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_srgb_is_unchanged_without_a_warning(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read_rgb(path), RGB)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_a_damaged_profile_is_reported(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, profile_of(S, 1.0)[:90])
    with pytest.warns(ColourProfileWarning, match="cannot be used .* read as sRGB"):
        np.testing.assert_array_equal(read_rgb(path), RGB)


def png_with(path: Path, **chunks: bytes) -> Path:
    """Write a PNG with further chunks after its header."""
    stream = io.BytesIO()
    Image.fromarray(RGB).save(stream, "png")
    data = stream.getvalue()
    more = b"".join(
        struct.pack(">I", len(value)) + name.encode() + value + struct.pack(">I", zlib.crc32(name.encode() + value))
        for name, value in chunks.items()
    )
    path.write_bytes(data[:33] + more + data[33:])
    return path


def test_the_gamma_of_a_png_is_honoured(tmp_path: Path) -> None:
    with pytest.warns(ColourProfileWarning, match="gamma 1 of PNG"):
        colours = read_rgb(png_with(tmp_path / "a.png", gAMA=struct.pack(">I", 100_000)))
    linear = RGB / 255
    right = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255
    assert np.abs(colours - right).max() <= 1
    primaries = (31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)  # Adobe RGB
    adobe = png_with(tmp_path / "b.png", gAMA=struct.pack(">I", 45_455), cHRM=struct.pack(">8I", *primaries))
    icc = written(tmp_path / "c.png", profile_of(ADOBE, 2.2))
    with pytest.warns(ColourProfileWarning):
        assert np.abs(read_rgb(adobe).astype(int) - read_rgb(icc)).max() <= 3


def test_a_png_that_states_srgb_is_unchanged(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, chunks in {"a": {"gAMA": struct.pack(">I", 45_455)}, "b": {"sRGB": b"\0"}}.items():
            np.testing.assert_array_equal(read_rgb(png_with(tmp_path / f"{name}.png", **chunks)), RGB)


def test_grey_values_are_not_converted(tmp_path: Path) -> None:
    grey = np.repeat(RGB[..., :1], 3, axis=2)
    Image.fromarray(grey).save(tmp_path / "ct.png", icc_profile=profile_of(S, 1.0))
    np.testing.assert_array_equal(read_grey(tmp_path / "ct.png"), grey[..., 0])


def test_a_boolean_mask_of_tifffile_is_reported(tmp_path: Path) -> None:
    mask = RGB[..., 0] > 200
    tifffile.imwrite(tmp_path / "m.tif", mask, metadata=None)
    with pytest.warns(AmbiguousMaskWarning, match=r"states that white is 0, in one bit, and is inverted"):
        np.testing.assert_array_equal(read_mask(tmp_path / "m.tif"), ~mask)


def test_masks_without_an_empty_pixel_are_refused(tmp_path: Path) -> None:
    mask = RGB[..., 0] > 200
    for name, values in {"a": (mask + 1).astype(np.uint8), "b": np.where(mask, 1, -1).astype(np.int32)}.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", values, metadata=None)
        with pytest.raises(InputError, match="would mark every pixel, although it has values from"):
            read_mask(tmp_path / f"{name}.tif")
    palette = Image.fromarray(mask.astype(np.uint8), "P")
    palette.putpalette([255, 255, 255, 255, 0, 0])
    palette.save(tmp_path / "c.png")
    with pytest.raises(InputError, match="would mark every pixel, although it has several colours"):
        read_mask(tmp_path / "c.png")
    tifffile.imwrite(tmp_path / "all.tif", np.ones((4, 5), np.uint8), metadata=None)
    assert read_mask(tmp_path / "all.tif").all()


def modes_of(name: str, profile: bytes | None, mode: str, path: Path) -> Path:
    """Write an image of one mode with a profile, and return its path."""
    path = path / name
    Image.fromarray(RGB).convert(mode).save(path, icc_profile=profile)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
@pytest.mark.parametrize(
    ("profile", "mode", "stated", "done"),
    [
        (None, "RGB", "none stated", "none, read as sRGB"),
        (profile_of(ADOBE, 2.2), "RGB", "'test'", "to sRGB by the profile"),
        (profile_of(S, 1.0)[:90], "RGB", "cannot be used", "none, read as sRGB"),
        (None, "L", "none stated", "none, grey"),
        (None, "CMYK", "none stated", "from cmyk to sRGB"),
        (ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), "RGB", "sRGB", "none, it is sRGB"),
    ],
    ids=["none", "adobe", "damaged", "grey", "cmyk", "srgb"],
)
def test_a_slide_says_which_profile_it_has_and_what_is_done_with_it(
    tmp_path: Path, name: str, profile: bytes | None, mode: str, stated: str, done: str
) -> None:
    if mode == "CMYK" and name == "a.png":
        pytest.skip("PNG has no CMYK")
    slide = open_slide(modes_of(name, profile, mode, tmp_path), pixel_um=1.0)
    colours = slide.colours
    assert stated in colours["profile"]
    assert colours["conversion"] == done
    # True from outside: exactly a conversion "by the profile" changes RGB.
    if mode == "RGB" and name != "a.jpg":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ColourProfileWarning)
            assert (slide.read()[0] == RGB).all() == done.startswith("none")


def test_a_slide_of_openslide_says_which_profile_it_has(tmp_path: Path) -> None:
    pytest.importorskip("openslide")
    image = np.tile(RGB, (20, 20, 1))
    about = f"Aperio Image Library\n0x0 [0,0 {image.shape[1]}x{image.shape[0]}] (128x128)|AppMag = 20|MPP = 2.0"
    path = tmp_path / "a.svs"
    for profile in (profile_of(ADOBE, 2.2), None):
        tifffile.imwrite(
            path, image, tile=(128, 128), description=about, metadata=None, photometric="rgb", iccprofile=profile
        )
        colours = open_slide(path).colours
        assert ("'test'" in colours["profile"]) == (profile is not None)
        assert ("by the profile" in colours["conversion"]) == (profile is not None)


def test_an_array_states_no_profile() -> None:
    assert Slide.from_array(RGB, 1.0).colours == {"profile": "none stated", "conversion": "none, read as sRGB"}
