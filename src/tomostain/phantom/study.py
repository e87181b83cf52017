"""A study: several specimens in one folder, and the table that `tomostain prepare` reads."""

import csv
from collections.abc import Mapping
from pathlib import Path

from tomostain.io.atomic import atomic_file
from tomostain.phantom.config import PhantomConfig
from tomostain.phantom.specimen import write_specimen
from tomostain.progress import Progress, silent, track

COLUMNS = ("specimen", "volume", "slide", "section", "implant", "weeks", "stain")


def write_study(
    out: Path,
    configs: Mapping[str, PhantomConfig],
    *,
    sections: bool = True,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Path:
    """Grow specimens and write the table that lists them.

    Parameters
    ----------
    out : Path
        Folder: each specimen gets a folder of its name, `specimens.csv` stands beside them.
    configs : mapping of str to PhantomConfig
        What to grow, by name.
    sections : bool
        Name the true section of each slide; without, it has to be found.
    overwrite : bool
        Grow specimens anew that are there; otherwise they are kept, so that a repeat continues.
    progress : Progress
        Told of every specimen.

    Returns
    -------
    Path
        `specimens.csv`; its paths are relative to it.
    """
    out = Path(out)
    for name in track(list(configs), "growing specimens", progress):
        # A specimen's folder is written whole or not at all, so one that is there is finished.
        if overwrite or not (out / name).is_dir():
            write_specimen(configs[name], out / name, overwrite=overwrite)
    table = out / "specimens.csv"
    with atomic_file(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for name, config in configs.items():
            section = f"{name}/truth/section.yaml" if sections else ""
            places = (f"{name}/volume", f"{name}/slide.ome.tif", section)
            rows.writerow((name, *places, config.material, config.weeks, config.stain))
    return table
