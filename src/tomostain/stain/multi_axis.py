"""A volume stained along z, y and x, and the three fused: a voxel is drawn three times, each time in another plane.

Slice by slice, neighbours know nothing of one another, and the stack flickers along z. Each of the three drawings
flickers along another axis; together they flicker a third as much along each, and alike.

The planes along y and x need the volume turned. It is normalised once into a scratch array on disk, which can be read
along any axis, and each drawing goes into another, all beside the output; they are removed when it is complete.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.ome_zarr.scratch import Scratch
from tomostain.progress import Progress
from tomostain.stain.pipeline import overlapped
from tomostain.tiling.slice_context import repeat_ends, slabs_of, with_edges

RGB = NDArray[np.uint8]
ReadSlab = Callable[[int, int], NDArray[Any]]
MakeSlab = Callable[[NDArray[Any]], NDArray[Any]]
AXES = {"y": 1, "x": 2}
SLAB = 32
# How far apart two drawings must be, grey levels, for the outlier to count half.
HALF_TRUST = 8.0
_ISOTROPIC = 0.01
_WAIT_S = 0.5


def fuse(drawings: Sequence[RGB], how: str) -> RGB:
    """Fuse what was drawn of the same voxels in several planes.

    Parameters
    ----------
    drawings : sequence of ndarray of uint8, shape (…, 3)
        Two or more, of one shape.
    how : {"mean", "median", "weighted"}
        Weighted: the farther a drawing is from the median of all, the less it counts: 1 / (1 + distance / 8 grey
        levels), with the mean distance of the channels, so that colours stay whole.

    Returns
    -------
    ndarray of uint8, shape (…, 3)

    Examples
    --------
    >>> a, b, c = (np.full((1, 3), grey, np.uint8) for grey in (10, 12, 100))
    >>> [fuse([a, b, c], how)[0, 0].item() for how in ("mean", "median", "weighted")]
    [41, 12, 15]
    """
    stack = np.stack(drawings).astype(np.float32)
    if how == "mean":
        fused = stack.mean(axis=0)
    elif how == "median":
        fused = np.median(stack, axis=0)
    elif how == "weighted":
        distance = np.abs(stack - np.median(stack, axis=0)).mean(axis=-1, keepdims=True)
        weights = 1 / (1 + distance / HALF_TRUST)
        # Sorted, so that rounding does not hang on which drawing comes first.
        fused = np.sort(weights * stack, axis=0).sum(axis=0) / np.sort(weights, axis=0).sum(axis=0)
    else:
        raise InputError(f"fuse '{how}': unknown; give mean, median or weighted")
    return np.rint(fused).astype(np.uint8)


def check_isotropic(voxel_um: tuple[float, float, float], source: str) -> None:
    """Raise unless the three sides of a voxel are alike: a network knows structures by their pixels.

    Raises
    ------
    InputError
        If they differ by more than 1 %.
    """
    if max(voxel_um) > (1 + _ISOTROPIC) * min(voxel_um):
        sides = " x ".join(f"{side:g}" for side in voxel_um)
        raise InputError(f"{source}: voxels of {sides} µm are no cubes; stain it along z alone (leave planes out)")


class OtherPlanes:
    """The drawings of a volume in the planes along y and x, on disk.

    Parameters
    ----------
    folder : Path
        Where they go.
    shape : tuple of int
        (Z, Y, X) of the volume.
    read : function
        Normalised slices from ``start`` to ``stop``, (n, Y, X): uint16 or float32.
    draw : function
        A plane of normalised µCT, or `ct_slices` neighbours, to RGB.
    plan : mapping
        What the drawings are made of.
    axes : str
        Which of the two, in this order.
    ct_slices : int
        How many neighbouring planes `draw` needs for one.
    """

    def __init__(
        self,
        folder: Path,
        shape: tuple[int, int, int],
        read: Callable[[int, int], NDArray[Any]],
        draw: Callable[[NDArray[Any]], RGB],
        plan: dict[str, Any],
        axes: str = "yx",
        ct_slices: int = 1,
    ) -> None:
        self.folder, self.shape, self._read, self._draw, self._ct_slices = folder, shape, read, draw, ct_slices
        dtype = read(0, 1).dtype
        self.turned = Scratch(folder / "ct", shape, dtype, SLAB, plan)
        self.drawings = {
            name: Scratch(folder / name, (shape[AXES[name]], *_without(shape, AXES[name]), 3), np.uint8, SLAB, plan)
            for name in axes
        }

    def make(self, progress: Progress) -> None:
        """Do what is not done; of several processes each does a share, and all wait for the last slab.

        What `progress` raises ends it between two slabs.
        """
        _do_all(self.turned, self._read, lambda slab: slab, "turning", progress)
        for name, drawing in self.drawings.items():
            _do_all(drawing, partial(self._planes, AXES[name]), self._drawn, f"staining along {name}", progress)

    def _planes(self, axis: int, start: int, stop: int) -> NDArray[Any]:
        beside = self._ct_slices // 2
        start, stop, repeat = with_edges(start - beside, stop + beside, self.shape[axis])
        where = [slice(None)] * 3
        where[axis] = slice(start, stop)
        return repeat_ends(np.moveaxis(self.turned.read(*where), axis, 0), repeat)

    def _drawn(self, planes: NDArray[Any]) -> RGB:
        return np.stack([self._draw(np.ascontiguousarray(plane)) for plane in slabs_of(planes, self._ct_slices)])

    def read(self, start: int, stop: int) -> list[RGB]:
        """Return the slices `start` to `stop` as drawn along each of the axes, each (stop - start, Y, X, 3)."""
        # Each lies with its own axis first, then z: (Y, Z, X, 3) and (X, Z, Y, 3).
        drawn = [(AXES[name], drawing.read(slice(None), slice(start, stop))) for name, drawing in self.drawings.items()]
        return [np.moveaxis(planes, 0, axis) for axis, planes in drawn]

    def remove(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _without(shape: tuple[int, int, int], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])


def _do_all(target: Scratch, read: ReadSlab, make: MakeSlab, label: str, progress: Progress) -> None:
    """Do the slabs that are pending, and wait for those that others have in hand; if those die, do them too."""
    while target.pending():
        _do_free(target, read, make, label, progress)
        if target.pending():
            time.sleep(_WAIT_S)


def _do_free(target: Scratch, read: ReadSlab, make: MakeSlab, label: str, progress: Progress) -> None:
    """Make and write the slabs that are pending and that nobody else has in hand."""
    pending, total = target.pending(), len(target.slabs())
    done = total - len(pending)
    progress(label, done, total)

    def after(slab: tuple[int, int]) -> None:
        nonlocal done
        done += 1
        progress(label, done, total)

    overlapped(
        pending,
        claim=lambda slab: target.lock(slab[0]),
        read=lambda slab: read(*slab),
        make=lambda slab, values: make(values),
        write=lambda slab, made: target.write(slab[0], made),
        after=after,
    )
