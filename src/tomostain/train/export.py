"""From a run to a model folder that one can hand over."""

from pathlib import Path
from typing import Any

import numpy as np

from tomostain import __version__
from tomostain.config import read_yaml
from tomostain.dataset.dataset import Dataset, load_dataset
from tomostain.io.models import ModelSpec, save_model
from tomostain.ood.grey_values import solid_quantiles
from tomostain.ood.novelty import training_reference
from tomostain.train.checkpoint import LAST, read_checkpoint
from tomostain.train.recipes import Recipe

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def export_model(run: Path, out: Path, which: str = LAST, *, overwrite: bool = False) -> Path:
    """Write the generators of a run as a model folder.

    Parameters
    ----------
    run, out : Path
    which : str
        ``last`` or ``best-<term>``.
    overwrite : bool
        Replace an existing folder.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    InputError
        If the run or the checkpoint is missing or broken, or `out` exists.
    """
    run = Path(run)
    facts = read_yaml(run / "run.yaml")
    recipe = Recipe.from_dict(facts["recipe"], source=str(run / "run.yaml"))
    values = read_checkpoint(run / which)
    data = load_dataset(Path(facts["dataset"]))
    spec = ModelSpec(
        generator=recipe.generator_spec(),
        reverse=recipe.generator_spec(reverse=True) if recipe.needs_reverse else None,
        in_channels=recipe.in_channels,
        ct_slices=recipe.ct_slices,
        inverted_ct=recipe.inverted_ct,
        voxel_um=data.voxel_um,
        patch_px=recipe.patch_px,
        recipe=recipe.name,
        fold=facts["fold"],
        steps=int(values["step"]),
        tomostain_version=__version__,
        **_of_training(data, facts["fold"]),
    )
    weights = values["networks"]
    reverse = weights["g_yx"] if recipe.needs_reverse else None
    forward = weights["average" if recipe.average else "g_xy"]
    seen = training_reference(data.load(pair_id) for pair_id in data.split(facts["fold"]).train).to_arrays()
    save_model(Path(out), spec, forward, reverse, seen=seen, overwrite=overwrite)
    return Path(out)


def _of_training(data: Dataset, fold: int | None) -> dict[str, Any]:
    """Return stain and grey values of the training pairs inside the masks: quantiles of all, and of what is solid."""
    pairs = [data.load(pair_id) for pair_id in data.split(fold).train]
    greys = np.concatenate([pair.ct[pair.mask] for pair in pairs])
    fingerprint = {f"q{round(100 * q):02d}": float(np.quantile(greys, q)) for q in QUANTILES}
    solid = [solid_quantiles(pair.ct[pair.mask]) for pair in pairs]
    return {
        "stain": ", ".join(sorted({pair.stain for pair in pairs})),
        "fingerprint": fingerprint,
        "greys": [tuple(round(float(value), 1) for value in pair) for pair in solid if np.isfinite(pair).all()],
    }
