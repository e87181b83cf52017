"""Imaris files (HDF5): the size of the image in an array that is padded to whole chunks, and its voxel size.

Source: the Imaris 5.5 file format (https://imaris.oxinst.com/support/imaris-file-format): ``ImageSizeX``, ``Y`` and
``Z`` of the group of a channel, ``ExtMin`` and ``ExtMax`` of ``DataSetInfo/Image`` in its ``Unit``. Numbers are arrays
of single characters.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from tomostain.io.metadata.hdf5_tree import Hdf5Tree
from tomostain.io.metadata.placement import Placement, Triple, along_axes
from tomostain.io.metadata.units import Spacing, to_um, unit_um

if TYPE_CHECKING:
    import h5py


def imaris_shape(dataset: "h5py.Dataset") -> tuple[int, int, int] | None:
    """Return the size (z, y, x) of the image in an array of Imaris; None for an array of another program."""
    sizes = [_characters(dataset.parent.attrs.get(f"ImageSize{axis}")) for axis in "ZYX"]
    if dataset.ndim != 3 or not all(size.isdecimal() and 0 < int(size) < 2**31 for size in sizes):
        return None
    z, y, x = (int(size) for size in sizes)
    return None if any(n > stored for n, stored in zip((z, y, x), dataset.shape, strict=True)) else (z, y, x)


def imaris_geometry(tree: Hdf5Tree, shape: Triple | tuple[int, int, int]) -> tuple[Spacing, Placement | None]:
    """Return the voxel size (z, y, x), µm, and the position of an image of Imaris; None where they are not stated."""
    image = tree.member(tree.file["/"], "DataSetInfo/Image")
    attributes = {} if image is None else image.attrs
    unit = _characters(attributes.get("Unit"))
    steps: list[float | None] = []
    first = []
    for axis, size in zip((2, 1, 0), shape, strict=True):
        low, high = (_number(attributes.get(f"Ext{end}{axis}")) for end in ("Min", "Max"))
        steps.append(None if low is None or high is None else to_um((high - low) / size, unit))
        first.append(0.0 if low is None or high is None else low + (high - low) / size / 2)
    spacing = (steps[0], steps[1], steps[2])
    factor = unit_um(unit)
    if factor is None or None in steps:
        return spacing, None
    z, y, x = (position * factor for position in first)
    return spacing, along_axes((z, y, x))


def _characters(value: Any) -> str:
    """Return an attribute that is stored as an array of characters, or as text."""
    if value is None:
        return ""
    parts = [part.decode(errors="replace") if isinstance(part, bytes) else str(part) for part in np.ravel(value)]
    return "".join(parts).strip()


def _number(value: Any) -> float | None:
    try:
        number = float(_characters(value))
    except ValueError:
        return None
    return number if np.isfinite(number) else None
