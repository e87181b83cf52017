"""Where a stained picture is a guess: where models disagree, what training never saw, how far the cycle misses the µCT.

None is a proof. The disagreement of models of several folds tells where the drawing hangs on which specimens were seen;
novelty (`tomostain.ood.novelty`) where the µCT is unlike all of them, so that the models may agree and be wrong;
the cycle error |G_yx(G_xy(x)) - x| where the µCT cannot be read back from what was drawn.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor

from tomostain.errors import InputError
from tomostain.imaging.network_range import CT_BACKGROUND, CT_BONE, CT_WINDOW
from tomostain.ood.novelty import novelty
from tomostain.stain.config import StainConfig
from tomostain.stain.slices import settled
from tomostain.stain.translator import Translator
from tomostain.tiling.blend import blend_tiles

Float32 = NDArray[np.float32]
CYCLE, DISAGREEMENT, NOVELTY, DOUBT = "cycle error", "disagreement", "novelty", "disagreement or novelty"
# What counts as doubt in full: a whole step from background to bone, a standard deviation between models of so many
# grey levels, twice the distance that is usual among training pairs.
FULL_SCALE = {CYCLE: 1.0, DISAGREEMENT: 64.0, NOVELTY: 2.0}


def cycle_error(
    translator: Translator, ct: NDArray[np.uint16] | NDArray[np.float32], config: StainConfig | None = None
) -> Float32:
    """Return |G_yx(G_xy(x)) - x|, blended over the patches as staining is.

    Parameters
    ----------
    translator : Translator
        Loaded with its reverse.
    ct : ndarray of uint16, shape (Y, X)
        Normalised µCT.
    config : StainConfig, optional

    Returns
    -------
    ndarray of float32, shape (Y, X)
        In units of the step from background to bone, 0 where the way back leads to where it began.

    Raises
    ------
    InputError
        If the translator has no reverse.
    """
    config = (config or StainConfig()).for_model(translator.spec.patch_px, translator.tile_invariant)
    forward = settled(translator, ct, config)

    def error(patches: Tensor) -> Tensor:
        # Beyond the window of the networks nothing can be read back.
        seen = patches.to(translator.device, torch.float32).clip(*CT_WINDOW)
        return (translator.back(forward(patches)) - seen).abs()[:, None] / (CT_BONE - CT_BACKGROUND)

    return blend_tiles(error, ct, **config.blending())[..., 0]


def disagreement(pictures: Sequence[NDArray[np.uint8]]) -> Float32:
    """Return the standard deviation of what several models drew of one slice, mean over the channels.

    Parameters
    ----------
    pictures : sequence of ndarray of uint8, shape (Y, X, 3)
        Two or more.

    Returns
    -------
    ndarray of float32, shape (Y, X)
        Grey levels.

    Raises
    ------
    InputError
        If there are fewer than two pictures, or their shapes differ.

    Examples
    --------
    >>> a, b = np.full((1, 1, 3), 10, np.uint8), np.full((1, 1, 3), 14, np.uint8)
    >>> disagreement([a, b]).tolist()
    [[2.0]]
    """
    shapes = {picture.shape for picture in pictures}
    if len(pictures) < 2 or len(shapes) != 1:
        raise InputError(f"disagreement: {len(pictures)} picture(s) of shapes {sorted(shapes)}; give two of one shape")
    return np.stack(pictures).astype(np.float32).std(axis=0).mean(axis=2)


def novelty_of(translators: Sequence[Translator], ct: NDArray[np.uint16] | NDArray[np.float32]) -> Float32:
    """Return how unlike all that any of the models saw each place of a slice is: below 1 usual.

    Parameters
    ----------
    translators : sequence of Translator
        All of which remember what their training saw (`Translator.seen`).
    ct : ndarray, shape (Y, X)
        Normalised µCT.

    Returns
    -------
    ndarray of float32, shape (Y, X)
    """
    return np.min([novelty(ct, translator.seen) for translator in translators if translator.seen], axis=0)


def combined(disagreement: Float32 | None, novelty: Float32 | None) -> Float32:
    """Return doubt from 0 to 1: the larger of disagreement and of novelty beyond what is usual, in their full scales.

    Examples
    --------
    >>> a, b = np.array([[16.0, 16.0]], np.float32), np.array([[0.9, 1.5]], np.float32)
    >>> combined(a, b).tolist()
    [[0.25, 0.5]]
    """
    parts = []
    if disagreement is not None:
        parts.append(disagreement / FULL_SCALE[DISAGREEMENT])
    if novelty is not None:
        parts.append((novelty - 1.0) / (FULL_SCALE[NOVELTY] - 1.0))
    return np.clip(np.max(parts, axis=0), 0.0, 1.0).astype(np.float32)


def patch_means(doubt: Float32, error: Float32, mask: NDArray[np.bool_], patch_px: int) -> NDArray[np.float64]:
    """Return the means of doubt and error within patches side by side, shape (N, 2).

    Parameters
    ----------
    doubt, error : ndarray, shape (Y, X)
    mask : ndarray of bool, shape (Y, X)
        Where there is anything to compare; patches of which less than half is in it do not count.
    patch_px : int
        Side of the patches.
    """
    pairs = []
    for row in range(0, mask.shape[0] - patch_px + 1, patch_px):
        for column in range(0, mask.shape[1] - patch_px + 1, patch_px):
            where = np.s_[row : row + patch_px, column : column + patch_px]
            inside = mask[where]
            if inside.mean() >= 0.5:
                pairs.append((float(doubt[where][inside].mean()), float(error[where][inside].mean())))
    return np.array(pairs, dtype=np.float64).reshape(-1, 2)


def rank_correlation(means: NDArray[np.float64]) -> float:
    """Return whether error is high where doubt is: Spearman's rank correlation of `patch_means`, -1 to 1.

    NaN with fewer than three patches, or where one of the two is the same everywhere.
    """
    if len(means) < 3 or (np.ptp(means, axis=0) == 0).any():
        return float("nan")
    return float(spearmanr(means[:, 0], means[:, 1]).statistic)
