"""Model folders: weights (safetensors), model.yaml, a card and checksums.

Nothing in a model folder is executed and no pickle is read. Only the files named here are opened; other files in the
folder are ignored.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field, field_validator

from tomostain.config import Config
from tomostain.errors import InputError
from tomostain.io.atomic import atomic_folder
from tomostain.io.checksums import format_sums, read_sums, sha256
from tomostain.tiling.slice_context import SliceCount

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

GENERATOR, REVERSE, SEEN, SPEC, CARD, SUMS = (
    "generator.safetensors",
    "reverse.safetensors",
    "seen.safetensors",
    "model.yaml",
    "README.md",
    "SHA256SUMS",
)


class ModelSpec(Config):
    """The content of ``model.yaml``.

    Attributes
    ----------
    generator : dict
        Architecture of G_xy: its name and arguments for `tomostain.networks.build_network`. A
        `tomostain.networks.GeneratorSpec` is converted. It is checked when the network is built.
    reverse : dict or None
        Architecture of G_yx, if the folder contains it.
    in_channels : int
        1, or 3 as in the paper (the grey value repeated).
    ct_slices : int
        Neighbouring slices that G_xy sees (`tomostain.tiling.slice_context`); it stains the middle one. If there are
        more than 1, they are its channels.
    inverted_ct : bool
        Whether the networks see the µCT inverted.
    voxel_um : float
        Voxel size of the training data, µm.
    patch_px : int
        Side of the training patches, px; patches of the same size give the best results (paper section 2.9).
    stain, recipe : str
        The stain, and the recipe of the training.
    fold : int or None
        The fold of the training; None for all training pairs.
    fingerprint : dict
        Quantiles of the normalised training µCT (name to grey value), for comparison with new volumes.
    greys : list of five float
        Quantiles of the grey values of solid matter in each training pair: `tomostain.ood.grey_values.solid_quantiles`.
    metrics : dict
        Measured quality, by the names of the metrics.
    steps : int
        Number of optimiser steps.
    tomostain_version : str
        The version that wrote the model.
    """

    generator: dict[str, Any]
    reverse: dict[str, Any] | None = None
    in_channels: Literal[1, 3] = 3
    ct_slices: SliceCount = 1
    inverted_ct: bool = False
    voxel_um: float = Field(gt=0)
    patch_px: int = Field(default=256, ge=8)
    stain: str
    recipe: str
    fold: int | None = None
    fingerprint: dict[str, float] = Field(default_factory=dict)
    greys: list[tuple[float, float, float, float, float]] = Field(default_factory=list)
    metrics: dict[str, Any] = Field(default_factory=dict)
    steps: int = Field(default=0, ge=0)
    tomostain_version: str

    @field_validator("generator", "reverse", mode="before")
    @classmethod
    def _spec_as_dict(cls, value: object) -> object:
        return value.model_dump() if isinstance(value, BaseModel) else value

    @property
    def ct_channels(self) -> int:
        """Channels of the input of G_xy."""
        return self.ct_slices if self.ct_slices > 1 else self.in_channels


@dataclass(frozen=True)
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
    seen : dict of ndarray or None
        The training reference (`tomostain.ood.novelty.TrainingReference`); older models have none.
    """

    path: Path
    spec: ModelSpec
    state: "dict[str, Tensor]"
    reverse_state: "dict[str, Tensor] | None"
    hash: str
    seen: "dict[str, np.ndarray] | None" = None


