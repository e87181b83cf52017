"""A trained generator as a function of patches: built from a model folder, in evaluation mode, scaled and padded."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from tomostain.devices import choose_device
from tomostain.errors import InputError
from tomostain.imaging.network_range import ct_from_network, ct_to_network, histology_from_network, histology_to_network
from tomostain.io.models import SEEN, ModelSpec, check_state, load_model
from tomostain.networks.build import NETWORKS, check_spec
from tomostain.networks.kernels.accelerate import accelerate
from tomostain.networks.precision import Precision, with_precision
from tomostain.ood import ModelReference, TrainingReference


@dataclass(frozen=True, eq=False)
class Translator:
    """G_xy of a model, with what it needs to know of its domains.

    Attributes
    ----------
    network : nn.Module
        In evaluation mode, on `device`.
    spec : ModelSpec
        What `model.yaml` says.
    device : torch.device
    reverse : nn.Module or None
        G_yx, where it was asked for.
    seen : TrainingReference or None
        What training saw, where the model remembers it.
    pooled : bool
        Whether `network` normalises by statistics of a whole volume (`tomostain.stain.volume_statistics`) and not by
        each
        tile's own.
    hash : str
        Names exactly these weights; goes into the provenance of what they stain.
    """

    network: nn.Module
    spec: ModelSpec
    device: torch.device
    hash: str = ""
    reverse: nn.Module | None = None
    seen: TrainingReference | None = None
    pooled: bool = False

    @property
    def reference(self) -> ModelReference:
        """What the model stores of its training data (`tomostain.ood.check_volume`)."""
        return ModelReference(self.spec.greys, self.seen)

    @property
    def tile_free(self) -> bool:
        """Whether what becomes of a pixel hangs on its neighbourhood alone, whatever tile it is stained in."""
        return self.pooled or self.spec.generator.get("norm", "instance") != "instance"

    @torch.inference_mode()
    def __call__(self, ct: Tensor) -> Tensor:
        """Stain patches.

        Parameters
        ----------
        ct : Tensor of float, shape (B, H, W), or (B, ct_slices, H, W) for a model that sees several slices
            Normalised µCT grey values.

        Returns
        -------
        Tensor of float32, shape (B, 3, H, W)
            Colours in [0, 255], not rounded, on `device`.
        """
        x = ct_to_network(ct.to(self.device, torch.float32))
        x = -x if self.spec.inverted_ct else x
        x = x if self.spec.ct_slices > 1 else x[:, None].expand(-1, self.spec.in_channels, -1, -1)
        return histology_from_network(_run(self.network, x))

    @torch.inference_mode()
    def back(self, histology: Tensor) -> Tensor:
        """Guess the µCT of histology: G_yx.

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
            If the translator was loaded without its reverse.
        """
        if self.reverse is None:
            raise InputError("this translator has no way back; load it with reverse=True")
        x = _run(self.reverse, histology_to_network(histology.to(self.device, torch.float32))).mean(dim=1)
        return ct_from_network(-x if self.spec.inverted_ct else x)


def _run(network: nn.Module, images: Tensor) -> Tensor:
    """Put images of any size (B, C, H, W) through a generator, which needs certain multiples and its own precision."""
    height, width = images.shape[-2:]
    step, least = cast(int, network.multiple), cast(int, network.smallest)
    wanted = [max(-(-side // step) * step, least) for side in (height, width)]
    padded = functional.pad(images, (0, wanted[1] - width, 0, wanted[0] - height), mode="replicate")
    precision = next((value.dtype for value in network.parameters()), images.dtype)
    return cast(Tensor, network(padded.to(precision)))[..., :height, :width].float()


def load_translator(
    model_folder: Path, device: str = "auto", *, reverse: bool = False, precision: Precision = "float32"
) -> Translator:
    """Read a model folder and build its generator. Nothing in the folder is executed.

    Parameters
    ----------
    model_folder : Path
    device : str
        ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
    reverse : bool
        Build the reverse generator too: `Translator.back`.
    precision : {"float32", "bfloat16", "float16"}
        See `tomostain.networks.precision.with_precision`.

    Raises
    ------
    InputError
        If the folder is no model, its checksums or weights do not fit, the device is not there or cannot do with
        this precision, or a reverse generator is asked for that the model has not.
    """
    place = choose_device(device)
    model = load_model(Path(model_folder))
    spec = model.spec
    channels = (spec.generator.get("in_channels", 3), spec.generator.get("out_channels", 3))
    if channels != (spec.ct_channels, 3):
        raise InputError(
            f"{model.path}: model.yaml says in_channels {spec.in_channels}, ct_slices {spec.ct_slices}, but its "
            f"generator maps {channels[0]} channel(s) to {channels[1]}; export the model again"
        )
    network = _build(model.path, spec.generator, model.state, place, precision)
    seen = None if model.seen is None else TrainingReference.from_arrays(model.seen, str(model.path / SEEN))
    if not reverse:
        return Translator(network, spec, place, model.hash, seen=seen)
    if spec.reverse is None or model.reverse_state is None:
        raise InputError(f"{model.path}: recipe '{spec.recipe}' trains no reverse generator; take a model that has one")
    back = _build(model.path, spec.reverse, model.reverse_state, place, precision)
    return Translator(network, spec, place, model.hash, back, seen)


def _build(
    path: Path, spec: Mapping[str, Any], state: Mapping[str, Tensor], place: torch.device, precision: Precision
) -> nn.Module:
    """Build a generator that model.yaml names, without memory for weights that are not proven to be there."""
    try:
        arguments = check_spec(spec)
    except InputError as error:
        raise InputError(f"{path}: model.yaml: {error}") from None
    with torch.device("meta"):
        network = NETWORKS[spec["name"]](**arguments)
    if not hasattr(network, "multiple"):
        raise InputError(f"{path}: network '{spec['name']}' in model.yaml is no generator")
    check_state(state, network.state_dict(), str(path))
    network.load_state_dict(state, assign=True)
    network = network.eval().requires_grad_(False).to(place)
    if precision == "float32" and place.type == "cpu":
        return accelerate(network, frozen=True)
    return with_precision(network, precision, place)
