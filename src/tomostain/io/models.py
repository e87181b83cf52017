"""Model folders: weights (safetensors), model.yaml, a card and checksums.

Nothing in a model folder is executed and no pickle is read. Only the files named here are opened; other files in the
folder are ignored.
"""

import hashlib
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tomostain.deprecation import renamed_parameters
from tomostain.errors import InputError
from tomostain.input_files import is_there
from tomostain.integers import refuse_not_finite
from tomostain.io.atomic import atomic_folder
from tomostain.io.checksums import format_sums, read_sums, sha256
from tomostain.io.images import write_image
from tomostain.io.model_architecture import check_architecture, check_state
from tomostain.io.model_card import model_card
from tomostain.io.model_spec import (
    CARD,
    DISCRIMINATORS,
    GENERATOR,
    PICTURE,
    RECIPE,
    REVERSE,
    SEEN,
    SPEC,
    SUMS,
    InitialModelRecord,
    ModelSpec,
    TrainingRecord,
)
from tomostain.io.outputs import FolderKind, check_output
from tomostain.models import find_model, suggest_builtin
from tomostain.paths import StrPath

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

__all__ = [
    "CARD",
    "DISCRIMINATORS",
    "GENERATOR",
    "PICTURE",
    "RECIPE",
    "REVERSE",
    "SEEN",
    "SPEC",
    "SUMS",
    "InitialModelRecord",
    "Model",
    "ModelExtras",
    "ModelSpec",
    "TrainingRecord",
    "check_state",
    "load_model",
    "model_card",
    "save_model",
]
CHECKED = (GENERATOR, REVERSE, DISCRIMINATORS, SEEN, SPEC, RECIPE)
"""The files with a checksum. The card and the picture have none: people may edit them."""
MODEL_FOLDER = FolderKind("model", "|".join(map(re.escape, (*CHECKED, CARD, PICTURE, SUMS))), SPEC)
"""The folder of a model, as `tomostain.io.outputs.check_output` recognises it."""
_MAX_WEIGHT = 1e6
"""Trained weights are far below. The variance of features overflows in float32 where they are above 1e19."""


@dataclass(frozen=True, eq=False)
class Model:
    """The content of a model folder, after the checks.

    Attributes
    ----------
    path : Path
        The folder.
    spec : ModelSpec
        Its ``model.yaml``.
    state : dict of Tensor
        Weights of G_xy, on the CPU.
    reverse_state : dict of Tensor or None
        Weights of G_yx.
    hash : str
        sha256 of its checksums: identifies these weights and this ``model.yaml`` in provenance records.
    training_reference : dict of ndarray or None
        The training reference (`tomostain.ood.novelty.TrainingReference`); older models have none.
    recipe : str or None
        The text of ``recipe.yaml``: the recipe for further training; older models have none.
    discriminators : dict of str to dict of Tensor
        Weights of the discriminators by name, if the folder contains them.
    """

    path: Path
    spec: ModelSpec
    state: "dict[str, Tensor]"
    reverse_state: "dict[str, Tensor] | None"
    hash: str
    training_reference: "dict[str, np.ndarray] | None" = None
    recipe: str | None = None
    discriminators: "dict[str, dict[str, Tensor]]" = field(default_factory=dict)

    def __repr__(self) -> str:
        spec = self.spec
        facts = f"stain {spec.stain}, {spec.recipe}, {spec.steps} steps, {spec.voxel_um:g} µm, hash {self.hash[:12]}"
        return f"{type(self).__name__}({str(self.path)!r}, {facts})"

    @property
    def seen(self) -> "dict[str, np.ndarray] | None":
        """Older name of `training_reference`."""
        warnings.warn("Model.seen is now training_reference", DeprecationWarning, stacklevel=2)
        return self.training_reference


