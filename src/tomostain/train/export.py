"""Write a model folder from a run."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from tomostain import __version__
from tomostain.config import read_yaml
from tomostain.dataset.dataset import Dataset
from tomostain.dataset.loaded import LoadedDataset, PairSource
from tomostain.errors import InputError
from tomostain.io.csv_files import read_csv
from tomostain.io.models import ModelExtras, ModelSpec, TrainingRecord, save_model
from tomostain.ood.grey_values import solid_quantiles
from tomostain.ood.novelty import training_reference
from tomostain.ood.regional_reference import Augmentation
from tomostain.paths import StrPath
from tomostain.train.checkpoint import LAST, read_checkpoint
from tomostain.train.logbook import METRICS
from tomostain.train.recipe import Recipe
from tomostain.train.run_folder import DESCRIPTION, REJECTED, recorded_initial_model, recorded_options
from tomostain.train.sample_image import sample_image
from tomostain.train.terms import RENAMED

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_VALIDATION = "validation_"
_DISCRIMINATORS = ("d_y", "d_x")


@dataclass(frozen=True)
class ModelLabels:
    """What the authors of a model state about it.

    Attributes
    ----------
    summary : str
        One line: the purpose of the model.
    licence : str
        Of the weights and the training data.
    metrics : mapping of str to float
        Measured quality, in addition to the validation of the training.
    discriminators : bool
        Store the discriminators too, for further training. They can be as large as the generators.
    recipe : Recipe, optional
        For further training, if it differs from the recipe of this training: pre-training on aligned pairs needs no
        residual registration, fine-tuning does. Its networks are the same.
    """

    summary: str = ""
    licence: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    discriminators: bool = False
    recipe: Recipe | None = None


def export_model(
    run: StrPath,
    out: StrPath,
    which: str = LAST,
    *,
    dataset: PairSource | None = None,
    labels: ModelLabels | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the generators of a run as a model folder.

    Parameters
    ----------
    run, out : str or path-like
    which : str
        ``last`` or ``best-<term>``.
    dataset : str, path-like, Dataset or sequence of Pair, optional
        The training data. Default: the dataset folder that the run records.
    labels : ModelLabels, optional
        Summary, licence, more metrics, and whether the discriminators are stored.
    overwrite : bool
        Replace an existing folder.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    InputError
        If the run or the checkpoint is missing or broken, `out` exists, or the run was trained on arrays and `dataset`
        is not given.
    """
    run = Path(run)
    description = _read_description(run)
    recipe = Recipe.from_dict(description["recipe"], source=str(run / DESCRIPTION))
    values = _read_weights(_checkpoint(run, which), recipe)
    source = description["dataset"] if dataset is None else dataset
    if source is None:
        raise InputError(f"{run}: the run was trained on arrays; give `dataset`", parameter="dataset")
    data, fold = LoadedDataset.open(source), description["fold"]
    labels = labels or ModelLabels()
    measured_at, metrics = _validated(run, int(values["step"]))
    if any(name.startswith(_VALIDATION) for name in labels.metrics):
        measured_at = int(values["step"])
    spec = ModelSpec(
        generator=recipe.generator_spec(),
        reverse=recipe.generator_spec(reverse=True) if recipe.needs_reverse else None,
        in_channels=recipe.in_channels,
        ct_slices=recipe.ct_slices,
        noise=recipe.noise if recipe.noise.channels else None,
        inverted_ct=recipe.inverted_ct,
        ct_window=recipe.ct_window,
        voxel_um=data.voxel_um,
        patch_px=recipe.patch_px,
        recipe=recipe.name,
        fold=fold,
        steps=int(values["step"]),
        metrics=metrics | dict(labels.metrics),
        training=_training_record(run, data, description, measured_at),
        summary=labels.summary,
        licence=labels.licence,
        tomostain_version=__version__,
        **_of_training(data, fold),
    )
    weights = values["networks"]
    reverse = weights["g_yx"] if recipe.needs_reverse else None
    forward = weights["average" if recipe.average else "g_xy"]
    augmentation = Augmentation(recipe.augment.scale, recipe.augment.jitter)
    pairs = (data.load(pair_id) for pair_id in data.split(fold).train)
    low, high = map(float, recipe.ct_window)
    reference = training_reference(pairs, augmentation=augmentation, limits=(low, high)).to_arrays()
    split = data.split(fold)
    pair = data.load((*split.validation, *split.train)[0], recipe.ct_slices)
    extras = ModelExtras(
        recipe=(labels.recipe or recipe).to_yaml(),
        picture=sample_image(recipe, forward, pair),
        discriminators={name: weights[name] for name in _DISCRIMINATORS if labels.discriminators and name in weights},
    )
    save_model(Path(out), spec, forward, reverse, training_reference=reference, extras=extras, overwrite=overwrite)
    return Path(out)


