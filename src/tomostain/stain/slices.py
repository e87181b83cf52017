"""One slice: overlapping patches through the generator, blended (paper section 2.9)."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomostain.slab import middle_slices
from tomostain.stain.config import StainConfig
from tomostain.stain.exact import exact_tiles, halo_of
from tomostain.stain.statistics import pooled_translator, sample_tiles
from tomostain.stain.tiles import pad_to, tile_starts, tile_weights
from tomostain.stain.translator import Translator
from tomostain.train.networks import size_step

PAPERS_PATCH_PX = 256


def stain_slice(
    translator: Translator, ct: NDArray[np.uint16] | NDArray[np.float32], config: StainConfig | None = None
) -> NDArray[np.uint8]:
    """Stain one slice.

    Parameters
    ----------
    translator : Translator
    ct : ndarray of uint16 (or float), shape (Y, X), or (S, Y, X)
        Normalised µCT: background 10000, bone 30000. Any size. A model that sees several slices needs as many at least,
        the one that is stained in the middle of an odd number; a model that sees one takes the middle one.
    config : StainConfig, optional
        By default patches as the model was trained on, with a stride of a quarter: the paper's 256 and 64 px.

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)

    Raises
    ------
    InputError
        If there are fewer slices than the model sees, or the options do not fit the model.
    """
    config = (config or StainConfig()).for_model(translator.spec.patch_px, translator.tile_free)
    ct = middle_slices(ct, translator.spec.ct_slices, "slice")
    translator = settled(translator, ct, config)
    if config.blend == "exact":
        generator, tile_px = translator.spec.generator, config.tiling(PAPERS_PATCH_PX)[0]
        drawn = exact_tiles(translator, ct, tile_px, halo_of(generator, translator.pooled), size_step(generator))
    else:
        drawn = blend_tiles(translator, ct, config)
    return np.rint(drawn).astype(np.uint8)


def settled(translator: Translator, ct: NDArray[np.uint16] | NDArray[np.float32], config: StainConfig) -> Translator:
    """Return a translator with the statistics that the configuration asks for: those of this slice, if of no volume."""
    if config.statistics == "tile" or translator.pooled:
        return translator
    shape = (1, ct.shape[-2], ct.shape[-1])
    return pooled_translator(translator, sample_tiles(lambda *_: ct[None], shape, translator.spec.patch_px))


def blend_tiles(
    translate: Callable[[Tensor], Tensor], ct: NDArray[np.uint16] | NDArray[np.float32], config: StainConfig
) -> NDArray[np.float32]:
    """Cut an image in overlapping patches, translate them and blend the results.

    Parameters
    ----------
    translate : callable
        Patches (B, P, P), or (B, S, P, P), → (B, C, P, P), all float.
    ct : ndarray, shape (Y, X), or (S, Y, X)
        An image smaller than a patch is mirrored to the patch's size, as often as it takes, and cropped again: what
        InstanceNorm averages over then stays the image's own statistics, which repeating the edge would shift.
    config : StainConfig

    Returns
    -------
    ndarray of float32, shape (Y, X, C)
    """
    height, width = ct.shape[-2:]
    patch, stride = config.tiling(PAPERS_PATCH_PX)
    padded = pad_to(ct.astype(np.float32), patch)
    weights = torch.from_numpy(tile_weights(patch, config.blend))
    corners = [
        (row, column)
        for row in tile_starts(padded.shape[-2], patch, stride)
        for column in tile_starts(padded.shape[-1], patch, stride)
    ]
    total: Tensor | None = None
    weight_sum = torch.zeros(padded.shape[-2:])
    for first in range(0, len(corners), config.batch):
        chosen = corners[first : first + config.batch]
        patches = torch.from_numpy(np.stack([padded[..., r : r + patch, c : c + patch] for r, c in chosen]))
        results = translate(patches).cpu()
        if total is None:
            total = torch.zeros((results.shape[1], *padded.shape[-2:]))
        for (row, column), result in zip(chosen, results, strict=True):
            total[:, row : row + patch, column : column + patch] += result * weights
            weight_sum[row : row + patch, column : column + patch] += weights
    assert total is not None
    return (total / weight_sum)[:, :height, :width].permute(1, 2, 0).numpy()
