"""One volume by many workers: on this machine, or on whatever a Dask scheduler holds, such as the nodes of a cluster.

Each task stains one part with `stain_volume`, which claims slab by slab, so that a worker that dies loses one slab, and
what a scheduler gives out twice is not done twice. Needs the extra ``cluster``.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tomostain.errors import InputError, InterruptedRunError
from tomostain.interrupts import listen_for_interrupt
from tomostain.io.ome_zarr.writer import slabs_left
from tomostain.progress import Progress, silent
from tomostain.stain.volume import begin_volume, heal, part_of, stain_volume

# Parts a worker: enough that a slow one does not keep the others waiting.
_PARTS = 4
_LATER = 64
_LISTEN_S = 0.5
_ANSWER = "20s"


def stain_on_workers(
    model: Path,
    volume: Path,
    out: Path,
    *,
    workers: int = 2,
    scheduler: str | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
    **options: Any,
) -> Path:
    """Stain a volume by several workers, to the same bits as `stain_volume`.

    Parameters
    ----------
    model, volume, out : Path
        As `stain_volume`; with a scheduler every worker must find them under these names.
    workers : int
        Processes to start on this machine, which share its cores; not used with a scheduler.
    scheduler : str, optional
        Address of a Dask scheduler, ``tcp://host:8786``, or its connection file.
    overwrite : bool
        Replace a stained volume at `out`.
    progress : Progress
        Told of every part that is done.
    **options
        As `stain_volume`, but for `part`.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    InputError
        As `stain_volume`; or if the extra is missing, or the scheduler does not answer or has no workers.
    InterruptedRunError
        After Ctrl-C; what is written stays, and the same call continues.
    """
    if workers < 1:
        raise InputError(f"workers {workers}: give 1 or more")
    model, volume, out = (Path(path).resolve() for path in (model, volume, out))
    # What cannot work fails here, and what takes in the whole volume is done once.
    job, writers = begin_volume(model, volume, out, overwrite=overwrite, **options | {"device": "cpu"})
    heal(writers, None, progress)
    for writer in writers:
        writer.leave()  # the workers are at it
    slabs, options = writers[0].slabs(), options | {"levels": "none" if job.levels is None else job.levels}
    options.pop("levels_picture", None)  # drawn already
    with _client(workers, scheduler) as client:
        hands = len(client.scheduler_info(n_workers=-1)["workers"])
        # A scheduler's workers may come later than the work.
        parts = min(len(slabs), max(_PARTS * hands, 1 if scheduler is None else _LATER))
        threads = max(1, (os.cpu_count() or 1) // workers) if scheduler is None else 0
        tasks = {
            client.submit(_stain_part, model, volume, out, (part, parts), threads, options, pure=False): part
            for part in range(1, parts + 1)
        }
        _wait(
            client, {future: len(part_of(slabs, part, parts)) for future, part in tasks.items()}, len(slabs), progress
        )
    if left := slabs_left(out):
        raise InputError(f"{out}: {left} slabs are in other hands; when those end, the same command completes it")
    return out


def _wait(client: Any, tasks: dict[Any, int], total: int, progress: Progress) -> None:
    """Wait for all tasks and tell of the slabs that are done."""
    from distributed import KilledWorker, wait

    pending, done = set(tasks), 0
    progress("staining", 0, total)
    with listen_for_interrupt() as stop_asked:
        while pending:
            try:
                finished, pending = wait(pending, timeout=_LISTEN_S, return_when="FIRST_COMPLETED")
            except TimeoutError:
                finished = set()
            for future in finished:
                try:
                    future.result()  # raises what the worker raised
                except KilledWorker as error:
                    raise InputError(
                        "workers: several died one after the other at the same slabs, the last one "
                        f"{error.last_worker.address}: not enough memory or time for one? See their logs; the same "
                        "command goes on with the rest"
                    ) from None
                done += tasks[future]
                progress("staining", done, total)
            if stop_asked.is_set() and pending:
                client.cancel(list(pending))
                raise InterruptedRunError(
                    f"{done} of {total} slabs are stained; run the same command again to continue"
                )


def _stain_part(
    model: Path, volume: Path, out: Path, part: tuple[int, int], threads: int, options: dict[str, Any]
) -> None:
    """Do what a worker does."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    stain_volume(model, volume, out, part=part, **options)


@contextmanager
def _client(workers: int, scheduler: str | None) -> Iterator[Any]:
    """Connect to a scheduler, or start workers that are reached from this machine alone."""
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise InputError("workers: need the extra 'cluster': pip install -c constraints.txt '.[cluster]'") from None
    if scheduler is None:
        local = {"host": "127.0.0.1", "dashboard_address": None, "processes": True, "threads_per_worker": 1}
        with LocalCluster(n_workers=workers, **local) as cluster, Client(cluster) as client:
            yield client
        return
    file = Path(scheduler)
    try:
        client = Client(scheduler_file=scheduler) if file.is_file() else Client(scheduler, timeout=_ANSWER)
    except (OSError, ValueError) as error:
        raise InputError(f"scheduler {scheduler}: does not answer ({error}); is it running, and reachable?") from None
    with client:
        if not client.scheduler_info(n_workers=-1)["workers"]:
            raise InputError(f"scheduler {scheduler}: has no workers yet; start some, then give the command again")
        yield client
