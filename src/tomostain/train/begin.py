"""The beginning of a training: its options, recipe, data and folder."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Self, TypedDict

from tomostain.config import check_keywords
from tomostain.dataset.loaded import LoadedDataset, PairSource
from tomostain.errors import InputError
from tomostain.train.checkpoint import LAST, load_last
from tomostain.train.contrast import warn_about_contrast
from tomostain.train.default_recipe import RecipeSource, choose_recipe
from tomostain.train.distributed import DistributedContext
from tomostain.train.initial_model import InitialModel, InitSource
from tomostain.train.limits import Limits
from tomostain.train.recipe import Recipe
from tomostain.train.requirements import check_requirements
from tomostain.train.run_folder import (
    RunDescription,
    began_without_kernels,
    begin_run,
    recorded_initial_model,
)
from tomostain.train.trainer import Trainer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainOptions:
    """Options of `train_model`, with their defaults. See there."""

    recipe: RecipeSource | None = None
    init: InitSource | None = None
    fold: int | None = 0
    seed: int = 0
    device: str = "auto"
    resume: bool = False
    overwrite: bool = False
    max_steps: int | None = None
    max_seconds: float | None = None
    max_cpu_seconds: float | None = None
    deterministic: bool = False
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        for name in ("seed", "fold", "max_steps"):
            value = getattr(self, name)
            if value is None and name != "seed":
                continue
            if not isinstance(value, Integral) or isinstance(value, bool):
                raise InputError(f"`{name}={value!r}`: expected a whole number", parameter=name)

    @classmethod
    def of_keywords(cls, keywords: "TrainKeywords") -> Self:
        """Return the options of the keyword arguments of `train_model`.

        Raises
        ------
        TypeError
            If there is no such option.
        InputError
            If a value has the wrong type.
        """
        check_keywords("train_model", keywords, TrainKeywords.__annotations__)
        return cls(**keywords)

    @property
    def limits(self) -> Limits:
        """When the training ends."""
        return Limits(self.max_steps, self.max_seconds, self.max_cpu_seconds)


class TrainKeywords(TypedDict, total=False):
    """The same options as keyword arguments."""

    recipe: RecipeSource | None
    init: InitSource | None
    fold: int | None
    seed: int
    device: str
    resume: bool
    overwrite: bool
    max_steps: int | None
    max_seconds: float | None
    max_cpu_seconds: float | None
    deterministic: bool
    clock: Callable[[], float]


def begin(
    dataset: PairSource, run: Path, options: TrainOptions, context: DistributedContext
) -> tuple[Trainer, LoadedDataset]:
    """Load recipe and dataset, write the description of the run, and return a trainer in the state of the run.

    The folder of the run is locked by rank zero (`tomostain.train.run_folder.locked_run`).
    """
    initial = None if options.init is None else InitialModel.open(options.init)
    choice = choose_recipe(
        options.recipe, device=options.device, initial=initial, resumed=run if options.resume else None
    )
    recipe = choice.recipe.for_device(context.device, context.size)
    if options.deterministic:
        recipe = recipe.model_copy(update={"deterministic": True})
    logger.info("recipe: %s", choice)
    if initial is not None:
        initial.check(recipe)
    with context.raise_on_all_ranks():
        context.check_batch(recipe.batch, recipe.accumulate)
        data = LoadedDataset.open(dataset)
        resumed = options.resume and (run / LAST).is_file()
        if options.resume and initial is None and not resumed:
            initial = _recorded_initial(run)
        if options.resume and began_without_kernels(run):
            recipe = recipe.model_copy(update={"kernels": "plain"})
        data.split(options.fold)
        if context.is_rank_zero:
            check_requirements(recipe, run, context, resumed=resumed)
            _prepare_folder(run, data, recipe, options, initial)
            warn_about_contrast(recipe, data, options.fold)
            if initial is not None and not resumed:
                initial.warn_about_voxel_size(data.voxel_um, str(data.path))
    trainer = Trainer(recipe, data, options.fold, options.seed, context)
    trainer.fine_tuning = initial is not None or (resumed and recorded_initial_model(run) is not None)
    with context.raise_on_all_ranks():
        if resumed:
            load_last(run, trainer.state)
            trainer.apply_affines()
        elif initial is not None:
            initial.load_into(trainer.state.networks)
    return trainer, data


def _recorded_initial(run: Path) -> InitialModel | None:
    """Return the initial model that a run without a checkpoint records; None if it begins with random weights.

    Raises
    ------
    InputError
        If it is not found, or has changed.
    """
    record = recorded_initial_model(run)
    if record is None:
        return None
    remedy = f"{run}: begins with the weights of '{record.name}'; give it again with `init`"
    try:
        initial = InitialModel.open(record.name)
    except InputError:
        raise InputError(remedy, parameter="init") from None
    if initial.record.hash != record.hash:
        raise InputError(remedy, parameter="init")
    return initial


def _prepare_folder(
    run: Path, data: LoadedDataset, recipe: Recipe, options: TrainOptions, initial: InitialModel | None
) -> None:
    record = None if initial is None else initial.record
    if options.resume and record is None:
        record = recorded_initial_model(run)
    description = RunDescription(
        fold=options.fold,
        seed=options.seed,
        data=data.fingerprint(options.fold),
        recipe=recipe.model_dump(mode="json"),
        initial_model=None if record is None else record.model_dump(),
    )
    dataset = None if data.in_memory else data.path
    begin_run(run, description, dataset, resume=options.resume, overwrite=options.overwrite)
