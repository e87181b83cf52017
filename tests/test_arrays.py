"""Every stage takes arrays and returns its results in memory."""

import numpy as np
import pytest
import torch

import tomostain as ts
from tests.support.training import stop_at, toy_pair, toy_recipe
from tomostain.io.array_source import split_source
from tomostain.io.models import load_model
from tomostain.measure.classes import TissueClass

CT = np.arange(4 * 6 * 8, dtype=np.uint16).reshape(4, 6, 8)
RGB = np.random.default_rng(0).integers(0, 256, (4, 6, 8, 3), np.uint8)


def test_volumes_and_slides_open_from_arrays_with_their_size():
    for source, options in ((CT, {"voxel_um": 5}), ((CT, 5), {}), ((CT.tolist(), 5), {})):
        volume = ts.open_volume(source, **options)
        assert volume.voxel_um == (5, 5, 5)
        np.testing.assert_array_equal(volume[:], CT)
    assert ts.open_volume(volume) is volume
    stained = ts.open_stained((RGB, (4, 2, 3)))
    assert stained.voxel_um == (4, 2, 3)
    assert ts.open_stained(stained) is stained
    np.testing.assert_array_equal(stained[1:3, :, ::2], RGB[1:3, :, ::2])
    np.testing.assert_array_equal(np.asarray(stained.to_dask()), RGB)
    slide = ts.open_slide(RGB[0], pixel_um=1.5)
    assert slide.pixel_um == 1.5
    assert ts.open_slide((RGB[0], 1.5)).shape == (6, 8)
    assert ts.open_slide(slide) is slide


def test_what_is_no_volume_is_refused():
    with pytest.raises(
        ts.InputError, match=r"voxel size of an array is unknown; give .array, voxel_um., or `voxel_um`"
    ):
        ts.open_volume(CT)
    with pytest.raises(ts.InputError, match="pixel size of an array is unknown"):
        ts.open_slide(RGB[0])
    with pytest.raises(ts.InputError, match=r"expected a path, an array or .array, voxel_um., found int"):
        ts.open_volume(5)
    with pytest.raises(ts.InputError, match=r"a stained volume is a uint8 array \(Z, Y, X, 3\), found uint16"):
        ts.open_stained(CT, voxel_um=5)
    with pytest.raises(ts.InputError, match="this volume is open already"):
        ts.open_volume(ts.Volume.from_array(CT, 5), voxel_um=5)
    with pytest.raises(ts.InputError, match="give one number"):
        ts.open_slide(RGB[0], pixel_um=(1, 2, 3))
    assert split_source("5", None, "voxel_um") is None


def test_an_array_is_measured_in_memory():
    labels = np.zeros((16, 24, 24), np.uint8)
    labels[:, 8:16, 8:16] = TissueClass.METAL
    labels[:, 16:20] = TissueClass.BONE
    result = ts.measure_volume(labels=labels, voxel_um=20)
    assert result.out is None
    assert result.labels_path is None
    np.testing.assert_array_equal(result.labels, labels)
    assert result.maps["distance"].shape == labels.shape
    assert (result.maps["distance"][:, 10, 10] < 0).all()
    volume = ts.measure_volume(labels=ts.Volume.from_array(labels, 20), config=ts.MeasureConfig(maps=False))
    assert [row["value"] for row in volume.rows] == pytest.approx([row["value"] for row in result.rows], nan_ok=True)
    with pytest.warns(DeprecationWarning, match="`also` of measure_volume is now `ensemble`"):
        ts.measure_volume(labels=labels, voxel_um=20, also=(), config=ts.MeasureConfig(maps=False))
    with pytest.raises(TypeError, match="unexpected keyword argument 'label'; did you mean 'labels'"):
        ts.measure_volume(label=labels)


def test_figures_and_exports_of_arrays(tmp_path):
    assert list(ts.view_path(CT, voxel_um=5)) == ["planes"]
    figures = ts.view_path(ts.StainedVolume.from_array(RGB, 5))
    assert list(figures) == ["planes", "rendering", "rendering-half"]
    assert figures["planes"].shape[2] == 3
    out = ts.export((RGB, 5), tmp_path / "stack")
    assert len(list(out.glob("*.tif"))) == 4
    ts.export((RGB, 5), tmp_path / "old.ome.zarr", "ome-zarr-0.4")
    np.testing.assert_array_equal(ts.open_stained(tmp_path / "old.ome.zarr")[:], RGB)
    with pytest.raises(TypeError, match="unexpected keyword argument 'leveel'; did you mean 'level'"):
        ts.export((RGB, 5), tmp_path / "b", leveel=1)


