"""The content of ``model.yaml``: architecture, training and quality of a model."""

from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, field_validator

from tomostain.config import Config
from tomostain.tiling.ct_window import DEFAULT_CT_WINDOW, CtWindow
from tomostain.tiling.noise import NoiseSpec
from tomostain.tiling.slice_context import SliceCount

GENERATOR = "generator.safetensors"
REVERSE = "reverse.safetensors"
DISCRIMINATORS = "discriminators.safetensors"
SEEN = "seen.safetensors"
SPEC = "model.yaml"
RECIPE = "recipe.yaml"
CARD = "README.md"
PICTURE = "picture.png"
SUMS = "SHA256SUMS"
MAX_PATCH_PX = 8192
"""Maximum side of a patch, px: one feature map with 16 channels has 4 GB."""


class InitialModelRecord(Config):
    """The model whose weights a training began with.

    Attributes
    ----------
    name : str
        The name of the built-in model or of the folder.
    hash : str
        Its hash (`tomostain.io.Model.hash`).
    stain, recipe : str
    voxel_um : float
        Voxel size of its training data, µm.
    """

    name: str
    hash: str
    stain: str = ""
    recipe: str = ""
    voxel_um: float = Field(gt=0)


class TrainingRecord(Config):
    """The data and the start of a training.

    Attributes
    ----------
    pairs, validation_pairs : int
        Number of pairs that trained and validated.
    specimens : int
        Number of specimens that the training pairs come from.
    implants : tuple of str
        Materials of their implants.
    seed : int
        Seed of weights and patches.
    data : str
        sha256 of the images that trained and validated, whether they came from files or from arrays.
    images : tuple of str
        `Pair.image_digest` of the pairs that trained, sorted: an evaluation warns when it tests on one of them. Empty
        for older models; then it is not written.
    initial_model : InitialModelRecord or None
        None: the weights were random at the beginning.
    rejected_pairs : dict of str to float
        Of the pairs for training, those that were left out at the end, with their correlation with the output. Empty,
        the default, is not written.
    validation_step : int or None
        Training step at which the validation metrics were measured. None, the default, is not written.
    """

    pairs: int = Field(ge=0)
    validation_pairs: int = Field(default=0, ge=0)
    specimens: int = Field(default=0, ge=0)
    implants: tuple[str, ...] = ()
    seed: int = 0
    data: str = ""
    images: tuple[str, ...] = ()
    initial_model: InitialModelRecord | None = None
    rejected_pairs: dict[str, float] = Field(default_factory=dict)
    validation_step: int | None = Field(default=None, ge=0)


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
    noise : NoiseSpec or None
        Noise that G_xy gets as further channels (`tomostain.tiling.noise`). None, the default, is not written.
    inverted_ct : bool
        Whether the networks see the µCT inverted.
    ct_window : tuple of int
        The grey values that the networks distinguish (`tomostain.tiling.ct_window`). The default, which older models
        have, is not written.
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
    training : TrainingRecord or None
        The data and the start of the training; None for older models.
    summary : str
        One line: the purpose of the model.
    licence : str
        The licence of weights and training data; empty if it is not known.
    tomostain_version : str
        The version that wrote the model.
    """

    generator: dict[str, Any]
    reverse: dict[str, Any] | None = None
    in_channels: Literal[1, 3] = 3
    ct_slices: SliceCount = 1
    noise: NoiseSpec | None = None
    inverted_ct: bool = False
    ct_window: CtWindow = DEFAULT_CT_WINDOW
    voxel_um: float = Field(gt=0)
    patch_px: int = Field(default=256, ge=8, le=MAX_PATCH_PX)
    stain: str
    recipe: str
    fold: int | None = None
    fingerprint: dict[str, float] = Field(default_factory=dict)
    greys: list[tuple[float, float, float, float, float]] = Field(default_factory=list)
    metrics: dict[str, Any] = Field(default_factory=dict)
    steps: int = Field(default=0, ge=0)
    training: TrainingRecord | None = None
    summary: str = ""
    licence: str = ""
    tomostain_version: str

    @field_validator("generator", "reverse", mode="before")
    @classmethod
    def _spec_as_dict(cls, value: object) -> object:
        return value.model_dump() if isinstance(value, BaseModel) else value

    @property
    def ct_channels(self) -> int:
        """Channels of the µCT in the input of G_xy."""
        return self.ct_slices if self.ct_slices > 1 else self.in_channels

    @property
    def noise_channels(self) -> int:
        """Channels of noise in the input of G_xy."""
        return 0 if self.noise is None else self.noise.channels

    def to_yaml(self) -> str:
        """Return the specification as YAML. Values that are unset or the default have no key.

        These are noise, window, images, rejected pairs and step of validation. So a model has the same hash as in older
        versions.
        """
        values = self.model_dump(mode="json")
        if self.noise is None:
            del values["noise"]
        if self.ct_window == DEFAULT_CT_WINDOW:
            del values["ct_window"]
        if self.training is not None:
            training = values["training"]
            for name in ("images", "rejected_pairs", "validation_step"):
                if training[name] in (None, {}, []):
                    del training[name]
        return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
