"""A study: several specimens in one folder, and the table that `tomostain prepare` reads."""

import os
from collections.abc import Mapping
from pathlib import Path

from tomostain.io.csv_files import write_csv
from tomostain.phantom.config import PhantomConfig
from tomostain.phantom.specimen import write_specimen
from tomostain.progress import Progress, silent, track

COLUMNS = ("specimen", "volume", "slide", "section", "implant", "weeks", "stain")


def write_study(
    out: str | os.PathLike[str],
    configs: Mapping[str, PhantomConfig],
    *,
    sections: bool = True,
    overwrite: bool = False,
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
    progress : Progress
        Called for every specimen.

    Returns
    -------
    Path
        `specimens.csv`. Its paths are relative to it.
    """
    out = Path(out)
    for name in track(list(configs), "growing specimens", progress):
        # A folder is written completely or not at all, so an existing one is complete.
        if overwrite or not (out / name).is_dir():
            write_specimen(configs[name], out / name, overwrite=overwrite)
    table = out / "specimens.csv"
    rows = []
    for name, config in configs.items():
        section = f"{name}/truth/section.yaml" if sections else ""
        cells = (name, f"{name}/volume", f"{name}/slide.ome.tif", section, config.material, config.weeks, config.stain)
        rows.append(dict(zip(COLUMNS, cells, strict=True)))
    write_csv(table, COLUMNS, rows, line_end="\r\n")
    return table
