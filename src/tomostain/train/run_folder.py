"""The folder of a run: its description, and whether it may be written or resumed."""

import logging
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypedDict

import yaml

from tomostain import __version__
from tomostain.config import read_yaml
from tomostain.errors import InputError
from tomostain.io.atomic import make_parent, write_text
from tomostain.io.locks import lock
from tomostain.io.model_spec import InitialModelRecord
from tomostain.io.output_folder import output_folder
from tomostain.train.checkpoint import LAST
from tomostain.train.logbook import METRICS
from tomostain.train.recipe import Recipe
from tomostain.train.terms import RENAMED

logger = logging.getLogger(__name__)

DESCRIPTION, RESOLVED, SAMPLES, MODEL, LOCK = "run.yaml", "recipe.yaml", "samples", "model", ".lock"
REJECTED = "rejected_pairs"
"""Key of the description: the pairs that are left out at the last checkpoint, with their correlations."""
# Names under which `tomostain.io.atomic` writes the files of a run.
_LEFTOVER = re.compile(
    r"\.(tomostain-)?[0-9a-f]{8}-(run\.yaml|recipe\.yaml|metrics\.csv|last|best-.*|model|step-\d+\.png)(\.lock|\.former)?"
)


class RunDescription(TypedDict):
    """What decides the bits of a run. A run is resumed only if all of it is the same."""

    fold: int | None
    seed: int
    data: str
    recipe: dict[str, Any]
    initial_model: dict[str, Any] | None


@contextmanager
def locked_run(run: Path) -> Iterator[None]:
    """Hold the folder of a run, which is created, for the length of a training. An empty folder is removed at the end.

    The operating system releases the lock of a process that was killed.

    Raises
    ------
    InputError
        If another process trains in this folder.
    """
    make_parent(run)
    try:
        run.mkdir(exist_ok=True)
    except FileExistsError:
        raise InputError(f"{run}: is a file; give another name for the run") from None
    try:
        with lock(run / LOCK) as is_locked:
            if not is_locked:
                raise InputError(
                    f"{run}: another process trains in this folder; wait until it ends, or give another folder"
                )
            yield
    finally:
        with suppress(OSError):
            run.rmdir()  # it is empty if nothing was written


def check_run(run: Path, *, resume: bool, overwrite: bool) -> None:
    """Check that a training may write to a folder, before anything is read or locked.

    Raises
    ------
    InputError
        If the folder holds a run that may not be replaced or resumed, or something else.
    """
    if _is_unfinished(run):
        return
    if resume and (run / DESCRIPTION).is_file() and not (run / LAST).is_file() and (run / MODEL).exists():
        raise InputError(
            f"{run}: has a model but no '{LAST}' to resume from; give another folder, or `overwrite=True`",
            parameter="resume",
        )
    output_folder(run, "run", DESCRIPTION, overwrite=overwrite, resume=resume)


def begin_run(run: Path, description: RunDescription, dataset: Path | None, *, resume: bool, overwrite: bool) -> None:
    """Write the description of a run that begins, or check that of a run that is resumed. The run is locked.

    A run that was stopped before its first checkpoint begins again.

    Parameters
    ----------
    run : Path
    description : RunDescription
    dataset : Path or None
        Folder of the dataset; None if the pairs were given as arrays.
    resume : bool
        Continue from `last`, if there is one.
    overwrite : bool
        Remove the files of an existing run.

    Raises
    ------
    InputError
        As `check_run`; or if the resumed run has another fold, seed or recipe, or has a checkpoint and other data.
    """
    check_run(run, resume=resume, overwrite=overwrite)
    _remove_leftovers(run)
    if resume and (run / DESCRIPTION).is_file():
        # Nothing was learned before the first checkpoint; the data may have been incomplete when the run began.
        is_begun = (run / LAST).is_file() or any(run.glob("best-*"))
        _check_description(run, description, ignored=() if is_begun else ("data",))
    if resume and (run / LAST).is_file():
        for older, name in RENAMED.items():
            if (run / f"best-{older}").is_file():
                (run / f"best-{older}").replace(run / f"best-{name}")
    else:
        if not overwrite:
            _keep_other_recipe(run, description)
            if any(run.glob("best-*")):
                _check_description(run, description)  # the same run writes the same files again
        if (run / DESCRIPTION).is_file():
            logger.info("%s: has no checkpoint; the run begins again", run)
        _remove_files(run)
    _write_description(run, description, dataset)


