"""Stain one slice: overlapping patches, blended (paper section 2.9), or exact tiles."""

import numpy as np
from numpy.typing import NDArray

from tomostain.deprecation import renamed
from tomostain.errors import InputError
from tomostain.integers import to_integers
from tomostain.networks.build import size_step
from tomostain.stain.config import PAPER_PATCH_PX, StainConfig
from tomostain.stain.translator import Translator
from tomostain.stain.volume_statistics import fit_volume_statistics, sample_tiles
from tomostain.tiling.blend import blend_tiles
from tomostain.tiling.exact import exact_tiles, halo_of
from tomostain.tiling.noise import FIRST_SLICE, SlicePosition, with_noise
from tomostain.tiling.slice_context import middle_slices

_REMEDY = {
    True: "the weights of the model are broken, so use another model",
    False: "the reduced precision overflows or the weights of the model are broken: set `precision=float32`",
}


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
    config = (config or StainConfig()).for_model(translator.spec.patch_px, translator.tile_invariant)
    ct = middle_slices(ct, translator.spec.ct_slices, "slice")
    translator = with_slice_statistics(translator, ct, config)
    image = with_noise(ct, translator.spec.noise, position, translator.device)
    if config.blend == "exact":
        generator, tile_px = translator.spec.generator, config.tiling(PAPER_PATCH_PX)[0]
        drawn = exact_tiles(
            translator, image, tile_px, halo_of(generator, translator.has_volume_statistics), size_step(generator)
        )
    else:
        drawn = blend_tiles(translator, image, **config.blending())
    where = f"slice {position.origin[position.axis]} along {'zyx'[position.axis]}"
    try:
        return to_integers(drawn, np.uint8, f"{where}: output of the network")
    except InputError as error:
        raise InputError(f"{error}; {_REMEDY[translator.precision == 'float32']}", parameter="model") from None


def with_slice_statistics(
    translator: Translator, ct: NDArray[np.uint16] | NDArray[np.float32], config: StainConfig
) -> Translator:
    """Return a translator with the statistics of the configuration; the slice counts as a volume of one slice."""
    if config.statistics == "tile" or translator.has_volume_statistics:
        return translator
    shape = (1, ct.shape[-2], ct.shape[-1])
    return fit_volume_statistics(translator, sample_tiles(lambda *_: ct[None], shape, translator.spec.patch_px))


__getattr__ = renamed(__name__, {"settled": "with_slice_statistics"})
