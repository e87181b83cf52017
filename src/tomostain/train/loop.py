"""The training loop: steps, checkpoints and metrics. A training can be stopped and resumed to the same bits."""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

from tomostain.errors import InputError, InterruptedRunError, PeerProcessError
from tomostain.progress import Progress, ShouldStop, never, silent
from tomostain.train.checkpoint import load_last, save_last
from tomostain.train.contrast import contrast, warn_about_contrast
from tomostain.train.data import LoadedDataset, PairSource
from tomostain.train.default_recipe import RecipeSource, choose_recipe
from tomostain.train.distributed import DistributedContext
from tomostain.train.export import export_model
from tomostain.train.initial_model import InitialModel, InitSource
from tomostain.train.logbook import Logbook
from tomostain.train.recipes import Recipe
from tomostain.train.run_folder import (
    RunDescription,
    began_without_kernels,
    create_run,
    recorded_initial_model,
    resume_run,
)
from tomostain.train.trainer import Trainer

__all__ = ["TrainOptions", "contrast", "total_steps", "train", "train_model"]

logger = logging.getLogger(__name__)

LOG_EVERY_STEPS = 10
CHECKPOINT_EVERY_S = 60.0


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
    clock: Callable[[], float] = time.monotonic


class _Keywords(TypedDict, total=False):
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
        A name, a YAML file or a recipe. Default: that of the resumed run, of the initial model, or the best one for the
        device (`tomostain.train.default_recipe`).
    init : str, path-like or InitialModel, optional
        The model whose weights the training begins with: a model folder, a run or ``builtin:NAME``. The learning rate
        is then that of the recipe's `fine_tune`. The dataset keeps its own normalisation. Default: random weights.
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
        If recipe, initial model, dataset and options do not fit together, `run` may not be written, or a loss is not
        finite.
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
    initial = None if options.init is None else InitialModel.open(options.init)
    resumed = run if options.resume else None
    choice = choose_recipe(options.recipe, device=options.device, initial=initial, resumed=resumed)
    recipe = choice.recipe
    logger.info("recipe: %s", choice)
    if initial is not None:
        initial.check(recipe)
    context = DistributedContext(options.device)
    with context.raise_on_all_ranks():
        context.check_batch(recipe.batch, recipe.accumulate)
        data = LoadedDataset.open(dataset)
        if options.resume and began_without_kernels(run):
            recipe = recipe.model_copy(update={"kernels": "plain"})
        if context.is_rank_zero:
            _prepare_folder(run, data, recipe, options, initial)
            warn_about_contrast(recipe, data, options.fold)
            if initial is not None and not options.resume:
                initial.warn_about_voxel_size(data.voxel_um, str(data.path))
    trainer = Trainer(recipe, data, options.fold, options.seed, context)
    trainer.fine_tuning = initial is not None or (options.resume and recorded_initial_model(run) is not None)
    with context.raise_on_all_ranks():
        if options.resume:
            load_last(run, trainer.state)
            trainer.apply_affines()
        elif initial is not None:
            initial.load_into(trainer.state.networks)
    return trainer, data


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


def total_steps(trainer: Trainer, max_steps: int | None) -> int:
    """Return the number of steps at which a training ends."""
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
    total, max_seconds = total_steps(trainer, options.max_steps), options.max_seconds
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
