"""Evaluate models on a dataset: stain every pair, compare with the real histology, write tables and pictures."""

import os
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import torch
import yaml

from tomostain import __version__
from tomostain.evaluate.calibration import write_calibration
from tomostain.evaluate.config import EvaluateOptions, read_options
from tomostain.evaluate.measure import LOOKUP, MEAN_IMAGE, RAW_CT, Evaluation
from tomostain.evaluate.models import Candidates, DatasetLike, ModelLike, name_models
from tomostain.evaluate.protocols import intervals_csv
from tomostain.evaluate.result_files import write_results, write_tables
from tomostain.evaluate.table import Table
from tomostain.io.atomic import atomic_folder, write_text
from tomostain.io.outputs import FolderKind, check_output
from tomostain.models import find_model
from tomostain.paths import StrPath
from tomostain.progress import Progress, silent

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ALEX_NOTE",
    "LOOKUP",
    "MEAN_IMAGE",
    "RAW_CT",
    "compare",
    "evaluate",
    "evaluate_models",
    "name_models",
    "write_results",
]

ALEX_NOTE = "LPIPS is computed with AlexNet; the paper used SqueezeNet, whose values do not compare."
_EVALUATION = FolderKind(
    "evaluation",
    r"evaluate\.yaml|(metrics|table)(-[a-z-]+)?\.(csv|txt)|(images|sets|volumes|intervals)\.csv|boxplots\.png|report\.html"
    r"|(pictures|doubt|uncertainty)/[^/]+\.(png|csv)",
    "evaluate.yaml",
)


def evaluate_models(
    models: ModelLike | Iterable[ModelLike] | Mapping[str, ModelLike],
    dataset: DatasetLike,
    *,
    progress: Progress = silent,
    **options: Unpack[EvaluateOptions],
) -> "pd.DataFrame":
    """Measure models on a dataset, without writing files.

    Parameters
    ----------
    models : path, Stainer, Translator, TrainedModel, iterable of them, or mapping of names to them
        Model folders, runs with a model, ``builtin:NAME``, loaded models (`tomostain.load_stainer`), or models in
        memory (`tomostain.train_model`).
    dataset : path, Dataset or sequence of Pair
        A dataset folder, a loaded dataset, or pairs in memory. All pairs of a sequence are the test set; use
        `tomostain.LoadedDataset.from_pairs` for pairs with folds.
    progress : Progress
        Called after every image.
    **options
        The attributes of `EvaluateConfig`, such as ``split``, ``metrics``, ``baselines`` and ``device``.

    Returns
    -------
    DataFrame
        One row per patch and protocol, and one per image, set or volume for metrics of these scopes. Columns:
        ``model``, ``pair`` (the volume's name for scope "volume"), ``scope``, ``protocol`` (empty except for patches),
        ``row, column, height, width`` (px), ``overlap`` (0.5 to 1), the metrics by name, and parts of metrics as
        ``metric.part``. NaN where a metric does not apply.

    Raises
    ------
    InputError
        If an option is wrong, there is no model or dataset, or the split is empty.

    Examples
    --------
    >>> frame = evaluate_models(["run-a", "run-b"], "dataset", split="validation")  # doctest: +SKIP
    >>> frame[frame.protocol == "paper"].groupby("model")[["ssim", "psnr"]].median()  # doctest: +SKIP
    """
    with torch.random.fork_rng(devices=[]):  # networks of metrics are built with random weights before theirs are read
        config, lpips = read_options(options)
        candidates = Candidates.open(_several(models), dataset, config)
        return Evaluation.prepare(candidates, config, lpips).measure(progress=progress)


def evaluate(
    model_or_run: ModelLike,
    dataset: DatasetLike,
    out: StrPath,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
    **options: Unpack[EvaluateOptions],
) -> Table:
    """Evaluate one model on a dataset and write the results.

    Parameters
    ----------
    model_or_run : path, Stainer, Translator or TrainedModel
        A model folder, a run (its ``model`` is used), ``builtin:NAME``, or a loaded model.
    dataset : path, Dataset or sequence of Pair
    out : path
        Gets ``metrics.csv`` (every patch), ``table.csv``, ``table.txt``, ``boxplots.png``, ``pictures/<pair>.png``
        (µCT, stained, real, difference) and ``evaluate.yaml``; also ``table-without-screw.txt``,
        ``table-shift-tolerant.txt`` with their ``metrics-….csv``, and in ``intervals.csv`` all medians and paired
        differences with 95 % intervals over subjects (`tomostain.evaluate.protocols`). Metrics of other scopes are in
        ``images.csv``, ``sets.csv`` and ``volumes.csv``. With ``uncertainty`` also ``doubt/``
        (`tomostain.evaluate.calibration`).
    overwrite : bool
        Replace an earlier evaluation at `out`.
    progress : Progress
        Called after every image.
    **options
        The attributes of `EvaluateConfig`, such as ``split``, ``metrics``, ``baselines`` and ``device``.

    Returns
    -------
    Table
        Median and quartiles of each metric.

    Raises
    ------
    InputError
        If an option is wrong, there is no model or dataset, the split is empty, or `out` may not be replaced.

    References
    ----------
    Irvine et al., J. Synchrotron Rad. 2026, sections 2.8, 2.10 and 3.2.
    """
    return compare(out, [model_or_run], dataset, overwrite=overwrite, progress=progress, **options)


