"""List, describe and copy the built-in models."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tomostain.config import suggest
from tomostain.errors import InputError
from tomostain.io.atomic import atomic_folder
from tomostain.io.model_spec import CARD, PICTURE, SPEC, SUMS, ModelSpec
from tomostain.io.models import CHECKED, MODEL_FOLDER, load_model
from tomostain.io.outputs import check_output
from tomostain.models import PREFIX, builtin_folder, builtin_names, find_model, is_builtin
from tomostain.paths import StrPath

_FILES = (*CHECKED, CARD, PICTURE, SUMS)


@dataclass(frozen=True)
class BuiltinModel:
    """A built-in model, as `list_models` describes it. No weights are read.

    Attributes
    ----------
    name : str
        What every function and verb takes as a model: ``builtin:NAME``.
    folder : Path
    spec : ModelSpec
        Its ``model.yaml``.
    size_bytes : int
        Size of its files.
    """

    name: str
    folder: Path
    spec: ModelSpec
    size_bytes: int

    def __repr__(self) -> str:
        return f"BuiltinModel({self.describe()[0]})"

    def describe(self) -> list[str]:
        """Return stain, voxel size, recipe, steps and size in one line, and the summary in a second one."""
        spec = self.spec
        facts = f"{spec.stain}, {spec.voxel_um:g} µm, {spec.recipe}, {spec.steps} steps, {self.size_bytes / 1e6:.1f} MB"
        return [f"{self.name}: {facts}", *([f"  {spec.summary}"] if spec.summary else [])]

    def to_dict(self) -> dict[str, object]:
        """Return the same facts by name, with the folder and the licence."""
        spec = self.spec
        return {
            "name": self.name,
            "stain": spec.stain,
            "voxel_um": spec.voxel_um,
            "recipe": spec.recipe,
            "steps": spec.steps,
            "size_bytes": self.size_bytes,
            "summary": spec.summary,
            "licence": spec.licence,
            "folder": str(self.folder),
        }


def list_models() -> list[BuiltinModel]:
    """Return the built-in models: those of tomostain and of other installed packages, sorted by name.

    Raises
    ------
    InputError
        If a package does not give a model folder.

    Examples
    --------
    >>> all(model.name.startswith("builtin:") for model in list_models())
    True
    """
    models = []
    for name in builtin_names():
        folder = builtin_folder(name)
        size = sum(path.stat().st_size for path in _files(folder))
        models.append(BuiltinModel(PREFIX + name, folder, ModelSpec.from_yaml(folder / SPEC), size))
    return models


def read_model_card(model: StrPath) -> str:
    """Return the card of a model: the text of its ``README.md`` (Markdown).

    Parameters
    ----------
    model : path
        A built-in model, with or without ``builtin:``; a model folder, or a run that has one.

    Raises
    ------
    InputError
        If there is no such model, or it has no card.
    """
    folder = _folder(model)
    card = folder / CARD
    if not card.is_file():
        raise InputError(f"{card}: no such file; the model has no card")
    return card.read_text(encoding="utf-8", errors="replace")  # people may edit it


def describe_model(model: StrPath) -> dict[str, object]:
    """Return the content of ``model.yaml``, and the text of the card under the key ``card``.

    Parameters and errors as `read_model_card`.
    """
    spec = ModelSpec.from_yaml(_folder(model) / SPEC)
    return spec.model_dump(mode="json") | {"card": read_model_card(model)}


def copy_model(model: StrPath, out: StrPath, *, overwrite: bool = False) -> Path:
    """Copy a model folder, after a check of its checksums.

    Parameters
    ----------
    model : path
        A built-in model, with or without ``builtin:``; a model folder, or a run that has one.
    out : path
        The new folder.
    overwrite : bool
        Replace an existing folder.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    InputError
        If there is no such model, it is damaged, or `out` exists.
    """
    folder = load_model(_folder(model)).path
    if Path(out).resolve() == folder.resolve():
        raise InputError(f"{out}: is the model itself; give another folder", parameter="out")
    check_output(out, MODEL_FOLDER, [folder], overwrite=overwrite)
    with atomic_folder(Path(out), overwrite) as temporary:
        for path in _files(folder):
            shutil.copyfile(path, temporary / path.name)
    return Path(out)


def _folder(model: StrPath) -> Path:
    """Return the folder of a model; a name without ``builtin:`` is a built-in model unless a folder has it."""
    name = os.fspath(model)
    if is_builtin(name) or (name in builtin_names() and not Path(name).exists()):
        return builtin_folder(name)
    folder = find_model(model)
    if not (folder / SPEC).is_file():
        models = ", ".join(PREFIX + each for each in builtin_names()) or "none"
        near = suggest(name, builtin_names())
        hint = near if near.endswith("?") else ""
        raise InputError(f"{name}: neither a built-in model ({models}) nor a model folder (no {SPEC}){hint}")
    return folder


def _files(folder: Path) -> list[Path]:
    """Return the files of a model folder. Other files are not part of the model."""
    return [folder / name for name in _FILES if (folder / name).is_file()]
