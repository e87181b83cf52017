"""Beside a stained slice, where it is a guess: the map that `stain --doubt` writes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.models import REVERSE
from tomostain.stain.confidence import CYCLE, DISAGREEMENT, cycle_error, disagreement
from tomostain.stain.config import StainConfig
from tomostain.stain.slices import stain_slice
from tomostain.stain.translator import Translator, load_translator

RGB = NDArray[np.uint8]
# What white means: a whole step from background to bone; a standard deviation between models of so many grey levels.
FULL_SCALE = {CYCLE: 1.0, DISAGREEMENT: 64.0}


def load_doubters(model: Path, also: Sequence[Path], device: str) -> list[Translator]:
    """Load a model and those that are asked beside it; alone, it must have a way back.

    Raises
    ------
    InputError
        If there is neither another model nor a way back, or the others stain something else.
    """
    if not also and not (model / REVERSE).is_file():
        raise InputError(
            f"{model}: has no way back, so alone it gives no map of doubt; name models of other folds with --also"
        )
    first = load_translator(model, device, reverse=not also)
    others = [load_translator(Path(folder), device) for folder in also]
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


def doubt_picture(
    translators: Sequence[Translator], ct: NDArray[np.uint16] | NDArray[np.float32], stained: RGB, config: StainConfig
) -> RGB:
    """Return where a stained slice is a guess, black where not at all.

    Parameters
    ----------
    translators : sequence of Translator
        Of `load_doubters`.
    ct : ndarray, shape (Y, X)
        Normalised µCT.
    stained : ndarray of uint8, shape (Y, X, 3)
        What the first translator made of it.
    config : StainConfig

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)
        Grey: 255 is `FULL_SCALE` or more. With one translator its cycle error, with several their disagreement.
    """
    kind = kind_of(translators)
    if kind == CYCLE:
        found = cycle_error(translators[0], ct, config)
    else:
        found = disagreement([stained, *(stain_slice(other, ct, config) for other in translators[1:])])
    grey = np.rint(255 * np.clip(found / FULL_SCALE[kind], 0, 1)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def kind_of(translators: Sequence[Translator]) -> str:
    """Return which map so many translators give."""
    return CYCLE if len(translators) == 1 else DISAGREEMENT
