"""Normalisation by the statistics of a whole volume: their values, and equal bits for every way of staining."""

import multiprocessing

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import nn

from tests.support.toys import LEVELS, colours, contents, grey_values, weights_of
from tomostain import __version__
from tomostain.cli.main import run
from tomostain.errors import InputError
from tomostain.imaging.intensity import normalise_ct
from tomostain.io import ModelSpec, open_stained, read_image, save_model, write_image, write_stack
from tomostain.io.tensors import read_tensors, write_tensors
from tomostain.networks.build import size_step
from tomostain.stain import StainConfig, Translator, load_translator, plan_volume, stain_slice, stain_volume
from tomostain.stain.volume import STATISTICS
from tomostain.stain.volume_statistics import (
    TILES,
    VolumeNorm,
    fit_volume_statistics,
    sample_tiles,
    statistics_of,
    tile_positions,
    with_statistics,
    with_volume_norms,
)
from tomostain.tiling.exact import exact_tiles, halo_of

RESNET = {"name": "resnet", "in_channels": 1, "width": 3, "blocks": 1}
UNET = {"name": "unet", "in_channels": 1, "width": 3, "downs": 3, "detail": 4}
SHAPE = (21, 36, 41)
CONFIG = StainConfig(patch_px=32, stride_px=16, z_chunk=4, statistics="volume")
FRESH = multiprocessing.get_context("forkserver")
FRESH.set_forkserver_preload(["tomostain.stain", "tomostain.stain.volume", "zarr"])


def spec_of(network):
    about = {"voxel_um": 5, "patch_px": 32, "stain": "h&e", "recipe": "test", "tomostain_version": __version__}
    return ModelSpec(generator=network, in_channels=1, **about)


def translator_of(network, seed=0):
    return Translator(weights_of(network, seed), spec_of(network), torch.device("cpu"))


def tiles_of(number, seed=0, side=32):
    values = ndimage.gaussian_filter(np.random.default_rng(seed).random((number, side, side)), (0, 2, 2))
    return (40_000 * (values - values.min()) / np.ptp(values)).astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "model"
    save_model(folder, spec_of(RESNET), weights_of(RESNET).state_dict())
    return folder


@pytest.fixture(scope="module")
def grey():
    return grey_values(SHAPE)


