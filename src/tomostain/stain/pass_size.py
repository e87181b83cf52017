"""How much goes through the network at once: from the configuration on a CPU, from the free memory on a GPU."""

import math
from dataclasses import dataclass, replace

import torch

from tomostain.networks import parse_generator_spec
from tomostain.networks.build import size_step
from tomostain.stain.config import EXACT_TILE_PX, PAPER_PATCH_PX, StainConfig
from tomostain.stain.translator import Translator
from tomostain.tiling.exact import halo_of

MEMORY_SHARE = 0.5
"""Share of the free memory of a GPU that one pass may use."""
MAX_BATCH_PX = 8 * 2**20
"""Pixels up to which slices or patches are batched: more is not faster."""
_MIN_TILE_PX = 128
# Some kernels of cuDNN count elements with 32 bits; activations take 16 bytes for each feature and pixel.
_MAX_ACTIVATION_BYTES = 8 * 2**31


@dataclass(frozen=True)
class PassSize:
    """How much goes through the network at once.

    Attributes
    ----------
    slices : int
        Slices that are stained at once.
    tile_px : int
        Side of an exact tile with its halo, px; 0 for overlapping patches.
    patches : int
        Number of overlapping patches, of all slices together; 0 for exact tiles.
    min_tile_px : int
        Exact tiles are not made smaller than this.
    """

    slices: int
    tile_px: int = 0
    patches: int = 0
    min_tile_px: int = _MIN_TILE_PX

    def halved(self) -> "PassSize | None":
        """Return half of it, or None if it cannot be halved.

        Examples
        --------
        >>> PassSize(slices=1, patches=4).halved()
        PassSize(slices=1, tile_px=0, patches=2, min_tile_px=128)
        """
        if self.patches > 1:
            return replace(self, patches=self.patches // 2, slices=min(self.slices, self.patches // 2))
        if self.slices > 1:
            return replace(self, slices=self.slices // 2)
        if self.tile_px // 2 >= self.min_tile_px:
            return replace(self, tile_px=self.tile_px // 2)
        return None


def pass_size(translator: Translator, config: StainConfig, shape: tuple[int, int], slices: int) -> PassSize:
    """Return how much of some slices goes through the network at once.

    Parameters
    ----------
    translator : Translator
    config : StainConfig
        Resolved for the model.
    shape : (int, int)
        Rows and columns of a slice, px.
    slices : int
        Number of slices.

    Notes
    -----
    On a CPU one slice, with the tile or the batch of the configuration. On a GPU as much as its free memory allows: a
    smaller `patch_px` of exact tiles and a `batch` that were stated are not exceeded. The result does not depend on it
    up to rounding.
    """
    patch, _ = config.tiling(PAPER_PATCH_PX)
    if translator.device.type == "cpu":
        return PassSize(1, patch) if config.blend == "exact" else PassSize(1, patches=config.batch)
    pixels = affordable_px(translator)
    if config.blend != "exact":
        max_batch = max(1, min(pixels, MAX_BATCH_PX) // patch**2)
        if "batch" in config.model_fields_set:
            max_batch = min(max_batch, config.batch)
        return PassSize(min(slices, max_batch), patches=max_batch)
    multiple = size_step(translator.spec.generator)
    smallest = 2 * halo_of(translator.spec.generator, translator.has_volume_statistics) + multiple
    # The default is no wish: larger tiles have less halo, and the whole slice has none.
    largest = max(shape) if patch == EXACT_TILE_PX else patch
    tile = max(smallest, min(largest, _square_of(pixels)))
    tile_area = math.prod(min(tile, side) for side in shape)
    return PassSize(
        max(1, min(slices, min(pixels, MAX_BATCH_PX) // tile_area)),
        tile if tile >= max(shape) else tile // multiple * multiple,
        min_tile_px=max(_MIN_TILE_PX, smallest),
    )


def batch_end(first: int, count: int, size: int) -> int:
    """Return the end of the batch that begins at `first`: of equal batches of at most `size` slices.

    Examples
    --------
    >>> batch_end(0, 10, 4), batch_end(4, 10, 4), batch_end(7, 10, 4)
    (4, 7, 10)
    """
    remaining = count - first
    return first + -(-remaining // -(-remaining // size))


def _square_of(pixels: int) -> int:
    return math.isqrt(max(1, pixels))


def affordable_px(translator: Translator) -> int:
    """Return the pixels that the network can take at once, with the free memory of the GPU."""
    bytes_px = parse_generator_spec(translator.spec.generator).activation_bytes_per_pixel
    used_px = bytes_px if translator.precision == "float32" else max(1, bytes_px // 2)
    return max(
        1, min(int(MEMORY_SHARE * free_gpu_memory(translator.device)) // used_px, _MAX_ACTIVATION_BYTES // bytes_px)
    )


def free_gpu_memory(device: torch.device) -> int:
    """Return the bytes of a GPU that are free, or held by torch for later use."""
    free, _ = torch.cuda.mem_get_info(device)
    return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
