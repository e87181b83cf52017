"""What a file holds, by its first bytes: for messages about files that cannot be read as their names say."""

from pathlib import Path

_HEAD_BYTES = 512
_SIGNATURES = (
    (0, b"\x89HDF\r\n\x1a\n", "HDF5", ".h5"),
    (0, b"II*\0", "TIFF", ".tif"),
    (0, b"MM\0*", "TIFF", ".tif"),
    (0, b"II+\0", "TIFF", ".tif"),
    (0, b"MM\0+", "TIFF", ".tif"),
    (0, b"\x89PNG\r\n", "PNG", ".png"),
    (0, b"\xff\xd8\xff", "JPEG", ".jpg"),
    (0, b"NRRD000", "NRRD", ".nrrd"),
    (0, b"ObjectType", "MetaImage", ".mha"),
    (0, b"\x5c\x01\0\0", "NIfTI", ".nii"),
    (0, b"BM", "BMP", ".bmp"),
)
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
    for offset, start, text in _NOTES:
        if head[offset:].lower().startswith(start):
            return f"it is {text}"
    for offset, start, format_name, ending in _SIGNATURES:
        if head[offset:].startswith(start) and not path.name.lower().endswith((ending, f"{ending}f")):
            return f"its content is {format_name}; rename it to end in {ending}"
    return ""


def _head(path: Path) -> bytes:
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError:
        return b""
