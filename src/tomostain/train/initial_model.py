"""The model whose weights a training begins with."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor, nn

from tomostain.config import parse_yaml
from tomostain.errors import InputError, OutOfDistributionWarning, warn_user
from tomostain.io.model_spec import RECIPE, SPEC, InitialModelRecord, ModelSpec
from tomostain.io.models import Model, check_state, load_model
from tomostain.models import find_model, model_name, suggest_builtin
from tomostain.networks.registry import network_class, parse_generator_spec
from tomostain.paths import StrPath
from tomostain.train.checkpoint import LAST, named_networks, read_checkpoint
from tomostain.train.recipe import Recipe
from tomostain.train.recipes import list_recipes, load_recipe
from tomostain.train.run_folder import DESCRIPTION, recorded_recipe
from tomostain.train.step import Networks

logger = logging.getLogger(__name__)

# The augmentation scales patches by up to 10 %, so smaller differences need no warning.
_TOLERANCE = 0.1
_STAINING = ("g_xy", "average")


@dataclass(frozen=True, eq=False)
class InitialModel:
    """A model as the start of a training.

    Attributes
    ----------
    record : InitialModelRecord
        What run and model card state about it.
    spec : ModelSpec
    states : mapping of str to mapping of str to Tensor
        Weights by the names of the networks in a checkpoint. G_xy and its average begin with the weights that stain.
    recipe : Recipe or None
        The recipe of the model; None if it is not stored and has no known name.
    """

    record: InitialModelRecord
    spec: ModelSpec
    states: Mapping[str, Mapping[str, Tensor]]
    recipe: Recipe | None

    @classmethod
    def open(cls, source: "InitSource") -> "InitialModel":
        """Read a model; one that is open already is returned as it is.

        Parameters
        ----------
        source : str, path-like or TrainedModel
            A model folder, ``builtin:NAME``, a run that has a model, or a model in memory. The discriminators and the
            networks of loss terms come from the model folder, or from the last checkpoint of the run that the model
            belongs to.

        Raises
        ------
        InputError
            If it is not a model, or it is damaged.
        """
        if isinstance(source, InitialModel):
            return source
        folder = source.path if isinstance(source, Model) else find_model(source)
        if not isinstance(source, Model) and not (folder / SPEC).is_file():
            raise InputError(
                f"{source}: neither a model nor a run with one (no {SPEC}); give `init` a model folder, a finished run "
                f"or builtin:NAME{suggest_builtin(source)}",
                parameter="init",
            )
        model = source if isinstance(source, Model) else load_model(folder)
        name = str(folder) if isinstance(source, Model) else model_name(source)
        spec = model.spec
        states: dict[str, Mapping[str, Tensor]] = dict.fromkeys(_STAINING, model.state)
        if model.reverse_state is not None:
            states["g_yx"] = model.reverse_state
        states |= model.discriminators
        run = folder.parent if folder.name == "model" and (folder.parent / DESCRIPTION).is_file() else None
        if run is not None:
            states = _of_run(run, spec) | states
        record = InitialModelRecord(
            name=name, hash=model.hash, stain=spec.stain, recipe=spec.recipe, voxel_um=spec.voxel_um
        )
        return cls(record, spec, states, _recipe_of(run, model.recipe, spec))

    def check(self, recipe: Recipe) -> None:
        """Raise unless the generator of a recipe takes these weights.

        Raises
        ------
        InputError
            Naming both sides of the first difference.
        """
        name, spec = self.record.name, self.spec
        for key in ("in_channels", "ct_slices", "inverted_ct", "ct_window"):
            mine, other = (_shown(getattr(each, key)) for each in (spec, recipe))
            if mine != other:
                raise self._misfit(recipe, f"{key} is {mine} in the initial model {name} and {other}")
        if spec.noise_channels != recipe.noise.channels:
            channels = f"{spec.noise_channels} in the initial model {name} and {recipe.noise.channels}"
            raise self._misfit(recipe, f"the number of noise channels is {channels}")
        if spec.noise is not None and spec.noise != recipe.noise:
            lengths = f"{spec.noise.correlation_px:g} in the initial model {name} and {recipe.noise.correlation_px:g}"
            raise self._misfit(recipe, f"the correlation_px of the noise is {lengths}")
        mine, other = _arguments(spec.generator), _arguments(recipe.generator_spec())
        for key in sorted(mine.keys() | other.keys()):
            if mine.get(key) != other.get(key):
                difference = f"{key} is {mine.get(key)} in the initial model {name} and {other.get(key)}"
                raise self._misfit(recipe, f"the generator's {difference}")

    def _misfit(self, recipe: Recipe, difference: str) -> InputError:
        return InputError(
            f"{difference} in the recipe '{recipe.name}', so the weights do not fit; leave out `recipe` to use that of "
            f"the model ({self.record.recipe}), or set `init` to a model of this recipe",
            parameter="init",
        )

    def warn_about_voxel_size(self, voxel_um: float, dataset: str) -> None:
        """Warn if the pairs have another voxel size than the training data of the model."""
        ratio = voxel_um / self.spec.voxel_um
        if abs(ratio - 1) > _TOLERANCE:
            warn_user(
                f"{dataset}: voxel size {voxel_um:g} µm, but the initial model {self.record.name} was trained at "
                f"{self.spec.voxel_um:g} µm: structures are {1 / ratio:.3g} times as large in pixels. Resample the "
                f"volume to {self.spec.voxel_um:g} µm ('tomostain resample') before the slides are registered, or "
                "expect a longer training",
                OutOfDistributionWarning,
            )

    def load_into(self, networks: Networks) -> list[str]:
        """Copy the weights into the networks of a training; return the names of those that stay random.

        Networks other than G_xy that the model does not have, or of another architecture, stay random.

        Raises
        ------
        InputError
            If the weights of G_xy do not fit.
        """
        random = []
        for name, network in named_networks(networks).items():
            state = self.states.get(name)
            if name in _STAINING:
                check_state(self.states[name], network.state_dict(), self.record.name)
            elif state is None or not _fits(state, network):
                random.append(name)
                continue
            network.load_state_dict(dict(self.states[name]))
        loaded = [name for name in named_networks(networks) if name not in random]
        logger.info("initial weights of %s from %s; random: %s", loaded, self.record.name, random or "none")
        return random

    def __str__(self) -> str:
        record = self.record
        return f"{record.name} ({record.stain}, {record.voxel_um:g} µm, {record.recipe}, hash {record.hash[:12]})"


InitSource: TypeAlias = StrPath | InitialModel | Model
"""A model folder, a run, ``builtin:NAME``, or an open model."""


def _of_run(run: Path, spec: ModelSpec) -> dict[str, Mapping[str, Tensor]]:
    """Return the weights in the last checkpoint of a run, if it is that of the model."""
    if not (run / LAST).is_file():
        return {}
    values = read_checkpoint(run / LAST)
    if int(values["step"]) != spec.steps:
        logger.info("%s: is not at step %d, as the model is; only the model is used", run / LAST, spec.steps)
        return {}
    return dict(values["networks"])


def _recipe_of(run: Path | None, text: str | None, spec: ModelSpec) -> Recipe | None:
    """Return the recipe that a model stores, that of its run, or the one with its name that has its generator."""
    if text is not None:
        return Recipe.from_dict(
            parse_yaml(text, f"{RECIPE} of the initial model"), source=f"{RECIPE} of the initial model"
        )
    if run is not None and (recipe := recorded_recipe(run)) is not None:
        return recipe
    if spec.recipe not in list_recipes():
        return None
    recipe = load_recipe(spec.recipe)
    same_input = recipe.ct_window == spec.ct_window
    return recipe if same_input and _arguments(recipe.generator_spec()) == _arguments(spec.generator) else None


def _shown(value: object) -> object:
    """Return a value as it is written in a recipe."""
    return list(value) if isinstance(value, tuple) else value


def _arguments(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return all arguments of a generator, with its class instead of a name that may be an alias."""
    parsed = parse_generator_spec(spec)
    arguments = parsed.model_dump() | {"name": network_class(parsed.name).__name__}
    arguments.pop("dropout", None)  # it has no weights
    return arguments


def _fits(state: Mapping[str, Tensor], network: nn.Module) -> bool:
    expected = network.state_dict()
    return state.keys() == expected.keys() and all(state[name].shape == expected[name].shape for name in expected)
