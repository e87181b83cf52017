"""Noise of a model while staining: checks of its options, and what changes from seed to seed."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.stain.config import StainConfig
from tomostain.stain.slices import stain_slice
from tomostain.stain.translator import Translator
from tomostain.tiling.noise import FIRST_SLICE, SlicePosition
from tomostain.tiling.noise_field import MAX_SEED

MAX_SAMPLES = 64


def check_noise_options(seed: int, samples: int = 1) -> None:
    """Raise `InputError` if the seed, or the number of seeds to compare, is out of range."""
    if not 0 <= seed <= MAX_SEED:
        raise InputError(f"`noise_seed`: {seed}; give a whole number from 0 to {MAX_SEED}", parameter="noise_seed")
    if not 1 <= samples <= MAX_SAMPLES:
        raise InputError(
            f"`noise_samples`: {samples}; give a number from 1 to {MAX_SAMPLES}", parameter="noise_samples"
        )


def check_noise_input(translators: Sequence[Translator], seed: int, samples: int = 1) -> None:
    """Raise `InputError` if options of the noise are given for models that have no noise input.

    Parameters
    ----------
    translators : sequence of Translator
        The model, and the other models of an ensemble.
    seed, samples : int
        0 and 1 are the defaults and fit every model. Several samples are of the first model.
    """
    if seed and not any(each.has_noise for each in translators):
        raise InputError(
            f"`noise_seed`: {seed}, but the model has no noise input, so the seed has no effect; leave it out",
            parameter="noise_seed",
        )
    if samples > 1 and not translators[0].has_noise:
        raise InputError(
            f"`noise_samples`: {samples}, but the model has no noise input, so all seeds give the same colours; leave "
            "it out, or use a model whose recipe has a noise input",
            parameter="noise_samples",
        )


def stain_seeds(
    translator: Translator,
    ct: NDArray[np.uint16] | NDArray[np.float32],
    config: StainConfig | None = None,
    position: SlicePosition = FIRST_SLICE,
    *,
    seeds: Sequence[int],
) -> list[NDArray[np.uint8]]:
    """Stain a slice with several seeds of the noise.

    Texture that changes is not determined by the µCT. Texture that stays follows from the µCT.

    Parameters
    ----------
    translator : Translator
        Of a model with a noise input.
    ct, config
        As `tomostain.stain.stain_slice`.
    position : SlicePosition
        Of the slice. Its seed is not used.
    seeds : sequence of int

    Returns
    -------
    list of ndarray of uint8, shape (Y, X, 3)
        One image for each seed.

    Raises
    ------
    InputError
        If the model has no noise input.
    """
    check_noise_input([translator], 0, len(seeds))
    return [stain_slice(translator, ct, config, replace(position, seed=seed)) for seed in seeds]


def following_seeds(seed: int, number: int) -> list[int]:
    """Return seeds that follow another one; 0 follows the largest.

    Examples
    --------
    >>> following_seeds(4, 2), following_seeds(2**32 - 1, 1)
    ([5, 6], [0])
    """
    return [(seed + n) % (MAX_SEED + 1) for n in range(1, number + 1)]
