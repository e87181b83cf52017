"""Which pages of a TIFF are the volume, and the units of its axes."""

import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tomostain.cli.main import run
from tomostain.errors import InputError
from tomostain.io import open_volume
from tomostain.io.images import read_grey, read_image
from tomostain.io.volumes.tiff_sets import PageSet

Z, Y, X = np.indices((9, 32, 40))
VOLUME = (Z * 1000 + Y * 7 + X).astype(np.uint16)
PREVIEW = VOLUME[0, ::4, ::4]
PHOTOGRAPH = np.zeros((50, 70, 3), np.uint8)


def _pages(path: Path, *pages: np.ndarray, ome: bool = False, **options: object) -> Path:
    with tifffile.TiffWriter(path, ome=ome) as tif:
        for page in pages:
            metadata = {"axes": "ZYX" if page.ndim == 3 else "YX"} if ome else None
            colour = page.ndim == 3 and page.shape[2] == 3
            tif.write(page, photometric="rgb" if colour else "minisblack", metadata=metadata, **options)
    return path


def _is_volume(path: Path) -> None:
    np.testing.assert_array_equal(np.asarray(open_volume(path, voxel_um=5)), VOLUME)


def _refused(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_volume(path, voxel_um=5)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "pages",
    [
        (PREVIEW, *VOLUME),
        (*VOLUME, PREVIEW),
        (PHOTOGRAPH, *VOLUME),
        (PREVIEW, PHOTOGRAPH, *VOLUME, PREVIEW),
        (*VOLUME, *VOLUME[:, ::2, ::2]),
        tuple(page for image in VOLUME for page in (image, image[::4, ::4])),
    ],
    ids=["preview first", "preview last", "macro first", "several", "pyramid", "one for each slice"],
)
def test_the_volume_is_the_largest_set(tmp_path: Path, pages: tuple[np.ndarray, ...]) -> None:
    _is_volume(_pages(tmp_path / "a.tif", *pages))


def test_pages_that_were_appended_one_by_one(tmp_path: Path) -> None:
    for image in VOLUME:
        tifffile.imwrite(tmp_path / "a.tif", image, append=True)
    _is_volume(tmp_path / "a.tif")


def test_pages_of_different_compression_are_one_volume(tmp_path: Path) -> None:
    for z, image in enumerate(VOLUME):
        tifffile.imwrite(tmp_path / "a.tif", image, append=True, metadata=None, compression="zlib" if z % 2 else None)
    _is_volume(tmp_path / "a.tif")


@pytest.mark.parametrize("odd", [4, 8])
def test_one_page_that_differs_is_refused_with_a_list(tmp_path: Path, odd: int) -> None:
    pages = [image[:-1] if z == odd else image for z, image in enumerate(VOLUME)]
    _refused(
        _pages(tmp_path / "rows.tif", *pages), r"several sets of images \(8 of 32 × 40 uint16, 1 of 31 × 40 uint16\)"
    )
    pages = [image.astype(np.uint8) if z == odd else image for z, image in enumerate(VOLUME)]
    _refused(_pages(tmp_path / "type.tif", *pages), r"8 of 32 × 40 uint16, 1 of 32 × 40 uint8")


def test_two_stacks_in_a_file_are_refused(tmp_path: Path) -> None:
    for stack in (VOLUME, VOLUME[:5]):
        tifffile.imwrite(tmp_path / "a.tif", stack, append=True, photometric="minisblack")
    _refused(tmp_path / "a.tif", r"several sets of images \(9 of 32 × 40 uint16, 5 of 32 × 40 uint16\)")
    _refused(_pages(tmp_path / "a.ome.tif", VOLUME, VOLUME, ome=True), "several sets of images")


def test_ome_images_of_one_slice_each_are_refused(tmp_path: Path) -> None:
    path = _pages(tmp_path / "a.ome.tif", *VOLUME, ome=True)
    _refused(path, "several sets of images")
    assert run(["check", str(path), "--voxel-um", "5"]) == 2


