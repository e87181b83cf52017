"""A trained generator as a function of patches: loaded from a model folder, with scaling and padding."""

import functools
import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tomostain.devices import choose_device, name_device
from tomostain.errors import InputError
from tomostain.imaging.network_range import ct_from_network, ct_to_network, histology_from_network, histology_to_network
from tomostain.io.model_architecture import generator_without_memory
from tomostain.io.models import SEEN, Model, ModelSpec, load_model
from tomostain.networks import Generator, is_tile_invariant
from tomostain.networks.kernels import accelerate
from tomostain.networks.noise_input import add_noise, split_noise
from tomostain.networks.precision import Precision, PrecisionChoice, resolve_precision, with_precision
from tomostain.ood import ModelReference, TrainingReference
from tomostain.paths import StrPath
from tomostain.stain.runner import NetworkRunner, true_float32

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Translator:
    """The generator G_xy of a model, as a function from µCT to colours.

    Attributes
    ----------
    network : Generator
        In evaluation mode, on `device`.
    spec : ModelSpec
        The content of `model.yaml`.
    device : torch.device
    reverse : Generator or None
        G_yx, if it was loaded.
    training_reference : TrainingReference or None
        For the novelty; None for older models.
    has_volume_statistics : bool
        Whether `network` normalises by the statistics of a whole volume (`tomostain.stain.volume_statistics`).
    precision : {"float32", "bfloat16", "float16"}
        Of `network`.
    hash : str
        Identifies the weights; part of the provenance of stained volumes.
    in_float32 : callable or None
        Returns the same translator in float32, built at the first call. For a translator in half precision on a GPU.
    may_fall_back : bool
        Whether slices of which `precision` gives no finite colours may be stained in float32. True if the precision was
        not asked for explicitly.
    runner : NetworkRunner or None
        Runs `network` on a GPU. None: it is called directly, without CUDA graphs.
    """

    network: Generator
    spec: ModelSpec
    device: torch.device
    hash: str = ""
    reverse: Generator | None = None
    training_reference: TrainingReference | None = None
    has_volume_statistics: bool = False
    precision: Precision = "float32"
    in_float32: "Callable[[], Translator] | None" = None
    may_fall_back: bool = False
    runner: NetworkRunner | None = None

    def __repr__(self) -> str:
        return f"Translator({self.describe()})"

    def describe(self) -> str:
        """Return stain, recipe, steps, voxel size, precision, device and hash in one line."""
        spec = self.spec
        training = f"stain {spec.stain}, {spec.recipe}, {spec.steps} steps, {spec.voxel_um:g} µm"
        place = f"{self.precision}, {self.device}"
        return f"{training}, {place}, hash {self.hash[:12]}" if self.hash else f"{training}, {place}"

    @property
    def reference(self) -> ModelReference:
        """What the model stores of its training data (`tomostain.ood.check_volume`)."""
        return ModelReference(self.spec.greys, self.training_reference)

    @property
    def has_noise(self) -> bool:
        """Whether the generator has a noise input (`tomostain.tiling.noise`)."""
        return self.spec.noise_channels > 0

    @property
    def tile_invariant(self) -> bool:
        """Whether the output at a pixel depends only on its neighbourhood, in whatever tile it is stained.

        Measured once for each architecture: `tomostain.networks.is_tile_invariant`.
        """
        return is_tile_invariant(self.spec.generator, volume_statistics=self.has_volume_statistics)

    @property
    def tile_free(self) -> bool:
        """Older name of `tile_invariant`."""
        warnings.warn("Translator.tile_free is now Translator.tile_invariant", DeprecationWarning, stacklevel=2)
        return self.tile_invariant

    @property
    def seen(self) -> TrainingReference | None:
        """Older name of `training_reference`."""
        warnings.warn("Translator.seen is now training_reference", DeprecationWarning, stacklevel=2)
        return self.training_reference

    @property
    def pooled(self) -> bool:
        """Older name of `has_volume_statistics`."""
        warnings.warn("Translator.pooled is now has_volume_statistics", DeprecationWarning, stacklevel=2)
        return self.has_volume_statistics

    @torch.inference_mode()
    def __call__(self, ct: Tensor) -> Tensor:
        """Stain patches.

        Parameters
        ----------
        ct : Tensor of float, shape (B, H, W), or (B, ct_slices, H, W) for a model that sees several slices
            Normalised µCT grey values. For a model with noise (B, ct_slices + channels, H, W), with the noise last
            (`tomostain.tiling.noise.with_noise`).

        Returns
        -------
        Tensor of float32, shape (B, 3, H, W)
            Colours in [0, 255], not rounded, on `device`.
        """
        spec = self.spec
        self._check_channels(ct)
        grey, noise = split_noise(ct.to(self.device, torch.float32), spec.noise_channels)
        x = ct_to_network(grey, spec.ct_window)
        x = -x if spec.inverted_ct else x
        x = x if spec.ct_slices > 1 else x[:, None].expand(-1, spec.in_channels, -1, -1)
        return histology_from_network(_run(self.network, add_noise(x, noise), self.runner))

    def _check_channels(self, ct: Tensor) -> None:
        noise, expected = self.spec.noise_channels, self.spec.ct_slices + self.spec.noise_channels
        if noise and (ct.ndim != 4 or ct.shape[1] != expected):
            raise InputError(
                f"the model needs {noise} channel(s) of noise after the µCT: expected shape (B, {expected}, H, W), not "
                f"{tuple(ct.shape)}; see `tomostain.tiling.noise.with_noise`"
            )

    @torch.inference_mode()
    def back(self, histology: Tensor) -> Tensor:
        """Return the µCT that the reverse generator G_yx makes of histology.

        Parameters
        ----------
        histology : Tensor of float, shape (B, 3, H, W)
            Normalised colours in [0, 255].

        Returns
        -------
        Tensor of float32, shape (B, H, W)
            Normalised µCT grey values (background 10000, bone 30000), not rounded, on `device`.

        Raises
        ------
        InputError
            If the translator was loaded without its reverse generator.
        """
        if self.reverse is None:
            raise InputError("this translator has no reverse generator; load it with `reverse=True`")
        x = _run(self.reverse, histology_to_network(histology.to(self.device, torch.float32))).mean(dim=1)
        return ct_from_network(-x if self.spec.inverted_ct else x, self.spec.ct_window)


