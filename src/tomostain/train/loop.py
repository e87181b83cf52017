"""The training loop: steps, checkpoints and metrics. A training can be stopped and resumed to the same bits."""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypedDict, Unpack

from tomostain.errors import InputError, InterruptedRunError, PeerProcessError
from tomostain.networks.build import count_parameters
from tomostain.progress import Progress, ShouldStop, never, silent
from tomostain.train.checkpoint import load_last, named_networks, save_last
from tomostain.train.contrast import contrast, warn_about_contrast
from tomostain.train.data import LoadedDataset, PairSource
from tomostain.train.distributed import DistributedContext
from tomostain.train.export import export_model
from tomostain.train.logbook import Logbook
from tomostain.train.recipes import Recipe, load_recipe
from tomostain.train.run_folder import RunDescription, began_without_kernels, create_run, resume_run
from tomostain.train.trainer import Trainer

__all__ = ["TrainOptions", "contrast", "plan_training", "train", "train_model"]

logger = logging.getLogger(__name__)

LOG_EVERY_STEPS = 10
CHECKPOINT_EVERY_S = 60.0

RecipeSource: TypeAlias = str | os.PathLike[str] | Recipe


@dataclass(frozen=True)
class TrainOptions:
    """Options of `train_model`, with their defaults. See there."""

    recipe: RecipeSource = "paired-cyclegan-cpu"
    fold: int | None = 0
    seed: int = 0
    device: str = "auto"
    resume: bool = False
    overwrite: bool = False
    max_steps: int | None = None
    max_seconds: float | None = None
    clock: Callable[[], float] = time.monotonic


class _Keywords(TypedDict, total=False):
    """The same options as keyword arguments."""

    recipe: RecipeSource
    fold: int | None
    seed: int
    device: str
    resume: bool
    overwrite: bool
    max_steps: int | None
    max_seconds: float | None
    clock: Callable[[], float]


def train_model(
    dataset: PairSource,
    run: str | os.PathLike[str],
    *,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
    **options: Unpack[_Keywords],
) -> Path:
    """Train the networks of a recipe on a dataset (paper section 2.6.3).

    Processes that are started by torchrun or srun train one model together: the batch of the recipe is divided among
    them, and the losses are those of a single process up to rounding. Only rank zero writes files and reports progress.

    Torch's global random state, the cuDNN switches and the signal handlers of the process stay as they are.

    Parameters
    ----------
    dataset : str, path-like, Dataset or sequence of Pair
        The folder of a dataset, a loaded dataset, or pairs as arrays. Of a sequence all pairs train; use
        `tomostain.train.LoadedDataset.from_pairs` for pairs with folds. Each pair is read from disk once.
    run : str or path-like
        The folder that gets the recipe, metrics, sample images, checkpoints and the model.
    progress : Progress
        Receives a report after every step.
    should_stop : function
        Asked after every step. If it returns True, a checkpoint is written and the training stops.
    recipe : str, path-like or Recipe
        A name, a YAML file or a recipe. Default: ``paired-cyclegan-cpu``.
    fold : int or None
        The fold that validates. None: all pairs except the test set train. Default: 0.
    seed : int
        The same seed gives the same bits on one machine. Default: 0.
    device : str
        ``auto`` (default), ``cpu``, ``cuda`` or ``cuda:N``.
    resume : bool
        Continue an interrupted run, to the same bits as without the interruption.
    overwrite : bool
        Replace an existing run.
    max_steps : int, optional
        Maximum number of steps in total. Default: the epochs of the recipe.
    max_seconds : float, optional
        Maximum training time in total.
    clock : function
        Returns the time for `max_seconds`, s. Default: `time.monotonic`. With `time.process_time` other work on the
        machine does not shorten the training.

    Returns
    -------
    Path
        `run`. The model of the last state is in `run`/model.

    Raises
    ------
    InputError
        If recipe, dataset and options do not fit together, `run` may not be written, or a loss is not finite.
    InterruptedRunError
        If `should_stop` returned True, after the checkpoint was written.
    PeerProcessError
        If another process of this training raised one of these.
    """
    chosen, run = TrainOptions(**options), Path(run)
    trainer, data = _begin(dataset, run, chosen)
    context = trainer.context
    with context.raise_on_all_ranks():
        logbook = Logbook(run, trainer.columns, trainer.state.step) if context.is_rank_zero else None
    _log_start(trainer, run)
    try:
        _take_steps(trainer, run, logbook, chosen, progress if context.is_rank_zero else silent, should_stop)
    except (InputError, InterruptedRunError) as error:
        if context.is_rank_zero:
            raise
        raise PeerProcessError(str(error)) from None  # all processes raise it at the same step
    finally:
        if logbook is not None:
            logbook.close()
    with context.raise_on_all_ranks():
        if context.is_rank_zero:
            export_model(run, run / "model", dataset=data, overwrite=True)
            logger.info("%s: model written at step %d", run / "model", trainer.state.step)
    return run


train = train_model


