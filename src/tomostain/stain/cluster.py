"""Stain one volume by many workers: on this machine, or those of a Dask scheduler, such as the nodes of a cluster.

Each task stains one part with `stain`, which locks one z chunk after the other. A worker that dies loses one chunk, and
a task that a scheduler starts twice is not done twice. Needs the extra ``cluster``.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import torch

from tomostain.devices import choose_device
from tomostain.errors import InputError, InterruptedRunError
from tomostain.io.full_disk import naming_full_disk
from tomostain.io.ome_zarr.create import chunks_left
from tomostain.models import find_model
from tomostain.networks.precision import Precision, resolve_precision
from tomostain.paths import StrPath
from tomostain.progress import Progress, ShouldStop, how_to_continue, never, silent
from tomostain.stain.request import Model, StainOptions, StainRequest, make_request
from tomostain.stain.translator import Translator, load_translator
from tomostain.stain.volume import begin, part_of, repair, stain

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster

# Enough parts for each worker that the others need not wait for a slow one.
_PARTS_PER_WORKER = 4
_MIN_PARTS = 64
_ASK_EVERY_S = 0.5
_ANSWER = "20s"


def stain_on_workers(
    request: StainRequest | Model,
    *paths: StrPath,
    workers: int = 2,
    scheduler: str | None = None,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
    **options: Unpack[StainOptions],
) -> Path:
    """Stain a volume by several workers.

    On a CPU the result has the same bits as that of `stain` if both use the same number of threads for each network.
    Another number of threads, or a GPU, can round single values to the next grey level. With `precision="auto"`,
    workers that have GPUs stain in float16.

    Parameters
    ----------
    request : StainRequest
        With paths of model and volume, not open objects. With a scheduler, every worker must find the same paths.
    workers : int
        Number of processes to start on this machine; not used with a scheduler. They share the threads that this
        process may use (`torch.get_num_threads`).
    scheduler : str, optional
        Address of a Dask scheduler, ``tcp://host:8786``, or its connection file.
    progress : Progress
        Called after every part.
    should_stop : callable
        Asked twice a second; a part that is being stained is completed.
    *paths, **options
        The older call ``stain_on_workers(model, volume, out, **options)`` works with a `DeprecationWarning`.

    Returns
    -------
    Path
        `request.out`.

    Raises
    ------
    InputError
        As `stain`; or if the extra is missing, or the scheduler does not answer or has no workers.
    InterruptedRunError
        After `should_stop` returned True. Written chunks stay, and the same call continues.
    """
    if workers < 1:
        raise InputError(f"workers {workers}: give 1 or more", parameter="workers")
    if not isinstance(request, StainRequest):
        warnings.warn("stain_on_workers takes a StainRequest now", DeprecationWarning, stacklevel=2)
        request = make_request(request, *paths, **options)
    request = _with_absolute_paths(request)
    request, on_gpu = _with_precision_of_workers(request, scheduler)
    # Errors of the input are raised here, and the whole volume is only examined once.
    job, writers = begin(_unconverted(request) if on_gpu else replace(request, device="cpu"))
    repair(writers, None, progress)
    for writer in writers:
        writer.leave()  # From here on the workers hold the volumes.
    out, chunks = request.out_path, writers[0].z_chunks()
    next_step = how_to_continue(overwrite=request.overwrite)
    request = replace(request, intensity=job.intensity or "normalised", intensity_figure=None, overwrite=False)
    with naming_full_disk(out, next_step), _client(workers, scheduler) as client:
        n_workers = len(client.scheduler_info(n_workers=-1)["workers"])
        # More workers may join a scheduler later.
        parts = min(len(chunks), max(_PARTS_PER_WORKER * n_workers, 1 if scheduler is None else _MIN_PARTS))
        threads = _threads_per_worker(workers) if scheduler is None else 0
        tasks = {
            client.submit(_stain_part, request, (part, parts), threads, pure=False): len(part_of(chunks, part, parts))
            for part in range(1, parts + 1)
        }
        _wait(client, tasks, progress, should_stop, next_step)
    if count := chunks_left(out):
        raise InputError(
            f"{out}: {count} z chunks are still being stained by other processes; run the same command again when they "
            "have finished"
        )
    return out


def _threads_per_worker(workers: int) -> int:
    """Return the threads of each worker on this machine: an equal share of those that this process may use."""
    return max(1, torch.get_num_threads() // workers)


def _with_absolute_paths(request: StainRequest) -> StainRequest:
    """Return the request with absolute paths, as workers need, which have other working directories."""

    def absolute(value: object, name: str) -> Path:
        if not isinstance(value, (str, os.PathLike)):
            raise InputError(f"`{name}`: workers need a path, not an open object", parameter=name)
        return Path(value).resolve()

    def model_folder(model: Model, name: str) -> Path:
        return absolute(find_model(model) if isinstance(model, (str, os.PathLike)) else model, name)

    return replace(
        request,
        model=model_folder(request.model, "model"),
        volume=absolute(request.volume, "volume"),
        out=absolute(request.out_path, "out"),
        uncertainty=None if request.uncertainty is None else absolute(request.uncertainty, "uncertainty"),
        ensemble=[model_folder(model, "ensemble") for model in request.ensemble],
    )


def _with_precision_of_workers(request: StainRequest, scheduler: str | None) -> tuple[StainRequest, bool]:
    """Return the request with the precision in which the workers stain, and whether they stain on GPUs."""
    if scheduler is None:
        device = choose_device(request.device)
        on_gpu, precision = device.type != "cpu", resolve_precision("auto", device)
    elif request.device == "auto":
        with _client(1, scheduler) as client:
            workers = client.run(_device_of_worker).values()
        on_gpu = all(is_gpu for is_gpu, _ in workers)
        precision = "float16" if all(each == "float16" for _, each in workers) else "float32"
    else:
        on_gpu = request.device.startswith("cuda")
        precision = "float16" if on_gpu else "float32"  # the card of the workers is not known here
    request = request.with_begun_precision()
    if request.config.precision == "auto":
        request = request.with_precision(precision)
    return request, on_gpu


def _device_of_worker() -> tuple[bool, Precision]:
    """Return whether "auto" is a GPU, and its precision; runs in a worker."""
    device = choose_device("auto")
    return device.type != "cpu", resolve_precision("auto", device)


class _Unconverted(StainRequest):
    """A request of which the models are loaded on the CPU as they are stored: nothing is stained with them.

    The job then has the precision of the workers, also if this CPU has no instructions for it.
    """

    def load_model(self, model: Model | None = None, *, reverse: bool = False) -> Translator:
        model = self.model if model is None else model
        assert isinstance(model, (str, os.PathLike))  # `_with_absolute_paths`
        assert self.config.precision != "auto"  # `_with_precision_of_workers`; this machine may have no GPU to ask
        loaded = load_translator(model, "cpu", reverse=reverse, precision="float32")
        return replace(loaded, precision=self.config.precision)


def _unconverted(request: StainRequest) -> _Unconverted:
    return _Unconverted(**{each.name: getattr(request, each.name) for each in fields(request)} | {"device": "cpu"})


def _wait(
    client: "Client", tasks: "dict[Future, int]", progress: Progress, should_stop: ShouldStop, next_step: str
) -> None:
    """Wait for all tasks, each with its number of z chunks, and report the chunks that are done."""
    from distributed import KilledWorker, wait

    pending, done, total = set(tasks), 0, sum(tasks.values())
    progress("staining", 0, total)
    while pending:
        try:
            finished, pending = wait(pending, timeout=_ASK_EVERY_S, return_when="FIRST_COMPLETED")
        except TimeoutError:
            finished = set()
        for future in finished:
            try:
                future.result()  # Raises the exception of the worker.
            except KilledWorker as error:
                raise InputError(
                    "workers: several died one after the other at the same z chunks, the last one "
                    f"{error.last_worker.address}; possible reasons: too little memory or time. See their logs, then "
                    f"{next_step}"
                ) from None
            done += tasks[future]
            progress("staining", done, total)
        if pending and should_stop():
            client.cancel(list(pending))
            raise InterruptedRunError(f"{done} of {total} z chunks are stained; {next_step}")


def _stain_part(request: StainRequest, part: tuple[int, int], threads: int) -> None:
    """Stain one part; runs in a worker."""
    if threads:
        torch.set_num_threads(threads)
    stain(request, part=part)


@contextmanager
def _local_cluster(workers: int) -> Iterator["LocalCluster"]:
    """Start workers on this machine, and put the variables back afterwards that Dask sets for them in this process."""
    from distributed import LocalCluster

    before, changed = dict(os.environ), set[str]()
    try:
        with LocalCluster(
            n_workers=workers, host="127.0.0.1", dashboard_address=None, processes=True, threads_per_worker=1
        ) as cluster:
            changed |= {name for name, value in os.environ.items() if before.get(name) != value}
            yield cluster
    finally:
        for name in changed:
            if name in before:
                os.environ[name] = before[name]
            else:
                os.environ.pop(name, None)


@contextmanager
def _client(workers: int, scheduler: str | None) -> Iterator["Client"]:
    """Connect to a scheduler, or start workers that only this machine can reach."""
    try:
        from distributed import Client
    except ImportError:
        raise InputError("workers: need the extra 'cluster': pip install -c constraints.txt '.[cluster]'") from None
    if scheduler is None:
        with _local_cluster(workers) as cluster, Client(cluster) as client:
            yield client
        return
    file = Path(scheduler)
    try:
        client = Client(scheduler_file=scheduler) if file.is_file() else Client(scheduler, timeout=_ANSWER)
    except (OSError, ValueError) as error:
        raise InputError(
            f"scheduler {scheduler}: does not answer ({error}); check that it is running and reachable"
        ) from None
    with client:
        if not client.scheduler_info(n_workers=-1)["workers"]:
            raise InputError(f"scheduler {scheduler}: has no workers yet; start some, then run the command again")
        yield client
