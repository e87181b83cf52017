"""A picture for the card of a model: µCT, stained and real histology of one pair."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from tomostain.dataset.pair import Pair
from tomostain.figures.row import captioned_row
from tomostain.imaging.network_range import DISPLAY_WINDOW, ct_to_network, histology_from_network
from tomostain.integers import to_integers
from tomostain.networks.build import build_network
from tomostain.networks.noise_input import add_noise, split_noise
from tomostain.tiling.blend import blend_tiles
from tomostain.tiling.noise import FIRST_SLICE, with_noise
from tomostain.train.recipe import Recipe

SIDE_PX = 256


@torch.inference_mode()
def sample_image(recipe: Recipe, state: Mapping[str, Tensor], pair: Pair) -> NDArray[np.uint8]:
    """Stain the best covered part of a pair and put it between µCT and real histology.

    Parameters
    ----------
    recipe : Recipe
    state : mapping of str to Tensor
        Weights of the generator that stains.
    pair : Pair
        With the slices that the recipe needs.

    Returns
    -------
    ndarray of uint8, shape (up to 256 + 22, up to 3 · 256 + 8, 3)
    """
    with torch.device("meta"):  # draws no random numbers
        network = build_network(recipe.generator_spec())
    network.load_state_dict(dict(state), assign=True)
    network.float().eval()

    def translate(patches: Tensor) -> Tensor:
        grey, noise = split_noise(patches, recipe.noise.channels)
        x = ct_to_network(grey, recipe.ct_window)
        x = x if recipe.ct_slices > 1 else x[:, None].repeat(1, recipe.in_channels, 1, 1)
        return histology_from_network(network(add_noise(-x if recipe.inverted_ct else x, noise)).float())

    rows, columns = _window(pair.mask, SIDE_PX)
    ct = with_noise(pair.context(recipe.ct_slices)[..., rows, columns], recipe.noise, FIRST_SLICE)
    stained = blend_tiles(translate, ct, patch_px=recipe.patch_px, stride_px=recipe.patch_px // 2)
    grey = np.clip((pair.ct[rows, columns] - DISPLAY_WINDOW[0]) / (DISPLAY_WINDOW[1] - DISPLAY_WINDOW[0]), 0, 1)
    return captioned_row(
        {
            "µCT": np.repeat(to_integers(255 * grey, np.uint8, "µCT grey values")[..., None], 3, axis=2),
            "stained": to_integers(stained, np.uint8, "colours of the sample image", clip=True),
            "real histology": pair.histology[rows, columns],
        }
    )


def _window(mask: NDArray[np.bool_], side: int) -> tuple[slice, slice]:
    """Return the rows and columns of the square with the largest part inside the mask.

    Examples
    --------
    >>> mask = np.zeros((10, 20), bool)
    >>> mask[2:8, 11:17] = True
    >>> _window(mask, 6)
    (slice(2, 8, None), slice(11, 17, None))
    """
    height, width = (min(side, length) for length in mask.shape)
    covered = ndimage.uniform_filter(mask.astype(np.float32), (height, width), mode="constant")
    rows, columns = mask.shape[0] - height + 1, mask.shape[1] - width + 1
    inside = covered[height // 2 :, width // 2 :][:rows, :columns]  # of the windows that lie in the image
    row, column = np.unravel_index(int(inside.argmax()), inside.shape)
    return slice(int(row), int(row) + height), slice(int(column), int(column) + width)
