"""Multi-axis staining: a volume is stained along z, y and x, and the three results are fused.

Neighbouring slices are stained independently, so the result flickers along the staining axis. Each of the three results
flickers along another axis. The fused one flickers a third as much along each.

Staining along y and x needs access along these axes. The grey values are written once to a scratch array on disk, which
can be read along any axis, and each result is written to another one. They are next to the output and are removed when
it is complete.

On a GPU, grey values are normalised where they are stained, and a chunk along any axis is stained while others are read
and written. The colours along y and x are uploaded with the grey values of a z chunk and are fused there with those
along z.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.deprecation import renamed
from tomostain.io.ome_zarr.scratch import Scratch
from tomostain.progress import Progress
from tomostain.stain.grey_chunks import filtered_chunk, normalised_chunk
from tomostain.stain.job import WRITTEN_BYTES, StainJob
from tomostain.stain.pipeline import InFlight, PiecesInFlight, overlapped
from tomostain.stain.slice_stainer import PendingColours, SliceStainer
from tomostain.stain.slices import stain_slice
from tomostain.stain.transfer import Uploaded
from tomostain.tiling.slice_context import clip_slices, repeat_ends, slice_contexts

RGB = NDArray[np.uint8]
AXES = {"y": 1, "x": 2}
CHUNK = 32
_WAIT_S = 0.5


@dataclass(frozen=True)
class _Stage:
    """How the chunks of a scratch array are made.

    Attributes
    ----------
    label : str
        For the progress.
    read : callable
        First and last slice → input of `make`.
    make : callable
        First slice and input → the chunk, or the colours that a GPU is still computing.
    in_flight : InFlight
    """

    label: str
    read: Callable[[int, int], Any]
    make: Callable[[int, Any], NDArray[Any] | PendingColours]
    in_flight: InFlight


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
        # Under two names: processes on a CPU and on a GPU may share the other arrays, and the plan does not differ.
        name = "grey" if holds_stored_values(job) else "ct"
        self.turned = Scratch(folder / name, shape, turned_dtype(job), CHUNK, plan)
        self.stained = {
            name: Scratch(folder / name, (shape[AXES[name]], *_without(shape, AXES[name]), 3), np.uint8, CHUNK, plan)
            for name in job.config.planes.replace("z", "")
        }

    def make(self, progress: Progress) -> None:
        """Write the missing chunks; several processes share the work, and all wait for the last chunk.

        An exception that `progress` raises ends the work between two chunks.
        """
        _make_all(self.turned, self._turning(), progress)
        for name, stained in self.stained.items():
            planes = _Planes(self._job, self.turned, AXES[name])
            flight = planes_in_flight(self._job, AXES[name]).flight
            _make_all(stained, _Stage(f"staining along {name}", planes.read, planes.begin, flight), progress)

    def _turning(self) -> _Stage:
        job = self._job
        read = filtered_chunk if holds_stored_values(job) else normalised_chunk
        flight = turning_in_flight(job).flight
        return _Stage("turning", lambda start, stop: read(job, start, stop), lambda start, chunk: chunk, flight)

    def read(self, start: int, stop: int) -> list[RGB]:
        """Return the slices `start` to `stop`, stained along each of the axes, each (stop - start, Y, X, 3)."""
        # Each array has its own axis first, then z: (Y, Z, X, 3) and (X, Z, Y, 3).
        chunks = [(AXES[name], array.read(slice(None), slice(start, stop))) for name, array in self.stained.items()]
        return [np.moveaxis(planes, 0, axis) for axis, planes in chunks]

    def remove(self) -> None:
        """Remove the scratch arrays."""
        shutil.rmtree(self.folder, ignore_errors=True)


class _Planes:
    """Slices of the turned volume across one axis, and their staining."""

    def __init__(self, job: StainJob, turned: Scratch, axis: int) -> None:
        self._job, self._turned, self._axis = job, turned, axis
        self._stainer: SliceStainer | None = None
        if job.is_batched:
            reference = job.intensity if holds_stored_values(job) else None
            self._stainer = SliceStainer(job.translator, job.config, reference, str(job.volume.path))

    def read(self, start: int, stop: int) -> NDArray[Any] | Uploaded:
        margin, count = self._job.ct_slices // 2, stop - start
        start, stop, repeat = clip_slices(start - margin, stop + margin, self._job.volume.shape[self._axis])
        region = [slice(None)] * 3
        region[self._axis] = slice(start, stop)
        planes = repeat_ends(np.moveaxis(self._turned.read(*region), self._axis, 0), repeat)
        return planes if self._stainer is None else self._stainer.upload(planes, count)

    def begin(self, start: int, planes: NDArray[Any] | Uploaded) -> RGB | PendingColours:
        job, axis = self._job, self._axis
        if self._stainer is not None and isinstance(planes, Uploaded):
            positions = [job.position(start + n, axis) for n in range(len(planes) - 2 * (job.ct_slices // 2))]
            return self._stainer.begin(planes, positions)
        contexts = slice_contexts(np.asarray(planes), job.ct_slices)
        stained = [
            stain_slice(job.translator, np.ascontiguousarray(each), job.config, job.position(start + index, axis))
            for index, each in enumerate(contexts)
        ]
        return np.stack(stained)


def holds_stored_values(job: StainJob) -> bool:
    """Return whether the turned volume has the grey values as they are stored, and a GPU normalises them.

    Otherwise it has normalised ones: on a CPU, after the Gaussian filter, and instead of float32, which takes twice the
    space on disk.
    """
    return job.is_batched and not job.halo and job.volume.dtype.itemsize <= _normalised_dtype(job).itemsize


def turned_dtype(job: StainJob) -> np.dtype[Any]:
    """Return the type of the turned volume."""
    return job.volume.dtype if holds_stored_values(job) else _normalised_dtype(job)


def turning_in_flight(job: StainJob) -> PiecesInFlight:
    """Return the pieces in memory while the turned volume is written; they are not uploaded."""
    item = job.volume.dtype.itemsize
    voxels = (min(CHUNK, job.volume.shape[0]) + 2 * job.halo) * job.volume.shape[1] * job.volume.shape[2]
    flight = job.pieces_in_flight(voxels * (2 * item + 4), 0)
    # The volume may be unable to read several chunks at the same time.
    flight = flight.at_most(InFlight(job.in_flight.ahead, flight.behind))
    return PiecesInFlight(flight, voxels * (2 * item + 4))


def planes_in_flight(job: StainJob, axis: int) -> PiecesInFlight:
    """Return the pieces in memory while slices across y (1) or x (2) are stained."""
    rows, columns = _without(job.volume.shape, axis)
    voxels = (min(CHUNK, job.volume.shape[axis]) + job.ct_slices - 1) * rows * columns
    grey_bytes = turned_dtype(job).itemsize
    on_host, on_device = voxels * (2 * grey_bytes + WRITTEN_BYTES), voxels * grey_bytes
    return PiecesInFlight(job.pieces_in_flight(on_host, on_device), on_host, on_device)


def _normalised_dtype(job: StainJob) -> np.dtype[Any]:
    return np.dtype(np.float32 if job.intensity is None else np.uint16)


def _without(shape: tuple[int, int, int], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])


def _make_all(target: Scratch, stage: _Stage, progress: Progress) -> None:
    """Make all missing chunks; wait for those that other processes make, and make them too if those processes end."""
    while target.pending():
        _make_unlocked(target, stage, progress)
        if target.pending():
            time.sleep(_WAIT_S)


def _make_unlocked(target: Scratch, stage: _Stage, progress: Progress) -> None:
    """Make the missing chunks that no other process makes."""
    pending, total = target.pending(), len(target.z_chunks())
    done = total - len(pending)
    progress(stage.label, done, total)

    def after(chunk: tuple[int, int]) -> None:
        nonlocal done
        done += 1
        progress(stage.label, done, total)

    def write(chunk: tuple[int, int], made: NDArray[Any] | PendingColours) -> None:
        target.write(chunk[0], made.result() if isinstance(made, PendingColours) else made)

    overlapped(
        pending,
        claim=lambda chunk: target.lock(chunk[0]),
        read=lambda chunk: stage.read(*chunk),
        make=lambda chunk, values: stage.make(chunk[0], values),
        write=write,
        after=after,
        in_flight=stage.in_flight,
    )


_MOVED = "tomostain.stain.fusion"
__getattr__ = renamed(__name__, {name: f"{_MOVED}:{name}" for name in ("fuse", "HALF_WEIGHT_DISTANCE")})