def _is_unfinished(run: Path) -> bool:
    """Return whether a folder holds only what a run writes before its first checkpoint."""
    return run.is_dir() and all(
        path.name in (DESCRIPTION, RESOLVED, METRICS, SAMPLES, LOCK)
        or path.name.startswith(("events.", "best-"))
        or _LEFTOVER.fullmatch(path.name)
        for path in run.iterdir()
    )


def _keep_other_recipe(run: Path, description: RunDescription) -> None:
    """Raise if a folder without a run holds a recipe that a person may have put there."""
    path = run / RESOLVED
    if (run / DESCRIPTION).is_file() or not path.is_file():
        return
    if path.read_text(encoding="utf-8", errors="replace") != _as_yaml(description["recipe"]):
        raise InputError(
            f"{path}: is not the recipe of this training, and would be replaced; give another folder, or "
            "`overwrite=True`"
        )


def _check_description(run: Path, description: RunDescription, ignored: Collection[str] = ()) -> None:
    recorded = read_yaml(run / DESCRIPTION)
    if (recipe := recorded_recipe(run)) is not None:
        recorded["recipe"] = recipe.model_dump(mode="json")
    for key, value in description.items():
        before = recorded.get(key)
        if key not in ignored and _deciding(before) != _deciding(value):
            if (
                isinstance(before, dict)
                and isinstance(value, dict)
                and _differing_keys(before, value) == ["deterministic"]
            ):
                stated = before["deterministic"]
                raise InputError(
                    f"{run}: the run began with `deterministic={stated}`; resume it with the same, or train in a new "
                    "folder",
                    parameter="deterministic",
                )
            other = "other data" if key == "data" else f"another {key.replace('_', ' ')}"
            raise InputError(
                f"{run}: the run began with {other}{_difference(before, value)}; resume it "
                f"with the same{_recorded(key)}, or train in a new folder"
            )


def _difference(before: object, value: object) -> str:
    """Return the first difference between a recorded value and another one, in words.

    Examples
    --------
    >>> _difference(3, 5)
    ' (3 in the run, now 5)'
    >>> _difference({"name": "a", "batch": 1}, {"name": "b", "batch": 2})
    " ('a' in the run, now 'b': batch is 1 in the run, now 2)"
    """
    if not (isinstance(before, dict) and isinstance(value, dict)):
        return f" ({_name(before)} in the run, now {_name(value)})"
    differing = _differing_keys(before, value)
    names = f"{_name(before)} in the run, now {_name(value)}" if _name(before) != _name(value) else _name(before)
    if not differing or "hash" in before:
        return f" ({names})"
    key = differing[0]
    return f" ({names}: {key} is {_short(before.get(key))} in the run, now {_short(value.get(key))})"


def _differing_keys(before: Mapping[str, object], value: Mapping[str, object]) -> list[str]:
    keys = [key for key in {**before, **value} if key not in ("name", "description")]
    return [key for key in keys if before.get(key) != value.get(key)]


