"""The grey encoding is linear interpolation. Upsampling without transposed convolutions draws no lattice."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.training import RESIDUAL, toy_recipe
from tomostain.errors import InputError
from tomostain.networks import build_network, is_tile_invariant, parse_generator_spec
from tomostain.networks.kernels import accelerate
from tomostain.networks.layers import GreyEncoding

UNET = {"name": "unet", "in_channels": 1, "width": 4, "downs": 4, "detail": 4, "norm": "channel"}
KNOTS = [-0.5, -0.45, -0.2, 0.4, 1.0]

UNET_RECIPE = {key: value for key, value in UNET.items() if key != "in_channels"} | {"grey_knots": KNOTS}

knots = st.lists(st.integers(-100, 100), min_size=2, max_size=12, unique=True).map(lambda n: sorted(x / 100 for x in n))


@settings(max_examples=50, deadline=None)
@given(knots, st.integers(0, 1000))
def test_a_combination_of_the_channels_is_numpys_linear_interpolation(values, seed):
    rng = np.random.default_rng(seed)
    table = rng.normal(size=len(values)).astype(np.float32)
    x = rng.uniform(values[0], values[-1], 50).astype(np.float32)
    hats = GreyEncoding(values)(torch.from_numpy(x).view(1, 1, 5, 10))[:, 1:]
    looked_up = (hats * torch.from_numpy(table).view(1, -1, 1, 1)).sum(dim=1)
    np.testing.assert_allclose(looked_up.ravel(), np.interp(x, values, table), atol=2e-4)


def test_each_channel_has_its_own_encoding_after_the_image():
    image = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)) * 2 - 1
    encoding = GreyEncoding(KNOTS)
    encoded = encoding(image)
    assert encoded.shape == (2, 18, 4, 5)
    assert torch.equal(encoded[:, :3], image)
    for channel in range(3):
        alone = encoding(image[:, channel : channel + 1])[:, 1:]
        assert torch.equal(encoded[:, 3 + 5 * channel : 8 + 5 * channel], alone)


def test_noise_channels_are_not_encoded():
    image = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    encoded = GreyEncoding(KNOTS, channels=1)(image)
    assert encoded.shape == (1, 8, 4, 5)
    assert torch.equal(encoded[:, 3:], GreyEncoding(KNOTS)(image[:, :1])[:, 1:])
    recipe = toy_recipe(**RESIDUAL, in_channels=1, generator=UNET_RECIPE, noise={"channels": 2})
    network = build_network(recipe.generator_spec())
    assert network(torch.zeros(1, 3, 16, 16)).shape == (1, 3, 16, 16)
    assert network.first.in_channels == 3 + len(KNOTS)


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5], [0.5, 0.1]])
def test_wrong_knots_are_refused(values):
    with pytest.raises(InputError, match="increasing order"):
        parse_generator_spec(UNET | {"grey_knots": values})
    with pytest.raises(InputError, match="grey_knots"):
        parse_generator_spec(UNET | {"grey_knots": [0.0, 1.5]})


def interior(spec, image):
    with torch.no_grad():
        return build_network(spec, torch.Generator().manual_seed(0)).eval()(image)[..., 48:-48, 48:-48]


def test_even_grey_gives_an_even_output_without_transposed_convolutions():
    grey = torch.full((1, 1, 160, 160), -0.3)

    def unevenness(upsampling):
        drawn = interior(UNET | {"upsampling": upsampling, "grey_knots": KNOTS}, grey)
        return float(drawn.std(dim=(2, 3)).max())

    assert unevenness("bilinear") < 1e-6
    assert unevenness("transposed") > 1e-4


@pytest.mark.parametrize("upsampling", ["bilinear", "transposed"])
def test_the_output_depends_only_on_the_neighbourhood(upsampling):
    assert is_tile_invariant(UNET | {"upsampling": upsampling, "grey_knots": KNOTS})


@pytest.mark.parametrize("rows", [16, 48])
def test_sizes_stay(rows):
    spec = UNET | {"upsampling": "bilinear", "grey_knots": KNOTS}
    assert build_network(spec)(torch.zeros(1, 1, rows, 32)).shape == (1, 3, rows, 32)


def test_the_fast_kernels_take_a_network_with_an_encoding():
    network = build_network(UNET | {"upsampling": "bilinear", "grey_knots": KNOTS}, torch.Generator().manual_seed(0))
    image = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        expected = network.eval()(image)
        torch.testing.assert_close(accelerate(network, frozen=True)(image), expected, atol=1e-4, rtol=1e-4)


def test_the_number_of_grey_knots_is_limited():
    with pytest.raises(InputError, match="grey_knots"):
        parse_generator_spec(UNET | {"grey_knots": [i / 1000 for i in range(1000)]})
