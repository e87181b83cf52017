"""Staining with a noise input: the same bits however the work is divided, and other colours for other seeds."""

import numpy as np
import pytest
import torch

from tests.support.toys import LEVELS, RESNET, colours, grey_values, toy_model
from tomostain.cli.main import run
from tomostain.dataset.pair import Pair
from tomostain.errors import InputError, InterruptedRunError
from tomostain.evaluate.calibration import check_uncertainty_options, uncertainty_maps
from tomostain.imaging.intensity import normalise_ct
from tomostain.io import Volume, open_stained, write_image, write_stack
from tomostain.io.models import load_model
from tomostain.ood.novelty import training_reference
from tomostain.stain import (
    StainConfig,
    StainRequest,
    load_stainer,
    load_translator,
    stain_image,
    stain_on_workers,
    stain_slice,
    stain_volume,
)
from tomostain.stain.noise import stain_seeds
from tomostain.stain.uncertainty import FULL_SCALE, combined, disagreement, noise_spread, novelty_of
from tomostain.stain.uncertainty_map import kind_of, uncertainty_map
from tomostain.stain.volume_statistics import fit_volume_statistics, statistics_of
from tomostain.tiling.exact import halo_of
from tomostain.tiling.noise import NoiseSpec, SlicePosition

NOISE = NoiseSpec(channels=2, correlation_px=3)
NETWORK = RESNET | {"in_channels": 3}
SHAPE = (10, 44, 39)
CONFIG = StainConfig(patch_px=32, stride_px=16, z_chunk=3)
CT = normalise_ct(grey_values(SHAPE), LEVELS)


def noisy_model(folder, norm="instance", **about):
    return toy_model(folder, NETWORK | {"norm": norm}, noise=NOISE, **about)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {norm: noisy_model(folder / norm, norm) for norm in ("instance", "channel")}


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes") / "volume"
    write_stack(folder, grey_values(SHAPE), voxel_um=5.0)
    return folder


