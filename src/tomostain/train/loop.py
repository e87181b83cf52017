"""The training loop: steps, checkpoints and metrics. A training can be stopped and resumed to the same bits."""

import logging
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Unpack, overload

from tomostain.dataset.loaded import PairSource
from tomostain.errors import InputError, InterruptedRunError, PeerProcessError, TrainingLimitWarning, warn_user
from tomostain.io.atomic import temporary_folder
from tomostain.io.output_folder import check_sources_outside
from tomostain.paths import StrPath
from tomostain.progress import Progress, ShouldStop, never, silent
from tomostain.train.begin import TrainKeywords, TrainOptions, begin
from tomostain.train.checkpoint import save_last
from tomostain.train.contrast import contrast
from tomostain.train.distributed import DistributedContext
from tomostain.train.export import ModelLabels, export_model
from tomostain.train.failures import explain_failures
from tomostain.train.limits import NO_LIMIT, Limits, Pace
from tomostain.train.logbook import Logbook
from tomostain.train.run_folder import check_run, locked_run, record_rejected_pairs
from tomostain.train.step_losses import StepLosses
from tomostain.train.trained_model import TrainedModel
from tomostain.train.trainer import READ_EVERY_STEPS, Trainer

__all__ = ["TrainOptions", "contrast", "total_steps", "train", "train_model"]

logger = logging.getLogger(__name__)

LOG_EVERY_STEPS = READ_EVERY_STEPS
CHECKPOINT_EVERY_S = 60.0


@overload
def train_model(
    dataset: PairSource,
    run: None = None,
    *,
    progress: Progress = ...,
    should_stop: ShouldStop = ...,
    **options: Unpack[TrainKeywords],
) -> TrainedModel: ...
@overload
def train_model(
    dataset: PairSource,
    run: StrPath,
    *,
    progress: Progress = ...,
    should_stop: ShouldStop = ...,
    **options: Unpack[TrainKeywords],
) -> Path: ...
def train_model(
    dataset: PairSource,
    run: StrPath | None = None,
    *,
    progress: Progress = silent,
    should_stop: ShouldStop = never,
    **options: Unpack[TrainKeywords],
) -> Path | TrainedModel:
    """Train the networks of a recipe on a dataset (paper section 2.6.3).

    Processes that are started by torchrun or srun train one model together: the batch of the recipe is divided among
    them, and the losses are those of a single process up to rounding. Only rank zero writes files and reports progress.

    Torch's global random state, the cuDNN switches and the signal handlers of the process stay as they are.

    Parameters
    ----------
    dataset : str, path-like, Dataset or sequence of Pair
        The folder of a dataset, a loaded dataset, or pairs as arrays. Of a sequence all pairs train; use
        `tomostain.train.LoadedDataset.from_pairs` for pairs with folds. Each pair is read from disk once.
    run : str or path-like, optional
        The folder that gets the recipe, metrics, sample images, checkpoints and the model. None: the model is returned
        in memory. The files of the run are then in the temporary folder of the system until the function returns, and
        a training that is stopped leaves nothing.
    progress : Progress
        Receives a report after every step; of several processes with GPUs every tenth step and after each epoch.
    should_stop : function
        Asked whenever `progress` gets a report. If it returns True, a checkpoint is written and the training stops.
    recipe : str, path-like, mapping or Recipe
        A name, a YAML file, its content as a mapping (`tomostain.load_recipe`), or a recipe. Default: that of the
        resumed run, of the initial model, or the best one for the device (`tomostain.train.default_recipe`).
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
        Continue an interrupted run, to the same bits as without the interruption. A run without a checkpoint begins
        again, and one that does not exist begins.
    overwrite : bool
        Replace an existing run.
    max_steps : int, optional
        Maximum number of steps in total.
    max_seconds, max_cpu_seconds : float, optional
        Maximum training time, and maximum processor time of all threads of a process, in total, s. The first limit that
        is reached ends the training. Default: no limit; then the epochs of the recipe end it.
    deterministic : bool
        Set the key `deterministic` of the recipe: the same bits on a GPU, too.
    clock : function
        Returns the time for `max_seconds`, s. Default: `time.monotonic`. With `time.process_time` other work on the
        machine does not shorten the training.

    Returns
    -------
    Path or TrainedModel
        `run`, with the model of the last state in `run`/model. Without `run`, this model and the losses
        (`tomostain.TrainedModel`).

    Raises
    ------
    InputError
        If recipe, initial model, dataset and options do not fit together, `run` may not be written, another process
        trains in it, disk or memory do not suffice, or a loss is not finite. Also if `resume` is set or several
        processes train, but `run` is not given.
    InterruptedRunError
        If `should_stop` returned True, after the checkpoint was written.
    PeerProcessError
        If another process of this training raised one of these.
    """
    chosen, folder = TrainOptions.of_keywords(options), None if run is None else Path(run)
    with explain_failures(folder):
        context = DistributedContext(chosen.device)
        if folder is None:
            return _train_in_memory(dataset, chosen, context, progress, should_stop)
        _train_in_folder(dataset, folder, chosen, context, progress, should_stop)
    return folder


