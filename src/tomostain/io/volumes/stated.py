"""What the source of a volume states: whether it is a volume, its voxel size next to a given one, and its position."""

import math
from pathlib import Path

from tomostain.errors import InputError, PlacementWarning, warn_user
from tomostain.io.image_size import check_decoded_size
from tomostain.io.metadata.placement import Placement, fit_placement
from tomostain.io.metadata.units import check_pixels, format_sides, nearly_equal
from tomostain.io.volumes.base import Source
from tomostain.io.volumes.voxel_size import find_voxel


def check_size(path: Path, source: Source) -> None:
    """Raise if a source is no volume, or one slice of it is too large."""
    if len(source.shape) != 3 or min(source.shape) < 1:
        raise InputError(f"{path}: holds an array of shape {source.shape}, not a volume (z, y, x)")
    check_pixels(path, source.shape[1:])
    check_decoded_size(path, math.prod(source.shape[1:]), source.dtype.itemsize, None)


def describe_given(path: Path, source: Source, voxel_um: tuple[float, float, float]) -> str:
    """Return the words for a voxel size that the user gave, with the one that the files state if it differs."""
    try:
        stated, stated_in = find_voxel(path, source)
    except InputError:
        return "given"
    is_same = all(nearly_equal(size, other) for size, other in zip(stated, voxel_um, strict=True))
    return "given" if is_same else f"given, although {stated_in} states {format_sides(stated)} µm"


def placement_of(path: Path, source: Source, voxel_um: tuple[float, float, float]) -> Placement | None:
    """Return where a volume lies, µm; None, with a warning, if its position cannot be converted to µm."""
    if source.placement is None or source.placement.is_default:
        return None
    placement = None
    z, y, x = source.step or source.spacing
    if z is not None and y is not None and x is not None:
        placement = fit_placement(source.placement, (z, y, x), voxel_um)
    if placement is None:
        warn_user(
            f"{path}: its position is not passed on: the unit of its origin is not known, and the voxel size in the "
            "file differs from the given one by another factor along each axis",
            PlacementWarning,
        )
    return placement
