"""Correlation of uncertainty and error on the test phantoms, with and without the screw, which is black and easy.

    python -m studies.table1.doubt OUT [--row tomostain] [--folds 0 1] [--trained-on paper] [--tested-on aligned]

Uses the models of `studies.table1.run`: disagreement and novelty of the folds of a row, and the cycle error of the
paper's model.
"""

import argparse
from pathlib import Path

import numpy as np

from studies.table1.editions import DIFFICULTIES, EDITIONS
from studies.table1.report import REFERENCE
from studies.table1.run import BUDGETS, Run
from studies.table1.tissue import labels_of
from tomostain.dataset.dataset import load_dataset
from tomostain.evaluate.calibration import PATCH_PX, draw_calibration, error_of, uncertainty_maps
from tomostain.io import write_image
from tomostain.phantom.tissue import Label
from tomostain.stain import StainConfig, Translator, load_translator, stain_slice
from tomostain.stain.uncertainty import NOVELTY, patch_means, rank_correlation


def models(out: Path, row: str, trained_on: str, folds: list[int], budget: str) -> list[dict[str, Translator]]:
    """Return the models of all folds of a row, and the first fold of the paper's model with its reverse generator."""

    def load(name: str, fold: int, reverse: bool, trained_for: str = "seconds") -> Translator:
        run = Run(name, trained_on, trained_for, fold, 0).folder(out)
        return load_translator(run / "model", "cpu", reverse=reverse)

    return [
        {f"{row}, fold {fold}": load(row, fold, False) for fold in folds},
        {REFERENCE: load(REFERENCE, folds[0], True, budget)},
    ]


def main() -> None:
    """Print the rank correlations and draw the calibration, OUT/figures/doubt.png."""
    names = [d.name for d in DIFFICULTIES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--row", default="tomostain")
    parser.add_argument("--folds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--trained-on", choices=names, default="paper")
    parser.add_argument("--cycle-budget", choices=BUDGETS, default="seconds", help="Budget of the paper's model.")
    parser.add_argument("--tested-on", choices=names, default="aligned")
    options = parser.parse_args()
    data = load_dataset(options.out / options.tested_on)
    config = StainConfig(stride_px=EDITIONS["cpu"].stride_px)
    means_of: dict[str, list[np.ndarray]] = {}
    for translators in models(options.out, options.row, options.trained_on, options.folds, options.cycle_budget):
        for pair_id in data.split(options.folds[0]).test:
            pair, labels = data.load(pair_id), labels_of(data, pair_id)
            pictures = {name: stain_slice(translator, pair.ct, config) for name, translator in translators.items()}
            for name, (uncertainty, drawn) in uncertainty_maps(pair, translators, pictures, config).items():
                if name == NOVELTY and REFERENCE in translators:
                    continue  # the training pairs are the same as for the row
                for suffix, mask in (
                    ("", pair.mask),
                    (", without the screw", pair.mask & (labels != int(Label.SCREW))),
                ):
                    means = patch_means(uncertainty, error_of(drawn, pair), mask, PATCH_PX)
                    means_of.setdefault(name + suffix, []).append(means)
    joined = {name: np.concatenate(parts) for name, parts in means_of.items()}
    print("| map | all patches | by pair |\n|---|---|---|")
    for name, parts in means_of.items():
        correlations = [rank_correlation(part) for part in parts]
        overall = f"{rank_correlation(joined[name]):.2f} ({len(joined[name])} patches)"
        print(f"| {name} | {overall} | {min(correlations):.2f} to {max(correlations):.2f} |")
    write_image(options.out / "figures" / "doubt.png", draw_calibration(joined), overwrite=True)


if __name__ == "__main__":
    main()
