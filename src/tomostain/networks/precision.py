"""Generators in half precision, for GPUs and for CPUs with AMX.

They multiply numbers of 16 bits and sum the products in single precision. The values between layers are rounded: to 11
bits in float16, to 8 in bfloat16. For the effect on the image see docs/explanation/speed.md.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from tomostain.devices import has_float16
from tomostain.errors import ComputationWarning, InputError, warn_user
from tomostain.networks.kernels import put_channels_last

N = TypeVar("N", bound=nn.Module)
Precision = Literal["float32", "bfloat16", "float16"]
PrecisionChoice = Literal["auto", "float32", "bfloat16", "float16"]
"""A precision, or "auto": float16 on a GPU with tensor cores (Volta or newer), float32 elsewhere."""

# torch 2.6 names them in this way. Every CPU with AMX tiles multiplies bfloat16 with them.
_EARLY_CAPABILITIES = {
    "amx_fp16": "_is_amx_fp16_supported",
    "amx_bf16": "_is_amx_tile_supported",
    "avx512_bf16": "_is_avx512_bf16_supported",
}

CHANNELS_LAST_ON_GPU = True
"""Whether networks in half precision compute with channels last on a GPU."""


def resolve_precision(choice: PrecisionChoice, device: torch.device) -> Precision:
    """Return the precision that a choice means on a device.

    Examples
    --------
    >>> resolve_precision("auto", torch.device("cpu")), resolve_precision("bfloat16", torch.device("cuda"))
    ('float32', 'bfloat16')
    """
    if choice == "auto":
        return "float16" if has_float16(device) else "float32"
    return choice


def with_precision(network: N, precision: Precision, device: torch.device) -> N:
    """Convert a generator to half precision, in place; "float32" changes nothing.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode, on `device`.
    precision : {"float32", "bfloat16", "float16"}
        Of weights and of values between layers. Sums within a layer stay in single precision.
    device : torch.device

    Returns
    -------
    nn.Module
        `network`; its inputs and outputs have this precision.

    Raises
    ------
    InputError
        If `precision` is float16 on a CPU that has no instructions for it.

    Warns
    -----
    ComputationWarning
        If this CPU emulates bfloat16, which takes several times as long as float32.
    """
    if precision == "float32":
        return network
    if device.type != "cpu":
        network = network.to(getattr(torch, precision))
        return _channels_last(network) if CHANNELS_LAST_ON_GPU else network
    capabilities = _cpu_capabilities()
    if precision == "float16" and not capabilities.get("amx_fp16"):
        raise InputError(
            "precision float16: this CPU has no instructions for it; use precision bfloat16 or float32, or a GPU",
            parameter="precision",
        )
    if precision == "bfloat16" and not (capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")):
        warn_user(
            "precision bfloat16: this CPU has neither AMX nor AVX512-BF16 and takes several times as long as with "
            "float32",
            ComputationWarning,
        )
    return put_channels_last(network.to(getattr(torch, precision)))


def _cpu_capabilities() -> Mapping[str, Any]:
    """Return which instructions the CPU has, under the names of `torch.cpu.get_capabilities`.

    torch 2.6 does not have that function. It states the same in several private ones.
    """
    if hasattr(torch.cpu, "get_capabilities"):
        capabilities: Mapping[str, Any] = torch.cpu.get_capabilities()
        return capabilities
    return {name: bool(getattr(torch.cpu, function, bool)()) for name, function in _EARLY_CAPABILITIES.items()}


def _channels_last(network: N) -> N:
    """Let a network compute with channels last, unless torch normalises slower with it (pytorch#59168); in place."""
    if any(type(module) is nn.InstanceNorm2d for module in network.modules()):
        return network
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
