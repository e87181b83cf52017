"""The whole pipeline in Python, with arrays: the only path is that of the run."""

from dataclasses import replace

import numpy as np
import pytest

import tomostain as ts
from tomostain.dataset.cut_pair import CutConfig, cut_pair
from tomostain.phantom import grow_anatomy, make_slide, section_through_screw, tomograph

CPU = {"device": "cpu"}


def specimen(seed: int):
    """Return the volume, the slide and the known pose of a small phantom."""
    config = ts.PhantomConfig(shape=(16, 48, 48), voxel_um=100.0, pixel_um=50.0, seed=seed)
    anatomy = grow_anatomy(config)
    grey, _ = tomograph(anatomy)
    slide = make_slide(anatomy, *section_through_screw(config, anatomy.pose))
    volume = ts.Volume.from_array(grey, voxel_um=config.voxel_um, name=f"phantom {seed}")
    return volume, ts.Slide.from_array(slide.rgb, config.pixel_um), slide.section


@pytest.fixture(scope="module")
def pairs():
    """Return three pairs: one registered, two cut at the known pose."""
    volume, slide, section = specimen(1)
    registration = ts.register_slide(volume, slide, hint=ts.Hint(start=section, accept=True), **CPU)
    assert 0 <= registration.confidence <= 1
    result = [replace(registration.pair, id="registered", subject="a")]
    for seed in (2, 3):
        volume, slide, section = specimen(seed)
        pair, _ = cut_pair(volume, slide, section, f"known-{seed}", CutConfig(100.0), f"phantom {seed}")
        result.append(replace(pair, subject=str(seed)))
    return result


@pytest.fixture(scope="module")
def dataset(pairs):
    return ts.LoadedDataset.from_pairs(pairs, test=["known-3"], folds=[["known-2"]])


@pytest.fixture(scope="module")
def model(dataset, tmp_path_factory):
    run = tmp_path_factory.mktemp("pipeline") / "run"
    return ts.train_model(dataset, run, recipe="paired-cyclegan-cpu", max_steps=3, **CPU) / "model"


def test_the_pairs_are_arrays_on_one_grid(pairs):
    for pair in pairs:
        assert pair.ct.shape == pair.mask.shape == pair.histology.shape[:2]
        assert pair.mask.any()


def test_a_stained_array(model):
    volume, _, _ = specimen(3)
    stainer = ts.load_stainer(model, **CPU)
    stained = stainer(volume.read(0, 4))
    assert stained.shape == (4, 48, 48, 3)
    assert stained.dtype == np.uint8
    assert stained.std() > 0


def test_an_evaluation_is_a_dataframe(model, dataset):
    frame = ts.evaluate_models({"mine": model}, dataset, patch_px=16, metrics=("ssim", "psnr"), **CPU)
    assert set(frame[frame.protocol == "paper"].model) >= {"mine"}
    assert frame.pair.dropna().isin(["known-3"]).all()
    assert frame.psnr.notna().any()