def _begin(dataset: PairSource, run: Path, options: TrainOptions) -> tuple[Trainer, LoadedDataset]:
    """Load recipe and dataset, create the folder of the run, and return a trainer in the state of the run."""
    recipe = options.recipe if isinstance(options.recipe, Recipe) else load_recipe(options.recipe)
    context = DistributedContext(options.device)
    with context.raise_on_all_ranks():
        context.check_batch(recipe.batch, recipe.accumulate)
        data = LoadedDataset.open(dataset)
        if options.resume and began_without_kernels(run):
            recipe = recipe.model_copy(update={"kernels": "plain"})
        if context.is_rank_zero:
            _prepare_folder(run, data, recipe, options)
            warn_about_contrast(recipe, data, options.fold)
    trainer = Trainer(recipe, data, options.fold, options.seed, context)
    with context.raise_on_all_ranks():
        if options.resume:
            load_last(run, trainer.state)
            trainer.apply_affines()
    return trainer, data


def _prepare_folder(run: Path, data: LoadedDataset, recipe: Recipe, options: TrainOptions) -> None:
    description = RunDescription(
        fold=options.fold,
        seed=options.seed,
        data=data.fingerprint(options.fold),
        recipe=recipe.model_dump(mode="json"),
    )
    dataset = None if data.in_memory else data.path
    if options.resume:
        resume_run(run, description, dataset)
    else:
        create_run(run, description, dataset, overwrite=options.overwrite)


def _log_start(trainer: Trainer, run: Path) -> None:
    recipe, state, context = trainer.recipe, trainer.state, trainer.context
    kernels = recipe.kernels if trainer.fabric.device.type == "cpu" and not recipe.compile else "torch"
    logger.info(
        "%s: recipe %s on %s, precision %s, kernels %s, process %d of %d",
        run, recipe.name, trainer.fabric.device, recipe.precision, kernels, context.rank + 1, context.size,
    )  # fmt: skip
    if state.step:
        logger.info("%s: resumed at step %d, after %.0f s of training", run, state.step, state.seconds)


def _total_steps(trainer: Trainer, max_steps: int | None) -> int:
    return min(trainer.steps_per_epoch * trainer.recipe.epochs, max_steps or 10**12)


def _take_steps(
    trainer: Trainer,
    run: Path,
    logbook: Logbook | None,
    options: TrainOptions,
    progress: Progress,
    should_stop: ShouldStop,
) -> None:
    """Take steps until the maximum number or time is reached, or a stop is requested; then write `last`.

    Only a process with a `logbook` writes. All processes decide together whether to take another step.
    """
    state, context, clock = trainer.state, trainer.context, options.clock
    total, max_seconds = _total_steps(trainer, options.max_steps), options.max_seconds
    started, saved = clock() - state.seconds, time.monotonic()
    progress("training", state.step, total)
    while state.step < total and (max_seconds is None or state.seconds < max_seconds):
        values = trainer.take_step()
        state.seconds = clock() - started
        epoch, step_of_epoch = divmod(state.step, trainer.steps_per_epoch)
        with context.raise_on_all_ranks():
            if step_of_epoch == 0:
                values |= trainer.end_epoch(run)
            if logbook is not None and (step_of_epoch == 0 or state.step % LOG_EVERY_STEPS == 0):
                logbook.write(state.step, epoch, state.seconds, values)
            if logbook is not None and time.monotonic() - saved > CHECKPOINT_EVERY_S:
                _save(run, trainer)
                saved = time.monotonic()
            progress("training", state.step, total)
        state.seconds, stop = context.sync_stop(state.seconds, stop=should_stop())
        if stop:
            with context.raise_on_all_ranks():
                if logbook is not None:
                    _save(run, trainer)
            raise InterruptedRunError(f"{run}: stopped at step {state.step} of {total}; set `resume=True` to continue")
    with context.raise_on_all_ranks():
        if logbook is not None:
            trainer.write_sample(run)
            _save(run, trainer)


def _save(run: Path, trainer: Trainer) -> None:
    save_last(run, trainer.state)
    logger.info("%s: checkpoint at step %d", run, trainer.state.step)


def plan_training(
    dataset: PairSource,
    *,
    recipe: RecipeSource = "paired-cyclegan-cpu",
    fold: int | None = 0,
    seed: int = 0,
    device: str = "auto",
    max_steps: int | None = None,
) -> list[str]:
    """Return a summary of a training, one line per fact: pairs, parameters, steps, and the time from timed steps.

    The parameters are those of `train_model`.
    """
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    data = LoadedDataset.open(dataset)
    trainer = Trainer(chosen, data, fold, seed, device)
    split = data.split(fold)
    total = _total_steps(trainer, max_steps)
    seconds = float("inf")
    for _ in range(4):  # the first steps select kernels
        began = time.monotonic()
        trainer.take_step()
        seconds = min(seconds, time.monotonic() - began)
    parameters = sum(map(count_parameters, named_networks(trainer.state.networks).values()))
    size = trainer.context.size
    together = f", the first of {size} processes with {chosen.batch // size} patches each" if size > 1 else ""
    pairs = f"{len(split.train)} for training, {len(split.validation)} for validation, {len(split.test)} held out"
    return [
        f"pairs:      {pairs}",
        f"recipe:     {chosen.name}: {', '.join(f'{name} {weight:g}' for name, weight in chosen.active.items())}",
        f"networks:   {parameters / 1e6:.2f} million parameters; `last` takes at least {parameters * 12 / 1e6:.0f} MB",
        f"device:     {trainer.fabric.device}{together}",
        f"steps:      {total} of {chosen.batch} patches of {chosen.patch_px} px; {trainer.steps_per_epoch} per epoch",
        f"time:       about {seconds * total / 60:.0f} min at {seconds:.2f} s per step (best of four timed steps)",
    ]
