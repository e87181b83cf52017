"""Reading blocks of any level of an OME-Zarr image with axes c z y x: stained volumes, grey copies, maps and labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.io.metadata.placement import Placement
from tomostain.io.ome_zarr.metadata import LabelStyle, read_level_scales, read_placements
from tomostain.io.ome_zarr.opening import check_finished, naming_damage, open_arrays, read_window
from tomostain.io.ome_zarr.pyramid import Shape
from tomostain.io.ome_zarr.verify import ShardVerifier
from tomostain.io.volumes.zarr_blosc import BloscCheck
from tomostain.paths import StrPath


@dataclass(frozen=True)
class LevelFacts:
    """What is known of one level before it is read.

    Attributes
    ----------
    shape : tuple of int
        (Z, Y, X), voxels.
    voxel_um : tuple of float
        Voxel size (z, y, x), µm.
    placement : Placement
        Where it lies.
    chunk : tuple of int
        Voxels (z, y, x) that are decompressed together.
    """

    shape: Shape
    voxel_um: tuple[float, float, float]
    placement: Placement
    chunk: Shape


class ZarrLevels:
    """The levels of an OME-Zarr image; made by `open_levels`.

    Attributes
    ----------
    path : Path
    levels : tuple of LevelFacts
        Finest first.
    channels : int
        1 or 3.
    dtype : numpy.dtype
    labels : tuple of LabelStyle
        Value, name and colour of each class, if the image is a label volume; else empty.
    """

    def __init__(self, path: Path, arrays: Sequence[Any], names: Sequence[str], attributes: dict[str, Any]) -> None:
        self.path = path
        self._arrays = list(arrays)
        self._blosc = [BloscCheck(path / array.path, array) for array in arrays]
        self._verifier = ShardVerifier(path, arrays, names)
        _, scales = read_level_scales(attributes)
        self.levels = tuple(
            LevelFacts(tuple(array.shape[1:]), scale, placement or Placement(), tuple(array.chunks[1:]))
            for array, scale, placement in zip(arrays, scales, read_placements(attributes), strict=True)
        )
        self.channels, self.dtype = int(arrays[0].shape[0]), np.dtype(arrays[0].dtype)
        self.labels = _read_labels(attributes)

    def block(self, level: int, first: Sequence[int], end: Sequence[int]) -> NDArray[Any]:
        """Read the voxels from `first` to `end` (z, y, x; half-open) of a level, after comparing their checksums.

        Returns
        -------
        ndarray, shape (z, y, x, channels)

        Raises
        ------
        InputError
            If the stored data are damaged.
        """
        ranges = list(zip(first, end, strict=True))
        window = tuple(slice(a, b) for a, b in ranges)
        self._verifier.verify(level, ranges)
        self._blosc[level].check((slice(None), *window))
        where = f"{self.path}: voxels {list(first)} to {list(end)} of level {level}"
        return read_window(self._arrays[level], window, where)


def open_levels(path: StrPath) -> ZarrLevels:
    """Open all levels of a finished OME-Zarr image with axes c z y x and one or three channels.

    Raises
    ------
    InputError
        If it is missing, not such an image, or not finished.
    """
    path = Path(path)
    unfinished = "writing was not finished; run the command that wrote it again to continue"
    check_finished(path, "give an OME-Zarr folder", unfinished)
    with naming_damage(path, "an OME-Zarr image with axes c z y x and one or three channels"):
        attributes, names, arrays = open_arrays(path)
        if any(array.ndim != 4 or array.shape[0] not in (1, 3) for array in arrays):
            raise ValueError(f"its arrays have the shapes {[array.shape for array in arrays]}")
        return ZarrLevels(path, arrays, names, attributes)


def _read_labels(attributes: dict[str, Any]) -> tuple[LabelStyle, ...]:
    """Return the classes of a label volume in the order of its colours; without a name, the name is the value."""
    label = attributes.get("ome", attributes).get("image-label")
    if not isinstance(label, dict):
        return ()
    names = {each.get("label-value"): str(each.get("name", "")) for each in label.get("properties", [])}
    styles = []
    for each in label.get("colors", []):
        value, rgba = int(each["label-value"]), [int(part) for part in each["rgba"]]
        name = names.get(value) or str(value)
        styles.append(LabelStyle(value=value, name=name, rgb=(rgba[0], rgba[1], rgba[2])))
    return tuple(styles)
