"""The map of the uncertainty of a stained slice, as the verb ``stain`` writes it."""

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import ComputationWarning, InputError, warn_user
from tomostain.integers import refuse_not_finite, to_integers
from tomostain.io.models import REVERSE
from tomostain.io.models import Model as StoredModel
from tomostain.models import find_model
from tomostain.stain.config import StainConfig
from tomostain.stain.noise import following_seeds, stain_seeds
from tomostain.stain.request import Model, StainRequest
from tomostain.stain.slices import stain_slice
from tomostain.stain.translator import Translator
from tomostain.stain.uncertainty import (
    CYCLE,
    DISAGREEMENT,
    NOVELTY,
    SPREAD,
    combined,
    cycle_error,
    disagreement,
    noise_spread,
    novelty_of,
)
from tomostain.tiling.noise import FIRST_SLICE, SlicePosition
from tomostain.tiling.slice_context import middle_slices

RGB = NDArray[np.uint8]


def load_ensemble(request: StainRequest) -> tuple[Translator, ...]:
    """Load the model and the other models of the ensemble.

    A single model must store a training reference, or have a reverse generator, which is loaded too.

    Raises
    ------
    InputError
        If the models give no uncertainty, or the others have another stain or pixel size.
    """
    first = request.load_model()
    alone = not request.ensemble and request.noise_samples == 1
    if first.training_reference is None and alone and first.reverse is None:
        if not _has_reverse(request.model):
            raise InputError(
                f"{_name(request.model)}: has neither a training reference nor a reverse generator, so it gives no "
                "uncertainty alone; name models of other folds with `ensemble`",
                parameter="uncertainty",
            )
        first = request.load_model(reverse=True)
    others = [request.load_model(model) for model in request.ensemble]
    for model, other in zip(request.ensemble, others, strict=True):
        if (other.spec.stain, other.spec.voxel_um) != (first.spec.stain, first.spec.voxel_um):
            raise InputError(
                f"{_name(model)}: stains {other.spec.stain} at {other.spec.voxel_um:g} µm, {_name(request.model)} "
                f"{first.spec.stain} at {first.spec.voxel_um:g} µm; name models that were trained on the same pairs",
                parameter="ensemble",
            )
        if other.hash == first.hash:
            raise InputError(
                f"{_name(model)}: is the same model as {_name(request.model)}; name a model of another fold",
                parameter="ensemble",
            )
    return (first, *others)


def _has_reverse(model: Model) -> bool:
    if isinstance(model, StoredModel):
        return model.reverse_state is not None
    return isinstance(model, (str, os.PathLike)) and (find_model(model) / REVERSE).is_file()


def _name(model: Model) -> str:
    if isinstance(model, (str, os.PathLike)):
        return str(model)
    return f"model {(model if isinstance(model, Translator | StoredModel) else model.translator).hash[:8]}"


def uncertainty_map(
    translators: Sequence[Translator],
    ct: NDArray[np.uint16] | NDArray[np.float32],
    stained: RGB,
    config: StainConfig,
    position: SlicePosition = FIRST_SLICE,
    noise_samples: int = 1,
) -> RGB:
    """Return the uncertainty of a stained slice.

    Parameters
    ----------
    translators : sequence of Translator
        Of `load_ensemble`.
    ct : ndarray, shape (Y, X), or (S, Y, X)
        Normalised µCT; as many neighbouring slices as any of the models sees, with the stained one in the middle.
    stained : ndarray of uint8, shape (Y, X, 3)
        The slice as stained by the first translator.
    config : StainConfig
    position : SlicePosition
        Of the slice, for models with a noise input. The slice is stained with its seed.
    noise_samples : int
        Number of seeds of the first translator that are compared.

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)
        Grey: black is 0, white the full scale (`tomostain.stain.uncertainty.FULL_SCALE`) of `kind_of`.
    """
    if kind_of(translators, noise_samples) == CYCLE:
        error = _finite_cycle_error(translators[0], middle_slices(ct, 1), config, position)
        refuse_not_finite(error, "uncertainty")
        uncertainty = np.clip(error, 0, 1)
    else:
        others = [stain_slice(other, ct, config, position) for other in translators[1:]]
        seeds = following_seeds(position.seed, noise_samples - 1)
        uncertainty = combined(
            disagreement([stained, *others]) if others else None,
            novelty_of(translators, middle_slices(ct, 1)) if _have_references(translators) else None,
            noise_spread([stained, *stain_seeds(translators[0], ct, config, position, seeds=seeds)]) if seeds else None,
        )
    return np.repeat(to_integers(255 * uncertainty, np.uint8, "uncertainty")[..., None], 3, axis=2)


def _finite_cycle_error(
    translator: Translator, ct: NDArray[np.uint16] | NDArray[np.float32], config: StainConfig, position: SlicePosition
) -> NDArray[np.float32]:
    """Return the cycle error, in float32 if it is not finite and the precision was chosen automatically."""
    error = cycle_error(translator, ct, config, position)
    if not (translator.may_fall_back and translator.in_float32) or np.isfinite(error).all():
        return error
    where = f"slice {position.origin[position.axis]}"
    text = f"uncertainty: {where} is not finite in {translator.precision}; computed in float32"
    warn_user(text, ComputationWarning)
    return cycle_error(translator.in_float32(), ct, config, position)


def kind_of(translators: Sequence[Translator], noise_samples: int = 1) -> str:
    """Return the kind of uncertainty that these translators give.

    The disagreement of several translators, the spread of several samples of noise, and novelty if all of them store a
    training reference; combined where there is more than one of them. The cycle error if there is none.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> kind_of([SimpleNamespace(training_reference=object())], noise_samples=4)
    'noise spread or novelty'
    """
    has = {DISAGREEMENT: len(translators) > 1, SPREAD: noise_samples > 1, NOVELTY: _have_references(translators)}
    return " or ".join(kind for kind, present in has.items() if present) or CYCLE


def _have_references(translators: Sequence[Translator]) -> bool:
    return all(translator.training_reference is not None for translator in translators)