def test_the_voxel_size_is_that_of_the_volume_not_of_its_preview(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tif:
        for page, um in ((PREVIEW, 20.0), (VOLUME, 5.0)):
            sizes = {f"PhysicalSize{axis}": um for axis in "XYZ"} | {f"PhysicalSize{axis}Unit": "µm" for axis in "XYZ"}
            tif.write(page, photometric="minisblack", metadata={"axes": "ZYX"[-page.ndim :], **sizes})
    assert open_volume(tmp_path / "a.ome.tif").voxel_um == (5, 5, 5)
    with tifffile.TiffWriter(tmp_path / "b.tif") as tif:
        for page, um in ((PREVIEW, 20), *((image, 5) for image in VOLUME)):
            tif.write(page, metadata=None, resolution=(1e4 / um, 1e4 / um), resolutionunit="CENTIMETER")
    with pytest.raises(InputError, match=r"only y 5 µm, x 5 µm"):
        open_volume(tmp_path / "b.tif")


def _imagej(path: Path, lines: str, *, images: int = 9, resolution: float = 0.4, volume: np.ndarray = VOLUME) -> Path:
    text = f"ImageJ=1.54f\nimages={images}\nslices={images}\n{lines}loop=false\n"
    options = {"photometric": "minisblack", "metadata": None, "resolutionunit": "none"}
    tifffile.imwrite(path, volume, byteorder=">", description=text, resolution=(resolution, resolution), **options)
    return path


@pytest.mark.parametrize(
    ("lines", "resolution", "voxel_um"),
    [
        ("unit=um\nzunit=mm\nspacing=0.005\n", 0.4, (5, 2.5, 2.5)),
        ("unit=mm\nzunit=um\nspacing=5.0\n", 400, (5, 2.5, 2.5)),
        ("unit=um\nyunit=mm\nzunit=nm\nspacing=5000\n", 0.4, (5, 2500, 2.5)),
        ("unit=\\u00B5m\nspacing=5.0\n", 0.4, (5, 2.5, 2.5)),
    ],
)
def test_each_axis_of_imagej_has_its_unit(
    tmp_path: Path, lines: str, resolution: float, voxel_um: tuple[float, float, float]
) -> None:
    assert open_volume(_imagej(tmp_path / "a.tif", lines, resolution=resolution)).voxel_um == pytest.approx(voxel_um)


@pytest.mark.parametrize(
    ("lines", "known"),
    [
        ("unit=um\nzunit=inch\nspacing=5\n", r"only y 2\.5 µm, x 2\.5 µm"),
        ("unit=um\nyunit=foot\nspacing=5\n", r"only z 5 µm, x 2\.5 µm"),
        ("unit=um\n", r"only y 2\.5 µm, x 2\.5 µm"),
        ("unit=pixel\nzunit=um\nspacing=5\n", r"only z 5 µm"),
        ("spacing=5\n", ""),
    ],
)
def test_units_of_imagej_that_are_not_stated_or_not_known_are_asked_for(tmp_path: Path, lines: str, known: str) -> None:
    with pytest.raises(InputError, match=rf"the voxel size is not in the file.*{known}.*give it with"):
        open_volume(_imagej(tmp_path / "a.tif", lines))


def test_a_truncated_imagej_stack_of_one_page(tmp_path: Path) -> None:
    """ImageJ writes one page for a large stack, and the values of all slices after it."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VOLUME, imagej=True, metadata={"axes": "ZYX", "unit": "um", "spacing": 5}, truncate=True)
    whole = path.read_bytes()
    np.testing.assert_array_equal(np.asarray(open_volume(path, voxel_um=5)), VOLUME)
    for part in (0.5, 0.99):
        path.write_bytes(whole[: int(part * len(whole))])
        _refused(path, "its ImageJ header states 9 images, but the file holds the data of|truncated")


def test_an_imagej_header_of_a_hundred_million_images(tmp_path: Path) -> None:
    path = _imagej(tmp_path / "a.tif", "", images=10**8, volume=VOLUME[0])
    _refused(path, "its ImageJ header states 100000000 images, but the file holds the data of 1;")
    _refused(_imagej(tmp_path / "b.tif", "", images=12), "states 12 images, but the file holds 9 pages")


@pytest.mark.parametrize("pages", [3, 150])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_pages_in_a_circle(tmp_path: Path, pages: int, bigtiff: bool) -> None:
    path = tmp_path / "a.tif"
    stack = np.zeros((pages, 4, 4), np.uint8)
    tifffile.imwrite(path, stack, bigtiff=bigtiff, metadata=None, photometric="minisblack")
    with tifffile.TiffFile(path) as tif:
        layout, offsets = tif.tiff, [page.offset for page in tif.pages]
    data = bytearray(path.read_bytes())
    tags = struct.unpack_from(layout.tagnoformat, data, offsets[-1])[0]
    place = offsets[-1] + layout.tagnosize + tags * layout.tagsize
    struct.pack_into(layout.offsetformat, data, place, offsets[1])
    path.write_bytes(data)
    _refused(path, "its chain of pages leads back to an earlier page")


def test_fewer_strips_than_the_image_needs(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VOLUME[0], rowsperstrip=4, compression="zlib", metadata=None)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        for name in ("StripOffsets", "StripByteCounts"):
            struct.pack_into("<I", data, tif.pages[0].tags[name].offset + 4, 5)
    path.write_bytes(data)
    _refused(path, "5 of 8 parts of an image are stated|cannot be read as TIFF")


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    side, path = 20_000, tmp_path / "a.tif"
    packed = zlib.compress(b"\0" * side * 8, 9)
    with tifffile.TiffWriter(path) as tif:
        strips = (packed for _ in range(side // 8))
        tif.write(strips, shape=(side, side), dtype=np.uint8, compression="zlib", rowsperstrip=8, metadata=None)
    _refused(path, "declares an image of .* as a damaged or hostile file does")
    (tmp_path / "scan").mkdir()
    path.rename(tmp_path / "scan" / "slice_0.tif")
    _refused(tmp_path / "scan", "declares an image of .* as a damaged or hostile file does")


def test_large_empty_slices_are_genuine(tmp_path: Path) -> None:
    side, rows = 10_000, 1000
    packed = zlib.compress(b"\0" * (2 * side * rows), 9)
    (tmp_path / "scan").mkdir()
    for path in (tmp_path / "a.tif", tmp_path / "scan/slice_0.tif", tmp_path / "scan/slice_1.tif"):
        with tifffile.TiffWriter(path) as tif:
            strips = (packed for _ in range(side // rows))
            tif.write(strips, shape=(side, side), dtype=np.uint16, compression="zlib", rowsperstrip=rows, metadata=None)
    assert open_volume(tmp_path / "a.tif", voxel_um=5).shape == (1, side, side)
    assert open_volume(tmp_path / "scan", voxel_um=5).shape == (2, side, side)


@pytest.mark.parametrize("options", [{"imagej": True, "metadata": {"axes": "ZYX"}}, {}], ids=["imagej", "shaped"])
@pytest.mark.parametrize("is_cut", [False, True])
def test_a_folder_of_stacks_with_one_page_each_is_refused(
    tmp_path: Path, options: dict[str, object], is_cut: bool
) -> None:
    for name in ("a1.tif", "a2.tif"):
        tifffile.imwrite(tmp_path / name, VOLUME, truncate=True, **options)
    if is_cut:
        whole = (tmp_path / "a1.tif").read_bytes()
        (tmp_path / "a1.tif").write_bytes(whole[: len(whole) // 2])
    _refused(tmp_path, r"a1\.tif: its header states 9 slices, but a slice is one image; open the file instead")


def test_slices_that_imagej_wrote_one_by_one(tmp_path: Path) -> None:
    for z, image in enumerate(VOLUME):
        tifffile.imwrite(tmp_path / f"a{z}.tif", image, imagej=True)
    _is_volume(tmp_path)


def test_a_truncated_imagej_stack_is_not_an_image(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VOLUME, imagej=True, truncate=True, metadata={"axes": "ZYX"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="its ImageJ header states 9 images, but the file holds the data of 4"):
        read_grey(path)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_inverting_table_of_imagej_is_only_a_display(tmp_path: Path, dtype: type) -> None:
    values = (VOLUME % 251).astype(dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values, imagej=True, photometric="miniswhite", metadata={"axes": "ZYX"})
    np.testing.assert_array_equal(np.asarray(open_volume(path, voxel_um=5)), values)
    tifffile.imwrite(path, values[3], imagej=True, photometric="miniswhite")
    np.testing.assert_array_equal(read_grey(path), values[3])


def _without_photometric(path: Path) -> Path:
    """Give the tag of the photometric interpretation (262) the number of another, private tag."""
    with tifffile.TiffFile(path) as tif:
        tags = [(page.tags[262].offset, tif.byteorder) for page in tif.pages]
    content = bytearray(path.read_bytes())
    for offset, order in tags:
        struct.pack_into(f"{order}H", content, offset, 65000)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_without_a_photometric_tag_black_is_zero(tmp_path: Path, photometric: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VOLUME, photometric=photometric, metadata=None)
    _is_volume(_without_photometric(path))
    tifffile.imwrite(path, PHOTOGRAPH + np.uint8([1, 2, 3]), photometric="rgb", metadata=None)
    assert read_image(_without_photometric(path))[0, 0].tolist() == [1, 2, 3]


def test_the_time_to_open_a_stack_grows_with_its_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for image in VOLUME:
        tifffile.imwrite(tmp_path / "a.tif", image[:2, :2], append=True)
    comparisons: list[int] = []
    monkeypatch.setattr(PageSet, "__eq__", lambda self, other: bool(comparisons.append(1)) or self is other)
    assert open_volume(tmp_path / "a.tif", voxel_um=5).shape == (9, 2, 2)
    assert len(comparisons) <= 9


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_pages_are_decoded_in_place_and_turned(tmp_path, compression, orientation, byteorder):
    """A page is decoded into the array of the slices; turning it there must not overwrite what is still needed."""
    values = np.random.default_rng(0).integers(0, 4000, (5, 30, 30)).astype(np.uint16)
    with tifffile.TiffWriter(tmp_path / "a.tif", byteorder=byteorder) as file:
        for image in values:
            file.write(
                image,
                compression=compression,
                contiguous=False,
                metadata=None,
                extratags=[(274, 3, 1, orientation, True)],
            )
    upright = {1: values, 3: values[:, ::-1, ::-1], 6: values.swapaxes(1, 2)[:, :, ::-1]}[orientation]
    np.testing.assert_array_equal(open_volume(tmp_path / "a.tif", voxel_um=5.0).read(1, 5), upright[1:])


@pytest.mark.parametrize(
    "changes",
    [
        {'SizeZ="4"': 'SizeZ="1000000000"'},
        {'PlaneCount="4"': 'PlaneCount="1000000000"'},
        {'SizeZ="4"': 'SizeZ="100000"', 'SizeT="1"': 'SizeT="10000"'},
    ],
)
def test_ome_xml_of_a_billion_planes_needs_no_memory(tmp_path: Path, changes: dict[str, str]) -> None:
    path, values = tmp_path / "a.ome.tif", np.zeros((4, 16, 20), np.uint16)
    tifffile.imwrite(path, values, ome=True, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(path) as tif:
        xml = tif.ome_metadata or ""
    for old, new in changes.items():
        assert old in xml
        xml = xml.replace(old, new)
    tifffile.imwrite(path, values, description=xml.encode(), metadata=None)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"its metadata state 10+ planes"):
        open_volume(path, voxel_um=5)
    assert tracemalloc.get_traced_memory()[1] < 10**8
    tracemalloc.stop()