def _train_in_memory(
    dataset: PairSource,
    options: TrainOptions,
    context: DistributedContext,
    progress: Progress,
    should_stop: ShouldStop,
) -> TrainedModel:
    """Train in a temporary folder, and return what it holds in the end."""
    if options.resume:
        raise InputError(
            "`resume`: a training without a folder leaves nothing to continue; give `run`, the folder of the training",
            parameter="resume",
        )
    if context.size > 1:
        raise InputError("`run`: several processes that train one model need a folder; give `run`", parameter="run")
    with temporary_folder("training") as folder:
        try:
            last_row = _train_in_folder(dataset, folder / "run", options, context, progress, should_stop)
        except InterruptedRunError:
            raise InterruptedRunError(
                "the training was stopped; without `run`, the folder of the training, nothing of it is left"
            ) from None
        return TrainedModel.of_run(folder / "run", last_row)


def _train_in_folder(
    dataset: PairSource,
    run: Path,
    options: TrainOptions,
    context: DistributedContext,
    progress: Progress,
    should_stop: ShouldStop,
) -> dict[str, float]:
    """Check and lock a folder, and train in it; return the losses at the last step."""
    with ExitStack() as stack:
        with context.raise_on_all_ranks():
            # Not in the other processes: they would find the folder that rank zero has just made.
            if context.is_rank_zero:
                if isinstance(dataset, str | os.PathLike):
                    check_sources_outside(run, "run", [dataset])
                check_run(run, resume=options.resume, overwrite=options.overwrite)
                stack.enter_context(locked_run(run))
        return _train(dataset, run, options, context, progress, should_stop)


def _train(
    dataset: PairSource,
    run: Path,
    options: TrainOptions,
    context: DistributedContext,
    progress: Progress,
    should_stop: ShouldStop,
) -> dict[str, float]:
    """Train in a locked folder; return the losses at the last step."""
    trainer, data = begin(dataset, run, options, context)
    with context.raise_on_all_ranks():
        logbook = Logbook(run, trainer.columns, trainer.state.step) if context.is_rank_zero else None
    _log_start(trainer, run)
    try:
        row = _take_steps(trainer, run, logbook, options, progress if context.is_rank_zero else silent, should_stop)
    except (InputError, InterruptedRunError) as error:
        if context.is_rank_zero:
            raise
        raise PeerProcessError(str(error)) from None  # all processes raise it at the same step
    finally:
        if logbook is not None:
            logbook.close()
    with context.raise_on_all_ranks():
        if context.is_rank_zero:
            labels = ModelLabels(metrics=trainer.validate_last())
            row |= labels.metrics
            export_model(run, run / "model", dataset=data, labels=labels, overwrite=True)
            logger.info("%s: model written at step %d", run / "model", trainer.state.step)
    return row


train = train_model


