"""Multi-axis staining: a volume is stained along z, y and x, and the three results are fused.

Neighbouring slices are stained independently, so the result flickers along the staining axis. Each of the three results
flickers along another axis. The fused one flickers a third as much along each.

Staining along y and x needs access along these axes. The volume is normalised once into a scratch array on disk, which
can be read along any axis, and each result is written to another one. They are next to the output and are removed when
it is complete.
"""

import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.deprecation import renamed
from tomostain.io.ome_zarr.scratch import Scratch
from tomostain.progress import Progress
from tomostain.stain.job import StainJob, normalised_chunk
from tomostain.stain.pipeline import overlapped
from tomostain.stain.slices import stain_slice
from tomostain.tiling.slice_context import clip_slices, repeat_ends, slice_contexts

RGB = NDArray[np.uint8]
ReadChunk = Callable[[int, int], NDArray[Any]]
MakeChunk = Callable[[int, NDArray[Any]], NDArray[Any]]
AXES = {"y": 1, "x": 2}
CHUNK = 32
_WAIT_S = 0.5


class OtherAxes:
    """The volume stained along y and x, in scratch arrays on disk.

    Parameters
    ----------
    folder : Path
        Folder of the scratch arrays.
    job : StainJob
        Its configuration names the axes.
    """

    def __init__(self, folder: Path, job: StainJob) -> None:
        self.folder, self._job = folder, job
        shape, plan = job.volume.shape, job.provenance()
        dtype = normalised_chunk(job, 0, 1).dtype
        self.turned = Scratch(folder / "ct", shape, dtype, CHUNK, plan)
        self.stained = {
            name: Scratch(folder / name, (shape[AXES[name]], *_without(shape, AXES[name]), 3), np.uint8, CHUNK, plan)
            for name in job.config.planes.replace("z", "")
        }

    def make(self, progress: Progress) -> None:
        """Write the missing chunks; several processes share the work, and all wait for the last chunk.

        An exception that `progress` raises ends the work between two chunks.
        """
        _make_all(self.turned, partial(normalised_chunk, self._job), lambda start, chunk: chunk, "turning", progress)
        for name, stained in self.stained.items():
            read = partial(self._read_planes, AXES[name])
            _make_all(stained, read, partial(self._stain, AXES[name]), f"staining along {name}", progress)

    def _read_planes(self, axis: int, start: int, stop: int) -> NDArray[Any]:
        margin = self._job.ct_slices // 2
        start, stop, repeat = clip_slices(start - margin, stop + margin, self._job.volume.shape[axis])
        region = [slice(None)] * 3
        region[axis] = slice(start, stop)
        return repeat_ends(np.moveaxis(self.turned.read(*region), axis, 0), repeat)

    def _stain(self, axis: int, start: int, planes: NDArray[Any]) -> RGB:
        job = self._job
        if job.is_batched:
            positions = [job.position(start + n, axis) for n in range(len(planes) - 2 * (job.ct_slices // 2))]
            stainer = job.stainer_of_normalised
            return stainer.begin(stainer.upload(planes), positions).result()
        contexts = slice_contexts(planes, job.ct_slices)
        stained = [
            stain_slice(job.translator, np.ascontiguousarray(each), job.config, job.position(start + index, axis))
            for index, each in enumerate(contexts)
        ]
        return np.stack(stained)

    def read(self, start: int, stop: int) -> list[RGB]:
        """Return the slices `start` to `stop`, stained along each of the axes, each (stop - start, Y, X, 3)."""
        # Each array has its own axis first, then z: (Y, Z, X, 3) and (X, Z, Y, 3).
        chunks = [(AXES[name], array.read(slice(None), slice(start, stop))) for name, array in self.stained.items()]
        return [np.moveaxis(planes, 0, axis) for axis, planes in chunks]

    def remove(self) -> None:
        """Remove the scratch arrays."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _without(shape: tuple[int, int, int], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])


def _make_all(target: Scratch, read: ReadChunk, make: MakeChunk, label: str, progress: Progress) -> None:
    """Make all missing chunks; wait for those that other processes make, and make them too if those processes end."""
    while target.pending():
        _make_unlocked(target, read, make, label, progress)
        if target.pending():
            time.sleep(_WAIT_S)


def _make_unlocked(target: Scratch, read: ReadChunk, make: MakeChunk, label: str, progress: Progress) -> None:
    """Make the missing chunks that no other process makes."""
    pending, total = target.pending(), len(target.z_chunks())
    done = total - len(pending)
    progress(label, done, total)

    def after(chunk: tuple[int, int]) -> None:
        nonlocal done
        done += 1
        progress(label, done, total)

    overlapped(
        pending,
        claim=lambda chunk: target.lock(chunk[0]),
        read=lambda chunk: read(*chunk),
        make=lambda chunk, values: make(chunk[0], values),
        write=lambda chunk, made: target.write(chunk[0], made),
        after=after,
    )


_MOVED = "tomostain.stain.fusion"
__getattr__ = renamed(__name__, {name: f"{_MOVED}:{name}" for name in ("fuse", "HALF_WEIGHT_DISTANCE")})
