"""A study: several specimens in one folder, and the table that `tomostain prepare` reads."""

import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from tomostain.interrupts import follow_main_process, interrupt_blocked
from tomostain.io.csv_files import write_csv
from tomostain.paths import StrPath
from tomostain.phantom.config import PhantomConfig
from tomostain.phantom.specimen import write_specimen
from tomostain.progress import Progress, silent, track

GROWING = "growing specimens"
COLUMNS = ("specimen", "volume", "slide", "section", "implant", "weeks", "stain")


def write_study(
    out: StrPath,
    configs: Mapping[str, PhantomConfig],
    *,
    sections: bool = True,
    overwrite: bool = False,
    jobs: int = 1,
    progress: Progress = silent,
) -> Path:
    """Make specimens and write the table that lists them.

    Parameters
    ----------
    out : str or os.PathLike
        Folder of `specimens.csv` and of one folder per specimen.
    configs : mapping of str to PhantomConfig
        Options of each specimen, by name.
    sections : bool
        State the true section of each slide in the table. Otherwise registration has to find it.
    overwrite : bool
        Make existing specimens again. Otherwise they are reused, so that a second run continues.
    jobs : int
        Parallel processes. Each takes the memory of one specimen, about 120 bytes per voxel. The result does not
        depend on it.
    progress : Progress
        Called for every specimen.

    Returns
    -------
    Path
        `specimens.csv`. Its paths are relative to it.
    """
    out = Path(out)
    # A folder is written completely or not at all, so an existing one is complete.
    missing = [name for name in configs if overwrite or not (out / name).is_dir()]
    if min(jobs, len(missing)) > 1:
        _write_in_parallel(out, {name: configs[name] for name in missing}, overwrite, jobs, progress)
    else:
        for name in track(missing, GROWING, progress):
            write_specimen(configs[name], out / name, overwrite=overwrite)
    table = out / "specimens.csv"
    rows = []
    for name, config in configs.items():
        section = f"{name}/truth/section.yaml" if sections else ""
        cells = (name, f"{name}/volume", f"{name}/slide.ome.tif", section, config.material, config.weeks, config.stain)
        rows.append(dict(zip(COLUMNS, cells, strict=True)))
    write_csv(table, COLUMNS, rows, line_end="\r\n")
    return table


def _write_in_parallel(
    out: Path, configs: Mapping[str, PhantomConfig], overwrite: bool, jobs: int, progress: Progress
) -> None:
    """Write specimens in several processes, and report after each."""
    progress(GROWING, 0, len(configs))
    # Spawned, not forked: the caller may have threads, which do not survive a fork.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(configs)), mp_context=spawn, initializer=follow_main_process) as pool:
        try:
            with interrupt_blocked():
                running = [
                    pool.submit(write_specimen, config, out / name, overwrite=overwrite)
                    for name, config in configs.items()
                ]
            for number, future in enumerate(as_completed(running), start=1):
                future.result()
                progress(GROWING, number, len(configs))
        except BaseException:
            # Specimens that have not started do not start.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
