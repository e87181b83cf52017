"""The folder of a run: its description, and whether it may be written or resumed."""

import shutil
from pathlib import Path
from typing import Any, TypedDict

import yaml

from tomostain import __version__
from tomostain.config import read_yaml
from tomostain.errors import InputError
from tomostain.io.atomic import write_text
from tomostain.io.model_spec import InitialModelRecord
from tomostain.io.output_folder import output_folder
from tomostain.train.checkpoint import LAST
from tomostain.train.logbook import METRICS
from tomostain.train.recipes import Recipe
from tomostain.train.terms import RENAMED

DESCRIPTION = "run.yaml"


class RunDescription(TypedDict):
    """What decides the bits of a run. A run is resumed only if all of it is the same."""

    fold: int | None
    seed: int
    data: str
    recipe: dict[str, Any]
    initial_model: dict[str, Any] | None


def create_run(run: Path, description: RunDescription, dataset: Path | None, *, overwrite: bool) -> None:
    """Write the description of a new run.

    Parameters
    ----------
    run : Path
    description : RunDescription
    dataset : Path or None
        Folder of the dataset; None if the pairs were given as arrays.
    overwrite : bool
        Remove the files of an existing run.

    Raises
    ------
    InputError
        If the folder holds a run that may not be replaced, or something else.
    """
    if output_folder(run, "run", DESCRIPTION, overwrite=overwrite):
        _remove_files(run)
    _write_description(run, description, dataset)


def resume_run(run: Path, description: RunDescription, dataset: Path | None) -> None:
    """Check that a run has this description, and bring its files to the current names of terms.

    Raises
    ------
    InputError
        If there is no run to resume, or it has another fold, seed, recipe or data.
    """
    if not (run / LAST).is_file():
        raise InputError(f"{run}: nothing to resume (it has no '{LAST}'); set `resume=False`", parameter="resume")
    recorded = read_yaml(run / DESCRIPTION)
    if (recipe := recorded_recipe(run)) is not None:
        recorded["recipe"] = recipe.model_dump(mode="json")
    for key, value in description.items():
        if _deciding(recorded.get(key)) != _deciding(value):
            name = key.replace("_", " ")
            raise InputError(
                f"{run}: the run began with another {name}; resume it with the same{_recorded(key)}, or train in a new "
                "folder"
            )
    for older, name in RENAMED.items():
        if (run / f"best-{older}").is_file():
            (run / f"best-{older}").replace(run / f"best-{name}")
    _write_description(run, description, dataset)


def _recorded(key: str) -> str:
    """Return the advice to use a value that the run records."""
    parameter = {"recipe": "recipe", "initial_model": "init"}.get(key)
    return f" (leave out `{parameter}` to use the recorded one)" if parameter else ""


def recorded_recipe(run: Path) -> Recipe | None:
    """Return the recipe of an existing run, or None. Keys that did not exist when it began have their defaults."""
    recipe = read_yaml(run / DESCRIPTION).get("recipe") if (run / DESCRIPTION).is_file() else None
    if not isinstance(recipe, dict):
        return None
    return Recipe.from_dict({"kernels": "plain"} | recipe, str(run / DESCRIPTION))


def recorded_initial_model(run: Path) -> InitialModelRecord | None:
    """Return the record of the model whose weights an existing run began with, or None."""
    record = read_yaml(run / DESCRIPTION).get("initial_model") if (run / DESCRIPTION).is_file() else None
    return None if record is None else InitialModelRecord.from_dict(record, str(run / DESCRIPTION))


def _deciding(value: object) -> object:
    """Return what decides the bits of a run: a recipe without its description, an initial model by its hash."""
    if not isinstance(value, dict):
        return value
    return value["hash"] if "hash" in value else {key: item for key, item in value.items() if key != "description"}


def began_without_kernels(run: Path) -> bool:
    """Return whether an existing run is from before the recipes' key `kernels`. It has plain kernels."""
    return (run / LAST).is_file() and "kernels" not in read_yaml(run / DESCRIPTION).get("recipe", {})


def _write_description(run: Path, description: RunDescription, dataset: Path | None) -> None:
    values: dict[str, Any] = {"dataset": None if dataset is None else str(dataset.resolve())}
    values |= {**description, "tomostain_version": __version__}
    write_text(run / "recipe.yaml", yaml.safe_dump(values["recipe"], sort_keys=False, allow_unicode=True))
    write_text(run / DESCRIPTION, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def _remove_files(run: Path) -> None:
    """Remove the files of an earlier run, and nothing else. Its model could be taken for that of the new run."""
    for folder in ("model", "samples"):
        shutil.rmtree(run / folder, ignore_errors=True)
    for path in [run / LAST, run / METRICS, *run.glob("best-*"), *run.glob("events.*")]:
        path.unlink(missing_ok=True)
