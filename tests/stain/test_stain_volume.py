"""A volume from disk to disk in z chunks, single images, and plans (paper section 2.11)."""

import signal
import tracemalloc

import numpy as np
import pytest
from scipy import ndimage

from tests.support import toys
from tests.support.toys import LEVELS, colours, toy_model
from tomostain.cli.main import run
from tomostain.errors import InputError, InterruptedRunError
from tomostain.imaging.intensity import normalise_ct
from tomostain.interrupts import listen_for_interrupt
from tomostain.io import load_model, open_stained, read_image, save_model, write_image, write_stack
from tomostain.ood.grey_values import solid_quantiles
from tomostain.stain import StainConfig, load_translator, plan_volume, stain_image, stain_slice, stain_volume

SMALL = {"patch_px": 32, "stride_px": 16}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return toy_model(tmp_path_factory.mktemp("models") / "model")


def grey_values(shape=(11, 36, 41), seed=0):
    return toys.grey_values(shape, seed)


@pytest.fixture
def volume(tmp_path):
    write_stack(tmp_path / "volume", grey_values(), voxel_um=5.0)
    return tmp_path / "volume"


def stained_of(reports):
    return [what for what in reports if what[0] == "staining"]


def test_a_volume_is_its_slices_stained_one_by_one(model, volume, tmp_path):
    reports = []
    out = stain_volume(
        model,
        volume,
        tmp_path / "out.ome.zarr",
        config=StainConfig(**SMALL, z_chunk=4),
        intensity=LEVELS,
        device="cpu",
        progress=lambda *what: reports.append(what),
    )
    translator = load_translator(model, "cpu")
    expected = [stain_slice(translator, normalise_ct(s, LEVELS), StainConfig(**SMALL)) for s in grey_values()]
    np.testing.assert_array_equal(colours(out), expected)
    assert np.std(expected) > 5
    assert ("staining", 11, 11) in reports
    stained = open_stained(out)
    assert stained.voxel_um == (5.0, 5.0, 5.0)
    assert stained.provenance["model"]["hash"] == load_model(model).hash
    assert stained.provenance["levels"] == {"background": 100.0, "bone": 900.0}
    assert stained.provenance["options"]["patch_px"] == 32
    assert len(stained.provenance["input"]["fingerprint"]) == 64


@pytest.mark.parametrize("sigma", [0.0, 1.3])
def test_the_z_chunk_does_not_change_the_result(model, volume, tmp_path, sigma):
    results = []
    for z_chunk in (2, 11):
        out = tmp_path / f"{z_chunk}.ome.zarr"
        stain_volume(
            model, volume, out, config=StainConfig(**SMALL, z_chunk=z_chunk, gaussian_sigma=sigma), intensity=LEVELS
        )
        results.append(colours(out))
    np.testing.assert_array_equal(results[0], results[1])
    # Independent reference: scipy's filter on the whole volume at once.
    whole = ndimage.gaussian_filter(grey_values().astype(np.float32), sigma, mode="nearest") if sigma else grey_values()
    translator = load_translator(model, "cpu")
    expected = [stain_slice(translator, normalise_ct(s, LEVELS), StainConfig(**SMALL)) for s in whole]
    np.testing.assert_array_equal(results[0], expected)


class BreakOff(Exception):
    pass


def test_interrupted_after_some_z_chunks_it_resumes_to_the_same_bits(model, volume, tmp_path):
    config = StainConfig(**SMALL, z_chunk=3, gaussian_sigma=1.0)
    whole = stain_volume(model, volume, tmp_path / "whole.ome.zarr", config=config, intensity=LEVELS)
    out = tmp_path / "broken.ome.zarr"

    def pull_the_plug(label, done, total):
        if label == "staining" and done == 8:  # in the middle of the third z chunk
            raise BreakOff

    with pytest.raises(BreakOff):
        stain_volume(model, volume, out, config=config, intensity=LEVELS, progress=pull_the_plug)
    with pytest.raises(InputError, match=r"not finished.*run the same command again"):
        open_stained(out)
    reports = []
    stain_volume(model, volume, out, config=config, intensity=LEVELS, progress=lambda *what: reports.append(what))
    assert stained_of(reports)[0] == ("staining", 6, 11)  # two z chunks of three were reused
    np.testing.assert_array_equal(colours(out), colours(whole))
    untouched = stain_volume(
        model, volume, out, config=config, intensity=LEVELS, progress=lambda *what: reports.append(what)
    )
    assert untouched == out


