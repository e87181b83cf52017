"""The residual registration of all training pairs during a training, bounded to a share of the computation.

See `tomostain.train.residual_registration` for the registration of one pair, and `tomostain.train.pair_rejection` for
the pairs that are left out.
"""

import logging
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from tomostain.networks.build import build_network
from tomostain.networks.cost import count_multiply_adds
from tomostain.networks.tile_invariance import is_tile_invariant
from tomostain.train.checkpoint import State
from tomostain.train.distributed import DistributedContext
from tomostain.train.pair_rejection import accepted_pairs, correlation
from tomostain.train.recipe import Recipe
from tomostain.train.residual_registration import align, apply_affine
from tomostain.train.sampling import PatchSampler

logger = logging.getLogger(__name__)

# A step takes about four passes of the generator: forwards, twice that backwards, and the discriminator.
_PASSES_PER_STEP = 4
# Patches overlap by half where they are blended.
_BLENDED_OVERLAP = 4
# The time of `align` per pixel, as floating-point operations of a convolution (measured on a CPU).
_ALIGN_FLOPS_PER_PX = 30_000


class PairRegistration:
    """Registers the training pairs to the output of G_xy: all the first time, then a constant share of the time.

    The number of pairs is computed from counts of operations, not from a clock, so that a run has the same bits.

    Parameters
    ----------
    recipe : Recipe
    sampler : PatchSampler
        Holds the pairs.
    context : DistributedContext
        The pairs are divided among the processes.
    stain : function
        Returns the output (N, 3, Y, X) of G_xy for the µCT of pairs (N, Y, X) or (N, S, Y, X), on the device.
    """

    def __init__(
        self,
        recipe: Recipe,
        sampler: PatchSampler,
        context: DistributedContext,
        stain: Callable[[Tensor], Tensor],
    ) -> None:
        self.recipe, self.sampler, self.context, self.stain = recipe, sampler, context, stain

    @cached_property
    def pairs_at_once(self) -> int:
        """Number of pairs that are registered at each time but the first."""
        return pairs_at_once(self.recipe, self.sampler.pixels)

    def register(self, state: State) -> None:
        """Register pairs, update `state`, and resample them."""
        context, device = self.context, self.context.device
        numbers = self._numbers(state)
        previous = state.affines or [torch.zeros(2, 3, device=device)] * len(self.sampler)
        affines = list(previous)
        correlations = list(state.correlations) or [0.0] * len(self.sampler)
        measured = torch.zeros(len(numbers), device=device)
        updates = torch.zeros(len(numbers), 2, 3, device=device, dtype=previous[0].dtype)
        for index in range(context.rank, len(numbers), context.size):
            ct, real, mask = self.sampler.original_on_device(numbers[index])
            drawn = self.stain(ct[None])[0].contiguous()
            affine = align(drawn, real, mask, previous[numbers[index]])
            updates[index] = affine
            if self.recipe.reject_pairs:
                inside = apply_affine(mask, affine) > 1 - 1e-4
                measured[index] = correlation(drawn, apply_affine(real, affine), inside)
        updates, measured = context.total(updates), context.total(measured)
        for index, number in enumerate(numbers):
            affines[number], correlations[number] = updates[index].clone(), float(measured[index])
        state.affines = affines
        if self.recipe.reject_pairs:
            state.correlations = correlations
            self._reject(state, numbers)
        for number in numbers:
            self.sampler.set_alignment(number, affines[number])
        self.sampler.reject(state.rejected)

    def _numbers(self, state: State) -> list[int]:
        """Return the indices of the pairs that are registered now: all, or the next ones in turn."""
        total, at_once = len(self.sampler), len(self.sampler)
        if state.affines and (state.correlations or not self.recipe.reject_pairs):
            at_once = min(self.pairs_at_once, total)
        turn = state.step // self.recipe.residual_registration - 1
        return [(turn * at_once + index) % total for index in range(at_once)] if at_once < total else list(range(total))

    def _reject(self, state: State, numbers: Sequence[int]) -> None:
        """Judge the pairs that were just registered, and name those that are left out in the log.

        The other pairs keep their status: their correlations are those with an earlier output, which are lower.
        """
        correlations: Sequence[float] = state.correlations
        accepted, judged = accepted_pairs(correlations), set(numbers)
        rejected = [
            number
            for number in range(len(correlations))
            if (not accepted[number] if number in judged else number in state.rejected)
        ]
        if rejected != state.rejected and self.context.is_rank_zero:
            names = ", ".join(f"{self.sampler.ids[number]} ({correlations[number]:.2f})" for number in rejected)
            logger.warning(
                "step %d: pairs left out, with their correlation with the output (median of all pairs %.2f): %s",
                state.step, float(np.median(correlations)), names or "none",
            )  # fmt: skip
        state.rejected = rejected

    def rejected(self, state: State) -> dict[str, float]:
        """Return the names of the pairs that are left out, with their correlation with the output."""
        return {self.sampler.ids[number]: round(state.correlations[number], 3) for number in state.rejected}

    def apply(self, state: State) -> None:
        """Resample the histology of each pair by the affines of `state`, and leave out the rejected pairs."""
        for number, affine in enumerate(state.affines):
            self.sampler.set_alignment(number, affine)
        self.sampler.reject(state.rejected)


def pairs_at_once(recipe: Recipe, pixels: Sequence[int]) -> int:
    """Return how many pairs may be registered at once so that it takes at most `registration_share` of a training.

    Parameters
    ----------
    recipe : Recipe
    pixels : sequence of int
        Pixels of each pair.

    Returns
    -------
    int
        At least 1; all pairs for a share of 1.
    """
    share = recipe.registration_share
    if share >= 1:
        return len(pixels)
    steps = recipe.residual_registration * recipe.batch * _PASSES_PER_STEP * recipe.patch_px**2
    budget = share / (1 - share) * steps * _flops_per_px(recipe)
    stained = _flops_per_px(recipe) * (1 if is_tile_invariant(recipe.generator_spec()) else _BLENDED_OVERLAP)
    pair = sum(pixels) / len(pixels) * (stained + _ALIGN_FLOPS_PER_PX)
    return max(1, min(int(budget / pair), len(pixels)))


def _flops_per_px(recipe: Recipe) -> float:
    """Return the floating-point operations of G_xy per pixel, counted without computing anything."""
    with torch.device("meta"):
        network = build_network(recipe.generator_spec())
    shape = (1, recipe.ct_channels + recipe.noise.channels, recipe.patch_px, recipe.patch_px)
    return max(2 * count_multiply_adds(network, shape), 1) / recipe.patch_px**2