def _log_start(trainer: Trainer, run: Path) -> None:
    recipe, state, context = trainer.recipe, trainer.state, trainer.context
    kernels = "torch" if recipe.compiles else recipe.kernels
    launching = "one CUDA graph per step" if recipe.step_graph else f"compile {str(recipe.compile).lower()}"
    logger.info(
        "%s: recipe %s on %s, precision %s, kernels %s, process %d of %d, %s",
        run, recipe.name, trainer.fabric.device, recipe.precision, kernels, context.rank + 1, context.size, launching,
    )  # fmt: skip
    if state.step:
        logger.info("%s: resumed at step %d, after %.0f s of training", run, state.step, state.seconds)


def total_steps(trainer: Trainer, limits: Limits) -> int:
    """Return the number of steps at which a training ends at the latest."""
    return limits.total_steps(trainer.steps_per_epoch * trainer.recipe.epochs)


def _take_steps(
    trainer: Trainer,
    run: Path,
    logbook: Logbook | None,
    options: TrainOptions,
    progress: Progress,
    should_stop: ShouldStop,
) -> dict[str, float]:
    """Take steps until a limit is reached or a stop is requested; then write `last`. Return the losses at the end.

    Only a process with a `logbook` writes. All processes decide together whether to take another step, at the steps at
    which they exchange their losses (`DistributedContext.exchange_every_steps`). Between these steps none waits for the
    others.
    """
    state, context, limits = trainer.state, trainer.context, options.limits
    total = total_steps(trainer, limits)
    pace = Pace(limits, total, state.step, state.seconds, state.cpu_seconds)
    started, cpu_started = options.clock() - state.seconds, time.process_time() - state.cpu_seconds
    saved = time.monotonic()
    losses: StepLosses | dict[str, float] = {}
    if total < NO_LIMIT:
        progress("training", state.step, total)
    if logbook is not None and state.step:
        _warn_if_nothing_is_left(run, limits.reached(total, state.step, state.seconds, state.cpu_seconds))
    while state.step < total and limits.time_left(state.seconds, state.cpu_seconds):
        losses = trainer.take_step()
        epoch, step_of_epoch = divmod(state.step, trainer.steps_per_epoch)
        if context.size > 1:
            if state.step % context.exchange_every_steps and step_of_epoch and state.step < total:
                continue
            trainer.read_losses()
        state.seconds, state.cpu_seconds = options.clock() - started, time.process_time() - cpu_started
        with context.raise_on_all_ranks():
            validation = trainer.end_epoch(run) if step_of_epoch == 0 else {}
            if logbook is not None and (step_of_epoch == 0 or state.step % LOG_EVERY_STEPS == 0):
                logbook.write(state.step, epoch, state.seconds, {**losses, **validation})
            if logbook is not None and time.monotonic() - saved > CHECKPOINT_EVERY_S:
                _save(run, trainer)
                saved = time.monotonic()
            progress("training", state.step, pace.expected_total(state.step, state.seconds, state.cpu_seconds))
        (state.seconds, state.cpu_seconds), stop = context.sync_stop(
            (state.seconds, state.cpu_seconds), stop=should_stop()
        )
        if stop:
            with context.raise_on_all_ranks():
                if logbook is not None:
                    _save(run, trainer)
            expected = pace.expected_total(state.step, state.seconds, state.cpu_seconds)
            of = "" if total == NO_LIMIT else f" of {expected}"
            raise InterruptedRunError(f"{run}: stopped at step {state.step}{of}; set `resume=True` to continue")
    with context.raise_on_all_ranks():
        if logbook is not None:
            trainer.write_sample(run)
            _save(run, trainer)
            progress("training", state.step, state.step)
    return {"step": state.step, "epoch": state.step // trainer.steps_per_epoch, "seconds": state.seconds, **losses}


def _warn_if_nothing_is_left(run: Path, reason: str) -> None:
    """Warn that a resumed training ends at once, if there is a reason."""
    if reason:
        message = f"{run}: {reason}, so there is nothing to do; limits are totals, with the time before `resume`"
        warn_user(message, TrainingLimitWarning)


def _save(run: Path, trainer: Trainer) -> None:
    trainer.read_losses()
    save_last(run, trainer.state)
    record_rejected_pairs(run, trainer.registration.rejected(trainer.state))
    logger.info("%s: checkpoint at step %d", run, trainer.state.step)