@pytest.fixture(scope="module")
def volume(grey, tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes") / "volume"
    write_stack(folder, grey, voxel_um=5.0)
    return folder


@pytest.fixture(scope="module")
def whole(model, volume, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out.ome.zarr"
    return stain_volume(model, volume, out, config=CONFIG, intensity=LEVELS)


@pytest.mark.parametrize("features", [1, 4])
def test_one_layer_is_what_torch_s_normalisations_are(features):
    image = torch.randn((5, features, 6, 7), generator=torch.Generator().manual_seed(0)) * 3 + 2
    norm = VolumeNorm(features).train()
    torch.testing.assert_close(norm(image[:1]), nn.InstanceNorm2d(features)(image[:1]))
    batch = nn.BatchNorm2d(features, affine=False).train()
    torch.testing.assert_close(norm(image), batch(image))
    torch.testing.assert_close(norm.mean, image.double().mean((0, 2, 3)).float())
    torch.testing.assert_close(norm.variance, (image.double() ** 2).mean((0, 2, 3)).float() - norm.mean**2)
    norm.eval()
    other = torch.randn((2, features, 3, 3))
    torch.testing.assert_close(
        norm(other), (other - norm.mean[:, None, None]) / (norm.variance + 1e-5).sqrt()[:, None, None]
    )


@pytest.mark.parametrize("network", [RESNET, UNET], ids=["resnet", "unet"])
def test_statistics_of_one_tile_draw_it_as_instance_normalisation_does(network):
    first, tiles = translator_of(network), torch.from_numpy(tiles_of(2))
    pooled = fit_volume_statistics(first, tiles[:1].numpy())
    torch.testing.assert_close(pooled(tiles[:1]), first(tiles[:1]), rtol=0, atol=0.05)
    assert (pooled(tiles[1:]) - first(tiles[1:])).abs().max() > 1  # another tile would use its own statistics


@pytest.mark.parametrize("network", [RESNET, UNET], ids=["resnet", "unet"])
def test_each_layer_is_fed_by_what_those_before_have_normalised(network):
    """With the pooled statistics, the features of all tiles together have mean 0 and variance 1 behind every layer."""
    tiles = tiles_of(6)
    pooled, seen = fit_volume_statistics(translator_of(network), tiles), []
    for module in pooled.network.modules():
        if isinstance(module, VolumeNorm):
            module.register_forward_hook(lambda _, __, out: seen.append(out))
    pooled(torch.from_numpy(tiles))
    assert len(seen) == sum(isinstance(m, nn.InstanceNorm2d) for m in translator_of(network).network.modules())
    for features in seen:
        variance, mean = torch.var_mean(features, dim=(0, 2, 3), correction=0)
        assert mean.abs().max() < 1e-3
        assert (variance - 1).abs().max() < 0.05  # eps lowers it slightly where the variance is small


def test_dropout_stays_off_and_the_model_itself_is_untouched():
    deep = UNET | {"downs": 6, "dropout": 0.5}
    first = translator_of(deep)
    before = {name: value.clone() for name, value in first.network.state_dict().items()}
    tiles = tiles_of(3, side=64)
    one, other = (statistics_of(fit_volume_statistics(first, tiles)) for _ in range(2))
    assert one
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert first.network.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in first.network.state_dict().items())
    assert not first.has_volume_statistics


def test_stored_statistics_give_the_same_bits_and_are_not_measured_again():
    first, tiles = translator_of(RESNET), tiles_of(4)
    pooled = fit_volume_statistics(first, tiles)
    again = with_statistics(first, statistics_of(pooled))
    assert again.has_volume_statistics
    patch = torch.from_numpy(tiles_of(1, seed=9))
    assert torch.equal(again(patch), pooled(patch))
    with pytest.raises(ValueError, match="belong to another network"):
        with_statistics(translator_of(RESNET | {"width": 4}), statistics_of(pooled))
    with pytest.raises(ValueError, match="belong to another network"):
        with_statistics(first, {})


@pytest.mark.parametrize("network", [RESNET, UNET], ids=["resnet", "unet"])
@settings(deadline=None, max_examples=12)
@given(rows=st.integers(1, 150), columns=st.integers(1, 150), tile_px=st.integers(1, 200))
def test_any_tile_gives_the_whole_slice(network, rows, columns, tile_px):
    pooled = fit_volume_statistics(translator_of(network), tiles_of(4))
    ct = np.random.default_rng(0).integers(0, 40_000, (rows, columns)).astype(np.uint16)
    whole = pooled(torch.from_numpy(ct.astype(np.float32))[None])[0].permute(1, 2, 0).numpy()
    actual = exact_tiles(pooled, ct, tile_px, halo_of(network, volume_statistics=True), size_step(network))
    assert np.abs(actual - whole).max() < 0.5
    config = CONFIG.model_copy(update={"blend": "exact", "patch_px": max(16, tile_px)})
    assert np.abs(stain_slice(pooled, ct, config) - whole).max() <= 1


@settings(deadline=None)  # on a busy machine a call takes longer than the 200 ms of Hypothesis
@given(depth=st.integers(1, 50), rows=st.integers(1, 80), columns=st.integers(1, 80), side=st.integers(1, 40))
def test_sampled_positions_are_inside(depth, rows, columns, side):
    places = tile_positions((depth, rows, columns), side)
    for z, y, x in places:
        assert 0 <= z < depth
        assert 0 <= y <= max(0, rows - side)
        assert 0 <= x <= max(0, columns - side)
    assert len({z for z, _, _ in places}) >= min(depth, 20)


def test_tiles_of_air_are_left_out():
    ct = np.full((40, 64, 64), 10_000, np.uint16)
    ct[:, :, 32:] = 30_000
    read = lambda start, stop: ct[start:stop]  # noqa: E731
    tiles = sample_tiles(read, ct.shape, 16)
    assert tiles.shape == (TILES, 16, 16)
    assert ((tiles > 20_000).mean(axis=(1, 2)) >= 0.1).all()
    ct[:] = 10_000
    assert sample_tiles(read, ct.shape, 16).shape == (TILES, 16, 16)  # and if there is nothing else, air


def test_a_volume_is_its_slices_by_the_volume_s_statistics(model, volume, grey, whole):
    """And not each tile by its own statistics: the same tiles, calculated manually."""
    ct = normalise_ct(grey, LEVELS)
    pooled = fit_volume_statistics(
        load_translator(model, "cpu"), sample_tiles(lambda start, stop: ct[start:stop], SHAPE, 32)
    )
    np.testing.assert_array_equal(colours(whole), [stain_slice(pooled, each, CONFIG) for each in ct])
    assert open_stained(whole).provenance["options"]["statistics"] == "volume"
    stored = read_tensors(whole / STATISTICS)
    assert {name.removeprefix("0.") for name in stored} == set(statistics_of(pooled))


def test_exact_tiles_of_any_size_give_one_volume(model, volume, tmp_path):
    drawn = []
    for side in (60, 71, 1024):
        config = StainConfig(patch_px=side, z_chunk=4, blend="exact", statistics="volume")
        out = stain_volume(model, volume, tmp_path / f"{side}.ome.zarr", config=config, intensity=LEVELS)
        drawn.append(colours(out).astype(int))
    assert max(np.abs(other - drawn[0]).max() for other in drawn[1:]) <= 1
    assert np.std(drawn[0]) > 5


class BreakOffError(Exception):
    pass


def test_an_interrupted_volume_resumes_with_the_stored_statistics(model, volume, whole, tmp_path, monkeypatch):
    out = tmp_path / "out.ome.zarr"

    def pull_the_plug(label, done, total):
        if label == "staining" and done == 9:
            raise BreakOffError

    with pytest.raises(BreakOffError):
        stain_volume(model, volume, out, config=CONFIG, intensity=LEVELS, progress=pull_the_plug)
    with pytest.raises(InputError, match="statistics was 'volume' and is now 'tile'"):
        stain_volume(model, volume, out, config=CONFIG.model_copy(update={"statistics": "tile"}), intensity=LEVELS)
    with monkeypatch.context() as patch:
        patch.setattr("tomostain.stain.job_statistics.fit_volume_statistics", None)  # nothing is measured again
        stain_volume(model, volume, out, config=CONFIG, intensity=LEVELS)
    assert contents(out) == contents(whole)


@pytest.mark.parametrize("harm", ["gone", "rust", "another's"])
def test_statistics_that_were_damaged_are_found_again(model, volume, whole, tmp_path, harm):
    out = tmp_path / "out.ome.zarr"
    stain_volume(model, volume, out, config=CONFIG, intensity=LEVELS, part=(1, 2))
    stored = out / STATISTICS
    if harm == "gone":
        stored.unlink()
    elif harm == "rust":
        stored.write_bytes(b"rust")
    else:
        write_tensors(stored, {"0.layers.1.mean": torch.zeros(3)})
    stain_volume(model, volume, out, config=CONFIG, intensity=LEVELS)
    assert contents(out) == contents(whole)


def in_a_child(model, volume, out, part):
    torch.set_num_threads(1)
    stain_volume(model, volume, out, config=CONFIG, intensity=LEVELS, part=part)


def test_parts_that_begin_at_once_take_the_same_statistics(model, volume, whole, tmp_path):
    out = tmp_path / "out.ome.zarr"
    children = [FRESH.Process(target=in_a_child, args=(model, volume, out, (part, 2))) for part in (2, 1)]
    for child in children:
        child.start()
    for child in children:
        child.join(600)
    assert [child.exitcode for child in children] == [0, 0]
    assert contents(out) == contents(whole)


def test_uncertainty_needs_models_with_the_same_normalisation(model, volume, whole, tmp_path):
    other = tmp_path / "other"
    save_model(other, spec_of(RESNET), weights_of(RESNET, seed=1).state_dict())
    out, map_path = tmp_path / "out.ome.zarr", tmp_path / "uncertainty.ome.zarr"
    stain_volume(model, volume, out, config=CONFIG, intensity=LEVELS, uncertainty=map_path, ensemble=[other])
    np.testing.assert_array_equal(colours(out), colours(whole))
    stored = read_tensors(out / STATISTICS)
    pooled = with_statistics(load_translator(other, "cpu"), {k[2:]: v for k, v in stored.items() if k.startswith("1.")})
    first = stain_volume(other, volume, tmp_path / "first.ome.zarr", config=CONFIG, intensity=LEVELS)
    assert all(torch.equal(stored[f"1.{name}"], value) for name, value in statistics_of(pooled).items())
    apart = np.abs(colours(first).astype(float) - colours(whole)).mean(axis=-1) / 2  # the deviation of two
    np.testing.assert_allclose(colours(map_path)[..., 0], np.clip(255 * apart / 64, 0, 255), atol=1)


def test_a_single_image_is_a_volume_of_one_slice(model, grey, tmp_path):
    image, out = tmp_path / "slice.tif", tmp_path / "out.png"
    ct = normalise_ct(np.tile(grey[3], (3, 3)), LEVELS)
    write_image(image, ct)
    words = [
        "stain",
        model,
        image,
        out,
        "--normalised",
        "--statistics",
        "volume",
        "--blend",
        "exact",
        "--device",
        "cpu",
    ]
    assert run(["-q", *map(str, words)]) == 0
    translator = load_translator(model, "cpu")
    pooled = fit_volume_statistics(translator, sample_tiles(lambda *_: ct[None], (1, *ct.shape), 32))
    whole = pooled(torch.from_numpy(ct.astype(np.float32))[None])[0].permute(1, 2, 0).numpy()
    assert np.abs(read_image(out) - whole).max() <= 1


def test_a_model_without_instance_normalisation_is_refused_before_anything_is_written(volume, tmp_path):
    network = RESNET | {"norm": "channel"}
    save_model(tmp_path / "model", spec_of(network), weights_of(network).state_dict())
    with pytest.raises(InputError, match=r"statistics 'volume': .* no instance normalisation.*leave out `statistics`"):
        stain_volume(tmp_path / "model", volume, tmp_path / "out", config=CONFIG, intensity=LEVELS)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="no instance normalisation"):
        with_volume_norms(weights_of(network))


def test_a_plan_counts_the_batch_of_tiles(model, volume, tmp_path):
    one, other = (
        plan_volume(model, volume, tmp_path / "out", config=CONFIG.model_copy(update=change), intensity=LEVELS)
        for change in ({}, {"statistics": "tile"})
    )
    assert one.memory_bytes - other.memory_bytes == (TILES - 4) * 32**2 * 3 * 16
    exact = StainConfig(statistics="volume", blend="exact")
    assert plan_volume(model, volume, tmp_path / "out", config=exact, intensity=LEVELS).seconds > 0


def test_stored_statistics_of_a_model_without_instance_normalisation_are_an_error(tmp_path):
    # An InputError is a ValueError: it must not be taken for statistics of another network.
    from tomostain.stain.job_statistics import _from_file

    translator = translator_of({**UNET, "norm": "channel"})
    write_tensors(tmp_path / "statistics.safetensors", {})
    with pytest.raises(InputError, match="no instance normalisation"):
        _from_file((translator,), tmp_path / "statistics.safetensors")