@dataclass(frozen=True)
class ModelExtras:
    """Optional parts of a model folder.

    Attributes
    ----------
    recipe : str, optional
        YAML of the recipe for further training: that of this training, unless the authors state another.
    picture : ndarray of uint8, shape (Y, X, 3), optional
        A sample for the card: µCT, stained, real histology.
    discriminators : mapping of str to mapping of str to Tensor
        Weights of the discriminators by name, for further training.
    """

    recipe: str | None = None
    picture: "np.ndarray | None" = None
    discriminators: "Mapping[str, Mapping[str, Tensor]]" = field(default_factory=dict)


@renamed_parameters(seen="training_reference")
def save_model(
    folder: StrPath,
    spec: ModelSpec,
    generator_state: "Mapping[str, Tensor]",
    reverse_state: "Mapping[str, Tensor] | None" = None,
    *,
    training_reference: "Mapping[str, np.ndarray] | None" = None,
    extras: ModelExtras | None = None,
    overwrite: bool = False,
) -> None:
    """Write a model folder. If an error occurs, no folder remains.

    Parameters
    ----------
    folder : path
        The new folder.
    spec : ModelSpec
        Must have a reverse architecture if, and only if, `reverse_state` is given.
    generator_state, reverse_state : mapping of str to Tensor
        State dictionaries of G_xy and G_yx.
    training_reference : mapping of str to ndarray, optional
        The training reference: `tomostain.ood.novelty.TrainingReference.to_arrays`.
    extras : ModelExtras, optional
        Recipe, picture and discriminators.
    overwrite : bool
        Replace an existing folder.

    Raises
    ------
    InputError
        If the folder exists and `overwrite` is false, or it is no model or has other files.
    ValueError
        If only one of `spec.reverse` and `reverse_state` is given.
    """
    if (reverse_state is None) != (spec.reverse is None):
        raise ValueError("spec.reverse and reverse_state go together: give both or neither")
    extras = extras or ModelExtras()
    check_output(folder, MODEL_FOLDER, overwrite=overwrite)
    with atomic_folder(Path(folder), overwrite) as temporary:
        _save_state(temporary / GENERATOR, generator_state)
        if reverse_state is not None:
            _save_state(temporary / REVERSE, reverse_state)
        if extras.discriminators:
            _save_state(temporary / DISCRIMINATORS, _flat(extras.discriminators))
        if training_reference is not None:
            _save_arrays(temporary / SEEN, training_reference)
        (temporary / SPEC).write_text(spec.to_yaml(), encoding="utf-8")
        if extras.recipe is not None:
            (temporary / RECIPE).write_text(extras.recipe, encoding="utf-8")
        if extras.picture is not None:
            write_image(temporary / PICTURE, extras.picture)
        names = [name for name in CHECKED if (temporary / name).exists()]
        (temporary / CARD).write_text(model_card(spec, [path.name for path in temporary.iterdir()]), encoding="utf-8")
        sums = {name: sha256(temporary / name) for name in names}
        (temporary / SUMS).write_text(format_sums(sums), encoding="utf-8")


def load_model(folder: StrPath) -> Model:
    """Read a model folder and verify its checksums.

    Parameters
    ----------
    folder : path
        Written by `save_model`; or a run, whose model is read; or ``builtin:NAME``.

    Returns
    -------
    Model
        With its tensors on the CPU.

    Raises
    ------
    InputError
        If the folder or a file is missing, a checksum does not match, ``model.yaml`` has an unknown key or a network
        that is not possible, or a weights file is not safetensors, does not fit the network or holds values that are
        not finite.
    """
    folder = find_model(folder)
    if is_there(folder) and not folder.is_dir():
        raise InputError(f"{folder}: is a file, but a model is a folder; give the folder that has model.yaml")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such model folder{suggest_builtin(folder)}")
    sums = _read_sums(folder)
    for name, expected in sums.items():
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: is missing from the model folder; copy the whole folder again")
        if sha256(folder / name) != expected:
            raise InputError(f"{folder / name}: does not match its checksum in {SUMS}; copy the model folder again")
    spec = ModelSpec.from_yaml(folder / SPEC)
    if spec.reverse is not None and REVERSE not in sums:
        raise InputError(f"{folder}: {SPEC} names a reverse generator, but {SUMS} lists no {REVERSE}")
    state = _load_state(folder / GENERATOR)
    reverse_state = _load_state(folder / REVERSE) if spec.reverse is not None else None
    check_architecture(folder, spec, state, reverse_state)
    reference = _load_arrays(folder / SEEN) if SEEN in sums else None
    digest = hashlib.sha256("".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()).hexdigest()
    recipe = (folder / RECIPE).read_text(encoding="utf-8", errors="replace") if RECIPE in sums else None
    discriminators = _by_network(_load_state(folder / DISCRIMINATORS)) if DISCRIMINATORS in sums else {}
    return Model(folder, spec, state, reverse_state, digest, reference, recipe, discriminators)


