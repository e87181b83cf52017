"""The OME-Zarr 0.5 metadata of a volume that is written here: axes, levels, voxel sizes and channels.

Source: the OME-Zarr (OME-NGFF) 0.5 specification, "multiscales", "omero" and "labels" metadata.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypedDict

import numpy as np
from numpy.typing import DTypeLike

from tomostain.io.metadata.ngff import read_levels
from tomostain.io.metadata.placement import Placement
from tomostain.io.ome_zarr.pyramid import Reduction

_CHANNELS = {
    1: (("grey", "FFFFFF"),),
    3: (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF")),
}
_TYPES: Mapping[Reduction, str] = {"mean": "mean 2×2×2", "nearest": "nearest", "mean_nonzero": "mean of non-zero 2×2×2"}


class LabelStyle(TypedDict):
    """Name and colour of one value of a label volume."""

    value: int
    name: str
    rgb: tuple[int, int, int]


def ome_metadata(
    name: str,
    scales: Sequence[tuple[list[float], list[float]]],
    channels: int = 3,
    dtype: DTypeLike = "uint8",
    reduction: Reduction = "mean",
) -> dict[str, Any]:
    """Return the ``ome`` attribute of a stained or grey volume.

    Parameters
    ----------
    name : str
        Name of the image.
    scales : sequence
        Voxel size and centre of the first voxel (z, y, x), µm, of each level, as `level_scales` returns them.
    channels : int
        3 (red, green, blue) or 1 (grey).
    dtype : numpy dtype
        Type of the voxels. The display window is the range of the type; float has none.
    reduction : {"mean", "nearest", "mean_nonzero"}
        How the coarser levels were computed.
    """
    axes: list[dict[str, str]] = [{"name": "c", "type": "channel"}]
    axes += [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"]
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [1.0, *scale]},
                {"type": "translation", "translation": [0.0, *translation]},
            ],
        }
        for level, (scale, translation) in enumerate(scales)
    ]
    window = {}
    if np.dtype(dtype).kind == "u":
        top = int(np.iinfo(np.dtype(dtype)).max)
        window = {"window": {"min": 0, "max": top, "start": 0, "end": top}}
    shown = [{"label": label, "color": code, "active": True, **window} for label, code in _CHANNELS[channels]]
    image = {"name": name, "axes": axes, "datasets": datasets, "type": _TYPES[reduction]}
    return {
        "version": "0.5",
        "multiscales": [image],
        "omero": {"channels": shown, "rdefs": {"model": "color", "defaultZ": 0, "defaultT": 0}},
    }


def label_metadata(ome: Mapping[str, Any], labels: Sequence[LabelStyle]) -> dict[str, Any]:
    """Return the ``ome`` attribute of a label volume: that of a grey volume, and the name and colour of each value.

    Parameters
    ----------
    ome : mapping
        As `ome_metadata` returns it.
    labels : sequence of LabelStyle
    """
    colours = [{"label-value": each["value"], "rgba": [*each["rgb"], 255]} for each in labels]
    names = [{"label-value": each["value"], "name": each["name"]} for each in labels]
    return {**ome, "image-label": {"colors": colours, "properties": names}}


def read_level_scales(attributes: Mapping[str, Any]) -> tuple[list[str], list[tuple[float, float, float]]]:
    """Return the paths and the voxel sizes (z, y, x), µm, of the levels from the attributes of an OME-Zarr group.

    Raises
    ------
    ValueError, KeyError, IndexError, TypeError, AttributeError
        If the metadata are not those of an image with axes c z y x in units of length.
    """
    levels = read_levels(attributes)
    if not levels:
        raise ValueError("it has no levels")
    scales: list[tuple[float, float, float]] = []
    for level in levels:
        if level.names != ("c", "z", "y", "x"):
            raise ValueError(f"its axes are {' '.join(level.names)}, not c z y x")
        z, y, x = level.spacing
        if z is None or y is None or x is None:
            raise ValueError("its voxel size has no unit of length")
        scales.append((z, y, x))
    return [level.path for level in levels], scales


def read_placements(attributes: Mapping[str, Any]) -> list[Placement | None]:
    """Return where each level lies: its translation, and the directions that tomostain stored; None if it begins at 0.

    Raises
    ------
    ValueError, KeyError, IndexError, TypeError, AttributeError
        As `read_level_scales`.
    """
    plan = attributes.get("tomostain")
    values = plan.get("placement") if isinstance(plan, Mapping) else None
    stored = Placement() if values is None else Placement.from_dict(values)
    placements = [replace(stored, origin_um=level.placement().origin_um) for level in read_levels(attributes)]
    return [None if each.is_default else each for each in placements]
