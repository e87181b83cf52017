"""Which recipe a training uses if none is given, and the list of recipes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tomostain.devices import choose_device, has_bf16, name_device
from tomostain.errors import InputError
from tomostain.paths import StrPath
from tomostain.train.initial_model import InitialModel
from tomostain.train.recipe import Recipe
from tomostain.train.recipes import list_recipes, load_recipe
from tomostain.train.run_folder import recorded_recipe

RecipeSource: TypeAlias = StrPath | Mapping[str, object] | Recipe
"""A name of `list_recipes`, a YAML file, its content as a mapping, or a recipe."""

# The best recipe for each type of device. This is the only place that names the default recipes.
DEFAULT_RECIPES = {"cpu": "tomostain-cpu", "cuda": "tomostain"}

# Keys of a recipe whose value "auto" depends on the device (`Recipe.for_device`).
_OF_DEVICE = ("precision", "compile")


@dataclass(frozen=True)
class RecipeChoice:
    """The recipe of a training, and why it was chosen.

    Attributes
    ----------
    recipe : Recipe
    reason : str
        One line, such as "the default on cpu".
    """

    recipe: Recipe
    reason: str

    def __str__(self) -> str:
        return f"{self.recipe.name} ({self.reason})"


def default_recipe(device: str = "auto") -> str:
    """Return the name of the best recipe for a device.

    Parameters
    ----------
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Examples
    --------
    >>> default_recipe("cpu") in list_recipes()
    True
    """
    return DEFAULT_RECIPES[choose_device(device).type]


def choose_recipe(
    recipe: RecipeSource | None = None,
    *,
    device: str = "auto",
    initial: InitialModel | None = None,
    resumed: StrPath | None = None,
) -> RecipeChoice:
    """Return the recipe of a training.

    Parameters
    ----------
    recipe : str, path-like, mapping or Recipe, optional
        If it is given, it is used. Otherwise that of the resumed run, of the initial model, or the default of `device`,
        in this order.
    device : str
    initial : InitialModel, optional
    resumed : str or os.PathLike, optional
        The run that continues.

    Raises
    ------
    InputError
        If there is no such recipe, or the initial model does not store its own.
    """
    recorded = None if resumed is None else recorded_recipe(Path(resumed))
    if recipe is not None:
        chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
        return RecipeChoice(chosen if recorded is None else _as_recorded(chosen, recorded), "as given")
    if recorded is not None:
        return RecipeChoice(recorded, "of the resumed run")
    if initial is not None:
        if initial.recipe is None:
            raise InputError(
                f"{initial.record.name}: does not store its recipe '{initial.record.recipe}'; give `recipe`",
                parameter="recipe",
            )
        # The device of this training decides, not that of the other one.
        open_keys = initial.recipe.model_copy(update=dict.fromkeys(_OF_DEVICE, "auto"))
        return RecipeChoice(open_keys, f"of the initial model {initial.record.name}")
    kind = choose_device(device).type
    return RecipeChoice(load_recipe(DEFAULT_RECIPES[kind]), f"the default on {kind}")


def describe_device(recipe: Recipe, device: str = "auto", *, alone: bool = True) -> str:
    """Return in one line where and how a recipe trains.

    Parameters
    ----------
    recipe : Recipe
    device : str
    alone : bool
        A single process trains.

    Examples
    --------
    >>> describe_device(load_recipe("tomostain-cpu"), "cpu")
    'cpu, precision 32-true'
    """
    chosen = choose_device(device)
    resolved = recipe.for_device(chosen, 1 if alone else 2)
    graph = ", one CUDA graph for each step" if resolved.step_graph else ""
    has_no_bf16 = recipe.precision == "auto" and chosen.type == "cuda" and not has_bf16(chosen)
    reason = " (older than Ampere: no bf16)" if has_no_bf16 else ""
    return f"{name_device(chosen)}, precision {resolved.precision}{reason}{graph}"


def _as_recorded(recipe: Recipe, recorded: Recipe) -> Recipe:
    """Return a recipe in which the keys that it leaves to the device are those of a run that began."""
    return recipe.model_copy(update={k: getattr(recorded, k) for k in _OF_DEVICE if getattr(recipe, k) == "auto"})


def describe_recipes() -> list[str]:
    """Return one line for each recipe that comes with tomostain; the defaults are marked."""
    marks = {name: f" [default on {kind}]" for kind, name in DEFAULT_RECIPES.items()}
    names = list_recipes()
    width = max(map(len, names))
    return [f"{name:<{width}}  {load_recipe(name).description}{marks.get(name, '')}" for name in names]
