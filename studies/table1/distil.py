"""Distillation: a small network learns from a trained one, on labelled and on unlabelled µCT.

Registration errors make the real pairs contradict each other. The images of a trained network are aligned with the µCT.
The student therefore learns from these images (Hinton et al. 2015, arXiv:1503.02531, applied to images), while its
discriminator still compares with real histology.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from studies.table1.candidates import Float32, planes
from tomostain.dataset.dataset import Dataset
from tomostain.train import Recipe
from tomostain.train.buffer import Exchange
from tomostain.train.device_step import DeviceStep, Losses
from tomostain.train.objective import Step
from tomostain.train.sampling import PatchSampler
from tomostain.train.trainer import Trainer
from tomostain.train.windows import Batch

# Distances of the planes from the section, within the thickness of the volumes.
OFFSETS_UM = tuple(float(um) for um in range(-240, 241, 60) if um)


def unlabelled(specimens: Path, data: Dataset, ids: Sequence[str]) -> list[Float32]:
    """Return planes of the volumes of pairs, parallel to the section: one stack (N, Y, X) in [-1, 1] per pair."""
    return [planes(specimens, data.path, data.load(pair_id), OFFSETS_UM) for pair_id in ids]


class RealHistologyStep(DeviceStep):
    """A step whose discriminator sees real histology, not the images of the teacher."""

    real: torch.Tensor

    def improve_discriminators(self, parts: Sequence[Step], exchanges: Mapping[str, Exchange]) -> Losses:
        """Train the discriminator with real histology."""
        for step, real in zip(parts, self.real.chunk(len(parts)), strict=True):
            step.y = real
        return super().improve_discriminators(parts, exchanges)


class Distilled(Trainer):
    """The same objective with the images of a teacher as the target. Every other step uses unlabelled µCT.

    Parameters
    ----------
    recipe, data, fold, seed : as `Trainer`, on the CPU
    teacher : nn.Module
        (B, 1, H, W) to (B, 3, H, W), in evaluation mode.
    slices : sequence of ndarray (N, Y, X)
        Unlabelled µCT in [-1, 1], at least as large as a patch.
    """

    step_class = RealHistologyStep

    def __init__(
        self, recipe: Recipe, data: Dataset, fold: int, seed: int, *, teacher: nn.Module, slices: Sequence[Float32]
    ) -> None:
        # The images of the teacher are aligned already.
        super().__init__(recipe.model_copy(update={"residual_registration": 0}), data, fold, seed, "cpu")
        self.teacher, self.slices = teacher.requires_grad_(False), slices
        draw = self.sampler.draw

        def draw_with_teacher(generator: torch.Generator) -> Batch:
            batch = draw(generator)
            self.real = self.device_step.real = batch.y
            x, mask = batch.x, batch.mask
            if self.state.step % 2:
                x = torch.stack([self._unlabelled(generator) for _ in range(len(x))])
                mask = torch.ones_like(mask)
            with torch.no_grad():
                return Batch(x, self.teacher(x), mask, batch.ids)

        self.device_step: RealHistologyStep
        self.sampler: PatchSampler
        self.sampler.draw = draw_with_teacher

    def _unlabelled(self, generator: torch.Generator) -> torch.Tensor:
        """Return a patch (1, H, W) of a random plane of a training volume, flipped and rotated at random."""
        patch = self.recipe.patch_px

        def below(high: int) -> int:
            return int(torch.randint(high, (1,), generator=generator))

        stack = self.slices[below(len(self.slices))]
        row, column = below(stack.shape[1] - patch + 1), below(stack.shape[2] - patch + 1)
        patch_ct = stack[below(len(stack)), row : row + patch, column : column + patch]
        rotated = np.rot90(patch_ct, below(4))
        return torch.from_numpy((rotated[:, ::-1] if below(2) else rotated).copy())[None]
