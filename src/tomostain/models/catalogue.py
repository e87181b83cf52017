"""The names of the built-in models and their folders."""

import importlib.metadata
import os
from pathlib import Path

from tomostain.config import suggest
from tomostain.errors import InputError
from tomostain.paths import StrPath

PREFIX = "builtin:"
ENTRY_POINTS = "tomostain.models"
FOLDER = Path(__file__).parent
"""The folder that holds the models of this package."""
_SPEC = "model.yaml"


def is_builtin(model: StrPath) -> bool:
    """Return whether a model is given as ``builtin:NAME``.

    Examples
    --------
    >>> is_builtin("builtin:phantom-tb"), is_builtin("run/model")
    (True, False)
    """
    return os.fspath(model).startswith(PREFIX)


def builtin_names() -> list[str]:
    """Return the names of the built-in models, sorted, without the prefix. Imports no other package."""
    return sorted({*_own_names(), *_entry_points()})


def builtin_folder(name: str) -> Path:
    """Return the folder of a built-in model.

    Parameters
    ----------
    name : str
        With or without the prefix ``builtin:``.

    Raises
    ------
    InputError
        If there is no such model, or its package does not give a model folder.
    """
    name = name.removeprefix(PREFIX)
    if name in _own_names():
        return FOLDER / name
    point = _entry_points().get(name)
    if point is None:
        raise InputError(f"{PREFIX}{name}: no such built-in model{_known(name)}")
    try:
        target = point.load()
        folder = Path(target() if callable(target) else target)
    except Exception as error:  # any error of the other package
        raise InputError(f"{PREFIX}{name}: cannot be loaded from {point.value} ({error})") from error
    if not (folder / _SPEC).is_file():
        raise InputError(f"{PREFIX}{name}: {point.value} gives {folder}, which has no {_SPEC}")
    return folder


def find_model(model: StrPath) -> Path:
    """Return the model folder of a built-in model or a run; other paths are returned as they are.

    Parameters
    ----------
    model : str or path-like
        ``builtin:NAME``, a model folder, or a run whose model is in ``RUN/model``.

    Raises
    ------
    InputError
        If a built-in model does not exist.

    Examples
    --------
    >>> find_model("my/model").as_posix()
    'my/model'
    """
    if is_builtin(model):
        return builtin_folder(os.fspath(model))
    folder = Path(model)
    in_run = folder / "model"
    return in_run if not (folder / _SPEC).is_file() and (in_run / _SPEC).is_file() else folder


def model_name(model: StrPath) -> str:
    """Return a short name of a model: ``builtin:NAME``, or the name of its folder; for RUN/model that of the run.

    Examples
    --------
    >>> model_name("builtin:phantom-tb"), model_name("runs/a/model"), model_name("runs/b")
    ('builtin:phantom-tb', 'a', 'b')
    """
    if is_builtin(model):
        return os.fspath(model)
    folder = Path(model).resolve()
    return folder.parent.name if folder.name == "model" else folder.name


def suggest_builtin(model: StrPath) -> str:
    """Return "; did you mean 'builtin:NAME'?" if a path is the name of a built-in model, else an empty string."""
    name = os.fspath(model)
    return f"; did you mean '{PREFIX}{name}'?" if name in builtin_names() else ""


def _own_names() -> list[str]:
    return [path.parent.name for path in FOLDER.glob(f"*/{_SPEC}")]


def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}


def _known(name: str) -> str:
    names = builtin_names()
    if not names:
        return "; none is installed"
    near = suggest(name, names)
    listed = ", ".join(f"{PREFIX}{builtin}" for builtin in names)
    return f"{near} (known: {listed})" if near.endswith("?") else f"; known: {listed}"
