"""Tiles, blending, single slices and the translator (paper section 2.9)."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.toys import RESNET, toy_model
from tomostain import __version__
from tomostain.errors import InputError
from tomostain.imaging.network_range import ct_to_network, histology_from_network
from tomostain.io import ModelSpec, save_model
from tomostain.networks.build import build_network
from tomostain.stain import StainConfig, blend_tiles, load_translator, stain_slice
from tomostain.tiling.grid import tile_starts, tile_weights


def make_model(folder, network=RESNET, seed=0, **spec):
    in_channels = network.get("in_channels", 3)
    return toy_model(folder, network, seed, **({"in_channels": in_channels, "stain": "toluidine-blue"} | spec))


def ct_slice(shape, seed=0):
    return np.random.default_rng(seed).integers(8000, 32000, shape).astype(np.uint16)


sizes = st.integers(1, 70)


@settings(max_examples=25, deadline=None)
@given(
    rows=sizes,
    columns=sizes,
    patch=st.integers(16, 40),
    part=st.floats(0.05, 1),
    blend=st.sampled_from(["mean", "hann"]),
)
def test_a_network_that_changes_nothing_gives_the_image_back(rows, columns, patch, part, blend):
    config = StainConfig(patch_px=patch, stride_px=max(1, round(part * patch)), blend=blend, batch=3)
    image = np.random.default_rng(rows * 100 + columns).integers(0, 256, (rows, columns)).astype(np.uint16)
    blended = blend_tiles(lambda patches: patches[:, None], image, **config.blending())
    assert blended.shape == (rows, columns, 1)
    np.testing.assert_allclose(blended[..., 0], image, rtol=1e-5)
    np.testing.assert_array_equal(np.rint(blended[..., 0]), image)


@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 900), patch=st.integers(1, 300), part=st.floats(0.01, 1))
def test_tiles_cover_every_pixel_and_stay_inside(length, patch, part):
    stride = max(1, round(part * patch))
    starts = tile_starts(length, patch, stride)
    covered = np.zeros(max(length, patch), bool)
    for start in starts:
        assert 0 <= start <= max(0, length - patch)
        covered[start : start + patch] = True
    assert covered.all()
    assert starts == sorted(set(starts))


def test_the_paper_computes_an_inner_pixel_sixteen_times():
    starts = tile_starts(1024, 256, 64)
    assert sum(start <= 500 < start + 256 for start in starts) ** 2 == 16


@pytest.mark.parametrize("blend", ["mean", "hann"])
def test_weights_are_positive_and_symmetric(blend):
    weights = tile_weights(64, blend)
    assert weights.min() > 0
    np.testing.assert_allclose(weights, weights[::-1, ::-1], rtol=1e-4)
    np.testing.assert_array_equal(weights, weights.T)
    if blend == "hann":  # scipy's periodic Hann window, shifted by half a sample, adds up to 1 at half overlap
        line = weights[32] / weights[32].max()
        np.testing.assert_allclose(line[:32] + line[32:], line[0] + line[32], rtol=1e-4)


@pytest.mark.parametrize("blend", ["mean", "hann"])
def test_blending_agrees_with_a_plain_loop(blend):
    config = StainConfig(patch_px=16, stride_px=7, blend=blend, batch=5)
    image = ct_slice((37, 52)).astype(np.float32)

    def network(patches):  # depends on the tile, as InstanceNorm does
        return torch.stack([patches - patches.mean(dim=(1, 2), keepdim=True), patches**2 / 1e4], dim=1)

    total, weight = np.zeros((37, 52, 2)), np.zeros((37, 52, 1))
    window = np.ones((16, 16)) if blend == "mean" else np.outer(*[np.sin(np.pi * (np.arange(16) + 0.5) / 16) ** 2] * 2)
    for r in [0, 7, 14, 21]:
        for c in [0, 7, 14, 21, 28, 35, 36]:
            tile = image[r : r + 16, c : c + 16].astype(float)
            out = np.stack([tile - tile.mean(), tile**2 / 1e4], axis=-1)
            total[r : r + 16, c : c + 16] += window[..., None] * out
            weight[r : r + 16, c : c + 16] += window[..., None]
    np.testing.assert_allclose(blend_tiles(network, image, **config.blending()), total / weight, rtol=1e-4, atol=0.05)


def test_tiles_are_invisible_with_a_constant_network():
    config = StainConfig(patch_px=16, stride_px=5, blend="hann")
    blended = blend_tiles(lambda p: torch.full((len(p), 3, 16, 16), 77.0), ct_slice((41, 33)), **config.blending())
    np.testing.assert_allclose(blended, 77.0, rtol=1e-6)


def test_a_small_image_is_mirrored_to_a_patch():
    seen = []

    def network(patches):
        seen.append(patches)
        return patches[:, None]

    image = ct_slice((5, 20))
    blend_tiles(network, image, patch_px=16, stride_px=16)
    np.testing.assert_array_equal(seen[0][0], np.pad(image, ((0, 11), (0, 0)), mode="reflect")[:, :16])
    assert blend_tiles(network, ct_slice((1, 1)), patch_px=16, stride_px=4).shape == (1, 1, 1)


@pytest.mark.parametrize(("channels", "inverted"), [(1, False), (3, False), (1, True)])
def test_a_slice_of_one_patch_is_what_the_network_makes_of_it(tmp_path, channels, inverted):
    spec = RESNET | {"in_channels": channels}
    folder = make_model(tmp_path / "model", spec, inverted_ct=inverted)
    translator = load_translator(folder, "cpu")
    ct = ct_slice((32, 32))
    stained = stain_slice(translator, ct, StainConfig(patch_px=32, stride_px=32))
    x = torch.from_numpy(ct_to_network(ct.astype(np.float32)))[None, None].repeat(1, channels, 1, 1)
    network = build_network(spec)
    network.load_state_dict(translator.network.state_dict())
    with torch.no_grad():
        expected = histology_from_network(network.eval()(-x if inverted else x))[0].permute(1, 2, 0).numpy()
    assert stained.dtype == np.uint8
    assert stained.std() > 5
    np.testing.assert_array_equal(stained, np.rint(expected).astype(np.uint8))


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (61, 33), (64, 64), (75, 66)])
def test_any_size_goes_through_resnet_and_unet(tmp_path, shape):
    for name, network in {
        "resnet": RESNET,
        "unet": {"name": "unet", "in_channels": 1, "width": 2, "downs": 5},
    }.items():
        translator = load_translator(make_model(tmp_path / name, network), "cpu")
        stained = stain_slice(translator, ct_slice(shape), StainConfig(patch_px=50, stride_px=40))
        assert stained.shape == (*shape, 3)
        assert translator(torch.full((2, 9, 13), 20000.0)).shape == (2, 3, 9, 13)


def test_batches_do_not_change_the_picture(tmp_path):
    translator = load_translator(make_model(tmp_path / "model"), "cpu")
    ct = ct_slice((70, 61))
    one, many = (
        stain_slice(translator, ct, StainConfig(patch_px=32, stride_px=16, batch=n)).astype(int) for n in (1, 7)
    )
    # The library may add in another order, which can change the rounding of a value by one level.
    assert np.abs(one - many).max() <= 1


def test_a_slice_must_have_two_axes(tmp_path):
    translator = load_translator(make_model(tmp_path / "model"), "cpu")
    with pytest.raises(InputError, match=r"slice: has shape \(2, 3, 4\); expected rows and columns"):
        stain_slice(translator, np.zeros((2, 3, 4), np.uint16))


def test_the_translator_is_for_staining_only(tmp_path):
    translator = load_translator(make_model(tmp_path / "model"), "cpu")
    assert not translator.network.training
    assert not any(p.requires_grad for p in translator.network.parameters())
    assert translator.spec.voxel_um == 5.0
    assert len(translator.hash) == 64


def test_models_that_do_not_fit_are_refused_by_name(tmp_path):
    spec = ModelSpec(generator=RESNET, in_channels=1, voxel_um=5, stain="s", recipe="r", tomostain_version=__version__)
    other = build_network(RESNET | {"width": 4}).state_dict()
    save_model(tmp_path / "width", spec, other)
    with pytest.raises(InputError, match=r"width: tensor .* has shape"):
        load_translator(tmp_path / "width", "cpu")
    save_model(tmp_path / "channels", spec.model_copy(update={"in_channels": 3}), other)
    with pytest.raises(
        InputError, match=r"channels: model.yaml says in_channels 3, ct_slices 1, but its generator maps 1"
    ):
        load_translator(tmp_path / "channels", "cpu")
    save_model(tmp_path / "name", spec.model_copy(update={"generator": {"name": "resnest", "in_channels": 1}}), other)
    with pytest.raises(InputError, match=r"name: model.yaml: .*did you mean 'resnet'"):
        load_translator(tmp_path / "name", "cpu")
    save_model(tmp_path / "judge", spec.model_copy(update={"generator": {"name": "patch", "in_channels": 1}}), other)
    with pytest.raises(InputError, match=r"judge: network 'patch' in model.yaml is no generator"):
        load_translator(tmp_path / "judge", "cpu")


def test_a_huge_architecture_without_its_weights_takes_no_memory(tmp_path):
    # 4096 features and 9 blocks would be 20 TB of weights.
    spec = ModelSpec(
        generator=RESNET | {"width": 4096, "blocks": 9},
        in_channels=1,
        voxel_um=5,
        stain="s",
        recipe="r",
        tomostain_version=__version__,
    )
    save_model(tmp_path / "huge", spec, build_network(RESNET).state_dict())
    with pytest.raises(InputError, match="huge: tensor"):
        load_translator(tmp_path / "huge", "cpu")


def test_devices_that_are_not_there_are_refused(tmp_path):
    folder = make_model(tmp_path / "model")
    with pytest.raises(InputError, match="`device=cuda:99`: torch finds"):
        load_translator(folder, "cuda:99")
    with pytest.raises(InputError, match="`device=gpu0`: not a device"):
        load_translator(folder, "gpu0")


def test_options_are_checked():
    with pytest.raises(InputError, match="stride_px 300 is larger than patch_px 256"):
        StainConfig.from_dict({"patch_px": 256, "stride_px": 300})
    with pytest.raises(InputError, match="did you mean 'patch_px'"):
        StainConfig.from_dict({"patch_pix": 64})
    assert StainConfig().tiling(256) == (256, 64)  # the paper's section 2.9
    assert StainConfig().for_model(256).blend == "mean"
    assert StainConfig().for_model(256, tile_invariant=True).blend == "exact"
    assert StainConfig(statistics="volume").for_model(256).blend == "exact"
    # An explicit stride or blending method is used.
    assert StainConfig(stride_px=64).for_model(256, tile_invariant=True).blend == "mean"
    assert StainConfig(blend="hann").for_model(256, tile_invariant=True).blend == "hann"
    once = StainConfig().for_model(256, tile_invariant=True)
    assert once.for_model(256) == once
