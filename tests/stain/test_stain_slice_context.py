"""Models that also see neighbouring slices (2.5D): each slice gets its neighbours in every z chunk."""

import warnings

import numpy as np
import pytest
import torch
from scipy import ndimage

from tests.support.toys import LEVELS, RESNET, colours, grey_values, toy_model
from tomostain.dataset.pair import Pair
from tomostain.errors import InputError, OutOfDistributionWarning
from tomostain.imaging.intensity import normalise_ct
from tomostain.imaging.network_range import ct_to_network, histology_from_network
from tomostain.io import read_image, save_model, write_image, write_stack
from tomostain.io.models import model_card
from tomostain.networks.build import build_network
from tomostain.ood.novelty import training_reference
from tomostain.stain import (
    StainConfig,
    StainRequest,
    load_translator,
    plan_volume,
    stain_image,
    stain_slice,
    stain_volume,
)
from tomostain.stain.fusion import fuse
from tomostain.stain.uncertainty_map import load_ensemble, uncertainty_map
from tomostain.stain.volume_statistics import fit_volume_statistics, sample_tiles
from tomostain.tiling.exact import halo_of
from tomostain.tiling.slice_context import slice_contexts

SHAPE = (11, 36, 41)
SMALL = {"patch_px": 32, "stride_px": 16}


def make_model(folder, ct_slices=3, norm="instance", seed=0, seen=None):
    network = RESNET | {"in_channels": ct_slices, "norm": norm}
    return toy_model(folder, network, seed, seen, ct_slices=ct_slices, patch_px=32)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "three")


@pytest.fixture(scope="module")
def grey():
    return grey_values(SHAPE, sigma=1.0)


@pytest.fixture(scope="module")
def volume(tmp_path_factory, grey):
    folder = tmp_path_factory.mktemp("volumes") / "volume"
    write_stack(folder, grey, voxel_um=5.0)
    return folder


def padded(ct, context=1, axis=0):
    return np.pad(np.moveaxis(ct, axis, 0), ((context, context), (0, 0), (0, 0)), mode="edge")


def by_hand(model, ct, config, axis=0):
    """Each slice with its neighbours, the whole volume in memory; beyond its ends they are repeated."""
    translator = load_translator(model, "cpu")
    slices = padded(ct, axis=axis)
    drawn = [stain_slice(translator, slices[z : z + 3].copy(), config) for z in range(ct.shape[axis])]
    return np.moveaxis(np.stack(drawn), 0, axis)


