"""The files of a multi-file OME-TIFF: which hold which slice, as its OME-XML announces.

Source: https://docs.openmicroscopy.org/ome-model/latest/ome-tiff/specification.html (elements TiffData, UUID with the
attribute FileName, and BinaryOnly with the attribute MetadataFile).
"""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from tomostain.errors import InputError
from tomostain.input_files import refuse_special_file

_MAX_COMPANION_BYTES = 2**27


@dataclass(frozen=True)
class OmeFiles:
    """What OME-XML announces.

    Attributes
    ----------
    xml : str
        The XML, or that of the file with the metadata.
    depth : int
        Number of slices (SizeZ).
    others : int
        Channels times time points; 1 for a volume.
    names : dict of int to str
        File of each slice, for the slices of which it is stated.
    """

    xml: str
    depth: int
    others: int
    names: dict[int, str]

    @property
    def files(self) -> set[str]:
        """Names of all files."""
        return set(self.names.values())


def announced_files(path: Path, xml: str) -> OmeFiles | None:
    """Read which files an OME-TIFF consists of.

    Parameters
    ----------
    path : Path
        The file with this XML.
    xml : str

    Returns
    -------
    OmeFiles or None
        None if the XML is damaged, or describes no image or several.

    Raises
    ------
    InputError
        If a file is outside the folder, or the metadata are in a file that is missing.
    """
    root = _parsed(xml)
    if root is None:
        return None
    binary = next((element for element in root.iter() if element.tag.endswith("}BinaryOnly")), None)
    if binary is not None:
        xml = _companion(path, binary.get("MetadataFile", ""))
        root = _parsed(xml)
        if root is None:
            return None
    images = [element for element in root.iter() if element.tag.endswith("}Pixels")]
    if len(images) != 1:
        return None
    pixels = images[0]
    sizes = {axis: _integer(pixels.get(f"Size{axis}"), 1) for axis in "ZCT"}
    return OmeFiles(xml, sizes["Z"], sizes["C"] * sizes["T"], _names(path, pixels))


def check_ome_files(path: Path, xml: str) -> None:
    """Check the files that the OME-XML of an image names, before they are opened.

    Raises
    ------
    InputError
        If one is outside the folder or is a pipe, or the metadata are in another file.
    """
    root = _parsed(xml)
    if root is None:
        return
    if any(element.tag.endswith("}BinaryOnly") for element in root.iter()):
        raise InputError(f"{path}: is a part of an OME-TIFF whose metadata are in another file; export it as one file")
    for element in root.iter():
        name = element.get("FileName")
        if element.tag.endswith("}UUID") and name:
            _check_inside(path, name)
            refuse_special_file(path.parent / name)


def _parsed(xml: str) -> ElementTree.Element | None:
    try:
        return ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return None


def _names(path: Path, pixels: ElementTree.Element) -> dict[int, str]:
    names: dict[int, str] = {}
    for data in pixels:
        identifier = next((element for element in data if element.tag.endswith("}UUID")), None)
        name = None if identifier is None else identifier.get("FileName")
        if not name or not data.tag.endswith("}TiffData"):
            continue
        _check_inside(path, name)
        first, count = _integer(data.get("FirstZ"), 0), _integer(data.get("PlaneCount"), 1)
        for z in range(first, first + min(count, 10**6)):
            names.setdefault(z, name)
    return names


def _companion(path: Path, name: str) -> str:
    _check_inside(path, name)
    file = path.parent / name
    refuse_special_file(file)
    if not name or not file.is_file():
        raise InputError(f"{path}: its metadata are in the file {name}, which is missing; copy it next to the slices")
    if file.stat().st_size > _MAX_COMPANION_BYTES:
        raise InputError(f"{file}: is too large for metadata; the file is damaged")
    if name.lower().endswith((".tif", ".tiff")):
        import tifffile

        with tifffile.TiffFile(file) as tif:
            return tif.ome_metadata or ""
    return file.read_text(encoding="utf-8", errors="replace")


def _check_inside(path: Path, name: str) -> None:
    if "/" in name or "\\" in name or name in ("..", "."):
        raise InputError(f"{path}: its metadata name the file {name}, outside its folder; copy all files to one folder")


def _integer(value: str | None, default: int) -> int:
    try:
        return max(0, int(value or default))
    except ValueError:
        return default
