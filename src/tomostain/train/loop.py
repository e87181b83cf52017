"""Training: take steps, keep the books, stop cleanly, go on to the same bits."""

import hashlib
import shutil
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tomostain import __version__
from tomostain.config import read_yaml
from tomostain.dataset.dataset import Dataset, load_dataset
from tomostain.dataset.pair import Pair
from tomostain.errors import InputError, InterruptedRunError, OutOfDistributionWarning, PeerProcessError
from tomostain.imaging.network_range import CT_WINDOW
from tomostain.interrupts import listen_for_interrupt
from tomostain.io.atomic import refuse_existing, write_text
from tomostain.networks.build import count_parameters
from tomostain.progress import Progress, silent
from tomostain.train.checkpoint import LAST, load_last, named_networks, save_last
from tomostain.train.distributed import Team
from tomostain.train.export import export_model
from tomostain.train.logbook import Logbook
from tomostain.train.objective import TERMS
from tomostain.train.recipes import Recipe, load_recipe
from tomostain.train.trainer import Trainer

LOG_EVERY_STEPS = 10
CHECKPOINT_EVERY_S = 60.0


def train(
    dataset: Path,
    run: Path,
    *,
    recipe: str | Path | Recipe = "paired-cyclegan-cpu",
    fold: int | None = 0,
    seed: int = 0,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    max_steps: int | None = None,
    max_seconds: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    progress: Progress = silent,
) -> Path:
    """Train the networks of a recipe on a dataset (paper section 2.6.3).

    Started by torchrun or srun, the processes train one model together: the recipe's batch is divided among them, and
    the losses are those of one process but for rounding. Only the first one writes, and tells of progress.

    Parameters
    ----------
    dataset, run : Path
        The dataset; the folder that gets recipe, metrics, samples, checkpoints and the model.
    recipe : str, Path or Recipe
        A name, a YAML file or a recipe.
    fold : int or None
        Which fold validates; None: all pairs but the test set train.
    seed : int
        The same seed gives the same bits on one machine.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    resume : bool
        Go on where `run` stopped, to the same bits as if it had not.
    overwrite : bool
        Begin anew in a folder that holds a run.
    max_steps : int, optional
        Stop after so many steps in all; otherwise after the recipe's epochs.
    max_seconds : float, optional
        Stop after so much training time in all.
    clock : function
        Tells that time, s. `time.process_time` counts what the processor spends on this training alone, so that other
        work on the machine does not shorten it.
    progress : Progress
        Told of every step.

    Returns
    -------
    Path
        `run`; the model of the last state is in `run`/model.

    Raises
    ------
    InputError
        If recipe, dataset and options do not fit together, `run` may not be written, or the loss is not finite.
    InterruptedRunError
        After Ctrl-C, when `last` is written.
    PeerProcessError
        If another process of this training raises one of these.
    """
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    team, run = Team(device), Path(run)
    with team.agree():
        team.check_batch(chosen.batch, chosen.accumulate)
        data = load_dataset(dataset)
        if resume and (run / LAST).is_file() and "kernels" not in read_yaml(run / "run.yaml").get("recipe", {}):
            chosen = chosen.model_copy(update={"kernels": "plain"})  # begun when there were no others
        if team.leads:
            made_of = {"data": _fingerprint(data, fold), "recipe": chosen.model_dump(mode="json")}
            _claim(run, {"fold": fold, "seed": seed, **made_of}, data, resume, overwrite)
            _warn_of_contrast(chosen, data, fold)
    trainer = Trainer(chosen, data, fold, seed, team)
    with team.agree():
        if resume:
            load_last(run, trainer.state)
            trainer.lay_pairs()
        book = Logbook(run, trainer.columns, trainer.state.step) if team.leads else None
    total = min(trainer.steps_per_epoch * chosen.epochs, max_steps or 10**12)
    try:
        _go_on(trainer, run, book, total, max_seconds, clock, progress if team.leads else silent)
    except (InputError, InterruptedRunError) as error:
        if team.leads:
            raise
        raise PeerProcessError(str(error)) from None  # all met it at the same step
    finally:
        if book is not None:
            book.close()
    with team.agree():
        if team.leads:
            export_model(run, run / "model", overwrite=True)
    return run


def _go_on(
    trainer: "Trainer",
    run: Path,
    book: Logbook | None,
    total: int,
    max_seconds: float | None,
    clock: Callable[[], float],
    progress: Progress,
) -> None:
    """Take steps until `total`, the time or Ctrl-C says stop; `last` is written whatever the reason.

    Only a process with a `book` writes. Whether one more step is taken, all processes decide alike.
    """
    state, team = trainer.state, trainer.team
    began, saved = clock() - state.seconds, time.monotonic()
    progress("training", state.step, total)
    with listen_for_interrupt() as stop_asked:
        while state.step < total and (max_seconds is None or state.seconds < max_seconds):
            values = trainer.take_step()
            state.seconds = clock() - began
            epoch, within = divmod(state.step, trainer.steps_per_epoch)
            with team.agree():
                if within == 0:
                    values |= trainer.end_epoch(run)
                if book is not None and (within == 0 or state.step % LOG_EVERY_STEPS == 0):
                    book.write(state.step, epoch, state.seconds, values)
                if book is not None and time.monotonic() - saved > CHECKPOINT_EVERY_S:
                    save_last(run, state)
                    saved = time.monotonic()
                progress("training", state.step, total)
            state.seconds, stop = team.hear(state.seconds, stop_asked.is_set())
            if stop:
                with team.agree():
                    if book is not None:
                        save_last(run, state)
                raise InterruptedRunError(f"{run}: stopped at step {state.step} of {total}; go on with --resume")
    with team.agree():
        if book is not None:
            trainer.write_sample(run)
            save_last(run, state)


