"""Effect of a slice context (2.5D) on flicker, quality and cost, for one recipe.

    python -m studies.coherence.slice_context OUT [--seconds 300] [--numbers 23 25]

OUT is the folder of `studies.table1.data`. Prepares *paper* with three slices per pair, trains `tomostain-cpu` and
`tomostain-context-cpu` on fold 0 for the same CPU-seconds, compares them on the test pairs (OUT/slice-context/compare:
intervals.csv), stains the volumes of the test specimens in exact tiles and evaluates these like `run`. Existing results
are reused.
"""

import argparse
import time
from pathlib import Path

from studies.coherence.run import EDITION, judge, specimen_of, table, truths, way_folder
from studies.table1.data import prepare
from studies.table1.editions import DIFFICULTIES
from tomostain.evaluate import compare
from tomostain.evaluate.metrics.lpips import Lpips
from tomostain.stain import StainConfig, stain_volume
from tomostain.train import load_recipe, train

ROWS = ("tomostain-cpu", "tomostain-context-cpu")
PAPER = next(difficulty for difficulty in DIFFICULTIES if difficulty.name == "paper")
WAY = "exact tiles"


def trained(row: str, dataset: Path, out: Path, seconds: float) -> Path:
    """Train a recipe, continue its training or reuse it if it is complete. Return its run."""
    run = out / row
    if not (run / "model").is_dir():
        recipe = load_recipe(row).model_copy(update={"epochs": 100_000})
        options = {"recipe": recipe, "resume": (run / "last").is_file(), "max_seconds": seconds}
        train(dataset, run, clock=time.process_time, **options)
    return run


def main() -> None:
    """Train, stain, and print a line per recipe and specimen."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--numbers", nargs="+", type=int, default=[23, 25])
    options = parser.parse_args()
    torch.set_num_threads(1)
    out, specimens = options.out / "slice-context", options.out / "specimens"
    dataset = prepare(EDITION, specimens, PAPER, out / "paper", ct_slices=3)
    runs = [trained(row, dataset, out, options.seconds) for row in ROWS]
    if not (out / "compare").is_dir():
        sizes = {"patch_px": EDITION.patch_px, "stride_px": EDITION.stride_px}
        compare(out / "compare", runs, dataset, split="test", baselines=False, **sizes)
    lpips, records = Lpips("alex"), []
    for number in options.numbers:
        folder = specimens / f"p{number:02d}"
        truth = truths(specimen_of(number, folder))
        for run in runs:
            stained = way_folder(out / "stained", run.name, folder.name, WAY)
            stain_volume(run / "model", folder / "volume", stained, config=StainConfig(blend="exact"))
            record = {"model": run.name, "way": WAY, "specimen": number}
            records.append(record | judge(stained, folder / "volume", truth, lpips))
            print(records[-1], flush=True)
    print(table(records))


if __name__ == "__main__":
    main()
