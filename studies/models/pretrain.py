"""Train a model that the package ships, on a family of phantoms (`studies.models.family`).

    python -m studies.models.pretrain DATASET RUN [--steps 12000] [--seed 0] [--init MODEL]

One thread, one seed. All pairs but the test pairs train. The command continues an interrupted training. RUN/model is
the model. With `--init`, the training begins with the weights of a model (`studies.models.widen`), and its learning
rate decreases from half of the recipe's to a tenth of that.
"""

import argparse
from pathlib import Path

import torch

from tomostain.cli.progress import Bars
from tomostain.train import FineTune, load_recipe, train_model

RECIPE = Path(__file__).parent / "recipes" / "phantom.yaml"


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--init")
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe = load_recipe(RECIPE).model_copy(update={"epochs": 100_000})
    if options.init is not None:
        recipe = recipe.model_copy(update={"fine_tune": FineTune(decay_steps=options.steps)})
    with Bars() as progress:
        train_model(
            options.dataset,
            options.run,
            recipe=recipe,
            init=options.init,
            fold=None,
            seed=options.seed,
            max_steps=options.steps,
            resume=(options.run / "last").is_file(),
            overwrite=True,
            progress=progress,
        )


if __name__ == "__main__":
    main()
