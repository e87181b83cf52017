"""Beside a stained slice, where it is a guess: the map that `stain --doubt` writes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.models import REVERSE
from tomostain.networks.precision import Precision
from tomostain.stain.config import StainConfig
from tomostain.stain.slices import stain_slice
from tomostain.stain.translator import Translator, load_translator
from tomostain.stain.uncertainty import (
    CYCLE,
    DISAGREEMENT,
    DOUBT,
    NOVELTY,
    combined,
    cycle_error,
    disagreement,
    novelty_of,
)
from tomostain.tiling.slice_context import middle_slices

RGB = NDArray[np.uint8]


def load_ensemble(model: Path, also: Sequence[Path], device: str, precision: Precision = "float32") -> list[Translator]:
    """Load a model and those that are asked beside it; alone, it must remember what training saw or have a way back.

    Raises
    ------
    InputError
        If there is nothing to doubt by, or the others stain something else.
    """
    first = load_translator(model, device, precision=precision)
    if first.seen is None and not also:
        if not (model / REVERSE).is_file():
            raise InputError(
                f"{model}: neither remembers what training saw nor has a way back, so alone it gives no map of doubt; "
                "name models of other folds with --also"
            )
        first = load_translator(model, device, reverse=True, precision=precision)
    others = [load_translator(Path(folder), device, precision=precision) for folder in also]
    for folder, other in zip(also, others, strict=True):
        if (other.spec.stain, other.spec.voxel_um) != (first.spec.stain, first.spec.voxel_um):
            raise InputError(
                f"{folder}: stains {other.spec.stain} at {other.spec.voxel_um:g} µm, {model} {first.spec.stain} at "
                f"{first.spec.voxel_um:g} µm; name models that were trained on the same pairs"
            )
        if other.hash == first.hash:
            raise InputError(
                f"{folder}: is the same model as {model}, which agrees with itself; name one of another fold"
            )
    return [first, *others]


def uncertainty_map(
    translators: Sequence[Translator], ct: NDArray[np.uint16] | NDArray[np.float32], stained: RGB, config: StainConfig
) -> RGB:
    """Return where a stained slice is a guess, black where not at all.

    Parameters
    ----------
    translators : sequence of Translator
        Of `load_ensemble`.
    ct : ndarray, shape (Y, X), or (S, Y, X)
        Normalised µCT; with as many slices as any of the models sees, this one in the middle.
    stained : ndarray of uint8, shape (Y, X, 3)
        What the first translator made of it.
    config : StainConfig

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)
        Grey: 255 is full doubt (`tomostain.stain.uncertainty.FULL_SCALE`), by what `kind_of` says.
    """
    if kind_of(translators) == CYCLE:
        found = np.clip(cycle_error(translators[0], middle_slices(ct, 1), config), 0, 1)
    else:
        others = [stain_slice(other, ct, config) for other in translators[1:]]
        found = combined(
            disagreement([stained, *others]) if others else None,
            novelty_of(translators, middle_slices(ct, 1)) if _remembers(translators) else None,
        )
    return np.repeat(np.rint(255 * found).astype(np.uint8)[..., None], 3, axis=2)


def kind_of(translators: Sequence[Translator]) -> str:
    """Return which map these translators give.

    Novelty where all of them remember what their training saw, together with their disagreement where they are
    several; the cycle error for a lone one that remembers nothing.
    """
    if _remembers(translators):
        return NOVELTY if len(translators) == 1 else DOUBT
    return CYCLE if len(translators) == 1 else DISAGREEMENT


def _remembers(translators: Sequence[Translator]) -> bool:
    return all(translator.seen is not None for translator in translators)
