"""Fingerprints of the inputs of a registration, to notice that files or sizes have changed since."""

import hashlib
from pathlib import Path
from typing import TypedDict

import numpy as np

from tomostain.io import Slide, Volume
from tomostain.paths import StrPath

# Bytes of a slide file that are read at its beginning and at its end.
_BYTES = 1 << 20


class VolumeKeywords(TypedDict):
    """Identity of a volume."""

    shape: list[int]
    voxel_um: list[float]
    digest: str


class SlideInput(TypedDict):
    """Identity of a slide."""

    shape: list[int]
    pixel_um: float
    digest: str


class Inputs(TypedDict):
    """Identity of the inputs of a registration, as `pair.yaml` contains it."""

    volume: VolumeKeywords
    slide: SlideInput


def fingerprint(volume: Volume, slide: Slide) -> Inputs:
    """Return the identity of a volume and a slide: shape, voxel or pixel size, and a digest of the content.

    Paths and times are not included, so that a study can be moved.
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
            "digest": digest(slide.path) if slide.path.is_file() else _digest_of_pixels(slide),
        },
    }


def digest(path: StrPath) -> str:
    """Return the SHA-256 (64 digits) of the length of a file and of the MiB at both ends, because it may be large."""
    path = Path(path)
    size = path.stat().st_size
    sha256 = hashlib.sha256(str(size).encode())
    with path.open("rb") as stream:
        sha256.update(stream.read(_BYTES))
        stream.seek(max(0, size - _BYTES))
        sha256.update(stream.read(_BYTES))
    return sha256.hexdigest()


def _digest_of_pixels(slide: Slide) -> str:
    """Return the SHA-256 of the pixels of a slide in memory."""
    rgb, _ = slide.read()
    return hashlib.sha256(repr(rgb.shape).encode() + np.ascontiguousarray(rgb).tobytes()).hexdigest()
