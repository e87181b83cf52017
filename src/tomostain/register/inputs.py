"""What a registration was made from: enough to notice that it was other files, or other sizes, than those of today."""

import hashlib
from pathlib import Path
from typing import Any

from tomostain.io import Slide, Volume

# Of a slide's file so much is read at its beginning and at its end.
_BYTES = 1 << 20


def fingerprint(volume: Volume, slide: Slide) -> dict[str, dict[str, Any]]:
    """Return what identifies a volume and a slide: shape, size of voxel or pixel, and a digest of the content.

    Paths and times are left out, since a study may move.

    Returns
    -------
    dict
        Under "volume" and "slide" plain numbers and strings, for YAML.
    """
    return {
        "volume": {
            "shape": [int(n) for n in volume.shape],
            "voxel_um": [float(x) for x in volume.voxel_um],
            "digest": volume.fingerprint(),
        },
        "slide": {
            "shape": [int(n) for n in slide.shape],
            "pixel_um": float(slide.pixel_um),
            "digest": digest(slide.path),
        },
    }


def digest(path: Path) -> str:
    """Return the SHA-256 (64 digits) of a file's length and of the MiB at both its ends: it may be large."""
    size = Path(path).stat().st_size
    found = hashlib.sha256(str(size).encode())
    with Path(path).open("rb") as stream:
        found.update(stream.read(_BYTES))
        stream.seek(max(0, size - _BYTES))
        found.update(stream.read(_BYTES))
    return found.hexdigest()
