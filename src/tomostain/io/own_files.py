"""Whether tomostain wrote a file, according to the content of the file."""

import re
from pathlib import Path

from tomostain.paths import StrPath

SOFTWARE = "tomostain"
_HEAD = 1 << 16
_OWN_OME = re.compile(rb'UUID="urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-5')
_SIGNATURES = {".gif": b"GIF8", ".zip": b"PK", ".html": b"<!DOCTYPE html>"}


def is_own_file(path: StrPath, ending: str) -> bool:
    """Return whether tomostain wrote a file.

    TIFF, PNG, NRRD and VTI hold a mark. Films, packages and pages of older versions hold none: there, the file must
    have the format of its name.

    Parameters
    ----------
    path : str or os.PathLike
        A file that exists.
    ending : str
        The ending that states its format, in lower case, as `tomostain.io.output_folder.ending_of` returns it.
    """
    path = Path(path)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        return True  # nothing is lost
    if ending in (".tif", ".tiff", ".ome.tif", ".ome.tiff"):
        return is_own_tiff(path)
    if ending == ".png":
        return head.startswith(b"\x89PNG") and SOFTWARE.encode() in head
    if ending == ".nrrd":
        return head.startswith(b"NRRD") and b"\nalpha:=" in head and b"\nkinds: vector domain" in head
    if ending == ".vti":
        return b'type="ImageData"' in head and b'Name="alpha"' in head
    if ending == ".mp4":
        return head[4:8] == b"ftyp"
    return head.lstrip().startswith(_SIGNATURES.get(ending, b""))


def is_own_tiff(path: Path) -> bool:
    """Return whether a TIFF names tomostain as its software, or is an OME-TIFF whose identifier is of version 5.

    Other software gives OME-TIFF random or time-based identifiers.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            software = page.tags.valueof("Software", default="")
            description = page.tags.valueof("ImageDescription", default="")
    except (OSError, ValueError, LookupError, TypeError, tifffile.TiffFileError):
        return False
    text = description.encode() if isinstance(description, str) else bytes(description)
    return str(software).startswith(SOFTWARE) or _OWN_OME.search(text) is not None