def _name(value: object) -> str:
    """Return a recorded value, of a recipe or an initial model its name, of a long hash its beginning."""
    if isinstance(value, dict):
        return repr(value.get("name"))
    return f"{value[:12]}…" if isinstance(value, str) and len(value) == 64 else _short(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _recorded(key: str) -> str:
    """Return the advice to use a value that the run records."""
    parameter = {"recipe": "recipe", "initial_model": "init"}.get(key)
    return f" (leave out `{parameter}` to use the recorded one)" if parameter else ""


class RecordedOptions(TypedDict, total=False):
    """Options of an existing run that a resumed training takes unless they are given."""

    fold: int | None
    seed: int


def recorded_options(run: Path) -> RecordedOptions:
    """Return fold and seed of an existing run; empty if there is none.

    Raises
    ------
    InputError
        If its description is broken.
    """
    if not (run / DESCRIPTION).is_file():
        return {}
    values = read_yaml(run / DESCRIPTION)
    fold, seed = values.get("fold"), values.get("seed")
    if not isinstance(seed, int) or not isinstance(fold, int | None):
        raise InputError(f"{run / DESCRIPTION}: fold {fold!r} and seed {seed!r} are not numbers; train in a new folder")
    return {"fold": fold, "seed": seed}


LAUNCHING = ("auto", "step-graph", False)
"""Values of the recipes' key `compile` that only decide how kernels are launched; the results differ by rounding."""


def recorded_recipe(run: Path) -> Recipe | None:
    """Return the recipe of an existing run, or None. Keys that did not exist when it began have their defaults.

    The device of the resumed training decides how kernels are launched.
    """
    recipe = read_yaml(run / DESCRIPTION).get("recipe") if (run / DESCRIPTION).is_file() else None
    if not isinstance(recipe, dict):
        return None
    # What older versions did before these keys existed.
    older = {"kernels": "plain", "registration_share": 1.0, "precision": "32-true", "compile": False}
    values = older | recipe
    launching = "auto" if values["compile"] == "step-graph" else values["compile"]
    return Recipe.from_dict(values | {"compile": launching}, str(run / DESCRIPTION))


def recorded_initial_model(run: Path) -> InitialModelRecord | None:
    """Return the record of the model whose weights an existing run began with, or None."""
    record = read_yaml(run / DESCRIPTION).get("initial_model") if (run / DESCRIPTION).is_file() else None
    return None if record is None else InitialModelRecord.from_dict(record, str(run / DESCRIPTION))


def _deciding(value: object) -> object:
    """Return what decides the bits of a run: a recipe without its description, an initial model by its hash."""
    if not isinstance(value, dict):
        return value
    if "hash" in value:
        return value["hash"]
    ignored = {"description"} | ({"compile"} if value.get("compile") in LAUNCHING else set())
    return {key: item for key, item in value.items() if key not in ignored}


def began_without_kernels(run: Path) -> bool:
    """Return whether an existing run is from before the recipes' key `kernels`. It has plain kernels."""
    if not (run / LAST).is_file():
        return False
    recipe = read_yaml(run / DESCRIPTION).get("recipe")
    return not isinstance(recipe, dict) or "kernels" not in recipe


def _write_description(run: Path, description: RunDescription, dataset: Path | None) -> None:
    values: dict[str, Any] = {"dataset": None if dataset is None else str(dataset.resolve())}
    values |= {**description, "tomostain_version": __version__}
    # First the file by which the folder is recognised as a run.
    write_text(run / DESCRIPTION, _as_yaml(values))
    write_text(run / RESOLVED, _as_yaml(values["recipe"]))


def record_rejected_pairs(run: Path, rejected: Mapping[str, float]) -> None:
    """Write the rejected pairs and their correlations into the description of a run, if they have changed."""
    values = read_yaml(run / DESCRIPTION)
    if values.get(REJECTED, {}) != rejected:
        values.pop(REJECTED, None)
        write_text(run / DESCRIPTION, _as_yaml(values | ({REJECTED: dict(rejected)} if rejected else {})))


def _as_yaml(values: dict[str, Any]) -> str:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _remove_files(run: Path) -> None:
    """Remove the files of an earlier run, and nothing else. Its model could be taken for that of the new run."""
    for folder in (MODEL, SAMPLES):
        shutil.rmtree(run / folder, ignore_errors=True)
    for path in [run / LAST, run / METRICS, *run.glob("best-*"), *run.glob("events.*")]:
        path.unlink(missing_ok=True)


def _remove_leftovers(run: Path) -> None:
    """Remove what a killed process was writing."""
    for path in [*run.iterdir(), *(run / SAMPLES).glob("*")]:
        if _LEFTOVER.fullmatch(path.name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
