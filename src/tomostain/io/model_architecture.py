"""Whether the weights in a model folder fit the networks that ``model.yaml`` states."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomostain.errors import InputError
from tomostain.io.model_spec import SPEC, ModelSpec

if TYPE_CHECKING:
    from torch import Tensor

    from tomostain.networks import Generator

# The types of weights. All tensors of a network have the same.
_FLOATS = ("float32", "float64", "float16", "bfloat16")


def check_architecture(
    folder: Path, spec: ModelSpec, state: "Mapping[str, Tensor]", reverse_state: "Mapping[str, Tensor] | None" = None
) -> None:
    """Check that the generators of a model can be built, and that the weights fit. No memory is allocated for them.

    Parameters
    ----------
    folder : Path
        Named in messages.
    spec : ModelSpec
    state, reverse_state : mapping
        Weights of G_xy and, if there is one, G_yx.

    Raises
    ------
    InputError
        If a network is unknown, has a value that is not possible or other channels than ``model.yaml`` states, or a
        tensor does not fit.
    """
    channels = (spec.generator.get("in_channels", 3), spec.generator.get("out_channels", 3))
    noise = f", {spec.noise_channels} channel(s) of noise" if spec.noise_channels else ""
    if channels != (spec.ct_channels + spec.noise_channels, 3):
        raise InputError(
            f"{folder}: {SPEC} says in_channels {spec.in_channels}, ct_slices {spec.ct_slices}{noise}, but its "
            f"generator maps {channels[0]} channel(s) to {channels[1]}; export the model again"
        )
    check_state(state, generator_without_memory(folder, spec.generator).state_dict(), str(folder))
    if spec.reverse is not None and reverse_state is not None:
        expected = generator_without_memory(folder, spec.reverse).state_dict()
        check_state(reverse_state, expected, f"{folder}: reverse generator")


def generator_without_memory(folder: Path, values: Mapping[str, Any]) -> "Generator":
    """Return a generator that ``model.yaml`` states on the device "meta": its tensors have shapes and no values.

    Raises
    ------
    InputError
        If the network is unknown, not a generator, or has a value that is not possible. The message names `folder`.
    """
    import torch

    from tomostain.networks import Generator, parse_spec
    from tomostain.networks.registry import network_class

    try:
        parsed = parse_spec(values)
    except InputError as error:
        raise InputError(f"{folder}: {SPEC}: {error}") from None
    with torch.device("meta"):
        network = network_class(parsed.name)(parsed)
    if not isinstance(network, Generator):
        raise InputError(f"{folder}: network '{parsed.name}' in {SPEC} is no generator")
    return network


def check_state(state: "Mapping[str, Tensor]", expected: "Mapping[str, Tensor]", source: str) -> None:
    """Check that weights have the names and shapes of a network, and one floating-point type.

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
        Naming the first tensor that is missing, unknown, or of another shape or type.
    """
    reason = f"the weights do not match the architecture in {SPEC}; export the model again"
    for name in expected:
        if name not in state:
            raise InputError(f"{source}: tensor '{name}' is missing; {reason}")
        if tuple(state[name].shape) != tuple(expected[name].shape):
            shapes = f"has shape {tuple(state[name].shape)}, but the network expects {tuple(expected[name].shape)}"
            raise InputError(f"{source}: tensor '{name}' {shapes}; {reason}")
    kinds = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in state.items()}
    floats = [name for name in expected if name in kinds and expected[name].is_floating_point()]
    for name in floats:
        if kinds[name] not in _FLOATS or kinds[name] != kinds[floats[0]]:
            others = "floating-point" if name == floats[0] else kinds[floats[0]]
            raise InputError(f"{source}: tensor '{name}' is {kinds[name]}, but weights are {others}; {reason}")
    unknown = [name for name in state if name not in expected]
    if unknown:
        raise InputError(f"{source}: tensor '{unknown[0]}' is unknown to the network; {reason}")