def save_model(
    folder: str | os.PathLike[str],
    spec: ModelSpec,
    generator_state: "Mapping[str, Tensor]",
    reverse_state: "Mapping[str, Tensor] | None" = None,
    *,
    seen: "Mapping[str, np.ndarray] | None" = None,
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
    seen : mapping of str to ndarray, optional
        The training reference: `tomostain.ood.novelty.TrainingReference.to_arrays`.
    overwrite : bool
        Replace an existing folder.

    Raises
    ------
    InputError
        If the folder exists and `overwrite` is false.
    ValueError
        If only one of `spec.reverse` and `reverse_state` is given.
    """
    if (reverse_state is None) != (spec.reverse is None):
        raise ValueError("spec.reverse and reverse_state go together: give both or neither")
    with atomic_folder(Path(folder), overwrite) as temporary:
        _save_state(temporary / GENERATOR, generator_state)
        if reverse_state is not None:
            _save_state(temporary / REVERSE, reverse_state)
        if seen is not None:
            _save_arrays(temporary / SEEN, seen)
        (temporary / SPEC).write_text(spec.to_yaml(), encoding="utf-8")
        # The card has no checksum: people may edit it.
        (temporary / CARD).write_text(model_card(spec), encoding="utf-8")
        names = [name for name in (GENERATOR, REVERSE, SEEN, SPEC) if (temporary / name).exists()]
        sums = {name: sha256(temporary / name) for name in names}
        (temporary / SUMS).write_text(format_sums(sums), encoding="utf-8")


def load_model(folder: str | os.PathLike[str]) -> Model:
    """Read a model folder and verify its checksums.

    Parameters
    ----------
    folder : path
        Written by `save_model`.

    Returns
    -------
    Model
        With its tensors on the CPU.

    Raises
    ------
    InputError
        If the folder or a file is missing, a checksum does not match, ``model.yaml`` has an unknown key, or a weights
        file is not safetensors.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such model folder")
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
    seen = {name: tensor.numpy() for name, tensor in _load_state(folder / SEEN).items()} if SEEN in sums else None
    digest = hashlib.sha256("".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()).hexdigest()
    return Model(folder, spec, state, reverse_state, digest, seen)


def check_state(state: "Mapping[str, Tensor]", expected: "Mapping[str, Tensor]", source: str) -> None:
    """Check that weights have the names and shapes of a network.

    Parameters
    ----------
    state : mapping
        The weights from the file.
    expected : mapping
        ``network.state_dict()``.
    source : str
        Named in the message.

    Raises
    ------
    InputError
        Naming the first tensor that is missing, unknown or of another shape.
    """
    reason = f"the weights do not match the architecture in {SPEC}; export the model again"
    for name in expected:
        if name not in state:
            raise InputError(f"{source}: tensor '{name}' is missing; {reason}")
        if tuple(state[name].shape) != tuple(expected[name].shape):
            shapes = f"has shape {tuple(state[name].shape)}, but the network expects {tuple(expected[name].shape)}"
            raise InputError(f"{source}: tensor '{name}' {shapes}; {reason}")
    unknown = [name for name in state if name not in expected]
    if unknown:
        raise InputError(f"{source}: tensor '{unknown[0]}' is unknown to the network; {reason}")


def model_card(spec: ModelSpec) -> str:
    """Return the model card (Markdown) of a specification: training, quality and limits."""
    fold = "all training pairs" if spec.fold is None else f"fold {spec.fold}"
    lines = [
        f"# Virtual staining model: {spec.stain}",
        "",
        f"Turns µCT slices into virtually stained ones ({spec.stain}). Written by tomostain {spec.tomostain_version}.",
        "",
        "## Training",
        "",
        f"- recipe: {spec.recipe}, {spec.steps} steps, {fold}",
        f"- voxel size: {spec.voxel_um:g} µm (other sizes must be resampled to it)",
        f"- generator: {_one_line(spec.generator)}",
        f"- reverse generator: {_one_line(spec.reverse) if spec.reverse else 'not included'}",
        f"- µCT input: {_input_channels(spec)}{', inverted' if spec.inverted_ct else ''}, "
        "normalised to background 10000 and bone 30000",
        "",
        "## Metrics",
        "",
        *([f"- {name}: {_one_line(value)}" for name, value in spec.metrics.items()] or ["None were recorded."]),
        "",
        "## µCT it was trained on",
        "",
        *([f"- {name}: {value:g}" for name, value in spec.fingerprint.items()] or ["No grey values were recorded."]),
        "",
        "## Limits",
        "",
        "The model is valid only for specimens, scanners and stains like those of its training. On other tissue, voxel",
        "sizes or grey values its result may look plausible and still be wrong.",
        "Its colours are a translation of X-ray attenuation, not a chemical stain. Do not use them for a diagnosis.",
        "",
        "## Files",
        "",
        f"`{GENERATOR}`, `{REVERSE}` (if included), `{SEEN}` (training reference, to detect novelty) and `{SPEC}`",
        f"are listed in `{SUMS}` (`sha256sum -c {SUMS}`).",
        "",
    ]
    return "\n".join(lines)


def _input_channels(spec: ModelSpec) -> str:
    if spec.ct_slices == 1:
        return f"{spec.in_channels} channel(s)"
    return f"{spec.ct_slices} neighbouring slices (the middle one is stained)"


def _one_line(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_one_line(item)}" for key, item in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _save_state(path: Path, state: "Mapping[str, Tensor]") -> None:
    from safetensors.torch import save_file

    # Copies: safetensors refuses tensors that share memory (tied weights) or are not contiguous.
    save_file({name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}, path)


def _save_arrays(path: Path, arrays: "Mapping[str, np.ndarray]") -> None:
    from safetensors.numpy import save_file

    save_file(dict(arrays), path)


def _load_state(path: Path) -> "dict[str, Tensor]":
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except SafetensorError as error:
        raise InputError(f"{path}: is not a safetensors file ({error}); export the model again") from None


def _read_sums(folder: Path) -> dict[str, str]:
    """Read SHA256SUMS. It may list only the four known files, and must list the two necessary ones."""
    path = folder / SUMS
    if not path.is_file():
        raise InputError(f"{path}: no such file; {folder} is not a model folder")
    sums = read_sums(path, remedy="export the model again")
    for name in sums:
        if name not in (GENERATOR, REVERSE, SEEN, SPEC):
            raise InputError(f"{path}: '{name}' is not a model file; export the model again")
    for name in (GENERATOR, SPEC):
        if name not in sums:
            raise InputError(f"{path}: does not list {name}; export the model again")
    return sums
