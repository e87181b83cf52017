"""Older names of recipes, and of their keys and terms, which still work."""

from collections.abc import Mapping
from typing import Any

from tomostain.errors import DeprecatedNameWarning, warn_user
from tomostain.train.terms import current_name

_RENAMED_RECIPES = {"tomostain-slab": "tomostain-context", "tomostain-slab-cpu": "tomostain-context-cpu"}
_RENAMED = {"realign": "residual_registration", "field": "deformation"}


def current_recipe_name(name: str) -> str:
    """Return the current name of a recipe that comes with tomostain; an older name gives a DeprecationWarning."""
    if name not in _RENAMED_RECIPES:
        return name
    warn_user(f"the recipe '{name}' is now '{_RENAMED_RECIPES[name]}'", DeprecatedNameWarning)
    return _RENAMED_RECIPES[name]


def with_current_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's values under the current names of keys and terms; older names give a DeprecationWarning."""
    current: dict[str, Any] = {}
    for key, value in values.items():
        name = _RENAMED.get(key, key)
        if name != key:
            warn_user(f"the recipe key '{key}' is now '{name}'", DeprecatedNameWarning)
        if name in current:
            raise ValueError(f"gives both {key} and {name}, its current name; keep one of them")
        current[name] = value
    if isinstance(recipe := current.get("name"), str):  # recorded by an older run, which may be resumed
        current["name"] = _RENAMED_RECIPES.get(recipe, recipe)
    if isinstance(terms := current.get("terms"), Mapping):
        current["terms"] = {current_name(str(name)): weight for name, weight in terms.items()}
        if len(current["terms"]) < len(terms):
            raise ValueError("names a term twice, by its older and its current name; keep one of them")
    return current