def compare(
    out: StrPath,
    runs: Iterable[ModelLike] | Mapping[str, ModelLike],
    dataset: DatasetLike,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
    **options: Unpack[EvaluateOptions],
) -> Table:
    """Evaluate several models on the same pairs, in one table and one box plot; see `evaluate`.

    A model is named after the folder of its run, or by the keys of a mapping. The trained baselines use the training
    pairs of the models' fold.

    Raises
    ------
    InputError
        As `evaluate`; also if two models have the same name, or were validated on different folds.
    """
    out = Path(out)
    with torch.random.fork_rng(devices=[]):
        return _compare(out, runs, dataset, options, overwrite, progress)


def _compare(
    out: Path,
    runs: Iterable[ModelLike] | Mapping[str, ModelLike],
    dataset: DatasetLike,
    options: EvaluateOptions,
    overwrite: bool,
    progress: Progress,
) -> Table:
    config, lpips = read_options(options)
    check_output(out, _EVALUATION, _sources(runs, dataset), overwrite=overwrite)
    evaluation = Evaluation.prepare(Candidates.open(runs, dataset, config), config, lpips)
    candidates = evaluation.candidates
    notes = (*config.notes, *evaluation.warnings, _number(candidates), *([ALEX_NOTE] if config.lpips == "alex" else []))
    with atomic_folder(out, overwrite) as folder:
        frame = evaluation.measure(folder / "pictures", progress)
        table = write_tables(folder, frame, evaluation, notes, lpips)
        write_text(folder / "intervals.csv", intervals_csv(frame[frame["scope"] == "patch"], _subjects(candidates)))
        if config.uncertainty:
            write_calibration(
                folder / "doubt",
                candidates.data,
                candidates.ids,
                candidates.translators,
                config.stain,
                exclude_implant=config.exclude_implant,
                progress=progress,
            )
        values = _provenance(evaluation, table)
        write_text(folder / "evaluate.yaml", yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    return table


def _sources(runs: "Iterable[ModelLike] | Mapping[str, ModelLike]", dataset: DatasetLike) -> list[Path]:
    """Return the folders of the models and of the dataset that are read from disk."""
    models = runs.values() if isinstance(runs, Mapping) else runs
    folders = [find_model(each) for each in models if isinstance(each, str | os.PathLike)]
    return [*folders, *([Path(dataset)] if isinstance(dataset, str | os.PathLike) else [])]


def _subjects(candidates: Candidates) -> dict[str, str]:
    return {pair_id: candidates.data.subject(pair_id) for pair_id in candidates.ids}


def _number(candidates: Candidates) -> str:
    """Return how many images and subjects were measured, as a note."""
    images, subjects = len(candidates.ids), len(set(_subjects(candidates).values()))
    note = f"{images} image{'s' * (images != 1)} of {subjects} subject{'s' * (subjects != 1)}."
    return note if subjects > 1 else f"{note} With one subject, the spread between subjects is unknown."


def _several(
    models: ModelLike | Iterable[ModelLike] | Mapping[str, ModelLike],
) -> Iterable[ModelLike] | Mapping[str, ModelLike]:
    if isinstance(models, Mapping):
        return models
    if isinstance(models, str | os.PathLike) or not isinstance(models, Iterable):
        return [models]
    return models


def _provenance(evaluation: Evaluation, table: Table) -> dict[str, object]:
    """Return the content of `evaluate.yaml`: options, models, pairs, versions."""
    candidates = evaluation.candidates
    models = {}
    for name, translator in candidates.translators.items():
        spec = translator.spec
        models[name] = {
            "path": str(candidates.folders.get(name, "")),
            "hash": translator.hash,
            "recipe": spec.recipe,
            "fold": spec.fold,
            "steps": spec.steps,
        }
    packages = {name: version(name) for name in ("torch", "numpy", "scikit-image")}
    return {
        "options": evaluation.config.model_dump(mode="json", exclude={"notes"}),
        "lpips_network": table.lpips_label,
        "models": models,
        "dataset": str(candidates.data.path),
        "pairs": list(candidates.ids),
        "notes": list(table.notes),
        "versions": {"tomostain": __version__, **packages},
    }
