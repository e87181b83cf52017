"""Noise of a model while staining: checks of its seed."""

from collections.abc import Sequence

from tomostain.errors import InputError
from tomostain.stain.translator import Translator
from tomostain.tiling.noise import MAX_SEED


def check_noise_seed(seed: int, translators: Sequence[Translator] = ()) -> None:
    """Raise `InputError` if a seed is out of range, or is given although no model has a noise input.

    Parameters
    ----------
    seed : int
        0 is the default and fits every model.
    translators : sequence of Translator
        Empty: only the range is checked.
    """
    if not 0 <= seed <= MAX_SEED:
        raise InputError(f"`noise_seed`: {seed}; give a whole number from 0 to {MAX_SEED}", parameter="noise_seed")
    if seed and translators and not any(each.has_noise for each in translators):
        raise InputError(
            f"`noise_seed`: {seed}, but the model has no noise input, so that the seed has no effect; leave it out",
            parameter="noise_seed",
        )
