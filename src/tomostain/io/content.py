"""What a file holds, by its first bytes: for messages about files that cannot be read as their names say."""

from pathlib import Path

_HEAD_BYTES = 512
_TIFF = (".tif", ".tiff", ".btf", ".tf8", ".svs", ".svslide", ".ndpi", ".scn", ".bif")
_SIGNATURES = (
    (b"\x89HDF\r\n\x1a\n", "HDF5", (".h5", ".hdf5", ".hdf", ".nxs", ".nx", ".he5")),
    (b"II*\0", "TIFF", _TIFF),
    (b"MM\0*", "TIFF", _TIFF),
    (b"II+\0", "TIFF", _TIFF),
    (b"MM\0+", "TIFF", _TIFF),
    (b"\x89PNG\r\n", "PNG", (".png",)),
    (b"\xff\xd8\xff", "JPEG", (".jpg", ".jpeg", ".mrxs")),
    (b"NRRD000", "NRRD", (".nrrd", ".nhdr")),
    (b"ObjectType", "MetaImage", (".mha", ".mhd")),
    (b"\x5c\x01\0\0", "NIfTI", (".nii",)),
    (b"BM", "BMP", (".bmp",)),
)
"""The first bytes of a format, and the endings of its files. The first ending is the one to use."""
_DICOM = "DICOM; convert the series to NIfTI or NRRD (dcm2niix, or 3D Slicer)"
_NOTES = (
    (0, b"version https://git-lfs", "a pointer of Git LFS, not the data; fetch them with 'git lfs pull'"),
    (0, b"/annex/objects/", "a pointer of git-annex, not the data; fetch them with 'git annex get'"),
    (0, b"<!doctype html", "a web page (an error or a login page), not the data; download it again"),
    (0, b"<html", "a web page (an error or a login page), not the data; download it again"),
    (128, b"dicm", _DICOM),
    (0, b"pk\x03\x04", "a ZIP archive; unpack it"),
    (0, b"\x1f\x8b", "compressed by gzip; unpack it"),
    (
        0,
        b"ctdata-header",
        "an ISQ file of Scanco; export the volume as TIFF slices or DICOM, or convert it with itk-ioscanco",
    ),
    (0, b"# amiramesh", "an AmiraMesh file; export the volume as TIFF slices or NRRD (Amira, Avizo)"),
    (0, b"# avizo", "an Avizo file; export the volume as TIFF slices or NRRD (Amira, Avizo)"),
)


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM, whatever its name."""
    return _head(path)[128:132] == b"DICM"


def what_it_is(path: Path) -> str:
    """Return what a file is, by its content, and what to do with it: the end of a message; "" if it is not known.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".tif") as file:
    ...     print(what_it_is(Path(file.name)))
    it is empty (0 bytes); copy it again
    """
    head = _head(path)
    if not head:
        return "it is empty (0 bytes); copy it again" if path.is_file() else ""
    name = path.name.lower()
    for offset, start, text in _NOTES:
        if head[offset:].lower().startswith(start) and not (text == _DICOM and name.endswith(".dcm")):  # or a slide
            return f"it is {text}"
    for start, format_name, endings in _SIGNATURES:
        if head.startswith(start) and not name.endswith(endings):
            return f"its content is {format_name}; rename it to end in {endings[0]}"
    return ""


def _head(path: Path) -> bytes:
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError:
        return b""
