"""Where the Triton programs can run, sizes of their blocks, and memory for their results."""

import os
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tomostain.errors import ComputationWarning, warn_user

# Values of a block of pixels × channels; the backward pass needs more registers for each. At most this many channels
# belong to one: 128 bytes in half precision.
BLOCK, BLOCK_BACKWARD, _BLOCK_CHANNELS = 4096, 2048, 64
# Program instances that sum over pixels, at least; pieces of an image, at most.
PROGRAMS, _PIECES = 1024, 256
WARPS = 4


def can_run(image: Tensor) -> bool:
    """Whether the programs can process an image.

    Triton's interpreter runs them on the CPU if ``TRITON_INTERPRET=1`` is set, for tests.
    """
    if image.is_cuda:
        return _works_on(image.device)
    return os.environ.get("TRITON_INTERPRET") == "1" and find_spec("triton") is not None


@cache
def _works_on(device: torch.device) -> bool:
    """Compile and launch one program: Triton may be missing, or lack a C compiler or support for the GPU."""
    if find_spec("triton") is None:
        return False
    try:
        from tomostain.networks.kernels.cuda.narrow_programs import spread_rows

        with torch.cuda.device(device):
            grad, result = torch.ones(1, device=device), torch.empty(8, device=device)
            spread_rows[1, 1](grad, result, 1, 1, 1, 1, R=1, BLOCK_P=16, BLOCK_C=8)
    except Exception as error:  # of any kind: a compiler's, a linker's, a driver's
        reason = (str(error).splitlines() or [""])[0]
        warn_user(
            f"Triton does not work on {device}, so layers of torch are used, which take twice as long: "
            f"{type(error).__name__}: {reason}",
            ComputationWarning,
        )
        return False
    return True


def autocast_dtype(image: Tensor) -> torch.dtype | None:
    """Return the data type of autocast, if there is one: the next convolution would convert to it anyway."""
    device = image.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


class Blocks(NamedTuple):
    """Sizes of the blocks for one image."""

    pixels: int
    channels: int
    piece: int
    pieces: int

    @property
    def steps(self) -> int:
        """Blocks of pixels of a piece."""
        return self.piece // self.pixels


def blocks_of(batch: int, channels: int, pixels: int, values: int) -> Blocks:
    """Return block sizes that depend on the shape only, so that results are the same on every GPU.

    Examples
    --------
    >>> blocks_of(4, 64, 256 * 256, 4096)
    Blocks(pixels=64, channels=64, piece=256, pieces=256)
    >>> blocks_of(1, 3, 50, 4096)
    Blocks(pixels=64, channels=4, piece=64, pieces=1)
    """
    block_c = min(_BLOCK_CHANNELS, power_of_2(channels))
    block_p = max(16, min(values // block_c, power_of_2(pixels)))
    across = batch * -(-channels // block_c)
    pieces = min(_PIECES, -(-PROGRAMS // across), -(-pixels // block_p))
    # A power of 2 of blocks: images of many sizes then share a few compiled programs.
    piece = power_of_2(-(-pixels // (pieces * block_p))) * block_p
    return Blocks(block_p, block_c, piece, -(-pixels // piece))


def power_of_2(number: int) -> int:
    """Return the smallest power of 2 that is at least `number`."""
    return 1 << (number - 1).bit_length()


def dense_channels_last(image: Tensor) -> Tensor:
    """Return an image (B, C, H, W) with channels last in memory, without gaps; a copy only if necessary."""
    channels, height, width = image.shape[1:]
    strides = (height * width * channels, 1, width * channels, channels)
    # Strides of dimensions of length 1 have no meaning for torch, but the programs use them.
    if all(
        actual == required or size == 1
        for actual, required, size in zip(image.stride(), strides, image.shape, strict=True)
    ):
        return image
    return new_like(image, image.shape, image.dtype).copy_(image)


def new_like(image: Tensor, shape: tuple[int, ...] | torch.Size, dtype: torch.dtype) -> Tensor:
    """Return uninitialised memory for an image (B, C, H, W) with channels last."""
    batch, channels, height, width = shape
    return image.new_empty((batch, height, width, channels), dtype=dtype).permute(0, 3, 1, 2)


def widest(dtype: torch.dtype) -> torch.dtype:
    """Return the data type of sums: at least single precision."""
    return torch.promote_types(dtype, torch.float32)


def common_arguments(image: Tensor, block_p: int, block_c: int) -> dict[str, Any]:
    """Return the arguments that all programs share: data type of the computation, and size of a block."""
    import triton.language as tl

    wide = tl.float64 if image.dtype == torch.float64 else tl.float32
    return {"WIDE": wide, "BLOCK_P": block_p, "BLOCK_C": block_c, "num_warps": WARPS}
