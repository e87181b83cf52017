"""Stain one slice: overlapping patches, blended (paper section 2.9), or exact tiles."""

import numpy as np
from numpy.typing import NDArray

from tomostain.deprecation import renamed
from tomostain.stain.config import StainConfig
from tomostain.stain.slice_stainer import SliceStainer
from tomostain.stain.translator import Translator
from tomostain.stain.volume_statistics import fit_volume_statistics, sample_tiles
from tomostain.tiling.noise import FIRST_SLICE, SlicePosition
from tomostain.tiling.slice_context import middle_slices


def stain_slice(
    translator: Translator,
    ct: NDArray[np.uint16] | NDArray[np.float32],
    config: StainConfig | None = None,
    position: SlicePosition = FIRST_SLICE,
) -> NDArray[np.uint8]:
    """Stain one slice.

    Parameters
    ----------
    translator : Translator
    ct : ndarray of uint16 (or float), shape (Y, X), or (S, Y, X)
        Normalised µCT: background 10000, bone 30000. Any size. A model that sees several slices needs at least as
        many, an odd number with the stained one in the middle. A model that sees one uses the middle one.
    config : StainConfig, optional
        By default patches of the size of the training patches, with a stride of a quarter: 256 and 64 px in the paper.
    position : SlicePosition
        Where the slice lies in its volume, and the seed: they decide the noise of a model that has a noise input.

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)

    Raises
    ------
    InputError
        If there are fewer slices than the model sees, the options do not fit the model, or the output of the network
        is not finite.
    """
    return colours_of_slice(translator, ct, config, position)


def colours_of_slice(
    translator: Translator,
    ct: NDArray[np.uint16] | NDArray[np.float32],
    config: StainConfig | None = None,
    position: SlicePosition = FIRST_SLICE,
    *,
    planar: bool = False,
) -> NDArray[np.uint8]:
    """As `stain_slice`; if `planar`, the memory of the result has the channels before the rows."""
    config = (config or StainConfig()).for_model(translator.spec.patch_px, translator.tile_invariant)
    ct = middle_slices(ct, translator.spec.ct_slices, "slice")
    translator = with_slice_statistics(translator, ct, config)
    stainer = SliceStainer(translator, config, source="slice", planar=planar)
    colours: NDArray[np.uint8] = stainer.begin(stainer.upload(ct if ct.ndim == 3 else ct[None]), [position]).result()[0]
    return colours


def with_slice_statistics(
    translator: Translator, ct: NDArray[np.uint16] | NDArray[np.float32], config: StainConfig
) -> Translator:
    """Return a translator with the statistics of the configuration; the slice counts as a volume of one slice."""
    if config.statistics == "tile" or translator.has_volume_statistics:
        return translator
    shape = (1, ct.shape[-2], ct.shape[-1])
    return fit_volume_statistics(translator, sample_tiles(lambda *_: ct[None], shape, translator.spec.patch_px))


__getattr__ = renamed(__name__, {"settled": "with_slice_statistics"})
