"""Agreement of the measures of a section: real slide and virtual section against the true labels of the plane.

    python -m studies.measure.sections STUDY STAINED PAIRS OUT [--planes 20] [--jobs 2]
    python -m studies.measure.sections STUDY STAINED PAIRS OUT --report

PAIRS is the dataset of the test specimens, with the true position of each section:
`tomostain prepare STUDY/test/specimens.csv PAIRS`. The real and the virtual section of each pair are measured with the
built-in classifier, and so are the true labels of its plane, in the same pixels. OUT/rows has one table for each pair;
existing ones are reused. The report also says how well the stated standard deviations describe the errors.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
import torch

from studies.measure.agreement import agreement_table
from tomostain.config import read_yaml
from tomostain.dataset.pair import load_pair
from tomostain.errors import InputError
from tomostain.geometry.section import Section, sample_volume
from tomostain.measure.classes import TissueClass, phantom_classes
from tomostain.measure.config import MeasureConfig
from tomostain.measure.rows import measure_rows
from tomostain.measure.section import REAL, VIRTUAL, measure_plane, measure_section

MODEL = "builtin:phantom-tb"


def measure_pair(study: Path, stained: Path, pair: Path, out: Path, planes: int) -> str:
    """Measure one pair and the true labels of its plane."""
    torch.set_num_threads(1)
    target = out / "rows" / f"{pair.name}.csv"
    if target.is_file():
        return f"{pair.name}: exists"
    config = MeasureConfig(planes=planes)
    try:
        result = measure_section(
            pair, out / "results" / pair.name, config=config, model=MODEL, volume=stained / pair.name, overwrite=True
        )
        rows = list(result.rows)
    except InputError as error:
        return f"{pair.name}: {error}"
    loaded = load_pair(pair)
    folder = study / "test" / pair.name
    truth = phantom_classes(tifffile.imread(folder / "truth" / "labels.tif"))
    facts = read_yaml(folder / "specimen.yaml")
    section = Section.from_dict(loaded.section or {}, str(pair))
    size = (float(facts["voxel_um"]),) * 3
    drawn = sample_volume(truth, size, section, loaded.ct.shape, loaded.voxel_um, order=0, fill=255.0)
    labels = np.where(loaded.mask, drawn, TissueClass.NOT_MEASURED).astype(np.uint8)
    rows += measure_rows(measure_plane(labels, loaded.voxel_um, config), specimen=loaded.id, source="truth")
    table = pd.DataFrame(rows)
    table["implant"], table["weeks"] = facts["implant"], facts["weeks"]
    table["energy_kev"] = facts["config"]["tomography"]["energy_kev"]
    table.to_csv(target, index=False)
    return f"{pair.name}: measured"


def calibration(rows: pd.DataFrame) -> pd.DataFrame:
    """Return, for each measure, the error of the virtual section relative to its stated standard deviation.

    Parameters
    ----------
    rows : DataFrame
        All pairs.

    Returns
    -------
    DataFrame
        Root mean square of the error, of the stated standard deviation (models and registration), and the share of
        errors within twice the latter.
    """
    result = []
    for key, group in rows.groupby(["measure", "symbol", "region", "unit"], sort=False):
        wide = group.pivot(index="specimen", columns="source", values="value")
        virtual = group[group["source"] == VIRTUAL].set_index("specimen")
        error = (wide[VIRTUAL] - wide["truth"]).dropna()
        stated = np.sqrt(virtual["sd_model"].fillna(0) ** 2 + virtual["sd_registration"].fillna(0) ** 2)
        stated = stated.reindex(error.index)
        within = (error.abs() <= 2 * stated).mean()
        result.append((*key, np.sqrt((error**2).mean()), np.sqrt((stated**2).mean()), within))
    return pd.DataFrame(result, columns=["measure", "symbol", "region", "unit", "rms_error", "rms_sd", "within_2_sd"])


def main() -> None:
    """Measure, or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("study", "stained", "pairs", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--planes", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if not options.report:
        (options.out / "rows").mkdir(parents=True, exist_ok=True)
        pairs = sorted(path for path in (options.pairs / "pairs").iterdir() if path.is_dir())
        with ProcessPoolExecutor(options.jobs) as pool:
            tasks = [
                pool.submit(measure_pair, options.study, options.stained / "test", pair, options.out, options.planes)
                for pair in pairs
            ]
            for task in tasks:
                print(task.result(), flush=True)
    rows = pd.concat([pd.read_csv(path) for path in sorted((options.out / "rows").glob("*.csv"))])
    found = agreement_table(rows, (REAL, VIRTUAL))
    found.to_csv(options.out / "agreement.csv", index=False)
    spread = calibration(rows)
    spread.to_csv(options.out / "calibration.csv", index=False)
    with pd.option_context("display.width", 250, "display.max_rows", 500, "display.max_columns", 20):
        print(found.round(3).to_string(index=False))
        print(spread.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
