"""The OME-Zarr 0.5 metadata of a volume that is written here: axes, levels, voxel sizes and channels.

Source: the OME-Zarr (OME-NGFF) 0.5 specification, "multiscales" and "omero" metadata.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tomostain.io.metadata.ngff import read_levels
from tomostain.io.metadata.placement import Placement

_CHANNELS = {
    1: (("grey", "FFFFFF"),),
    3: (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF")),
}


def ome_metadata(
    name: str, scales: Sequence[tuple[list[float], list[float]]], channels: int = 3, dtype: DTypeLike = "uint8"
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
    image = {"name": name, "axes": axes, "datasets": datasets, "type": "mean 2×2×2"}
    return {
        "version": "0.5",
        "multiscales": [image],
        "omero": {"channels": shown, "rdefs": {"model": "color", "defaultZ": 0, "defaultT": 0}},
    }


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
