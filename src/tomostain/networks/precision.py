"""Generators in half precision: where a processor multiplies such numbers many at a time, and what is given up for it.

A GPU, or a CPU with AMX, multiplies numbers of 16 bits and sums the products in single precision. What is rounded is
what lies between the layers: float16 keeps 11 bits of a value, bfloat16 8. How far that moves a picture is told in
docs/explanation/speed.md.
"""

import warnings
from typing import Literal, TypeVar

import torch
from torch import nn

from tomostain.errors import InputError
from tomostain.networks.kernels.accelerate import put_channels_last

N = TypeVar("N", bound=nn.Module)
Precision = Literal["float32", "bfloat16", "float16"]


def with_precision(network: N, precision: Precision, device: torch.device) -> N:
    """Bring a generator into half precision, in place; nothing is done for "float32".

    Parameters
    ----------
    network : nn.Module
        In evaluation mode, on `device`.
    precision : {"float32", "bfloat16", "float16"}
        Of weights and of what lies between the layers. Sums within a layer stay in single precision.
    device : torch.device

    Returns
    -------
    nn.Module
        `network`; it takes and gives images of its own type.

    Raises
    ------
    InputError
        If it is float16 on a CPU that cannot multiply such numbers.

    Warns
    -----
    UserWarning
        If bfloat16 is emulated on this CPU: it takes several times as long as float32 then.
    """
    if precision == "float32":
        return network
    if device.type != "cpu":
        return network.to(getattr(torch, precision))
    able = torch.cpu.get_capabilities()
    if precision == "float16" and not able.get("amx_fp16"):
        raise InputError(
            "precision float16: this CPU does not multiply such numbers any faster; give bfloat16 or float32, or a GPU"
        )
    if precision == "bfloat16" and not (able.get("amx_bf16") or able.get("avx512_bf16")):
        warnings.warn(
            "precision bfloat16: this CPU has neither AMX nor AVX512-BF16 and takes several times as long as with "
            "float32",
            stacklevel=2,
        )
    return put_channels_last(network.to(getattr(torch, precision)))