def _run(network: Generator, images: Tensor, runner: NetworkRunner | None = None) -> Tensor:
    """Put images (B, C, H, W) of any size and precision through a generator, padded to a size that it takes."""
    height, width = images.shape[-2:]
    step, minimum = network.size_multiple, network.min_size_px
    sides = [max(-(-side // step) * step, minimum) for side in (height, width)]
    if sides != [height, width]:
        images = functional.pad(images, (0, sides[1] - width, 0, sides[0] - height), mode="replicate")
    images = images.to(next((value.dtype for value in network.parameters()), images.dtype))
    with true_float32(images):
        translated: Tensor = network(images) if runner is None else runner(network, images)
    return translated[..., :height, :width].float()


def load_translator(
    model_folder: StrPath | Model,
    device: str = "auto",
    *,
    reverse: bool = False,
    precision: PrecisionChoice = "auto",
    may_fall_back: bool | None = None,
) -> Translator:
    """Load a model. Nothing in its folder is executed.

    Parameters
    ----------
    model_folder : str, os.PathLike or Model
        A model folder, a run that has one, ``builtin:NAME``, or a model in memory (`tomostain.train_model`).
    device : str
        ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
    reverse : bool
        Load the reverse generator too, for `Translator.back`.
    precision : {"auto", "float32", "bfloat16", "float16"}
        "auto": float16 on a GPU with tensor cores, float32 elsewhere. See
        `tomostain.networks.precision.with_precision`.
    may_fall_back : bool, optional
        Whether slices of which the precision gives no finite colours may be stained in float32. None: if it is "auto".

    Raises
    ------
    InputError
        If the folder is not a model, its checksums or weights do not fit, the device is not available or has no
        support for the precision, or the model has no reverse generator.
    """
    chosen = choose_device(device)
    model = model_folder if isinstance(model_folder, Model) else load_model(Path(model_folder))
    spec = model.spec
    if reverse and (spec.reverse is None or model.reverse_state is None):
        raise InputError(f"{model.path}: recipe '{spec.recipe}' trains no reverse generator; use a model that has one")
    stored = model.training_reference
    reference = None if stored is None else TrainingReference.from_arrays(stored, str(model.path / SEEN))

    def build(exact: Precision, runner: NetworkRunner | None) -> Translator:
        network = _build(model.path, spec.generator, model.state, chosen, exact)
        back = None
        if reverse and spec.reverse is not None and model.reverse_state is not None:
            back = _build(model.path, spec.reverse, model.reverse_state, chosen, exact)
        return Translator(network, spec, chosen, model.hash, back, reference, precision=exact, runner=runner)

    resolved = resolve_precision(precision, chosen)
    if (precision, resolved, chosen.type) == ("auto", "float32", "cuda"):
        _log.info("precision float32: %s is older than Volta, and not faster with float16", name_device(chosen))
    if resolved == "float32" or chosen.type == "cpu":
        return build(resolved, None if chosen.type == "cpu" else NetworkRunner())
    # The reference for half precision has torch's own layers.
    wide = functools.cache(lambda: build("float32", NetworkRunner(graphs=False, fused=False)))
    fall_back = precision == "auto" if may_fall_back is None else may_fall_back
    return replace(build(resolved, NetworkRunner()), in_float32=wide, may_fall_back=fall_back)


def _build(
    path: Path, spec: Mapping[str, Any], state: Mapping[str, Tensor], place: torch.device, precision: Precision
) -> Generator:
    """Build the generator that model.yaml names, with weights that `load_model` has compared with it."""
    network = generator_without_memory(path, spec)
    network.load_state_dict(state, assign=True)
    network = network.eval().requires_grad_(False).to(place)
    if place.type == "cpu" and precision == "float32":
        return accelerate(network, frozen=True)
    # For a GPU, `tomostain.stain.runner` puts fused layers in, after the statistics of a volume are fixed.
    return with_precision(network, precision, place)