def contrast(pairs: Sequence[Pair]) -> float:
    """Return the correlation of µCT and histology's grey values inside the masks, -1 to 1; NaN where one is constant.

    Below 0 what is bright in one is dark in the other, as bone usually is.
    """
    ct = np.concatenate([np.minimum(pair.ct[pair.mask], CT_WINDOW[1]).astype(np.float64) for pair in pairs])
    grey = np.concatenate([pair.histology[pair.mask].mean(axis=1, dtype=np.float64) for pair in pairs])
    return float(np.corrcoef(ct, grey)[0, 1]) if ct.size > 1 and np.ptp(ct) and np.ptp(grey) else float("nan")


def _warn_of_contrast(recipe: Recipe, data: Dataset, fold: int | None) -> None:
    """Warn where nothing but the adversary tells which colour belongs to which grey value, and contrast is inverted."""
    if any(TERMS[term].paired for term in recipe.active):
        return
    found = contrast([data.load(pair_id) for pair_id in data.split(fold).train])
    if found > 0 if recipe.inverted_ct else found < 0:
        way_out = "inverted_ct: false" if recipe.inverted_ct else "inverted_ct: true, as cyclegan-inverted"
        warnings.warn(
            f"{data.path}: µCT, as recipe '{recipe.name}' sees it, and histology are of opposite contrast (correlation "
            f"{found:.2f} before inversion): without a paired term the networks may keep bright bright and dark dark. "
            f"Take {way_out}, or a paired recipe",
            OutOfDistributionWarning,
            stacklevel=3,
        )


def _fingerprint(data: Dataset, fold: int | None) -> str:
    """Return a sha256 over the images that train and validate: a resumed run must find the same ones."""
    split = data.split(fold)
    digest = hashlib.sha256()
    for pair_id in (*split.train, *split.validation):
        digest.update(pair_id.encode())
        for path in sorted(data.folder(pair_id).glob("*.tif")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _claim(run: Path, facts: dict[str, Any], data: Dataset, resume: bool, overwrite: bool) -> None:
    """Write what the run is made of, or make sure that the run to be resumed is made of the same."""
    note = run / "run.yaml"
    if resume:
        if not (run / LAST).is_file():
            raise InputError(f"{run}: nothing to resume (it has no '{LAST}'); train without --resume")
        before = read_yaml(note)
        if isinstance(before.get("recipe"), dict):
            # Keys that did not exist when it was begun have their defaults.
            before["recipe"] = Recipe.from_dict({"kernels": "plain"} | before["recipe"], str(note)).model_dump(
                mode="json"
            )
        for key, value in facts.items():
            if before.get(key) != value:
                raise InputError(f"{run}: was begun with another {key}; resume with the same, or train in a new folder")
    elif note.is_file():
        refuse_existing(run, overwrite, what="run")
        _clear(run)
    else:
        # Whatever else is there is not ours to replace, even with --overwrite.
        if run.exists() and (not run.is_dir() or any(run.iterdir())):
            raise InputError(f"{run}: exists and is no run; give another name")
    facts = {"dataset": str(data.path.resolve()), **facts, "tomostain_version": __version__}
    write_text(run / "recipe.yaml", yaml.safe_dump(facts["recipe"], sort_keys=False, allow_unicode=True))
    write_text(note, yaml.safe_dump(facts, sort_keys=False, allow_unicode=True))


def _clear(run: Path) -> None:
    """Remove what an earlier run left, and nothing else: its model would pass for the new one's."""
    for folder in ("model", "samples"):
        shutil.rmtree(run / folder, ignore_errors=True)
    for old in [run / LAST, run / "metrics.csv", *run.glob("best-*"), *run.glob("events.*")]:
        old.unlink(missing_ok=True)


def plan_training(
    dataset: Path,
    *,
    recipe: str | Path | Recipe = "paired-cyclegan-cpu",
    fold: int | None = 0,
    seed: int = 0,
    device: str = "auto",
    max_steps: int | None = None,
) -> list[str]:
    """Return what training would take, a line each: pairs, parameters, steps, and the time from two timed steps."""
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    data = load_dataset(dataset)
    trainer = Trainer(chosen, data, fold, seed, device)
    split = data.split(fold)
    total = min(trainer.steps_per_epoch * chosen.epochs, max_steps or 10**12)
    seconds = float("inf")
    for _ in range(4):  # the first ones find out which kernels suit
        began = time.monotonic()
        trainer.take_step()
        seconds = min(seconds, time.monotonic() - began)
    parameters = sum(map(count_parameters, named_networks(trainer.state.networks).values()))
    size = trainer.team.size
    together = f", the first of {size} processes with {chosen.batch // size} patches each" if size > 1 else ""
    pairs = f"{len(split.train)} for training, {len(split.validation)} for validation, {len(split.test)} kept out"
    return [
        f"pairs:      {pairs}",
        f"recipe:     {chosen.name}: {', '.join(f'{name} {weight:g}' for name, weight in chosen.active.items())}",
        f"networks:   {parameters / 1e6:.2f} million parameters; `last` takes {parameters * 12 / 1e6:.0f} MB or more",
        f"device:     {trainer.fabric.device}{together}",
        f"steps:      {total} of {chosen.batch} patches of {chosen.patch_px} px; {trainer.steps_per_epoch} an epoch",
        f"time:       about {seconds * total / 60:.0f} min at {seconds:.2f} s a step (best of four timed)",
    ]
