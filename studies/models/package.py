"""Write the model of a pre-trained run as a model of the package, with its measured quality.

    python -m studies.models.package RUN DATASET NAME --summary TEXT

RUN comes from `studies.models.pretrain` and DATASET from `studies.models.family`. The test pairs of DATASET are scored
(medians over patches of 128 px). The model folder is written to ``src/tomostain/models/NAME``.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from tomostain.evaluate import evaluate_models
from tomostain.evaluate.config import PAPER
from tomostain.io import read_image
from tomostain.io.models import PICTURE, ModelExtras, load_model, save_model
from tomostain.models import catalogue
from tomostain.train import load_recipe
from tomostain.train.checkpoint import LAST, read_checkpoint
from tomostain.train.run_folder import MODEL

FINE_TUNING = "tomostain-cpu"
METRICS = ("ssim", "lpips", "psnr")
LICENCE = "BSD-3-Clause; trained on phantoms of this package only"


def measure(model: Path, dataset: Path) -> dict[str, float]:
    """Return the medians of the metrics over the test patches."""
    table = evaluate_models(model, dataset, split="test", baselines=False)
    patches = table[(table["scope"] == "patch") & (table["protocol"] == PAPER)]
    return {f"test_{name}": round(float(patches[name].median()), 3) for name in METRICS}


def package(run: Path, name: str, summary: str, metrics: Mapping[str, float]) -> Path:
    """Write the model of a run as a model of the package, with its discriminators and the recipe for fine-tuning."""
    model = load_model(run / MODEL)
    networks = read_checkpoint(run / LAST)["networks"]
    spec = model.spec.model_copy(
        update={"metrics": model.spec.metrics | dict(metrics), "summary": summary, "licence": LICENCE}
    )
    extras = ModelExtras(
        recipe=load_recipe(FINE_TUNING).to_yaml(),
        picture=read_image(model.path / PICTURE),
        discriminators={"d_y": networks["d_y"]},
    )
    out = catalogue.FOLDER / name
    save_model(out, spec, model.state, training_reference=model.training_reference, extras=extras, overwrite=True)
    return out


def main() -> None:
    """Package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("name")
    parser.add_argument("--summary", required=True)
    options = parser.parse_args()
    metrics = measure(options.run / MODEL, options.dataset)
    out = package(options.run, options.name, options.summary, metrics)
    size = sum(path.stat().st_size for path in out.iterdir())
    print(f"{out}: {size / 1e6:.2f} MB, {metrics}")


if __name__ == "__main__":
    main()