def _read_description(run: Path) -> dict[str, Any]:
    """Return the description of a run.

    Raises
    ------
    InputError
        If a key is missing or has a value of another type.
    """
    description = read_yaml(run / DESCRIPTION)
    if not isinstance(description.get("recipe"), dict) or not {"dataset", "fold"} <= description.keys():
        raise InputError(f"{run / DESCRIPTION}: has no recipe, dataset or fold; restore it, or train in a new folder")
    return {**description, **recorded_options(run)}


def _read_weights(path: Path, recipe: Recipe) -> dict[str, Any]:
    """Return a checkpoint.

    Raises
    ------
    InputError
        If it is missing or broken, or has no step or not the weights of the generators.
    """
    values = read_checkpoint(path)
    networks = values["networks"]
    needed = ["average" if recipe.average else "g_xy", *(["g_yx"] if recipe.needs_reverse else [])]
    if not isinstance(networks, dict) or not isinstance(values.get("step"), int):
        raise InputError(f"{path}: not a checkpoint of tomostain")
    absent = [name for name in needed if name not in networks]
    if absent:
        raise InputError(f"{path}: has no weights of '{absent[0]}', which the recipe '{recipe.name}' trains")
    return values


def _training_record(
    run: Path, data: Dataset, description: Mapping[str, Any], validation_step: int | None
) -> TrainingRecord:
    split = data.split(description["fold"])
    records = [data.records.get(pair_id, {}) for pair_id in split.train]
    pairs = zip(split.train, records, strict=True)
    return TrainingRecord(
        pairs=len(split.train),
        validation_pairs=len(split.validation),
        specimens=len({str(record.get("specimen", pair_id)) for pair_id, record in pairs}),
        implants=tuple(sorted({str(record.get("implant", "unknown")) for record in records})),
        seed=description["seed"],
        data=_digest(data, (*split.train, *split.validation)),
        images=tuple(sorted(data.load(pair_id).image_digest() for pair_id in split.train)),
        initial_model=recorded_initial_model(run),
        rejected_pairs=description.get(REJECTED, {}),
        validation_step=validation_step,
    )


def _digest(data: Dataset, ids: Sequence[str]) -> str:
    """Return a sha256 of the images of pairs. It does not depend on whether they come from files or from arrays."""
    digest = hashlib.sha256()
    for pair in map(data.load, ids):
        for array in (pair.ct, pair.histology, pair.mask):
            digest.update(f"{pair.id} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _validated(run: Path, step: int) -> tuple[int | None, dict[str, float]]:
    """Return the step and the values of the last validation up to a step, by the names in ``metrics.csv``.

    Raises
    ------
    InputError
        If one of them is not a number.
    """
    if not (run / METRICS).is_file():
        return None, {}
    table = read_csv(run / METRICS)
    for line, row in zip(reversed(table.lines), reversed(table.rows), strict=True):
        try:
            at_step = int(row["step"])
            values = {name: float(row[name]) for name in row if name.startswith(_VALIDATION) and row[name]}
        except (KeyError, ValueError):
            raise InputError(
                f"{run / METRICS}, line {line}: the step or a validation is not a number; restore the file, or remove "
                "it to write the model without its validation"
            ) from None
        if values and at_step <= step:
            return at_step, values
    return None, {}


def _checkpoint(run: Path, which: str) -> Path:
    """Return the file of a checkpoint, also where the name of its term has changed."""
    term = which.removeprefix("best-")
    if (run / which).is_file() or term == which:
        return run / which
    names = {**RENAMED, **{name: older for older, name in RENAMED.items()}}
    alias = run / f"best-{names.get(term, term)}"
    return alias if alias.is_file() else run / which


class _OfTraining(TypedDict):
    stain: str
    fingerprint: dict[str, float]
    greys: list[tuple[float, ...]]


def _of_training(data: Dataset, fold: int | None) -> _OfTraining:
    """Return stain and grey values of the training pairs inside the masks, as quantiles of all and of solid pixels."""
    pairs = [data.load(pair_id) for pair_id in data.split(fold).train]
    greys = np.concatenate([pair.ct[pair.mask] for pair in pairs])
    fingerprint = {f"q{round(100 * q):02d}": float(np.quantile(greys, q)) for q in QUANTILES}
    solid = [solid_quantiles(pair.ct[pair.mask]) for pair in pairs]
    return {
        "stain": ", ".join(sorted({pair.stain for pair in pairs})),
        "fingerprint": fingerprint,
        "greys": [tuple(round(float(value), 1) for value in pair) for pair in solid if np.isfinite(pair).all()],
    }
