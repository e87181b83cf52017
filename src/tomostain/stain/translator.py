"""A trained generator as a function of patches: built from a model folder, in evaluation mode, scaled and padded."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from tomostain.devices import choose_device
from tomostain.errors import InputError
from tomostain.io.models import Model, ModelSpec, check_state, load_model
from tomostain.scaling import ct_to_network, histology_from_network
from tomostain.train.networks import NETWORKS, check_spec


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
    hash : str
        Names exactly these weights; goes into the provenance of what they stain.
    """

    network: nn.Module
    spec: ModelSpec
    device: torch.device
    hash: str = ""

    @torch.inference_mode()
    def __call__(self, ct: Tensor) -> Tensor:
        """Stain patches.

        Parameters
        ----------
        ct : Tensor of float, shape (B, H, W)
            Normalised µCT grey values.

        Returns
        -------
        Tensor of float32, shape (B, 3, H, W)
            Colours in [0, 255], not rounded, on `device`.
        """
        x = ct_to_network(ct.to(self.device, torch.float32))[:, None]
        x = -x if self.spec.inverted_ct else x
        x = x.expand(-1, self.spec.in_channels, -1, -1)
        height, width = x.shape[-2:]
        step, least = cast(int, self.network.multiple), cast(int, self.network.smallest)
        wanted = [max(-(-side // step) * step, least) for side in (height, width)]
        x = functional.pad(x, (0, wanted[1] - width, 0, wanted[0] - height), mode="replicate")
        return histology_from_network(self.network(x)[..., :height, :width]).float()


def load_translator(model_folder: Path, device: str = "auto") -> Translator:
    """Read a model folder and build its generator. Nothing in the folder is executed.

    Parameters
    ----------
    model_folder : Path
    device : str
        ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    InputError
        If the folder is no model, its checksums or weights do not fit, or the device is not there.
    """
    place = choose_device(device)
    model = load_model(Path(model_folder))
    network = _build(model)
    check_state(model.state, network.state_dict(), str(model_folder))
    network.load_state_dict(model.state, assign=True)
    return Translator(network.eval().requires_grad_(False).to(place), model.spec, place, model.hash)


def _build(model: Model) -> nn.Module:
    """Build the generator that model.yaml names, without memory for weights that are not proven to be there."""
    spec = model.spec
    channels = (spec.generator.get("in_channels", 3), spec.generator.get("out_channels", 3))
    if channels != (spec.in_channels, 3):
        raise InputError(
            f"{model.path}: model.yaml says in_channels {spec.in_channels}, but its generator maps {channels[0]} "
            f"channel(s) to {channels[1]}; export the model again"
        )
    try:
        arguments = check_spec(spec.generator)
    except InputError as error:
        raise InputError(f"{model.path}: model.yaml: {error}") from None
    with torch.device("meta"):
        network = NETWORKS[spec.generator["name"]](**arguments)
    if not hasattr(network, "multiple"):
        raise InputError(f"{model.path}: network '{spec.generator['name']}' in model.yaml is no generator")
    return network