def test_ctrl_c_takes_effect_after_a_z_chunk_and_the_message_says_how_to_resume(model, volume, tmp_path):
    config = StainConfig(**SMALL, z_chunk=4)
    out = tmp_path / "out.ome.zarr"

    def press(label, done, total):
        if label == "staining" and done == 2:
            signal.raise_signal(signal.SIGINT)

    with (
        listen_for_interrupt() as stop_requested,
        pytest.raises(InterruptedRunError, match="4 of 11 slices are stained; run the same command again to continue"),
    ):
        stain_volume(
            model,
            volume,
            out,
            config=config,
            intensity=LEVELS,
            progress=press,
            should_stop=stop_requested.is_set,
        )
    reports = []
    stain_volume(model, volume, out, config=config, intensity=LEVELS, progress=lambda *what: reports.append(what))
    assert stained_of(reports)[0] == ("staining", 4, 11)
    whole = stain_volume(model, volume, tmp_path / "whole.ome.zarr", config=config, intensity=LEVELS)
    np.testing.assert_array_equal(colours(out), colours(whole))


def test_other_options_do_not_continue_a_volume_unasked(model, volume, tmp_path):
    out = tmp_path / "out.ome.zarr"
    stain_volume(model, volume, out, config=StainConfig(**SMALL), intensity=LEVELS)
    other = StainConfig(**SMALL, blend="hann")
    with pytest.raises(InputError, match=r"blend was 'mean' and is now 'hann'; .*overwrite=True"):
        stain_volume(model, volume, out, config=other, intensity=LEVELS)
    with pytest.raises(InputError, match="exists already"):
        stain_volume(model, volume, out, config=StainConfig(**SMALL), intensity=LEVELS, resume=False)
    stain_volume(model, volume, out, config=other, intensity=LEVELS, overwrite=True)
    assert open_stained(out).provenance["options"]["blend"] == "hann"


def test_a_volume_that_was_moved_is_still_the_same_work(model, volume, tmp_path):
    out = stain_volume(model, volume, tmp_path / "out.ome.zarr", config=StainConfig(**SMALL), intensity=LEVELS)
    moved = tmp_path / "elsewhere" / "volume"
    moved.parent.mkdir()
    volume.rename(moved)
    assert stain_volume(model, moved, out, config=StainConfig(**SMALL), intensity=LEVELS) == out


def test_normalised_volumes_are_taken_as_they_are(model, tmp_path):
    normalised = normalise_ct(grey_values(), LEVELS)
    write_stack(tmp_path / "normalised", normalised, voxel_um=5.0)
    config = StainConfig(**SMALL)
    out = stain_volume(model, tmp_path / "normalised", tmp_path / "a.ome.zarr", config=config, intensity="normalised")
    write_stack(tmp_path / "raw", grey_values(), voxel_um=5.0)
    other = stain_volume(model, tmp_path / "raw", tmp_path / "b.ome.zarr", config=config, intensity=LEVELS)
    np.testing.assert_array_equal(colours(out), colours(other))
    with pytest.raises(InputError, match="intensity 'nine'"):
        stain_volume(model, tmp_path / "raw", tmp_path / "c.ome.zarr", config=config, intensity="nine")


def test_levels_are_estimated_where_none_are_given(model, tmp_path):
    block = np.zeros((6, 64, 64))
    block[:, 16:48, 12:50] = 1.0
    noisy = 1000 + 4000 * block + np.random.default_rng(0).normal(0, 60, block.shape)
    write_stack(tmp_path / "block", noisy.astype(np.uint16), voxel_um=5.0)
    out = stain_volume(model, tmp_path / "block", tmp_path / "out.ome.zarr", config=StainConfig(**SMALL))
    levels = open_stained(out).provenance["levels"]
    assert levels["background"] == pytest.approx(1000, abs=40)
    assert levels["bone"] == pytest.approx(5000, abs=40)


def test_voxel_sizes_must_be_those_of_the_model_within_a_tenth(model, volume, tmp_path):
    options = {"config": StainConfig(**SMALL), "intensity": LEVELS}
    with pytest.raises(InputError, match=r"volume: voxel size 6 x 6 µm.*at 5 µm; .*`allow_voxel_mismatch=True`"):
        stain_volume(model, volume, tmp_path / "out.ome.zarr", voxel_um=6.0, **options)
    stain_volume(model, volume, tmp_path / "near.ome.zarr", voxel_um=5.4, **options)
    stain_volume(model, volume, tmp_path / "far.ome.zarr", voxel_um=20, allow_voxel_mismatch=True, **options)
    assert open_stained(tmp_path / "far.ome.zarr").voxel_um == (20.0, 20.0, 20.0)


def test_memory_does_not_grow_with_the_number_of_slices(model, tmp_path):
    peaks = []
    for depth in (40, 160):  # both have z chunks with a halo on both sides
        source = tmp_path / f"volume{depth}"
        write_stack(source, grey_values((depth, 96, 96)), voxel_um=5.0)
        config = StainConfig(patch_px=96, stride_px=96, z_chunk=4, gaussian_sigma=1.0)
        out = tmp_path / f"{depth}.ome.zarr"
        if not peaks:  # once without measurement: imports and caches stay in memory
            stain_volume(model, source, tmp_path / "first.ome.zarr", config=config, intensity=LEVELS)
        tracemalloc.start()
        stain_volume(model, source, out, config=config, intensity=LEVELS)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The colours of 120 slices more would be 3.3 MB and their grey values 2.2 MB; 0.7 kB a slice are names of files,
    # and how far reading and writing get meanwhile differs from run to run, by a z chunk at each end.
    assert peaks[1] < peaks[0] + 1_500_000


