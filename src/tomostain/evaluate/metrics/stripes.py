"""The stripe index: how much more a stained volume varies from slice to slice than within its slices.

Slices that are stained one by one are independent of each other: colours that are smooth within slices jump between
slices, and sections along z show stripes. Let D_a be the mean squared difference of neighbouring voxels along axis a,
over the channels, and M_a the same of the µCT. Then

    index = (D_z / D_xy) / (M_z / M_xy) - 1,    D_xy = (D_y + D_x) / 2

is 0 if the stain varies along z as the µCT does, and 1 if the squared differences along z are twice as large. The
excess D_z - D_xy · M_z / M_xy equals that of slices with independent random offsets of standard deviation σ: excess =
2 σ². So σ, the flicker, is the index in grey levels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.evaluate.metrics.base import RGB, register_metric
from tomostain.figures.canvas import figure_to_rgb, new_figure
from tomostain.io.volumes.base import VolumeLike
from tomostain.progress import Progress, silent

Z_CHUNK = 32


@dataclass(frozen=True)
class Stripes:
    """How a stained volume varies from slice to slice.

    Attributes
    ----------
    index : float
        0: as the µCT; above: striped. NaN if nothing varies within slices.
    flicker : float
        Standard deviation, grey levels, of random offsets per slice that would cause the same stripes; 0 if the index
        is not above 0.
    along_z : ndarray of float64, shape (Z - 1,)
        Root mean squared difference of each slice from the next, grey levels.
    within : float
        The same for neighbours within slices.
    """

    index: float
    flicker: float
    along_z: NDArray[np.float64]
    within: float

    def __str__(self) -> str:
        return f"stripe index {self.index:.2f}, flicker {self.flicker:.1f} grey levels"


@dataclass
class _Sums:
    """Squared differences and their numbers: along z at each boundary, along y, along x. Integers: no rounding."""

    along_z: NDArray[np.float64]
    number_z: NDArray[np.int64]
    within: int = 0
    number: int = 0

    def ratio(self) -> float:
        """Return D_z / D_xy."""
        along = self.along_z.sum() / max(1, int(self.number_z.sum()))
        return float(along / (self.within / self.number)) if self.within else float("nan")


def stripe_index(
    stained: VolumeLike | NDArray[np.uint8],
    ct: VolumeLike | NDArray[Any],
    mask: Callable[[NDArray[Any]], NDArray[np.bool_]] | None = None,
    *,
    z_chunk: int = Z_CHUNK,
    progress: Progress = silent,
) -> Stripes:
    """Return the stripe index of a stained volume. Reads a few slices at a time.

    Parameters
    ----------
    stained : StainedVolume, or ndarray of uint8, shape (Z, Y, X, 3)
    ct : Volume, or ndarray, shape (Z, Y, X)
        The µCT that was stained, in any grey scale.
    mask : function, optional
        From slices of µCT (n, Y, X) to the voxels that count; a difference counts if both voxels do. Default: all.
    z_chunk : int
        Slices in memory at once; the result does not depend on it.
    progress : Progress
        Called after every chunk.

    Returns
    -------
    Stripes

    Raises
    ------
    InputError
        If the shapes differ, or there is only one slice.
    """
    first, second = (_Array(v) if isinstance(v, np.ndarray) else v for v in (stained, ct))
    depth = first.shape[0]
    if first.shape[:3] != second.shape[:3]:
        sizes = f"the stained volume has {first.shape[:3]} voxels, the µCT {second.shape[:3]}"
        raise InputError(f"stripes: {sizes}; give the volume that was stained")
    if depth < 2:
        raise InputError("stripes: the volume has one slice; give at least two")
    colour, grey = (_Sums(np.zeros(depth - 1), np.zeros(depth - 1, np.int64)) for _ in range(2))
    for start in range(0, depth, z_chunk):
        stop = min(start + z_chunk, depth)
        # With the first slice of the next chunk, for the differences along z.
        last = min(stop + 1, depth)
        values = second.read(start, last)
        inside = np.ones(values.shape, bool) if mask is None else mask(values)
        _add(colour, first.read(start, last), inside, start, stop)
        _add(grey, values[..., None], inside, start, stop)
        progress("stripes", stop, depth)
    index = colour.ratio() / grey.ratio() - 1
    within = colour.within / max(1, colour.number)
    along_z = np.sqrt(colour.along_z / np.maximum(1, colour.number_z))
    flicker = np.sqrt(max(0.0, index) * within * grey.ratio() / 2) if np.isfinite(index) else 0.0
    return Stripes(index, float(flicker), along_z, float(np.sqrt(within)))


@register_metric("stripe_index", label="stripe index", larger_is_better=False, digits=2, scope="volume")
def stripe_index_of_volume(stained: VolumeLike, ct: VolumeLike) -> float:
    """Variation of the stained volume between slices, compared with that within slices and with the µCT."""
    return stripe_index(stained, ct).index


def _add(sums: _Sums, values: NDArray[Any], inside: NDArray[np.bool_], start: int, stop: int) -> None:
    """Add the squared differences of a chunk (n, Y, X, C), slice by slice."""
    kind: Any = np.float64 if values.dtype.kind == "f" else np.int64
    channels = values.shape[-1]
    for z in range(start, stop):
        current, where = values[z - start].astype(kind), inside[z - start]
        for axis in (0, 1):
            both = np.logical_and(*(_part(where, axis, side) for side in (0, 1)))
            sums.within += ((_part(current, axis, 1) - _part(current, axis, 0))[both] ** 2).sum().item()
            sums.number += int(both.sum()) * channels
        if z - start + 1 < len(values):
            both = where & inside[z - start + 1]
            sums.along_z[z] = ((values[z - start + 1].astype(kind) - current)[both] ** 2).sum()
            sums.number_z[z] = int(both.sum()) * channels


def _part(values: NDArray[Any], axis: int, side: int) -> NDArray[Any]:
    """Return all but the last (side 0) or all but the first (1) along an axis."""
    return np.take(values, np.arange(values.shape[axis] - 1) + side, axis=axis)


class _Array:
    """An array with the interface of a volume."""

    def __init__(self, values: NDArray[Any]) -> None:
        self.values, self.dtype = values, values.dtype
        self.shape: tuple[int, int, int] = (values.shape[0], values.shape[1], values.shape[2])
        self.voxel_um = (1.0, 1.0, 1.0)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        return self.values[start:stop]


def draw_stripes(stained: VolumeLike | NDArray[np.uint8], stripes: Stripes) -> RGB:
    """Draw the central sections along z of a stained volume, and the difference of each slice from the next.

    Parameters
    ----------
    stained : StainedVolume, or ndarray of uint8, shape (Z, Y, X, 3)
        Two of its planes are drawn; every slice is read.
    stripes : Stripes
    """
    volume = _Array(stained) if isinstance(stained, np.ndarray) else stained
    rows = [volume.read(z, z + 1)[0] for z in range(volume.shape[0])]
    planes = {
        "XZ": np.stack([row[row.shape[0] // 2] for row in rows]),
        "YZ": np.stack([row[:, row.shape[1] // 2] for row in rows]),
    }
    figure = new_figure(11, 3.2, dpi=110)
    for number, (name, plane) in enumerate(planes.items(), start=1):
        axes = figure.add_subplot(1, 3, number)
        axes.imshow(plane, interpolation="nearest")
        axes.set_title(name, fontsize=9)
        axes.axis("off")
    axes = figure.add_subplot(1, 3, 3)
    axes.plot(stripes.along_z, np.arange(len(stripes.along_z)) + 0.5)
    axes.axvline(stripes.within, color="black", linestyle=":", label="within slices")
    axes.invert_yaxis()
    axes.set_title(str(stripes), fontsize=8)
    axes.set_xlabel("difference from the next slice, grey levels", fontsize=8)
    axes.set_ylabel("slice", fontsize=8)
    axes.legend(fontsize=7)
    return figure_to_rgb(figure)
