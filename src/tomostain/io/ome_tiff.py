"""Single images as tiled, pyramidal OME-TIFF: colour or grey values, with pixel size, channel name and position."""

import hashlib
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from tomostain.io.atomic import atomic_file
from tomostain.io.metadata.units import check_length_um
from tomostain.paths import StrPath

_MAX_CLASSIC_BYTES = 3_500_000_000
"""Larger images are written as BigTIFF: positions in a classic TIFF have 32 bits."""
_TILE = 256
_SMALLEST_LEVEL = 512
_GREY = (np.uint8, np.uint16, np.float32)


@dataclass(frozen=True)
class OmeImage:
    """What the OME-XML states of an image in addition to its pixel size.

    Attributes
    ----------
    name : str
        Name of the image.
    channel : str
        Name of its channel. The three samples of a colour image are one channel.
    position_um : tuple of float
        Centre of the first pixel (z, y, x) in the volume, µm.
    description : str
        Free text.
    """

    name: str
    channel: str
    position_um: tuple[float, float, float] = (0.0, 0.0, 0.0)
    description: str = ""

    def to_metadata(self) -> dict[str, Any]:
        """Return the keywords of `tifffile.TiffWriter.write`."""
        positions = {f"Position{axis}": [value] for axis, value in zip("ZYX", self.position_um, strict=True)}
        units = {f"Position{axis}Unit": ["µm"] for axis in "ZYX"}
        described = {"Description": self.description} if self.description else {}
        return {"Name": self.name, "Channel": {"Name": [self.channel]}, "Plane": positions | units, **described}


def write_ome_tiff(
    path: StrPath,
    image: NDArray[Any],
    pixel_um: float,
    about: OmeImage | None = None,
    *,
    has_labels: bool = False,
    overwrite: bool = False,
) -> None:
    """Write an image as tiled, pyramidal OME-TIFF, without loss.

    Parameters
    ----------
    path : path
        Usually ``.ome.tif``.
    image : ndarray of uint8, shape (rows, columns, 3); or of uint8, uint16 or float32, shape (rows, columns)
        RGB or grey values.
    pixel_um : float
        Pixel size, µm; written in the OME-XML and in the resolution tags.
    about : OmeImage, optional
        Name, channel and position.
    has_labels : bool
        The values are labels. Coarser levels then take one of four pixels, not their mean.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    InputError
        If the file exists or the pixel size is not a length.

    Notes
    -----
    The coarser levels (2 × 2 means, except of labels) are in SubIFDs, as OME-TIFF requires. OpenSlide also opens a
    colour image, with its pixel size, but sees only the finest level. The same image has the same bytes.
    """
    length = check_length_um(pixel_um, "pixel_um")
    colour = image.ndim == 3
    if (colour and (image.shape[2] != 3 or image.dtype != np.uint8)) or (
        not colour and (image.ndim != 2 or image.dtype not in _GREY)
    ):
        raise ValueError(f"an image is uint8 RGB, or uint8, uint16 or float32; found {image.dtype} {image.shape}")
    levels = _pyramid(image, has_labels=has_labels)
    metadata = _metadata(levels[0], length, {} if about is None else about.to_metadata())
    options: dict[str, Any] = {
        "photometric": "rgb" if colour else "minisblack",
        "tile": (_TILE, _TILE),
        "compression": "zlib",
        # Bio-Formats does not read the predictor of floating-point numbers.
        "predictor": image.dtype.kind == "u",
    }
    big = sum(level.nbytes for level in levels) > _MAX_CLASSIC_BYTES
    with (
        atomic_file(Path(path), overwrite) as temporary,
        tifffile.TiffWriter(temporary, ome=True, bigtiff=big) as writer,
    ):
        for index, level in enumerate(levels):
            per_cm = 1e4 / (length * 2**index)
            writer.write(
                level,
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                metadata=metadata if index == 0 else None,
                subifds=len(levels) - 1 if index == 0 else None,
                subfiletype=0 if index == 0 else 1,
                **options,
            )


def _pyramid(image: NDArray[Any], *, has_labels: bool) -> list[NDArray[Any]]:
    """Return an image and its coarser levels: means, or of labels one of four pixels."""
    levels = [np.ascontiguousarray(image)]
    while max(levels[-1].shape[:2]) > _SMALLEST_LEVEL:
        levels.append(np.ascontiguousarray(levels[-1][::2, ::2]) if has_labels else _halved(levels[-1]))
    return levels


def _metadata(image: NDArray[Any], length: float, stated: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of an image with pixels of `length` µm, and what is stated in addition."""
    return {
        "axes": "YXS" if image.ndim == 3 else "YX",
        "PhysicalSizeX": length,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": length,
        "PhysicalSizeYUnit": "µm",
        # The UUID of OME follows from the content, so that the same image has the same bytes.
        "UUID": _uuid(image, length, stated),
        **stated,
    }


def _uuid(image: NDArray[Any], pixel_um: float, stated: dict[str, Any]) -> str:
    """Return an identifier that depends on content and metadata only."""
    content = f"{hashlib.sha256(image.tobytes()).hexdigest()} {pixel_um!r}" + (f" {stated!r}" if stated else "")
    return str(uuid.uuid5(uuid.NAMESPACE_OID, content))


def _halved(image: NDArray[Any]) -> NDArray[Any]:
    """Average 2 × 2 pixels; an odd last row or column is repeated."""
    odd = [(0, side % 2) for side in image.shape[:2]]
    whole = image.dtype.kind == "u"
    even = np.pad(image, [*odd, *[(0, 0)] * (image.ndim - 2)], mode="edge").astype(np.uint32 if whole else np.float32)
    total = even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
    return np.asarray((total + 2) // 4 if whole else total / 4).astype(image.dtype)
