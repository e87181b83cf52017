"""The size of the GPU benchmark: that of a card, or a toy size that shows on a CPU that everything runs."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Size:
    """How large the parts of the GPU benchmark are. Every part takes one.

    Attributes
    ----------
    name : {"card", "toy"}
    device : str
        "cuda" or "cpu".
    patch_px, pair_px, pairs : int
        Side of the training patches; side and number of the random pairs.
    batches : tuple of int
        Batch sizes of the training steps.
    sampler_batches : tuple of int
        Batch sizes of the sampler.
    blocks, steps : int
        Timed blocks, and steps in a block. Fewer steps if a block would take longer than `block_s`.
    warm_steps : int
        Steps before the first block: compilation, capture and the choice of algorithms happen in them.
    block_s : float
        Approximate maximum of the seconds of a block.
    product : int
        Side of the matrix product that measures the peak.
    slice_px : int
        Side of the slice that is stained.
    volume : tuple of int
        Shape (Z, Y, X) of the volume that is stained.
    recipes : tuple of str
        Names of the recipes in order of importance.
    """

    name: str
    device: str
    patch_px: int
    pair_px: int
    pairs: int
    batches: tuple[int, ...]
    sampler_batches: tuple[int, ...]
    blocks: int
    steps: int
    warm_steps: int
    block_s: float
    product: int
    slice_px: int
    volume: tuple[int, int, int]
    recipes: tuple[str, ...] = ("paired-cyclegan", "tomostain", "pix2pix", "lean", "cyclegan")

    @property
    def toy(self) -> bool:
        """Whether the networks are small, too."""
        return self.name == "toy"

    def synchronise(self) -> None:
        """Wait for the device."""
        if self.device == "cuda":
            torch.cuda.synchronize()


CARD = Size(
    name="card",
    device="cuda",
    patch_px=256,
    pair_px=1000,
    pairs=4,
    batches=(4, 16),
    sampler_batches=(4, 16, 64),
    blocks=3,
    steps=15,
    warm_steps=14,
    block_s=1.5,
    product=8192,
    slice_px=1024,
    volume=(64, 1536, 1536),
)

TOY = Size(
    name="toy",
    device="cpu",
    patch_px=64,
    pair_px=100,
    pairs=2,
    batches=(1, 2),
    sampler_batches=(1, 2),
    blocks=1,
    steps=2,
    warm_steps=1,
    block_s=1.0,
    product=256,
    slice_px=96,
    volume=(3, 80, 96),
)


def size_here() -> Size:
    """Return the size for this machine: that of a card where there is one."""
    return CARD if torch.cuda.is_available() else TOY
