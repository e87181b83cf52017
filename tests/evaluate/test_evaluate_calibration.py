"""Uncertainty maps: their calibration is measured, and known errors give known values."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tomostain import __version__
from tomostain.dataset.dataset import load_dataset
from tomostain.dataset.pair import Pair
from tomostain.dataset.writer import save_dataset
from tomostain.errors import InputError
from tomostain.evaluate.calibration import (
    CYCLE,
    DISAGREEMENT,
    DISAGREEMENT_OR_NOVELTY,
    NOVELTY,
    check_uncertainty_options,
    draw_calibration,
    error_of,
    uncertainty_maps,
    write_calibration,
)
from tomostain.io import ModelSpec, read_image, save_model
from tomostain.networks.build import build_network
from tomostain.ood.novelty import novelty, training_reference
from tomostain.stain import StainConfig, Translator, load_translator
from tomostain.stain.uncertainty import cycle_error, disagreement, patch_means, rank_correlation

CONFIG = StainConfig(patch_px=32, stride_px=16)
GREY = {"name": "resnet", "in_channels": 1, "out_channels": 3, "width": 2, "blocks": 1}
BACK = GREY | {"in_channels": 3, "out_channels": 1}


def spec(**changes) -> ModelSpec:
    values = {"generator": GREY, "in_channels": 1, "voxel_um": 5.0, "stain": "h&e", "recipe": "test", "patch_px": 32}
    return ModelSpec.from_dict(values | {"tomostain_version": __version__} | changes)


class Repeat(nn.Module):
    """G_xy that repeats the grey value in three colours."""

    size_multiple, min_size_px = 4, 8

    def forward(self, x):
        return x.expand(-1, 3, -1, -1)


class Off(nn.Module):
    """G_yx that recovers the grey value, plus a given error."""

    size_multiple, min_size_px = 4, 8

    def __init__(self, much):
        super().__init__()
        self.much = much

    def forward(self, y):
        return y[:, :1] + self.much


def pair(seed, shape=(70, 61)):
    rng = np.random.default_rng(seed)
    ct = rng.integers(8000, 38000, shape).astype(np.uint16)
    histology = rng.integers(0, 255, (*shape, 3)).astype(np.uint8)
    return Pair(f"p{seed}", ct, histology, np.ones(shape, bool), 5.0)


@pytest.mark.parametrize("inverted", [False, True])
def test_the_cycle_error_is_the_error_of_the_reverse_generator(inverted):
    # 0.1 of the networks' scale is 2000 grey values, a tenth of the step from background to bone.
    translator = Translator(Repeat(), spec(inverted_ct=inverted), torch.device("cpu"), "", Off(0.1))
    error = cycle_error(translator, pair(0).ct, CONFIG)
    assert error.shape == (70, 61)
    np.testing.assert_allclose(error, 0.1, atol=2e-3)


def test_without_a_reverse_generator_there_is_no_cycle():
    translator = Translator(Repeat(), spec(), torch.device("cpu"))
    with pytest.raises(InputError, match="no reverse generator"):
        cycle_error(translator, pair(0).ct, CONFIG)
    with pytest.raises(InputError, match="one model without reverse generator, training reference and noise input"):
        check_uncertainty_options({"a": translator})
    check_uncertainty_options({"a": translator, "b": translator})
    assert uncertainty_maps(pair(0), {"a": translator}, {"a": pair(0).histology}, CONFIG) == {}


def test_a_reverse_generator_is_loaded_only_if_requested_and_present(tmp_path):
    states = [build_network(s, torch.Generator().manual_seed(1)).state_dict() for s in (GREY, BACK)]
    save_model(tmp_path / "both", spec(reverse=BACK), *states)
    save_model(tmp_path / "one", spec(), states[0])
    assert load_translator(tmp_path / "both", "cpu").reverse is None
    with pytest.raises(InputError, match="recipe 'test' trains no reverse generator"):
        load_translator(tmp_path / "one", "cpu", reverse=True)
    translator = load_translator(tmp_path / "both", "cpu", reverse=True)
    histology = torch.rand(2, 3, 30, 37) * 255
    expected = build_network(BACK).eval()
    expected.load_state_dict(states[1])
    padded = nn.functional.pad(histology / 127.5 - 1, (0, 3, 0, 2), mode="replicate")
    with torch.inference_mode():
        right = (expected(padded)[:, 0, :30, :37] + 1) * 20000
    torch.testing.assert_close(translator.back(histology), right)


def test_disagreement_is_the_standard_deviation():
    pictures = [pair(seed).histology for seed in range(3)]
    right = np.stack(pictures).astype(float).std(axis=0).mean(axis=2)
    np.testing.assert_allclose(disagreement(pictures), right, rtol=1e-5)
    with pytest.raises(InputError, match=r"1 image\(s\)"):
        disagreement(pictures[:1])


def test_patches_mostly_outside_the_mask_do_not_count():
    uncertainty = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)
    mask = np.zeros((64, 64), bool)
    mask[:32, :20] = True  # 20 of 32 columns of the first patch
    mask[40:, 40:44] = True
    means = patch_means(uncertainty, 2 * uncertainty, mask, 32)
    assert means.shape == (1, 2)
    assert means[0, 1] == pytest.approx(2 * uncertainty[:32, :20].mean())


def test_the_rank_correlation_sees_order_only():
    x = np.random.default_rng(0).random(50)
    assert rank_correlation(np.stack([x, np.exp(5 * x)], axis=1)) == pytest.approx(1.0)
    assert rank_correlation(np.stack([x, -x], axis=1)) == pytest.approx(-1.0)
    assert np.isnan(rank_correlation(np.stack([x, 0 * x], axis=1)))
    assert np.isnan(rank_correlation(np.zeros((2, 2))))


def test_two_models_with_different_errors_disagree_where_they_err(tmp_path):
    # Two models draw the truth, one of them with an error that grows to the right.
    truth = pair(3, (96, 128))
    wrong = np.clip(truth.histology.astype(int) + np.arange(128)[None, :, None], 0, 255).astype(np.uint8)
    translators = dict.fromkeys("ab", Translator(Repeat(), spec(), torch.device("cpu"), "", Off(0.1)))
    maps = uncertainty_maps(truth, translators, {"a": truth.histology, "b": wrong}, CONFIG)
    assert set(maps) == {f"{CYCLE} of a", f"{CYCLE} of b", DISAGREEMENT}
    uncertainty, drawn = maps[DISAGREEMENT]
    means = patch_means(uncertainty, error_of(drawn, truth), truth.mask, 32)
    assert rank_correlation(means) > 0.85
    picture = draw_calibration({DISAGREEMENT: means})
    assert picture.shape[0] > 200
    assert np.ptp(picture) > 200


def test_models_with_a_training_reference_have_novelty_maps():
    # Wide, because the texture is compared in windows of 48 px.
    truth = pair(3, (96, 512))
    known = [replace(truth, id=f"q{i}", ct=truth.ct[:, ::step].copy()) for i, step in enumerate((1, -1))]
    seen = training_reference(known)
    translators = dict.fromkeys("ab", Translator(Repeat(), spec(), torch.device("cpu"), training_reference=seen))
    strange = replace(truth, ct=truth.ct.copy())
    strange.ct[20:70, 30:80] = 9000
    maps = uncertainty_maps(strange, translators, {"a": truth.histology, "b": truth.histology}, CONFIG)
    assert list(maps) == [NOVELTY, DISAGREEMENT, DISAGREEMENT_OR_NOVELTY]
    # The models agree everywhere, but the novelty is reported.
    assert maps[DISAGREEMENT][0].max() == 0
    assert maps[DISAGREEMENT_OR_NOVELTY][0][35:55, 45:65].min() > 0.5
    assert np.median(maps[DISAGREEMENT_OR_NOVELTY][0][:, 300:]) == 0
    np.testing.assert_allclose(maps[NOVELTY][0], novelty(strange.ct, seen))
    alone = uncertainty_maps(strange, {"a": translators["a"]}, {"a": truth.histology}, CONFIG)
    assert list(alone) == [NOVELTY]
    check_uncertainty_options({"a": translators["a"]})


def test_it_is_written_for_every_pair_and_all_together(tmp_path):
    data = load_dataset(save_dataset(tmp_path / "set", [pair(1, (96, 96)), pair(2, (96, 96))]).path)
    translators = {"a": Translator(Repeat(), spec(), torch.device("cpu"), "", Off(0.1))}
    write_calibration(tmp_path / "uncertainty", data, data.ids, translators, CONFIG)
    with (tmp_path / "uncertainty" / "rank-correlation.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["pair"], line["patches"]) for line in lines] == [("p1", "9"), ("p2", "9"), ("all", "18")]
    # µCT, stained, real, difference and one map of 96 px, side by side.
    assert read_image(tmp_path / "uncertainty" / "p1.png").shape[1] == 5 * 96 + 4 * 4
    assert (tmp_path / "uncertainty" / "calibration.png").is_file()
