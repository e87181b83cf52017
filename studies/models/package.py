"""Export a pre-trained run as a model of the package, with its measured quality.

    python -m studies.models.package RUN DATASET NAME --summary TEXT

RUN comes from `studies.models.pretrain` and DATASET from `studies.models.family`. The test pairs of DATASET are scored
(medians over patches of 128 px). The model folder is written to ``src/tomostain/models/NAME``.
"""

import argparse
import tempfile
from pathlib import Path

from tomostain.evaluate import evaluate_models
from tomostain.evaluate.config import PAPER
from tomostain.models import catalogue
from tomostain.train import load_recipe
from tomostain.train.export import ModelLabels, export_model

FINE_TUNING = "tomostain-cpu"
METRICS = ("ssim", "lpips", "psnr")
LICENCE = "BSD-3-Clause; trained on phantoms of this package only"


def measure(model: Path, dataset: Path) -> dict[str, float]:
    """Return the medians of the metrics over the test patches."""
    table = evaluate_models(model, dataset, split="test", baselines=False)
    table = evaluate_models(model, dataset, split="test", baselines=False)
    patches = table[(table["scope"] == "patch") & (table["protocol"] == PAPER)]
    return {f"test_{name}": round(float(patches[name].median()), 3) for name in METRICS}


def main() -> None:
    """Export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("name")
    parser.add_argument("--summary", required=True)
    options = parser.parse_args()
    recipe = load_recipe(FINE_TUNING)
    with tempfile.TemporaryDirectory() as folder:
        draft = export_model(options.run, Path(folder) / "model", dataset=options.dataset)
        metrics = measure(draft, options.dataset)
    labels = ModelLabels(options.summary, LICENCE, metrics, discriminators=True, recipe=recipe)
    out = export_model(
        options.run, catalogue.FOLDER / options.name, dataset=options.dataset, labels=labels, overwrite=True
    )
    size = sum(path.stat().st_size for path in out.iterdir())
    print(f"{out}: {size / 1e6:.2f} MB, {metrics}")


if __name__ == "__main__":
    main()