def test_a_loaded_model_is_evaluated_on_pairs_without_side_effects():
    stainer = ts.load_stainer("builtin:phantom-tb", device="cpu")
    pairs = [toy_pair(f"p{seed}", seed) for seed in range(2)]
    before = torch.get_rng_state()
    frame = ts.evaluate_models(stainer, pairs, patch_px=32, device="cpu")
    assert torch.equal(torch.get_rng_state(), before)
    assert set(frame[frame.scope == "patch"]["pair"]) == {"p0", "p1"}
    with pytest.raises(ts.InputError, match="expected the folder of a dataset, a Dataset or a list of Pair, found int"):
        ts.evaluate_models(stainer, 5)
    with pytest.raises(ts.InputError, match="expected a path or a loaded model, found int"):
        ts.evaluate_models(5, pairs)


def test_an_array_is_stained_with_its_voxel_size():
    stainer = ts.load_stainer("builtin:phantom-tb", device="cpu")
    ct = np.full((2, 32, 32), 10000, np.float32)
    stained = ts.stain_volume(stainer, ct, voxel_um=stainer.voxel_um, intensity="normalised")
    np.testing.assert_array_equal(stained, ts.stain_volume(stainer, (ct, stainer.voxel_um), intensity="normalised"))
    assert stained.shape == (2, 32, 32, 3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'voxelum'; did you mean 'voxel_um'"):
        ts.stain_volume(stainer, ct, voxelum=5)


@pytest.mark.parametrize("device", ["xpu", "mps", "meta", torch.device("meta")])
def test_other_devices_are_refused(device):
    with pytest.raises(ts.InputError, match="not a device; give auto, cpu, cuda or cuda:N"):
        ts.load_stainer("builtin:phantom-tb", device=device)


def test_a_model_is_trained_in_memory_to_the_same_weights_as_in_a_folder(tmp_path):
    pairs = ts.LoadedDataset.from_pairs([toy_pair(f"p{seed}", seed) for seed in range(2)], folds=[["p1"], ["p0"]])
    options = {"recipe": toy_recipe(), "max_steps": 2, "device": "cpu"}
    model = ts.train_model(pairs, **options)
    assert repr(model).startswith("TrainedModel(toy, 2 steps, 20 µm, hash ")
    assert list(model.losses["step"]) == [2]
    assert model.losses[["total", "d_y", "validation_l1"]].notna().all(axis=None)
    run = ts.train_model(pairs, tmp_path / "run", **options)
    assert model.hash == load_model(run).hash
    ct = toy_pair("a", 3).ct
    stained = ts.load_stainer(run, device="cpu")(ct, intensity="normalised")
    np.testing.assert_array_equal(ts.load_stainer(model, device="cpu")(ct, intensity="normalised"), stained)
    # Written after it was used: the same model, with its card and picture.
    assert load_model(model.save(tmp_path / "saved")).hash == model.hash
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {path.name for path in (run / "model").iterdir()}
    tuned = ts.train_model(pairs, init=model, max_steps=1, device="cpu")
    assert tuned.spec.training.initial_model.hash == model.hash


def test_a_training_without_a_folder_cannot_be_resumed():
    with pytest.raises(ts.InputError, match="`resume`: a training without a folder leaves nothing") as caught:
        ts.train_model([toy_pair("a", 0)], resume=True)
    assert caught.value.parameter == "resume"
    with pytest.raises(ts.InterruptedRunError, match=r"without `run`, .*, nothing of it is left"):
        ts.train_model([toy_pair("a", 0)], recipe=toy_recipe(), max_steps=2, device="cpu", **stop_at(1))


def test_older_names_of_the_training_reference_work():
    model = load_model("builtin:phantom-tb")
    with pytest.warns(DeprecationWarning, match="Model.seen is now training_reference"):
        assert model.seen is model.training_reference
    translator = ts.load_stainer("builtin:phantom-tb", device="cpu").translator
    with pytest.warns(DeprecationWarning, match="Translator.seen is now training_reference"):
        assert translator.seen is translator.training_reference
