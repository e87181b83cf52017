"""Open the models and the dataset of an evaluation, and choose its pairs."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

from tomostain.dataset.dataset import Dataset
from tomostain.dataset.loaded import LoadedDataset, PairSource
from tomostain.dataset.pair import Pair
from tomostain.errors import InputError
from tomostain.evaluate.calibration import check_uncertainty_options
from tomostain.evaluate.config import EvaluateConfig, Split
from tomostain.io.models import REVERSE, SPEC, Model
from tomostain.models import PREFIX, find_model, model_name, suggest_builtin
from tomostain.paths import StrPath
from tomostain.stain import Translator, load_translator
from tomostain.stain.request import LoadedModel

ModelLike: TypeAlias = StrPath | Translator | LoadedModel | Model
"""A model folder, a run that has one, ``builtin:NAME``, a loaded model, or a model in memory."""
DatasetLike: TypeAlias = PairSource
"""A dataset folder, a loaded dataset, or pairs in memory."""
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Candidates:
    """The models of an evaluation and the pairs on which they are compared.

    Attributes
    ----------
    translators : mapping of str to Translator
        The models by name.
    folders : mapping of str to Path
        The folders of those that were read from disk.
    data : Dataset
    fold : int or None
        The fold on which the models were validated.
    ids : tuple of str
        The pairs of the split.
    """

    translators: Mapping[str, Translator]
    folders: Mapping[str, Path]
    data: Dataset
    fold: int | None
    ids: tuple[str, ...]

    @classmethod
    def open(
        cls, models: Mapping[str, ModelLike] | Iterable[ModelLike], dataset: DatasetLike, config: EvaluateConfig
    ) -> "Candidates":
        """Open the models and the dataset.

        Parameters
        ----------
        models : mapping of str to model, or iterable of models
            A model without a name is called after the folder of its run; a loaded model, after its recipe.
        dataset : path, Dataset or sequence of Pair
            The pairs of a sequence are the test set.
        config : EvaluateConfig

        Raises
        ------
        InputError
            If there is no model or dataset, two models have one name or different folds, or the split is empty.
        """
        data = open_dataset(dataset)
        named = _named(models)
        folders = {name: model for name, model in named.items() if isinstance(model, Path)}
        translators = {
            name: model if isinstance(model, Translator) else _load(model, config) for name, model in named.items()
        }
        if config.uncertainty:
            check_uncertainty_options(translators)
        fold = (
            None
            if isinstance(data, LoadedDataset) and data.in_memory and not data.folds
            else _common_fold(translators, config.split)
        )
        return cls(translators, folders, data, fold, pairs_of(data, config.split, fold))

    @property
    def ct_slices(self) -> int:
        """The largest number of slices that a model sees."""
        return max(translator.spec.ct_slices for translator in self.translators.values())


def open_dataset(source: DatasetLike) -> Dataset:
    """Return the pairs to evaluate. Those of a sequence are the test set of a dataset in memory.

    Raises
    ------
    InputError
        If it is neither a dataset nor pairs, or the pairs do not fit together.
    """
    if isinstance(source, Dataset):
        return source
    if isinstance(source, str | os.PathLike):
        return LoadedDataset.open(source)
    pairs = list(source) if isinstance(source, Iterable) else [None]
    if not all(isinstance(pair, Pair) for pair in pairs):
        raise InputError(
            f"`dataset`: expected the folder of a dataset, a Dataset or a list of Pair, found {type(source).__name__}",
            parameter="dataset",
        )
    return LoadedDataset.from_pairs(pairs, test=[pair.id for pair in pairs])


def name_models(runs: Iterable[StrPath]) -> dict[str, Path]:
    """Find the model folder of each run or model, and name it after the run.

    Raises
    ------
    InputError
        If there is no model, or two have one name.
    """
    models: dict[str, Path] = {}
    for run in map(Path, runs):
        folder = _model_folder(run)
        _add(models, model_name(run).removeprefix(PREFIX), folder, str(run))
    if not models:
        raise InputError("compare: no model is given; name at least one run or model folder")
    return models


def pairs_of(data: Dataset, split: Split, fold: int | None) -> tuple[str, ...]:
    """Return the ids of the pairs of a split.

    Raises
    ------
    InputError
        If it has none.
    """
    groups = data.split(fold)
    ids = data.ids if split == "all" else getattr(groups, split)
    if not ids:
        sizes = ", ".join(f"{name} {len(getattr(groups, name))}" for name in ("train", "validation", "test"))
        other = "; or choose the split 'validation'" if split == "test" and groups.validation else ""
        advice = "prepare it with test subjects, or with halves" if split == "test" else "choose another split"
        raise InputError(
            f"split '{split}': {data.path} has no such pairs ({sizes}); {advice}{other}", parameter="split"
        )
    return ids


def _named(models: Mapping[str, ModelLike] | Iterable[ModelLike]) -> dict[str, Path | Translator | Model]:
    if isinstance(models, Mapping):
        return {
            name: _model_folder(Path(model)) if isinstance(model, str | os.PathLike) else _loaded(model)
            for name, model in models.items()
        }
    named: dict[str, Path | Translator | Model] = {}
    for model in models:
        if isinstance(model, str | os.PathLike):
            for name, folder in name_models([model]).items():
                _add(named, name, folder, str(model))
        else:
            loaded = _loaded(model)
            _add(named, loaded.spec.recipe, loaded, "loaded model")
    if not named:
        name_models([])
    return named


def _loaded(model: Translator | LoadedModel | Model) -> Translator | Model:
    """Return the translator of a loaded model; a model in memory as it is."""
    if isinstance(model, Model):
        return model
    translator = model if isinstance(model, Translator) else getattr(model, "translator", None)
    if not isinstance(translator, Translator):
        raise InputError(f"`models`: expected a path or a loaded model, found {type(model).__name__}")
    return translator


def _add(models: dict[str, T], name: str, model: T, source: str) -> None:
    if name in models:
        raise InputError(f"{source}: a second model named '{name}'; rename one of the folders")
    models[name] = model


def _model_folder(run: Path) -> Path:
    folder = find_model(run)
    if not (folder / SPEC).is_file():
        raise InputError(
            f"{run}: neither a model nor a run with one (no {SPEC}); give a RUN or MODEL folder{suggest_builtin(run)}"
        )
    return folder


def _load(model: Path | Model, config: EvaluateConfig) -> Translator:
    has_reverse = (model / REVERSE).is_file() if isinstance(model, Path) else model.reverse_state is not None
    reverse = config.uncertainty and has_reverse
    # Metrics do not depend on the device unless a precision is asked for.
    precision = "float32" if config.stain.precision == "auto" else config.stain.precision
    return load_translator(model, config.device, reverse=reverse, precision=precision)


def _common_fold(translators: Mapping[str, Translator], split: str) -> int | None:
    """Return the fold on which the models were validated."""
    folds = {name: translator.spec.fold for name, translator in translators.items()}
    if len(set(folds.values())) > 1 and split != "test":
        listed = ", ".join(f"{name}: {fold}" for name, fold in folds.items())
        raise InputError(
            f"split '{split}': the models have different folds ({listed}); compare them on 'test'", parameter="split"
        )
    return next(iter(folds.values()))
