"""Fit the training reference of models of the package to more specimens of their family.

    python -m studies.models.reference FAMILY/dataset MODEL [MODEL …]

The dataset comes from `studies.models.family`. All its pairs but the test pairs are sampled, with the window of grey
values of the model. The weights do not change. The µCT of a family does not depend on the stain, so the models of all
stains can have the same reference. The model folders are replaced.
"""

import argparse
from pathlib import Path

from tomostain.dataset.dataset import Dataset, load_dataset
from tomostain.io import read_image
from tomostain.io.models import PICTURE, Model, ModelExtras, load_model, save_model
from tomostain.ood import training_reference
from tomostain.ood.regional_reference import Augmentation, RegionalReference


def fit(data: Dataset, window: tuple[float, float], seed: int = 0) -> RegionalReference:
    """Return the reference of all pairs of a dataset that are not for testing.

    The views have the default augmentation: grey values vary more than in the training of the package's models (2 %),
    since scanners of other laboratories differ.

    Parameters
    ----------
    data : Dataset
    window : (float, float)
        The grey values that the networks distinguish.
    seed : int
    """
    test = set(data.test)
    pairs = [data.load(pair_id) for pair_id in data.ids if pair_id not in test]
    return training_reference(pairs, seed, Augmentation(), window)


def replace(model: Model, reference: RegionalReference) -> None:
    """Write a model folder again, with another reference."""
    extras = ModelExtras(
        recipe=model.recipe, picture=read_image(model.path / PICTURE), discriminators=model.discriminators
    )
    save_model(
        model.path,
        model.spec,
        model.state,
        model.reverse_state,
        training_reference=reference.to_arrays(),
        extras=extras,
        overwrite=True,
    )


def main() -> None:
    """Fit, and replace."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    options = parser.parse_args()
    data = load_dataset(options.dataset)
    references: dict[tuple[float, float], RegionalReference] = {}
    for path in options.models:
        model = load_model(path)
        low, high = model.spec.ct_window
        if (low, high) not in references:
            references[low, high] = fit(data, (low, high))
        replace(model, references[low, high])
        print(f"{path}: reference of {len(data.ids) - len(data.test)} pairs", flush=True)


if __name__ == "__main__":
    main()
