"""Multi-file OME-TIFF: the files that its XML announces, and metadata in a companion file."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from tomostain.errors import InputError
from tomostain.io import open_volume
from tomostain.io.metadata.ome_files import announced_files, check_ome_files

OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def document(*images: str) -> str:
    return f'<OME xmlns="{OME}">{"".join(images)}</OME>'


def image(*data: str, depth: str = "3", channels: str = "1") -> str:
    return (
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="8" SizeY="8" '
        f'SizeZ="{depth}" SizeC="{channels}" SizeT="1" PhysicalSizeX="5" PhysicalSizeY="5" PhysicalSizeZ="5">'
        f"{''.join(data)}</Pixels></Image>"
    )


def data(first: int, name: str, count: int = 1) -> str:
    return f'<TiffData FirstZ="{first}" PlaneCount="{count}"><UUID FileName="{name}">urn:uuid:{first}</UUID></TiffData>'


BINARY = document('<BinaryOnly MetadataFile="{}" UUID="urn:uuid:0"/>')


def test_the_file_of_each_slice(tmp_path: Path) -> None:
    files = announced_files(tmp_path / "a.tif", document(image(data(0, "a.tif", 2), data(2, "b.tif"), "<Plane/>")))
    assert files is not None
    assert files.names == {0: "a.tif", 1: "a.tif", 2: "b.tif"}
    assert (files.depth, files.others, files.files) == (3, 1, {"a.tif", "b.tif"})


def test_a_slice_that_two_entries_claim_belongs_to_the_first(tmp_path: Path) -> None:
    files = announced_files(tmp_path / "a.tif", document(image(data(0, "a.tif", 2), data(1, "b.tif", 2))))
    assert files is not None
    assert files.names == {0: "a.tif", 1: "a.tif", 2: "b.tif"}


@pytest.mark.parametrize(("depth", "channels", "expected"), [("4", "2", (4, 2)), ("x", "-1", (1, 0))])
def test_sizes_that_are_not_numbers_count_as_one(
    tmp_path: Path, depth: str, channels: str, expected: tuple[int, int]
) -> None:
    files = announced_files(tmp_path / "a.tif", document(image(depth=depth, channels=channels)))
    assert files is not None
    assert (files.depth, files.others) == expected


@pytest.mark.parametrize("xml", ["<OME", document(), document(image(), image())])
def test_damaged_xml_and_several_images_announce_nothing(tmp_path: Path, xml: str) -> None:
    assert announced_files(tmp_path / "a.tif", xml) is None


def test_metadata_in_a_companion_file(tmp_path: Path) -> None:
    companion = document(image(data(0, "a.tif"), data(1, "b.tif"), data(2, "c.tif")))
    (tmp_path / "set.companion.ome").write_text(companion)
    files = announced_files(tmp_path / "a.tif", BINARY.format("set.companion.ome"))
    assert files is not None
    assert files.xml == companion
    assert files.names == {0: "a.tif", 1: "b.tif", 2: "c.tif"}


def test_metadata_in_the_first_tiff(tmp_path: Path) -> None:
    xml = document(image(data(0, "first.ome.tif"), data(1, "second.ome.tif"), depth="2"))
    tifffile.imwrite(tmp_path / "first.ome.tif", np.zeros((8, 8), np.uint16), description=xml, metadata=None)
    files = announced_files(tmp_path / "second.ome.tif", BINARY.format("first.ome.tif"))
    assert files is not None
    assert files.names == {0: "first.ome.tif", 1: "second.ome.tif"}


def test_a_companion_with_damaged_xml_announces_nothing(tmp_path: Path) -> None:
    (tmp_path / "c.ome").write_text("<OME")
    assert announced_files(tmp_path / "a.tif", BINARY.format("c.ome")) is None


@pytest.mark.parametrize("name", ["gone.companion.ome", ""])
def test_a_companion_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"metadata are in the file {name}, which is missing"):
        announced_files(tmp_path / "a.tif", BINARY.format(name))


@pytest.mark.parametrize("name", ["../c.ome", "/c.ome", "..", "sub\\c.ome"])
def test_a_companion_file_in_another_folder_is_not_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="outside its folder"):
        announced_files(tmp_path / "a.tif", BINARY.format(name))


def test_a_huge_companion_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "c.ome").open("wb") as file:
        file.truncate(2**27 + 1)
    with pytest.raises(InputError, match="too large for metadata"):
        announced_files(tmp_path / "a.tif", BINARY.format("c.ome"))


def test_an_image_with_damaged_xml_names_no_files(tmp_path: Path) -> None:
    assert check_ome_files(tmp_path / "a.tif", "<OME") is None
    with pytest.raises(InputError, match="metadata are in another file"):
        check_ome_files(tmp_path / "a.tif", BINARY.format("c.ome"))


def test_a_folder_whose_metadata_are_in_a_companion(tmp_path: Path) -> None:
    """The voxel size of the companion applies, and a slice that it announces and that is missing is an error."""
    values = np.arange(3 * 64, dtype=np.uint16).reshape(3, 8, 8)
    names = [f"s_{z}.ome.tif" for z in range(3)]
    for name, plane in zip(names, values, strict=True):
        tifffile.imwrite(tmp_path / name, plane, description=BINARY.format("set.companion.ome"), metadata=None)
    xml = document(image(*(data(z, name) for z, name in enumerate(names))))
    (tmp_path / "set.companion.ome").write_text(xml)
    volume = open_volume(tmp_path)
    assert volume.voxel_um == (5.0, 5.0, 5.0)
    np.testing.assert_array_equal(volume.read(0, 3), values)
    (tmp_path / names[1]).unlink()
    with pytest.raises(InputError, match=r"s_1\.ome\.tif"):
        open_volume(tmp_path).read(0, 3)
