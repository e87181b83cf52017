"""Efficient generators: receptive field, multiplications, and tiles that equal the whole image."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tomostain.errors import InputError
from tomostain.networks import build_network, count_multiply_adds, network_names, parse_generator_spec
from tomostain.networks.efficient import GatedBlock, MixingBlock, UnfoldingHead
from tomostain.networks.kernels import accelerate
from tomostain.tiling.exact import exact_tiles, halo_of, reach_px
from tomostain.train.recipes import load_recipe

SPECS = {
    "shuffle": {"name": "shuffle", "width": 6, "blocks": 2, "kernel": 5, "detail": 3, "norm": "channel"},
    "ladder": {"name": "ladder", "width": 4, "downs": 3, "blocks": 1, "kernel": 3, "detail": 3, "norm": "channel"},
    "gated": {"name": "gated", "width": 4, "downs": 2, "blocks": 2, "kernel": 3, "detail": 3, "norm": "channel"},
}
every_kind = pytest.mark.parametrize("kind", SPECS)


def network(kind, seed=0, **changes):
    return build_network(SPECS[kind] | {"in_channels": 1} | changes, torch.Generator().manual_seed(seed)).eval()


@every_kind
@settings(deadline=None, max_examples=10)
@given(rows=st.integers(1, 4), columns=st.integers(1, 4), channels=st.sampled_from([1, 3]))
def test_every_size_that_is_a_multiple_is_preserved(kind, rows, columns, channels):
    net = network(kind, in_channels=channels)
    assert net.size_multiple == net.min_size_px == parse_generator_spec(SPECS[kind]).size_multiple
    image = torch.randn(2, channels, rows * net.size_multiple, columns * net.size_multiple)
    drawn = net(image)
    assert drawn.shape == (2, 3, *image.shape[2:])
    assert drawn.abs().max() <= 1


@every_kind
def test_a_seed_gives_the_same_bits(kind):
    image = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    assert torch.equal(network(kind, 5)(image), network(kind, 5)(image))
    assert not torch.equal(network(kind, 5)(image), network(kind, 6)(image))


def seen_rows(net, row, size):
    """Return the first and last row of the input that move a row of the output, by gradients."""
    image = torch.randn(1, 1, size, net.size_multiple * 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    net(image)[:, :, row].square().sum().backward()
    rows = image.grad.abs().sum(dim=(0, 1, 3)).nonzero()[:, 0]
    return int(rows.min()), int(rows.max())


def looks(net, middle, size):
    """Return how many rows lie between rows of the output and the farthest block of the grid that moves them."""
    step, distances = net.size_multiple, []
    for row in range(middle, middle + step):
        first, last = seen_rows(net, row, size)
        distances += [row - (first // step * step + step - 1), last // step * step - row]
    return max(distances)


@pytest.mark.parametrize(("blocks", "kernel"), [(0, 7), (1, 3), (2, 7)])
def test_shuffle_sees_as_far_as_its_kernels_add_up_to(blocks, kernel):
    net = network("shuffle", blocks=blocks, kernel=kernel, norm="none")
    # Stem and blocks in folded pixels of 4, then two 3 × 3 convolutions.
    reach = 4 * (1 + blocks * (kernel // 2)) + 2
    assert reach_px(net, 1, 4) == reach
    assert looks(net, 80, 160) == reach


def ladder_footprint(downs, blocks, kernel):
    """Return which rows of the output a block of one grid step, rows [0, 2^downs), reaches, by interval arithmetic."""
    around = blocks * (kernel // 2)

    def rung(level, low, high):
        low, high = low - around, high + around  # downsampling
        if level < downs - 1:
            low_below, high_below = rung(level + 1, low // 2, high // 2)  # 2 × 2, stride 2
            low, high = min(low, 2 * low_below), max(high, 2 * high_below + 1)
            low, high = low - around, high + around  # upsampling
        return low, high

    low, high = rung(0, 0 - 1, (2**downs - 1) // 2 + 1)  # the stem's 3 × 3, at half the resolution
    return 2 * low - 2, 2 * high + 1 + 2  # unfolded, and two 3 × 3 convolutions


@pytest.mark.parametrize("kind", ["ladder", "gated"])
@pytest.mark.parametrize(("downs", "blocks", "kernel"), [(2, 1, 3), (3, 1, 5), (4, 2, 3)])
def test_ladders_see_as_far_as_intervals_say_and_gradients_show(kind, downs, blocks, kernel):
    net = network(kind, downs=downs, blocks=blocks, kernel=kernel, norm="none")
    step = 2**downs
    low, high = ladder_footprint(downs, blocks, kernel)
    reach = max(-low, high - (step - 1))
    assert reach_px(net, 1, step) == reach
    halo = halo_of(SPECS[kind] | {"in_channels": 1, "downs": downs, "blocks": blocks, "kernel": kernel})
    assert halo == -(-reach // step) * step
    for parameter in net.parameters():
        parameter.data.mul_(0.5)  # unnormalised products of products would exceed the range of the numbers
    assert looks(net, 2 * halo, 4 * halo) == reach


@every_kind
@settings(deadline=None, max_examples=10)
@given(
    rows=st.integers(3, 90),
    columns=st.integers(3, 90),
    tile=st.integers(1, 120),
    fast=st.booleans(),
)
def test_tiles_are_the_whole_slice(kind, rows, columns, tile, fast):
    net = network(kind)
    net = accelerate(net, frozen=True) if fast else net
    step = net.size_multiple

    @torch.inference_mode()
    def translate(ct):
        high, wide = (-(-side // step) * step for side in ct.shape[1:])
        padded = torch.nn.functional.pad(ct[:, None], (0, wide - ct.shape[2], 0, high - ct.shape[1]), mode="replicate")
        return net(padded)[..., : ct.shape[1], : ct.shape[2]]

    ct = np.random.default_rng(rows * columns).normal(size=(rows, columns)).astype(np.float32)
    whole = translate(torch.from_numpy(ct)[None])[0].permute(1, 2, 0).numpy()
    tiled = exact_tiles(translate, ct, tile, halo_of(SPECS[kind] | {"in_channels": 1}), step)
    np.testing.assert_allclose(tiled, whole, atol=2e-5)  # 255 grey levels to 2: 0.003 of one


@every_kind
def test_instance_normalisation_has_no_exact_tiles(kind):
    with pytest.raises(InputError, match="norm 'instance'"):
        halo_of(SPECS[kind] | {"in_channels": 1, "norm": "instance"})


def test_multiply_adds_are_those_of_the_shapes():
    pixels, width, detail, kernel = 64 * 96, 10, 4, 7
    head = pixels * (9 * (detail + 1) * detail + 9 * detail * 3)
    folded = 16 * 9 * width + 3 * (kernel**2 * width + 4 * width**2) + width * 16 * detail
    net = network("shuffle", width=width, detail=detail, kernel=kernel, blocks=3)
    assert count_multiply_adds(net, (1, 1, 64, 96)) == head + pixels // 16 * folded

    at_half = 4 * 9 * width + 2 * (25 * width + 4 * width**2) + 2 * width * 4 * width + width * 4 * detail
    at_quarter = 4 * width * 2 * width + 25 * 2 * width + 4 * (2 * width) ** 2
    net = network("ladder", width=width, detail=detail, kernel=5, downs=2)
    # The 1 × 1 convolution of the upsampling works at a quarter of the resolution, on twice the channels.
    at_half -= 2 * width * 4 * width
    at_quarter += 2 * width * 4 * width
    assert count_multiply_adds(net, (1, 1, 64, 96)) == head + pixels // 4 * at_half + pixels // 16 * at_quarter


def test_a_gated_block_is_products_of_channels():
    block = GatedBlock(2, 1, "none")
    for parameter in block.parameters():
        parameter.data.zero_()
    block.around[0].weight.data[:, 0] = torch.tensor([1.0, 0.0, 2.0, 0.0])[:, None, None]
    block.around[1].weight.data.fill_(1.0)
    block.around[3].weight.data[1, 0] = 1.0
    drawn = block(torch.tensor([3.0, 5.0]).reshape(1, 2, 1, 1))
    assert drawn.flatten().tolist() == [3.0, 5.0 + 3.0 * 6.0]


def test_an_untrained_mixing_block_returns_its_input():
    block = MixingBlock(3, 5, "none")
    block.layers[-1].weight.data.zero_()
    block.layers[-1].bias.data.zero_()
    image = torch.randn(1, 3, 7, 9)
    assert torch.equal(block(image), image)


def test_the_head_unfolds_to_where_pixels_came_from():
    head = UnfoldingHead(4, 2, 1, 1, 3)
    head.coarse[0].weight.data = torch.eye(4)[:, :, None, None]
    head.coarse[0].bias.data.zero_()
    image = torch.randn(1, 1, 6, 8)
    assert torch.equal(head.coarse(torch.nn.functional.pixel_unshuffle(image, 2)), image)


@every_kind
def test_weights_begin_so_that_all_of_them_learn(kind):
    net = network(kind, width=16)
    image = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    drawn = net(image)
    assert 0.05 < drawn.std() < 0.9
    (drawn - image).square().mean().backward()
    assert all(parameter.grad.abs().max() > 1e-7 for parameter in net.parameters())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "shuffle", "kernel": 4}, "'shuffle': kernel is 4; give an odd number"),
        ({"name": "ladder", "detail": 0}, "'ladder': detail is 0; give a whole number from 1 to 4096"),
        ({"name": "ladder", "downs": 1}, "'ladder': downs is 1; give a whole number from 2"),
        ({"name": "gated", "downs": 1}, "'gated': downs is 1; give a whole number from 2"),
        ({"name": "shuffle", "downs": 3}, "'shuffle': unknown key 'downs'"),
        ({"name": "shufle"}, "did you mean 'shuffle'"),
    ],
)
def test_impossible_specifications_are_refused(spec, message):
    with pytest.raises(InputError, match=message):
        build_network(spec)


def test_every_generator_has_a_grid_and_recipes_take_it(tmp_path):
    for name in [*network_names("generator"), "ladder"]:
        path = tmp_path / f"{name}.yaml"
        path.write_text(f"base: tomostain\ngenerator: {{name: {name}}}\n", encoding="utf-8")
        assert load_recipe(path).patch_px % parse_generator_spec(load_recipe(path).generator).size_multiple == 0


def test_the_error_of_an_impossible_generator_names_the_recipe_file(tmp_path):
    path = tmp_path / "odd.yaml"
    path.write_text("base: tomostain\ngenerator: {name: shuffle, kernel: 6}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"odd\.yaml.*kernel is 6"):
        load_recipe(path)
