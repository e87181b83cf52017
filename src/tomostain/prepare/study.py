"""Registration of a study: every line of the table without a section, in parallel, resumable.

A specimen that cannot be registered does not stop the others. It is dropped, and `scores.csv` states the reason.
"""

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tomostain.config import read_yaml
from tomostain.errors import InputError
from tomostain.interrupts import follow_main_process, interrupt_blocked
from tomostain.io import open_slide, open_volume
from tomostain.io.csv_files import read_csv, write_csv
from tomostain.progress import Progress, silent
from tomostain.register.config import RegisterConfig
from tomostain.register.inputs import fingerprint

# Memory of a GPU that a registration takes, with its libraries.
_GPU_BYTES = 2_500_000_000
COLUMNS = ("specimen", "result", "confidence", "detail", "margin", "normalised_mutual_information", "message")


@dataclass(frozen=True)
class SpecimenTask:
    """One slide to register.

    Attributes
    ----------
    id : str
    volume, slide : Path
    voxel_um, pixel_um : float or None
    dataset : str or None
    options : mapping
        Options of `RegisterConfig`.
    device : str
        Where to compute: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    allow_missing : bool
        Fill slices of which data are missing with zeros.
    """

    id: str
    volume: Path
    slide: Path
    voxel_um: float | None = None
    pixel_um: float | None = None
    dataset: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    allow_missing: bool = False


def register_study(
    tasks: Sequence[SpecimenTask], folder: Path, jobs: int = 0, progress: Progress = silent
) -> dict[str, Path]:
    """Register each task into ``folder/<id>``; write ``folder/scores.csv``.

    Parameters
    ----------
    tasks : sequence of SpecimenTask
    folder : Path
        Finished registrations in it are reused.
    jobs : int
        Parallel processes. 0: one for every two cores, and no more than fit into the memory of the GPU.
    progress : Progress
        Called for every specimen.

    Returns
    -------
    dict of str to Path
        The `pair.yaml` of every task whose section was found with confidence.
    """
    folder.mkdir(parents=True, exist_ok=True)
    messages: dict[str, str] = {}
    waiting = []
    for task in tasks:
        try:
            if not is_done(task, folder / task.id / "pair.yaml"):
                waiting.append(task)
                messages[task.id] = "not done yet; run the same command again to continue"
        except InputError as error:
            messages[task.id] = str(error)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = _workers(waiting, jobs, cores)
    progress("registering", len(tasks) - len(waiting), len(tasks))
    # Spawned, not forked: the threads of torch do not survive a fork.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=follow_main_process) as pool:
        threads = max(1, cores // workers)
        try:
            with interrupt_blocked():
                running = {pool.submit(_register, task, folder / task.id, threads): task for task in waiting}
            for number, future in enumerate(as_completed(running), start=len(tasks) - len(waiting) + 1):
                messages[running[future].id] = _message(future)
                # Written after each specimen, so that a user can look while the others run.
                _write_scores(folder, tasks, messages)
                progress("registering", number, len(tasks))
        except BaseException:
            # On Ctrl-C, tasks that have not started do not start, and those that run end: each takes minutes.
            processes = tuple((getattr(pool, "_processes", None) or {}).values())  # no public name before Python 3.14
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()
            raise
    return _write_scores(folder, tasks, messages)


def _workers(tasks: Sequence[SpecimenTask], jobs: int, cores: int) -> int:
    """Return the number of processes; without a request no more than fit into the memory of the GPU."""
    workers = min(jobs or max(1, cores // 2), max(1, len(tasks)))
    if jobs or workers == 1:
        return workers
    # Imported here, because it imports torch, which `import tomostain.prepare` must not do.
    from tomostain.devices import gpu_memory

    try:
        memory = gpu_memory(tasks[0].device)
    except InputError:  # each registration reports it
        return workers
    return workers if memory is None else max(1, min(workers, memory // _GPU_BYTES))


def is_done(task: SpecimenTask, pair: Path) -> bool:
    """Whether `pair.yaml` contains the registration of this task, with the same files, sizes and options.

    Raises
    ------
    InputError
        If a user registered it from other files. It is not replaced without request.
    """
    if not pair.is_file():
        return False
    values = read_yaml(pair)
    if "inputs" not in values:
        # Written by an older version without inputs; a user may have registered it.
        return True
    volume = open_volume(task.volume, voxel_um=task.voxel_um, dataset=task.dataset, allow_missing=task.allow_missing)
    same_files = values["inputs"] == fingerprint(volume, open_slide(task.slide, pixel_um=task.pixel_um))
    if values.get("made_by") != "study":
        if not same_files:
            raise InputError(
                f"{pair}: was registered by a user, from other files or sizes than {task.volume} and {task.slide} have "
                "now; remove the folder to have it registered automatically, or register it again"
            )
        return True
    try:
        # Read as a configuration, so that keys that did not exist in an older version get their defaults.
        before = RegisterConfig.from_pair(values.get("registration", {}).get("options", {}))
    except InputError:
        return False
    return same_files and before == RegisterConfig.from_dict(task.options)


def _message(done: "Future[str]") -> str:
    """Return the message of a worker. A worker that was killed must not stop the whole study."""
    try:
        return done.result()
    except BrokenProcessPool:
        return "the process was killed, possibly out of memory; run again with fewer `jobs`"


def _register(task: SpecimenTask, out: Path, threads: int) -> str:
    """Register one slide; return an error message, or an empty string."""
    # Imported here, because it imports torch, which `import tomostain.prepare` must not do.
    import torch

    from tomostain.register.files import register_files

    torch.set_num_threads(threads)
    try:
        config = RegisterConfig.from_dict(task.options)
        register_files(
            task.volume,
            task.slide,
            out,
            config,
            voxel_um=task.voxel_um,
            pixel_um=task.pixel_um,
            dataset=task.dataset,
            allow_missing=task.allow_missing,
            # An existing result is of other files or options: see `is_done`.
            overwrite=True,
            made_by="study",
            device=task.device,
        )
    except InputError as error:
        return str(error)
    except Exception as error:  # one specimen must not stop the study
        return f"internal error: {type(error).__name__}: {error}"
    return ""


def _write_scores(folder: Path, tasks: Sequence[SpecimenTask], messages: dict[str, str]) -> dict[str, Path]:
    """Write one line per task; return the `pair.yaml` of those that were found."""
    path = folder / "scores.csv"
    pair_files = {task.id: folder / task.id / "pair.yaml" for task in tasks if not messages.get(task.id)}
    pair_files = {name: pair for name, pair in pair_files.items() if pair.is_file()}
    rows: list[dict[str, object]] = []
    for task in tasks:
        if task.id not in pair_files:
            rows.append({"specimen": task.id, "result": "left out", "message": messages.get(task.id, "")})
            continue
        values = read_yaml(pair_files[task.id])
        scores, similarity = values.get("registration", {}), values.get("similarity", {})
        rows.append(
            {"specimen": task.id, "result": "found", "message": "; ".join(scores.get("warnings", []))}
            | {name: scores.get(name, "") for name in ("confidence", "detail", "margin")}
            | {"normalised_mutual_information": similarity.get("normalised_mutual_information", "")}
        )
    write_csv(path, COLUMNS, rows, line_end="\r\n")
    return pair_files


def left_out(folder: Path) -> dict[str, str]:
    """Return id and reason of every specimen that was dropped, from `scores.csv`."""
    path = folder / "scores.csv"
    if not path.is_file():
        return {}
    return {row["specimen"]: row["message"] for row in read_csv(path).rows if row["result"] == "left out"}
