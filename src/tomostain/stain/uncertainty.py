"""Uncertainty of a stained slice: disagreement of models, spread of noise, novelty of the µCT, and the cycle error.

None is a proof. The spread between seeds of a noise input shows texture that the µCT does not determine. The
disagreement of models of several folds shows where the colours depend on the specimens in the training data. Novelty
(`tomostain.ood.novelty`) shows where the µCT is unlike all of them, so that models may agree and be wrong. The cycle
error |G_yx(G_xy(x)) - x| shows where the µCT cannot be recovered from the colours.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomostain.deprecation import renamed
from tomostain.errors import InputError
from tomostain.imaging.network_range import CT_BACKGROUND, CT_BONE
from tomostain.networks.noise_input import split_noise
from tomostain.ood.novelty import novelty
from tomostain.stain.config import StainConfig
from tomostain.stain.slices import with_slice_statistics
from tomostain.stain.translator import Translator
from tomostain.tiling.blend import blend_tiles
from tomostain.tiling.noise import FIRST_SLICE, SlicePosition, with_noise

Float32 = NDArray[np.float32]
Map = TypeVar("Map", NDArray[np.float32], Tensor)
CYCLE, DISAGREEMENT, NOVELTY, SPREAD = "cycle error", "disagreement", "novelty", "noise spread"
DISAGREEMENT_OR_NOVELTY = "disagreement or novelty"
# Values that count as uncertainty 1: the whole step from background to bone; this standard deviation between models, or
# between seeds, in grey levels; twice the usual distance between training pairs.
FULL_SCALE = {CYCLE: 1.0, DISAGREEMENT: 64.0, NOVELTY: 2.0, SPREAD: 64.0}


def cycle_error(
    translator: Translator,
    ct: NDArray[np.uint16] | NDArray[np.float32],
    config: StainConfig | None = None,
    position: SlicePosition = FIRST_SLICE,
) -> Float32:
    """Return |G_yx(G_xy(x)) - x|, blended over the patches in the same way as colours.

    Parameters
    ----------
    translator : Translator
        Loaded with its reverse generator.
    ct : ndarray of uint16, shape (Y, X)
        Normalised µCT.
    config : StainConfig, optional
    position : SlicePosition
        Of the slice, for models with a noise input.

    Returns
    -------
    ndarray of float32, shape (Y, X)
        As a fraction of the step from background to bone.

    Raises
    ------
    InputError
        If the translator has no reverse generator.
    """
    config = (config or StainConfig()).for_model(translator.spec.patch_px, translator.tile_invariant)
    error = patch_error(with_slice_statistics(translator, ct, config))
    return blend_tiles(error, with_noise(ct, translator.spec.noise, position), **config.blending())[..., 0]


def patch_error(translator: Translator) -> Callable[[Tensor], Tensor]:
    """Return the function that `cycle_error` blends: patches as the translator takes them → their error, (B, 1, H, W).

    The error is on the device of the translator.
    """
    low, high = map(float, translator.spec.ct_window)

    def error(patches: Tensor) -> Tensor:
        # Values outside the window of the network cannot be recovered.
        ct, _ = split_noise(patches.to(translator.device, torch.float32), translator.spec.noise_channels)
        return (translator.back(translator(patches)) - ct.clip(low, high)).abs()[:, None] / (CT_BONE - CT_BACKGROUND)

    return error


def disagreement(images: Sequence[NDArray[np.uint8]]) -> Float32:
    """Return the standard deviation between the colours of several models, averaged over the channels.

    Parameters
    ----------
    images : sequence of ndarray of uint8, shape (Y, X, 3)
        The same slice, stained by two or more models.

    Returns
    -------
    ndarray of float32, shape (Y, X)
        Grey levels.

    Raises
    ------
    InputError
        If there are fewer than two images, or their shapes differ.

    Examples
    --------
    >>> a, b = np.full((1, 1, 3), 10, np.uint8), np.full((1, 1, 3), 14, np.uint8)
    >>> disagreement([a, b]).tolist()
    [[2.0]]
    """
    shapes = {image.shape for image in images}
    if len(images) < 2 or len(shapes) != 1:
        raise InputError(f"disagreement: {len(images)} image(s) of shapes {sorted(shapes)}; give two of one shape")
    return np.stack(images).astype(np.float32).std(axis=0).mean(axis=2)


def noise_spread(images: Sequence[NDArray[np.uint8]]) -> Float32:
    """Return the standard deviation of the colours between seeds, averaged over the channels.

    Parameters
    ----------
    images : sequence of ndarray of uint8, shape (Y, X, 3)
        The same slice, stained with two or more seeds (`tomostain.stain.noise.stain_seeds`).

    Returns
    -------
    ndarray of float32, shape (Y, X)
        Grey levels. Normalised by n - 1, so that its square does not depend on the number of seeds on average.

    Raises
    ------
    InputError
        As `disagreement`.

    Examples
    --------
    >>> a, b = np.full((1, 1, 3), 10, np.uint8), np.full((1, 1, 3), 14, np.uint8)
    >>> round(float(noise_spread([a, b])[0, 0]), 2)
    2.83
    """
    return disagreement(images) * spread_factor(len(images))


def spread_factor(images: int) -> np.float32:
    """Return the ratio of `noise_spread` to `disagreement` of so many images."""
    return np.float32(np.sqrt(images / (images - 1)))


def novelty_of(translators: Sequence[Translator], ct: NDArray[np.uint16] | NDArray[np.float32]) -> Float32:
    """Return the novelty of each pixel of a slice for the model that knows it best; below 1 is usual.

    Parameters
    ----------
    translators : sequence of Translator
        Each with a training reference (`Translator.training_reference`).
    ct : ndarray, shape (Y, X)
        Normalised µCT.

    Returns
    -------
    ndarray of float32, shape (Y, X)
    """
    references = [each.training_reference for each in translators]
    return np.min([novelty(ct, reference) for reference in references if reference], axis=0)


def combined(disagreement: Map | None, novelty: Map | None, spread: Map | None = None) -> Map:
    """Return the uncertainty, 0 to 1: the maximum of disagreement, spread and novelty above 1, by their full scales.

    Arrays and tensors on any device give the same bits, because every full scale is a power of two. Rounding to grey
    levels keeps the order of values, so the maximum of parts that were rounded separately is the same.

    Examples
    --------
    >>> a, b = np.array([[16.0, 16.0]], np.float32), np.array([[0.9, 1.5]], np.float32)
    >>> combined(a, b).tolist()
    [[0.25, 0.5]]
    """
    parts: list[Any] = []
    if disagreement is not None:
        parts.append(disagreement / FULL_SCALE[DISAGREEMENT])
    if spread is not None:
        parts.append(spread / FULL_SCALE[SPREAD])
    if novelty is not None:
        parts.append((novelty - 1.0) / (FULL_SCALE[NOVELTY] - 1.0))
    largest: Any
    if isinstance(parts[0], Tensor):
        largest = torch.stack(parts).amax(dim=0).clip(0.0, 1.0)
    else:
        largest = np.clip(np.max(parts, axis=0), 0.0, 1.0).astype(np.float32)
    return largest


def patch_means(uncertainty: Float32, error: Float32, mask: NDArray[np.bool_], patch_px: int) -> NDArray[np.float64]:
    """Return the means of uncertainty and error in patches side by side, shape (N, 2).

    Parameters
    ----------
    uncertainty, error : ndarray, shape (Y, X)
    mask : ndarray of bool, shape (Y, X)
        True where there is a reference; patches with less than half of their pixels in it are left out.
    patch_px : int
        Side of the patches.
    """
    pairs = []
    for row in range(0, mask.shape[0] - patch_px + 1, patch_px):
        for column in range(0, mask.shape[1] - patch_px + 1, patch_px):
            patch = np.s_[row : row + patch_px, column : column + patch_px]
            inside = mask[patch]
            if inside.mean() >= 0.5:
                pairs.append((float(uncertainty[patch][inside].mean()), float(error[patch][inside].mean())))
    return np.array(pairs, dtype=np.float64).reshape(-1, 2)


def rank_correlation(means: NDArray[np.float64]) -> float:
    """Return Spearman's rank correlation of uncertainty and error (`patch_means`), -1 to 1.

    NaN for fewer than three patches, or if one of the two is constant.
    """
    if len(means) < 3 or (np.ptp(means, axis=0) == 0).any():
        return float("nan")
    from scipy.stats import spearmanr  # takes half a second to import

    return float(spearmanr(means[:, 0], means[:, 1]).statistic)


__getattr__ = renamed(__name__, {"DOUBT": "DISAGREEMENT_OR_NOVELTY"})
