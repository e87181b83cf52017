"""A small network taught by a trained one, on labelled and on unlabelled µCT.

What registration leaves undone makes the real pairs contradict one another; a trained network's pictures lie where the
µCT says. So the student is held against those (Hinton et al. 2015, arXiv:1503.02531, for pictures), while its judge
still compares with real histology.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from studies.table1.candidates import Float32, planes
from tomostain.dataset.dataset import Dataset
from tomostain.train import Recipe
from tomostain.train.objective import Step
from tomostain.train.sampling import Batch, PatchSampler
from tomostain.train.trainer import Trainer

# Planes of the training volumes next to the section, as far as its own volume is thick.
OFFSETS_UM = tuple(float(um) for um in range(-240, 241, 60) if um)


def unlabelled(specimens: Path, data: Dataset, ids: Sequence[str]) -> list[Float32]:
    """Return planes of these pairs' volumes, off the section, one stack (N, Y, X) in [-1, 1] a pair."""
    return [planes(specimens, data.path, data.load(pair_id), OFFSETS_UM) for pair_id in ids]


class Distilled(Trainer):
    """The same objective, but the picture to be matched is the teacher's; every other µCT patch is unlabelled.

    Parameters
    ----------
    recipe, data, fold, seed : as `Trainer`; one thread of a CPU
    teacher : nn.Module
        (B, 1, H, W) to (B, 3, H, W), in evaluation mode.
    slices : sequence of ndarray (N, Y, X)
        Unlabelled µCT in [-1, 1], no smaller than a patch.
    """

    def __init__(
        self, recipe: Recipe, data: Dataset, fold: int, seed: int, *, teacher: nn.Module, slices: Sequence[Float32]
    ) -> None:
        # The teacher's pictures do not need to be aligned again.
        super().__init__(recipe.model_copy(update={"residual_registration": 0}), data, fold, seed, "cpu")
        self.teacher, self.slices = teacher.requires_grad_(False), slices
        draw = self.sampler.draw

        def draw_taught(generator: torch.Generator) -> Batch:
            batch = draw(generator)
            self.real = batch.y
            x, mask = batch.x, batch.mask
            if self.state.step % 2:
                x = torch.stack([self._unlabelled(generator) for _ in range(len(x))])
                mask = torch.ones_like(mask)
            with torch.no_grad():
                return Batch(x, self.teacher(x), mask, batch.ids)

        self.sampler: PatchSampler
        self.sampler.draw = draw_taught

    def _unlabelled(self, generator: torch.Generator) -> torch.Tensor:
        """Cut a patch (1, H, W) out of any plane of any training volume, flipped and turned at random."""
        patch = self.recipe.patch_px

        def below(high: int) -> int:
            return int(torch.randint(high, (1,), generator=generator))

        stack = self.slices[below(len(self.slices))]
        row, column = below(stack.shape[1] - patch + 1), below(stack.shape[2] - patch + 1)
        cut = stack[below(len(stack)), row : row + patch, column : column + patch]
        turned = np.rot90(cut, below(4))
        return torch.from_numpy((turned[:, ::-1] if below(2) else turned).copy())[None]

    def _improve_discriminators(self, parts: Sequence[Step]) -> dict[str, float]:
        """Give the discriminator real histology, not the teacher's pictures."""
        for step, real in zip(parts, self.real.chunk(len(parts)), strict=True):
            step.y = real
        return super()._improve_discriminators(parts)
