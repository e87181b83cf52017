"""Tiles that give exactly the result of the whole slice, and the receptive field of a network."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tomostain.errors import InputError
from tomostain.io import ModelSpec
from tomostain.networks.build import build_network, size_step
from tomostain.networks.receptive_field import reach_px, receptive_field
from tomostain.stain import StainConfig, Translator, stain_slice
from tomostain.tiling.exact import exact_tiles, halo_of, tile_spans

SPECS = {
    "unet": {"name": "unet", "width": 3, "downs": 3, "norm": "channel"},
    "unet with detail": {"name": "unet", "width": 3, "downs": 3, "norm": "channel", "detail": 4},
    "unet without norm": {"name": "unet", "width": 3, "downs": 2, "norm": "none"},
    "resnet": {"name": "resnet", "width": 3, "blocks": 2, "norm": "channel"},
}
CHANNELS = {"in_channels": 1, "out_channels": 3}


def translator(spec, seed=0):
    network = build_network(spec | CHANNELS, torch.Generator().manual_seed(seed))
    for parameter in network.parameters():
        parameter.data *= 4  # N(0, 0.02) alone would give one grey
    about = ModelSpec(
        generator=spec | CHANNELS, in_channels=1, voxel_um=5, stain="h&e", recipe="test", tomostain_version="0"
    )
    return Translator(network.eval(), about, torch.device("cpu"))


def grey(rows, columns, seed=0):
    return np.random.default_rng(seed).integers(0, 40_000, (rows, columns)).astype(np.uint16)


@pytest.mark.parametrize("spec", SPECS.values(), ids=list(SPECS))
@settings(deadline=None, max_examples=12)
@given(rows=st.integers(1, 150), columns=st.integers(1, 150), tile_px=st.integers(1, 200))
def test_any_tile_gives_the_whole_slice(spec, rows, columns, tile_px):
    model, ct = translator(spec), grey(rows, columns)
    whole = model(torch.from_numpy(ct.astype(np.float32))[None])[0].permute(1, 2, 0).numpy()
    actual = exact_tiles(model, ct, tile_px, halo_of(spec | CHANNELS), size_step(spec))
    assert np.abs(actual - whole).max() < 0.05  # grey levels; oneDNN sums in another order for another size
    assert np.ptp(whole) > 1 or whole.size < 100


@given(
    side=st.integers(1, 3000), tile=st.integers(1, 1200), halo=st.integers(0, 12), multiple=st.sampled_from([1, 4, 32])
)
def test_tiles_are_on_the_grid_cover_the_side_and_have_at_most_the_requested_size(side, tile, halo, multiple):
    halo *= multiple
    spans = tile_spans(side, tile, halo, multiple)
    assert [stop for *_, stop in spans[:-1]] == [start for _, _, start, _ in spans[1:]]
    assert (spans[0][2], spans[-1][3]) == (0, side)
    for first, last, start, stop in spans:
        assert first == max(0, start - halo)
        assert last == min(side, stop + halo)
        assert first % multiple == start % multiple == 0
        assert last - first <= max(tile, multiple + 2 * halo, 1)
    core = (tile - 2 * halo) // multiple * multiple
    if core >= multiple:
        assert len(spans) <= -(-side // core)  # the memory if every tile has two halos
    assert len(spans) == 1 or side > tile


def test_a_narrower_halo_would_show():
    """Otherwise the test above would prove nothing."""
    spec = SPECS["unet"]
    model, ct = translator(spec), grey(160, 150)
    whole = model(torch.from_numpy(ct.astype(np.float32))[None])[0].permute(1, 2, 0).numpy()
    narrow = exact_tiles(model, ct, 48, halo_of(spec | CHANNELS) - 2 * size_step(spec), size_step(spec))
    assert np.abs(narrow - whole).max() > 1


def test_a_tile_off_the_grid_would_show():
    spec = SPECS["unet"]
    model, ct = translator(spec), grey(96, 96)
    whole = model(torch.from_numpy(ct.astype(np.float32))[None])[0].permute(1, 2, 0).numpy()
    off = model(torch.from_numpy(ct[:, 3:].astype(np.float32))[None])[0].permute(1, 2, 0).numpy()
    assert np.abs(off[:, 40:] - whole[:, 43:]).max() > 1


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_how_far_a_chain_of_convolutions_sees(layers):
    """The receptive field by its formula, half of it on each side."""
    chain = nn.Sequential(*[nn.Conv2d(1, 1, 5, padding=2) for _ in range(layers)])
    assert reach_px(chain, 1, 1) == (receptive_field(chain) - 1) // 2


def test_how_far_the_paper_s_generator_sees():
    """Calculated manually: 7 × 7, two 3 × 3 of stride 2, 2·blocks 3 × 3 at a quarter, two after enlargement, 7 × 7."""
    blocks = 2
    network = build_network({"name": "resnet", "in_channels": 1, "width": 1, "blocks": blocks, "norm": "none"}).eval()
    by_hand = 3 + 1 + 2 + 4 * 2 * blocks + 2 + 1 + 3
    assert by_hand <= reach_px(network, 1, 4) <= by_hand + 4  # plus the offset of its position on the grid


def test_it_is_the_same_whichever_side_the_model_was_trained_on():
    model, ct = translator(SPECS["unet"]), grey(90, 130)
    one, other = (stain_slice(model, ct, StainConfig(blend="exact", patch_px=px)) for px in (72, 4096))
    assert np.abs(one.astype(int) - other).max() <= 1


@pytest.mark.parametrize("norm", ["instance", None])
def test_normalisation_over_the_tile_is_refused(norm):
    spec = {"name": "unet", "width": 2, "downs": 2} | ({"norm": norm} if norm else {})
    with pytest.raises(InputError, match=r"over the whole tile \(norm 'instance'\).*train with norm: channel"):
        stain_slice(translator(spec), grey(20, 20), StainConfig(blend="exact"))