@pytest.fixture
def one_thread():
    """Use one thread, here and in the workers: another number of threads rounds single values differently."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def by_slices(model, config=CONFIG, axis=0, seed=0):
    """Stain every slice separately, with the position of the slice."""
    translator = load_translator(model, "cpu")
    slices = [
        stain_slice(translator, np.ascontiguousarray(each), config, SlicePosition(axis=axis, seed=seed).moved(n))
        for n, each in enumerate(np.moveaxis(CT, axis, 0))
    ]
    return np.moveaxis(np.stack(slices), 0, axis)


@pytest.mark.parametrize("z_chunk", [1, 4, 100])
def test_the_size_of_the_chunks_does_not_matter(models, volume, tmp_path, z_chunk):
    config = CONFIG.model_copy(update={"z_chunk": z_chunk})
    expected = by_slices(models["instance"])
    out = stain_volume(models["instance"], volume, tmp_path / "out.ome.zarr", config=config, intensity=LEVELS)
    np.testing.assert_array_equal(colours(out), expected)
    in_memory = stain_volume(models["instance"], volume, config=config, intensity=LEVELS)
    np.testing.assert_array_equal(in_memory, expected)


def test_exact_tiles_of_any_size_give_the_slice_as_a_whole(models):
    translator = load_translator(models["channel"], "cpu")
    assert translator.tile_invariant
    position = SlicePosition((5, 0, 0), seed=3)
    one, other = (
        stain_slice(translator, CT[5], StainConfig(blend="exact", patch_px=px), position) for px in (36, 4096)
    )
    # Tiles of other sizes sum in another order, so single values are rounded to another grey level.
    assert np.abs(one.astype(int) - other).max() <= 1
    assert (one != other).mean() < 1e-3


def test_parts_and_workers_give_the_same_bits(models, volume, tmp_path, one_thread):
    pytest.importorskip("distributed")
    expected = by_slices(models["instance"], seed=9)
    options = {"config": CONFIG, "intensity": LEVELS, "noise_seed": 9}
    for part in ((2, 2), (1, 2)):
        stain_volume(models["instance"], volume, tmp_path / "parts.ome.zarr", part=part, **options)
    np.testing.assert_array_equal(colours(tmp_path / "parts.ome.zarr"), expected)
    request = StainRequest(models["instance"], volume, tmp_path / "workers.ome.zarr", **options)
    np.testing.assert_array_equal(colours(stain_on_workers(request, workers=1)), expected)


@pytest.mark.parametrize(("planes", "axis"), [("y", 1), ("x", 2)])
def test_other_axes_see_the_noise_of_the_same_voxels(models, volume, planes, axis):
    config = CONFIG.model_copy(update={"planes": planes})
    stained = stain_volume(models["instance"], volume, config=config, intensity=LEVELS, noise_seed=4)
    np.testing.assert_array_equal(stained, by_slices(models["instance"], config, axis, seed=4))


@pytest.mark.parametrize("planes", ["z", "x"])
def test_a_region_gets_the_noise_of_the_whole_volume(models, planes):
    # Exact tiles, and a distance from the borders of the region that the network does not see across.
    config = StainConfig(blend="exact", planes=planes)
    ct = normalise_ct(grey_values((60, 70, 80), seed=3), LEVELS)
    volume = Volume.from_array(ct, 5.0)
    region = volume.region((8, 0, 0), (60, 70, 80)).region((0, 8, 12), (52, 70, 80))
    assert region.origin == (8, 8, 12)
    options = {"config": config, "intensity": "normalised", "noise_seed": 2}
    whole, part = (stain_volume(models["channel"], each, **options).astype(int) for each in (volume, region))
    halo = halo_of(load_translator(models["channel"], "cpu").spec.generator)
    assert halo < 50
    # Patches of other sizes are summed in another order: at most one grey level apart.
    inner = np.s_[halo if planes == "x" else 0 :, halo:, halo if planes == "z" else 0 :]
    apart = np.abs(whole[8:, 8:, 12:][inner] - part[inner])
    assert apart.size > 1000
    assert apart.max() <= 1
    assert (apart > 0).mean() < 1e-3
    # The noise is what is tested: another seed changes most of the colours.
    other = stain_volume(models["channel"], region, **options | {"noise_seed": 3})
    assert (other != part).mean() > 0.1


def test_a_region_outside_the_volume_is_refused():
    volume = Volume.from_array(CT, 5.0)
    for first, end in (((0, 0, 0), (11, 44, 39)), ((2, 0, 0), (2, 44, 39)), ((-1, 0, 0), (4, 4, 4))):
        with pytest.raises(InputError, match="is empty, or not inside"):
            volume.region(first, end)
    np.testing.assert_array_equal(volume.region((2, 3, 4), (5, 40, 30)).read(1, 3), CT[3:5, 3:40, 4:30])


def test_an_interrupted_volume_continues_with_its_seed(models, volume, tmp_path):
    out, options = tmp_path / "out.ome.zarr", {"config": CONFIG, "intensity": LEVELS}
    with pytest.raises(InterruptedRunError):
        stain_volume(models["instance"], volume, out, noise_seed=2, **stopping_after(4), **options)
    with pytest.raises(InputError, match=r"noise.seed was 2 and is now 0"):
        stain_volume(models["instance"], volume, out, **options)
    stain_volume(models["instance"], volume, out, noise_seed=2, **options)
    np.testing.assert_array_equal(colours(out), by_slices(models["instance"], seed=2))
    assert open_stained(out).provenance["noise"] == {"seed": 2, "origin": [0, 0, 0]}


def stopping_after(slices):
    """Return options that end a staining when so many slices are stained."""
    reached = False

    def progress(label, done, total):
        nonlocal reached
        reached = reached or (label == "staining" and done >= slices)

    return {"progress": progress, "should_stop": lambda: reached}


def test_seeds_change_the_colours_and_their_choice_is_recorded_only_with_noise(models, volume, tmp_path):
    first, second = (
        stain_volume(models["instance"], volume, config=CONFIG, intensity=LEVELS, noise_seed=seed) for seed in (0, 1)
    )
    assert (first != second).mean() > 0.1
    plain = toy_model(tmp_path / "plain")
    out = stain_volume(plain, volume, tmp_path / "plain.ome.zarr", config=CONFIG, intensity=LEVELS)
    assert "noise" not in open_stained(out).provenance


def test_the_statistics_of_a_volume_do_not_depend_on_the_seed(models, volume):
    config = CONFIG.model_copy(update={"statistics": "volume", "blend": "mean"})
    first, second = (
        stain_volume(models["instance"], volume, config=config, intensity=LEVELS, noise_seed=seed) for seed in (0, 1)
    )
    assert (first != second).mean() > 0.1
    translator = load_translator(models["instance"], "cpu")
    one, other = (statistics_of(fit_volume_statistics(translator, CT[:4, :32, :32])) for _ in range(2))
    assert one.keys() == other.keys()
    assert all((one[name] == other[name]).all() for name in one)


def test_a_model_that_sees_several_slices_has_one_noise(tmp_path):
    model = toy_model(tmp_path / "model", RESNET | {"in_channels": 5}, noise=NOISE, ct_slices=3)
    translator = load_translator(model, "cpu")
    image = stain_slice(translator, CT[2:5], CONFIG, SlicePosition((3, 0, 0)))
    volume = Volume.from_array(CT, 5.0)
    stained = stain_volume(translator, volume, config=CONFIG, intensity="normalised")
    np.testing.assert_array_equal(stained[3], image)


def test_one_image_is_stained_with_a_seed(models, tmp_path):
    write_image(tmp_path / "slice.png", grey_values((44, 39)))
    options = {"config": CONFIG, "intensity": LEVELS}
    images = [
        stain_image(models["instance"], tmp_path / "slice.png", tmp_path / f"{n}.png", noise_seed=n, **options)
        for n in (0, 1)
    ]
    assert images[0].read_bytes() != images[1].read_bytes()
    stainer = load_stainer(models["instance"], device="cpu", config=CONFIG, noise_seed=1)
    ct = normalise_ct(grey_values((44, 39)), LEVELS)
    expected = stain_slice(stainer.translator, ct, CONFIG, SlicePosition(seed=1))
    np.testing.assert_array_equal(stainer(ct, intensity="normalised"), expected)
    np.testing.assert_array_equal(stainer(CT, intensity="normalised"), by_slices(models["instance"], seed=1))


def test_a_seed_without_a_noise_input_is_refused(models, volume, tmp_path, capsys):
    plain = toy_model(tmp_path / "plain")
    with pytest.raises(InputError, match=r"`noise_seed`: 3, but the model has no noise input"):
        stain_volume(plain, volume, config=CONFIG, intensity=LEVELS, noise_seed=3)
    with pytest.raises(InputError, match="the model has no noise input"):
        load_stainer(plain, device="cpu", noise_seed=3)
    with pytest.raises(InputError, match=r"`noise_seed`: -1; give a whole number"):
        StainRequest(plain, volume, noise_seed=-1)
    options = ["--background", "100", "--bone", "900", "--device", "cpu", "--noise-seed", "3"]
    assert run(["stain", str(plain), str(volume), str(tmp_path / "out.ome.zarr"), *options]) == 2
    assert "--noise-seed: 3, but the model has no noise input" in capsys.readouterr().err


def test_the_command_takes_a_seed(models, volume, tmp_path):
    out = tmp_path / "out.ome.zarr"
    options = ["--background", "100", "--bone", "900", "--device", "cpu", "--noise-seed", "3"]
    options += ["--patch-px", "32", "--stride-px", "16"]
    assert run(["stain", str(models["instance"]), str(volume), str(out), *options]) == 0
    np.testing.assert_array_equal(colours(out), by_slices(models["instance"], seed=3))


def test_tiles_without_noise_and_models_that_contradict_themselves_are_refused(models, tmp_path):
    import torch

    translator = load_translator(models["instance"], "cpu")
    with pytest.raises(InputError, match=r"needs 2 channel\(s\) of noise after the µCT: expected shape \(B, 3, H, W\)"):
        translator(torch.zeros(1, 16, 16))
    wrong = toy_model(tmp_path / "wrong", RESNET, noise=NOISE)
    with pytest.raises(InputError, match=r"in_channels 1, ct_slices 1, 2 channel\(s\) of noise, but its generator"):
        load_translator(wrong, "cpu")
    assert load_model(models["instance"]).spec.noise == NOISE


def test_samples_of_the_noise_give_the_spread_of_the_colours(models, volume, tmp_path):
    out, uncertainty = tmp_path / "out.ome.zarr", tmp_path / "uncertainty.ome.zarr"
    options = {"config": CONFIG, "intensity": LEVELS, "noise_seed": 5}
    stain_volume(models["instance"], volume, out, uncertainty=uncertainty, noise_samples=3, **options)
    images = [by_slices(models["instance"], seed=seed) for seed in (5, 6, 7)]
    np.testing.assert_array_equal(colours(out), images[0])  # the colours are those of the first seed
    # NumPy's own standard deviation, white at the full scale.
    spread = np.std(np.array(images, dtype=np.float64), axis=0, ddof=1).mean(axis=-1)
    expected = 255 * np.clip(spread / FULL_SCALE["noise spread"], 0, 1)
    grey = colours(uncertainty)
    assert np.abs(grey - expected[..., None]).max() <= 0.501
    assert grey.max() > 2
    about = open_stained(uncertainty).provenance["doubt"]
    assert about["map"] == "noise spread"
    assert about["white"] == {"noise spread": 64.0}
    assert about["noise_samples"] == 3
    assert "noise_samples" not in str(open_stained(out).provenance)
    with pytest.raises(InputError, match=r"noise_samples was 3 and is now 4"):
        stain_volume(models["instance"], volume, out, uncertainty=uncertainty, noise_samples=4, **options)


def test_the_spread_is_combined_with_disagreement_and_novelty(tmp_path, volume):
    pair = Pair("p", CT[0], np.zeros((*CT[0].shape, 3), np.uint8), np.ones(CT[0].shape, bool), 5.0)
    seen = training_reference([pair]).to_arrays()
    one = noisy_model(tmp_path / "one", seen=seen)
    other = toy_model(tmp_path / "other", NETWORK, seed=1, noise=NOISE, seen=seen)
    translators = [load_translator(model, "cpu") for model in (one, other)]
    assert kind_of(translators, 2) == "disagreement or noise spread or novelty"
    assert kind_of(translators) == "disagreement or novelty"
    assert kind_of(translators[:1], 2) == "noise spread or novelty"
    position = SlicePosition((4, 0, 0), seed=1)
    stained = stain_slice(translators[0], CT[4], CONFIG, position)
    grey = uncertainty_map(translators, CT[4], stained, CONFIG, position, noise_samples=2)
    parts = (
        disagreement([stained, stain_slice(translators[1], CT[4], CONFIG, position)]),
        novelty_of(translators, CT[4]),
        noise_spread([stained, *stain_seeds(translators[0], CT[4], CONFIG, position, seeds=[2])]),
    )
    np.testing.assert_array_equal(grey[..., 0], np.rint(255 * combined(*parts)))
    assert (combined(*parts) > combined(*parts[:2])).any()
    assert (combined(*parts) >= combined(*parts[:2])).all()


def test_samples_need_a_noise_input_and_an_uncertainty(models, volume, tmp_path):
    plain = toy_model(tmp_path / "plain")
    options = {"config": CONFIG, "intensity": LEVELS, "noise_samples": 3}
    uncertainty = tmp_path / "uncertainty.ome.zarr"
    with pytest.raises(InputError, match=r"`noise_samples`: 3, but the model has no noise input"):
        stain_volume(plain, volume, tmp_path / "out.ome.zarr", uncertainty=uncertainty, **options)
    with pytest.raises(InputError, match=r"give its path with `uncertainty`"):
        stain_volume(models["instance"], volume, tmp_path / "out.ome.zarr", **options)
    with pytest.raises(InputError, match=r"`noise_samples`: 0; give a number from 1 to 64"):
        StainRequest(plain, volume, noise_samples=0)
    with pytest.raises(InputError, match="the model has no noise input"):
        stain_seeds(load_translator(plain, "cpu"), CT[0], CONFIG, seeds=[0, 1])


def test_evaluation_draws_the_spread_of_a_model_with_noise(models):
    pair = Pair("p", CT[0], np.zeros((*CT[0].shape, 3), np.uint8), np.ones(CT[0].shape, bool), 5.0)
    translators = {"a": load_translator(models["instance"], "cpu")}
    check_uncertainty_options(translators)
    pictures = {"a": stain_slice(translators["a"], pair.ct, CONFIG)}
    maps = uncertainty_maps(pair, translators, pictures, CONFIG)
    assert list(maps) == ["noise spread of a"]
    spread, stained = maps["noise spread of a"]
    images = [stain_slice(translators["a"], pair.ct, CONFIG, SlicePosition(seed=seed)) for seed in range(4)]
    np.testing.assert_allclose(spread, np.std(images, axis=0, ddof=1).mean(axis=-1), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(stained, images[0])