def test_the_generator_is_given_the_neighbours_as_channels(model):
    translator = load_translator(model, "cpu")
    ct = np.random.default_rng(1).integers(8000, 32000, (3, 32, 32)).astype(np.float32)
    x = ct_to_network(torch.from_numpy(ct))[None]
    expected = histology_from_network(translator.network(x))[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(stain_slice(translator, ct, StainConfig(**SMALL)), np.rint(expected).astype(np.uint8))
    reversed_ct = stain_slice(translator, ct[::-1].copy(), StainConfig(**SMALL))
    assert np.abs(reversed_ct.astype(int) - expected).mean() > 1  # so the model uses the neighbours


@pytest.mark.parametrize("sigma", [0.0, 1.3])
@pytest.mark.parametrize("z_chunk", [2, 11])
def test_a_volume_is_its_slices_with_their_neighbours(model, volume, grey, tmp_path, sigma, z_chunk):
    config = StainConfig(**SMALL, z_chunk=z_chunk, gaussian_sigma=sigma)
    out = stain_volume(model, volume, tmp_path / "out.ome.zarr", config=config, intensity=LEVELS)
    whole = ndimage.gaussian_filter(grey.astype(np.float32), sigma, mode="nearest") if sigma else grey
    np.testing.assert_array_equal(colours(out), by_hand(model, normalise_ct(whole, LEVELS), StainConfig(**SMALL)))


def test_parts_in_any_order_give_the_same_bits(model, volume, tmp_path):
    config = StainConfig(**SMALL, z_chunk=2)
    whole = stain_volume(model, volume, tmp_path / "whole.ome.zarr", config=config, intensity=LEVELS)
    for part in ((3, 3), (1, 3), (2, 3)):
        parts = stain_volume(model, volume, tmp_path / "parts.ome.zarr", config=config, intensity=LEVELS, part=part)
    np.testing.assert_array_equal(colours(parts), colours(whole))


@pytest.mark.parametrize(("planes", "axis"), [("y", 1), ("x", 2), ("zyx", None)])
def test_along_other_axes_the_neighbours_are_those_along_that_axis(model, volume, grey, tmp_path, planes, axis):
    config = StainConfig(**SMALL, z_chunk=5, planes=planes)
    out = stain_volume(model, volume, tmp_path / "out.ome.zarr", config=config, intensity=LEVELS)
    ct, plain = normalise_ct(grey, LEVELS), StainConfig(**SMALL)
    axes = [by_hand(model, ct, plain, a) for a in ((axis,) if axis else (0, 1, 2))]
    np.testing.assert_array_equal(colours(out), axes[0] if axis else fuse(axes, "median"))


@pytest.mark.parametrize("tile", [64, 100])
def test_exact_tiles_are_the_whole_slice(tmp_path, tile):
    translator = load_translator(make_model(tmp_path / "channel", norm="channel"), "cpu")
    halo = halo_of(translator.spec.generator)
    ct = np.random.default_rng(2).integers(8000, 32000, (3, 2 * halo + 50, 2 * halo + 37)).astype(np.uint16)
    tiled = stain_slice(translator, ct, StainConfig(patch_px=tile, blend="exact"))
    whole = stain_slice(translator, ct, StainConfig(patch_px=1024, blend="exact"))
    assert np.abs(tiled.astype(int) - whole).max() <= 1


def test_statistics_of_the_volume_are_those_of_tiles_with_their_neighbours(model, volume, grey, tmp_path):
    config = StainConfig(statistics="volume", blend="exact", z_chunk=4)
    out = stain_volume(model, volume, tmp_path / "out.ome.zarr", config=config, intensity=LEVELS)
    ct = normalise_ct(grey, LEVELS)
    contexts = slice_contexts(padded(ct), 3)
    tiles = sample_tiles(lambda start, stop: contexts[start:stop], SHAPE, 32)
    assert tiles.shape[1:] == (3, 32, 32)
    pooled = fit_volume_statistics(load_translator(model, "cpu"), tiles)
    np.testing.assert_array_equal(
        colours(out), np.stack([stain_slice(pooled, context.copy(), config) for context in contexts])
    )


def test_models_with_different_slice_contexts_form_an_ensemble(tmp_path, volume, grey):
    ct = normalise_ct(grey, LEVELS)
    histology, mask = np.zeros((*SHAPE[1:], 3), np.uint8), np.ones(SHAPE[1:], bool)
    seen = training_reference([Pair("a", ct[0], histology, mask, 5.0)]).to_arrays()
    models = [make_model(tmp_path / f"sees-{n}", ct_slices=n, seed=n, seen=seen) for n in (1, 3)]
    config, plain = StainConfig(**SMALL, z_chunk=3), StainConfig(**SMALL)
    paths = tmp_path / "out.ome.zarr", tmp_path / "uncertainty.ome.zarr"
    stain_volume(
        models[0], volume, paths[0], config=config, intensity=LEVELS, uncertainty=paths[1], ensemble=[models[1]]
    )
    ensemble = load_ensemble(
        StainRequest(models[0], volume, paths[0], uncertainty=paths[1], ensemble=models[1:], device="cpu")
    )
    slices = padded(ct)
    single = np.stack([stain_slice(ensemble[0], image, plain) for image in ct])
    np.testing.assert_array_equal(colours(paths[0]), single)
    expected = [uncertainty_map(ensemble, slices[z : z + 3], single[z], plain) for z in range(SHAPE[0])]
    np.testing.assert_array_equal(colours(paths[1]), np.stack(expected))


def test_one_image_is_taken_for_all_slices_with_a_warning(model, tmp_path, grey):
    write_image(tmp_path / "ct.tif", grey[5])
    with pytest.warns(OutOfDistributionWarning, match="sees 3 neighbouring slices, and this is one image"):
        stain_image(model, tmp_path / "ct.tif", tmp_path / "out.png", config=StainConfig(**SMALL), intensity=LEVELS)
    ct = np.repeat(normalise_ct(grey[5], LEVELS)[None], 3, axis=0)
    expected = stain_slice(load_translator(model, "cpu"), ct, StainConfig(**SMALL))
    np.testing.assert_array_equal(read_image(tmp_path / "out.png"), expected)


def test_a_single_slice_is_refused(model, grey):
    with pytest.raises(InputError, match="slice: holds 1 slice\\(s\\), and 3 are needed"):
        stain_slice(load_translator(model, "cpu"), grey[0])


def test_a_plan_estimates_the_time_of_the_run(model, volume, tmp_path):
    plan = plan_volume(
        model, volume, tmp_path / "out.ome.zarr", config=StainConfig(**SMALL, z_chunk=4), intensity=LEVELS
    )
    assert plan.shape == SHAPE
    assert plan.seconds > 0


def test_a_volume_of_one_slice_is_its_own_neighbour(model, grey, tmp_path):
    write_stack(tmp_path / "volume", grey[:1], voxel_um=5.0)
    config = StainConfig(**SMALL)
    out = stain_volume(model, tmp_path / "volume", tmp_path / "out.ome.zarr", config=config, intensity=LEVELS)
    np.testing.assert_array_equal(colours(out), by_hand(model, normalise_ct(grey[:1], LEVELS), config))


def test_the_card_says_how_many_slices_and_wrong_channels_are_named(model, tmp_path):
    spec = load_translator(model, "cpu").spec
    assert "3 neighbouring slices" in model_card(spec)
    network = spec.generator | {"in_channels": 1}
    built = build_network(network, torch.Generator().manual_seed(0))
    save_model(tmp_path / "wrong", spec.model_copy(update={"generator": network}), built.state_dict())
    with pytest.raises(InputError, match="ct_slices 3, but its generator maps 1 channel"):
        load_translator(tmp_path / "wrong", "cpu")


def test_slices_at_another_distance_than_in_training_are_named(model, grey):
    # The training planes are one pixel of 5 µm apart; the distance may differ by 10 %, as in the plane.
    options = {"config": StainConfig(**SMALL), "intensity": LEVELS}
    with warnings.catch_warnings():
        warnings.simplefilter("error", OutOfDistributionWarning)
        stain_volume(model, (grey[:2], (5.4, 5.0, 5.0)), **options)
        stain_volume(model, (grey[:2], (15.0, 5.0, 5.0)), **options, allow_voxel_mismatch=True)
    with pytest.warns(OutOfDistributionWarning, match="slices are 15 µm apart.*3 neighbouring slices.*5 µm apart"):
        stain_volume(model, (grey[:2], (15.0, 5.0, 5.0)), **options)
