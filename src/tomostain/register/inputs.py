"""What a registration was made from: enough to notice that it was other files, or other sizes, than those of today."""

import hashlib
from pathlib import Path
from typing import Any

from tomostain.io import Slide, Volume

# Of each file that is looked into, so much at its beginning and at its end.
_BYTES = 1 << 20


def fingerprint(volume: Volume, slide: Slide) -> dict[str, dict[str, Any]]:
    """Return what identifies a volume and a slide: shape, size of voxel or pixel, and a digest of the files.

    Paths and times are left out, since a study may move. Of a slide the ends of the file are read, of a folder the
    names and lengths of all files and the ends of the middle one: quick, and what tells two scans apart.

    Returns
    -------
    dict
        Under "volume" and "slide" plain numbers and strings, for YAML.
    """
    return {
        "volume": {
            "shape": [int(n) for n in volume.shape],
            "voxel_um": [float(x) for x in volume.voxel_um],
            "digest": digest(Path(volume.path)),
        },
        "slide": {
            "shape": [int(n) for n in slide.shape],
            "pixel_um": float(slide.pixel_um),
            "digest": digest(Path(slide.path)),
        },
    }


def digest(path: Path) -> str:
    """Return a short SHA-256 of a file's length and ends, or of a folder's file names and lengths and its middle file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    found = hashlib.sha256()
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        for file in files:
            found.update(f"{file.relative_to(path).as_posix()} {file.stat().st_size}\n".encode())
        files = files[len(files) // 2 :][:1]
    else:
        files = [path]
    for file in files:
        size = file.stat().st_size
        found.update(str(size).encode())
        with file.open("rb") as stream:
            found.update(stream.read(_BYTES))
            stream.seek(max(0, size - _BYTES))
            found.update(stream.read(_BYTES))
    return found.hexdigest()[:16]