def _flat(states: "Mapping[str, Mapping[str, Tensor]]") -> "dict[str, Tensor]":
    """Return the weights of several networks under the names ``network/tensor``."""
    return {f"{network}/{name}": tensor for network, state in states.items() for name, tensor in state.items()}


def _by_network(flat: "Mapping[str, Tensor]") -> "dict[str, dict[str, Tensor]]":
    """Return the weights of `_flat` by network."""
    states: dict[str, dict[str, Tensor]] = {}
    for key, tensor in flat.items():
        network, _, name = key.partition("/")
        states.setdefault(network, {})[name] = tensor
    return states


def _save_state(path: Path, state: "Mapping[str, Tensor]") -> None:
    # `save_file` makes a file that only its owner may read.
    from safetensors.torch import save

    # Copies: safetensors refuses tensors that share memory (tied weights) or are not contiguous.
    path.write_bytes(save({name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}))


def _save_arrays(path: Path, arrays: "Mapping[str, np.ndarray]") -> None:
    from safetensors.numpy import save

    path.write_bytes(save(dict(arrays)))


def _load_state(path: Path) -> "dict[str, Tensor]":
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path, device="cpu")
    except SafetensorError as error:
        raise InputError(f"{path}: is not a safetensors file ({error}); export the model again") from None
    if path.name != SEEN:
        for name, tensor in state.items():
            _check_values(tensor, f"{path}: tensor '{name}'")
    return state


def _load_arrays(path: Path) -> "dict[str, np.ndarray]":
    arrays = {}
    for name, tensor in _load_state(path).items():
        try:
            arrays[name] = tensor.numpy()
        except TypeError:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise InputError(f"{path}: tensor '{name}' is {kind}, not plain numbers; export the model again") from None
    return arrays


def _check_values(tensor: "Tensor", place: str) -> None:
    """Raise if weights are not finite, or so large that features overflow and the normalisation hides it."""
    if not tensor.is_floating_point() or not tensor.numel():
        return
    try:
        refuse_not_finite(tensor.float(), place)
    except InputError as error:
        raise InputError(f"{error}; the model is broken, export it again") from None
    if (largest := float(tensor.float().abs().max())) > _MAX_WEIGHT:
        raise InputError(
            f"{place}: holds {largest:.3g}, more than {_MAX_WEIGHT:g}, as no trained network does; the model is "
            "broken, export it again"
        )


def _read_sums(folder: Path) -> dict[str, str]:
    """Read SHA256SUMS. It may list only known files, and must list the two necessary ones."""
    path = folder / SUMS
    if not path.is_file():
        raise InputError(f"{path}: no such file; {folder} is not a model folder")
    sums = read_sums(path, remedy="export the model again")
    for name in sums:
        if name not in CHECKED:
            raise InputError(f"{path}: '{name}' is not a model file; export the model again")
    for name in (GENERATOR, SPEC):
        if name not in sums:
            raise InputError(f"{path}: does not list {name}; export the model again")
    return sums
