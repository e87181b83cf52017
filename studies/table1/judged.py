"""Medians of SSIM, LPIPS and PSNR over the validation patches of fold 0, of a model that was trained without them.

    python -m studies.table1.judged OUT MODEL [MODEL …]

OUT is where `studies.table1.data` has made the data sets; a line for each model, against *paper* and *aligned*.
"""

import argparse
from pathlib import Path

import torch

from studies.table1.pareto import TESTS, judge, medians
from tomostain.dataset.dataset import load_dataset
from tomostain.evaluate.metrics.lpips import Lpips
from tomostain.stain import load_translator


def main() -> None:
    """Judge each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lpips, sets = Lpips("alex"), {name: load_dataset(options.out / name) for name in TESTS}
    for folder in options.models:
        model = load_translator(folder, "cpu")
        found = {name: medians(judge(model, data, data.split(0).validation, lpips)) for name, data in sets.items()}
        print(folder, model.spec.steps, "steps", found, flush=True)


if __name__ == "__main__":
    main()
