"""Whole images, stained by the networks of a training on their device."""

from torch import Tensor, nn
from torch.nn import functional

from tomostain.imaging.network_range import ct_to_network
from tomostain.networks.noise_input import add_noise, split_noise
from tomostain.networks.receptive_field import round_up
from tomostain.networks.registry import parse_generator_spec
from tomostain.networks.tile_invariance import is_tile_invariant
from tomostain.tiling.blend import blend_images
from tomostain.tiling.exact import halo_of, tile_images
from tomostain.tiling.noise import FIRST_SLICE, add_noise_channels
from tomostain.train.recipe import Recipe

# Side of the tiles in which a generator stains whole images, if the result does not depend on the tile.
_TILE_PX = 1024


def stain_whole(network: nn.Module, recipe: Recipe, images: Tensor) -> Tensor:
    """Stain whole µCT images of one size.

    Parameters
    ----------
    network : nn.Module
        The generator G_xy of the recipe, in evaluation mode.
    recipe : Recipe
    images : Tensor of float32, shape (N, Y, X) or (N, ct_slices, Y, X)
        Normalised grey values, on the device of the network.

    Returns
    -------
    Tensor of float32, shape (N, 3, Y, X)
        In [-1, 1], on the same device.
    """

    def translate(patches: Tensor) -> Tensor:
        ct, noise = split_noise(patches, recipe.noise.channels)
        x = ct_to_network(ct, recipe.ct_window)
        x = x if recipe.ct_slices > 1 else x[:, None].repeat(1, recipe.in_channels, 1, 1)
        stained: Tensor = network(add_noise(-x if recipe.inverted_ct else x, noise))
        return stained.float()

    images = add_noise_channels(images, recipe.noise, [FIRST_SLICE] * len(images))
    spec, (rows, columns) = parse_generator_spec(recipe.generator_spec()), images.shape[-2:]
    if not is_tile_invariant(spec):
        return blend_images(translate, images, patch_px=recipe.patch_px, stride_px=recipe.patch_px // 2)
    # No tile depends on its neighbours, so that each pixel is computed once.
    whole = _extend(images, spec.min_size_px, spec.size_multiple)
    tile_px = max(_TILE_PX, recipe.patch_px)
    return tile_images(translate, whole, tile_px, halo_of(spec), spec.size_multiple)[..., :rows, :columns]


def _extend(images: Tensor, min_px: int, multiple: int) -> Tensor:
    """Repeat the last rows and columns of images to at least a size, and to a multiple."""
    rows, columns = images.shape[-2:]
    more = [round_up(max(side, min_px), multiple) - side for side in (rows, columns)]
    if not any(more):
        return images
    channels = images.reshape(len(images), -1, rows, columns)
    extended = functional.pad(channels, (0, more[1], 0, more[0]), mode="replicate")
    return extended.reshape(*images.shape[:-2], *extended.shape[-2:])