def test_an_image_is_stained_as_a_slice(model, tmp_path):
    ct = grey_values()[4]
    write_image(tmp_path / "slice.tif", ct)
    config = StainConfig(**SMALL)
    expected = stain_slice(load_translator(model, "cpu"), normalise_ct(ct, LEVELS), config)
    for name in ("out.png", "out.tif"):
        stain_image(model, tmp_path / "slice.tif", tmp_path / name, config=config, intensity=LEVELS, voxel_um=(5, 5, 5))
        np.testing.assert_array_equal(read_image(tmp_path / name), expected)


def test_bad_images_are_refused(model, tmp_path):
    ct = grey_values()[4]
    source, out = tmp_path / "slice.tif", tmp_path / "out.png"
    write_image(source, ct)
    with pytest.raises(InputError, match=r"slice.tif: voxel size 9 x 9 µm.*; resample the image, or set"):
        stain_image(model, source, out, intensity=LEVELS, voxel_um=(9, 9, 9))
    with pytest.raises(InputError, match="gaussian_sigma 1: is a 3D filter"):
        stain_image(model, source, out, intensity=LEVELS, config=StainConfig(gaussian_sigma=1.0))
    write_image(tmp_path / "colour.png", np.random.default_rng(0).integers(0, 256, (20, 20, 3)).astype(np.uint8))
    with pytest.raises(InputError, match=r"colour.png: shape \(20, 20, 3\) is a colour image"):
        stain_image(model, tmp_path / "colour.png", out, intensity=LEVELS)
    write_image(out, np.zeros((4, 4), np.uint8))
    with pytest.raises(InputError, match=r"out.png: the stained image exists already"):
        stain_image(model, source, out, intensity=LEVELS)


def test_a_plan_states_the_costs_and_writes_nothing(model, volume, tmp_path):
    out = tmp_path / "out.ome.zarr"
    plan = plan_volume(model, volume, out, config=StainConfig(**SMALL), intensity=LEVELS, device="cpu")
    assert not out.exists()
    assert plan.shape == (11, 36, 41)
    assert plan.voxel_um == (5.0, 5.0, 5.0)
    assert plan.output_bytes == pytest.approx(3 * 11 * 36 * 41 * 8 / 7, rel=1e-3)
    assert 0 < plan.seconds < 60
    assert plan.memory_bytes > 11 * 36 * 41 * 3
    text = str(plan)
    assert "11 x 36 x 41 voxels of 5 x 5 x 5 µm" in text
    assert "MB before compression" in text
    assert "time:" in text
    with pytest.raises(InputError, match="voxel size 9"):
        plan_volume(model, volume, out, voxel_um=9.0, intensity=LEVELS)


def test_the_time_of_a_plan_counts_the_patches(model, volume, tmp_path, monkeypatch):
    # A clock that goes one second a reading: one batch of 4 patches takes 1 s.
    import tomostain.stain.resources as plan_module

    ticks = iter(range(100))
    monkeypatch.setattr(plan_module.time, "perf_counter", lambda: float(next(ticks)))
    config = StainConfig(patch_px=16, stride_px=4, batch=4)
    plan = plan_volume(model, volume, tmp_path / "out", config=config, intensity=LEVELS, device="cpu")
    rows, columns = 6, 8  # (36 - 16) / 4 + 1 and (41 - 16) / 4 + 1, the last one moved back
    assert plan.seconds == pytest.approx(11 * rows * columns / 4)


def test_a_scan_unlike_the_training_is_warned_of_and_stained(model, volume, tmp_path, capsys):
    loaded = load_model(model)
    normalised = normalise_ct(grey_values(), LEVELS)
    for name, known in (("knows", normalised), ("strange", (10000 + 0.6 * (normalised.astype(float) - 10000)))):
        greys = [tuple(solid_quantiles(known).tolist())]
        save_model(tmp_path / name, loaded.spec.model_copy(update={"greys": greys}), loaded.state)
        words = ["stain", tmp_path / name, volume, tmp_path / f"{name}.ome.zarr", "--background", "100"]
        assert run(["-q", *map(str, words), "--bone", "900", "--patch-px", "32", "--device", "cpu"]) == 0
        distance = open_stained(tmp_path / f"{name}.ome.zarr").provenance["grey_distance"]
        output = capsys.readouterr().err
        if name == "knows":
            assert output == ""
            assert distance < 0.02
        else:
            assert output.startswith(f"warning: {volume}: its grey values are unlike all training data of the model")
            assert output.count("\n") == 1
            assert distance > 0.06
