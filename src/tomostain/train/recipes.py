"""Recipes as data: by name and from YAML files, with `base:` to inherit."""

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from tomostain.config import read_yaml, suggest
from tomostain.errors import InputError
from tomostain.paths import StrPath
from tomostain.train.recipe import Recipe
from tomostain.train.recipe_names import current_recipe_name, with_current_names

__all__ = ["Recipe", "list_recipes", "load_recipe"]

# Keys whose mappings are merged with those of the base.
_NESTED = ("generator", "discriminator", "deformation", "augment", "loss_networks", "noise", "fine_tune")
# Keys that are not inherited from a base.
_OWN = ("description",)


def list_recipes() -> list[str]:
    """Return the names of the recipes that come with tomostain."""
    folder = resources.files("tomostain.train") / "recipes"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(recipe: StrPath | Mapping[str, object]) -> Recipe:
    """Return a recipe by its name, from a YAML file or from a mapping.

    A recipe may begin with ``base: NAME``; then it states only the differences. ``generator``, ``discriminator`` and
    ``deformation`` (as long as their name stays), ``augment``, ``loss_networks`` and ``noise`` are merged key by key.
    ``terms`` replaces the objective of the base as a whole.

    Parameters
    ----------
    recipe : str, path-like or mapping
        A name of `list_recipes`, a file, or the keys and values of one.

    Raises
    ------
    InputError
        If there is no such recipe, or it has an unknown key (with "did you mean") or a wrong value.

    Examples
    --------
    >>> load_recipe("paired-cyclegan").terms["pixelwise"]
    6.0
    >>> load_recipe({"base": "pix2pix-cpu", "name": "small", "batch": 2}).batch
    2
    """
    if isinstance(recipe, Mapping):
        return Recipe.from_dict(_merged(dict(recipe), str(recipe.get("name", "mapping")), ()), source="recipe")
    name = current_recipe_name(os.fspath(recipe))
    return Recipe.from_dict(_resolve(name, ()), source=f"recipe {name}")


def _resolve(name: str, inheriting: tuple[str, ...]) -> dict[str, Any]:
    """Return the values of a recipe merged with those of its bases; `inheriting` are the recipes that name it."""
    name = current_recipe_name(name)
    if name in inheriting:
        raise InputError(f"recipe {name}: its bases form a cycle ({' -> '.join([*inheriting, name])})")
    if name in list_recipes():
        with resources.as_file(resources.files("tomostain.train") / "recipes" / f"{name}.yaml") as path:
            values = read_yaml(path)
    elif name.endswith((".yaml", ".yml")):
        values = read_yaml(Path(name))
    else:
        raise InputError(f"recipe '{name}': is neither a .yaml file nor known{suggest(name, list_recipes())}")
    return _merged(values, name, inheriting)


def _merged(values: dict[str, Any], name: str, inheriting: tuple[str, ...]) -> dict[str, Any]:
    """Return the values of a recipe of this name or path, merged with those of its bases."""
    try:
        values = with_current_names(values)
    except ValueError as error:
        raise InputError(f"recipe {name}: {error}") from None
    base = values.pop("base", None)
    if base is None:
        return values
    if str(base).endswith((".yaml", ".yml")):
        base = Path(name).parent / str(base)  # relative to the recipe that names it, not to the working directory
    inherited_values = _resolve(str(base), (*inheriting, name))
    merged: dict[str, Any] = {"deformation": {"name": "field"}}
    merged |= {key: value for key, value in inherited_values.items() if key not in _OWN}
    for key, value in values.items():
        inherited = merged.get(key)
        nested = key in _NESTED and isinstance(value, dict)
        if nested and isinstance(inherited, dict) and value.get("name", inherited.get("name")) == inherited.get("name"):
            value = {**inherited, **value}
        merged[key] = value
    return merged
