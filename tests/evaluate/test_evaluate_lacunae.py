"""Lacunae: drawn spots are found, and spots without a counterpart are counted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tomostain.errors import InputError
from tomostain.evaluate.metrics import ImageSample, get_metric
from tomostain.evaluate.metrics.lacunae import Detection, detect_lacunae, invented, lacuna_regions
from tomostain.phantom.tissue import Label

PIXEL_UM = 2.5


def spots(centres, diameter_um: float = 10.0, depth: int = 90, side: int = 120) -> np.ndarray:
    rows, columns = np.indices((side, side))
    grey = np.full((side, side), 180.0)
    for row, column in centres:
        grey[np.hypot(rows - row, columns - column) * PIXEL_UM <= diameter_um / 2] -= depth
    grey = ndimage.gaussian_filter(grey, 0.6) + np.random.default_rng(0).normal(0, 2, grey.shape)
    return np.clip(grey, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 500))
def test_every_spot_is_found_at_its_place(seed):
    rng = np.random.default_rng(seed)
    cells = rng.choice(25, 8, replace=False)
    centres = np.stack([cells // 5, cells % 5], axis=1) * 20 + 20 + rng.integers(-4, 5, (8, 2))
    lacunae = detect_lacunae(spots(centres), PIXEL_UM)
    assert len(lacunae) == 8
    assert invented(lacunae, centres.astype(float), PIXEL_UM, within_um=4.0) == 0


def test_large_bodies_faint_spots_and_spots_outside_do_not_count():
    assert len(detect_lacunae(spots([(60, 60)], diameter_um=100.0), PIXEL_UM)) == 0
    assert len(detect_lacunae(spots([(60, 60)], depth=8), PIXEL_UM)) == 0
    left = np.zeros((120, 120), bool)
    left[:, :60] = True
    lacunae = detect_lacunae(spots([(60, 30), (60, 90)]), PIXEL_UM, left)
    np.testing.assert_allclose(lacunae, [[60, 30]], atol=1)


def test_each_real_spot_excuses_one():
    real = np.array([[10.0, 10.0]])
    fake = np.array([[10.0, 11.0], [11.0, 10.0], [80.0, 80.0]])
    assert invented(fake, real, PIXEL_UM) == 2
    assert invented(fake, real[:0], PIXEL_UM) == 3
    assert invented(real[:0], real, PIXEL_UM) == 0


def test_pixels_too_large_are_refused():
    with pytest.raises(InputError, match="pixels of 5 µm cannot show spots of 6 µm; 3 µm or less"):
        detect_lacunae(spots([]), 5.0)
    with pytest.raises(InputError, match="region of shape"):
        detect_lacunae(spots([]), PIXEL_UM, np.ones((5, 5), bool))


def scores(stained, real, labels):
    sample = ImageSample("p", stained, real, np.ones(labels.shape, bool), PIXEL_UM, labels)
    return {name: get_metric(f"lacunae_{name}").compute(sample) for name in ("precision", "recall", "f1")}


def test_precision_and_recall_of_planted_lacunae():
    bone = np.full((120, 120), int(Label.BONE))
    real = spots([(20, 20), (20, 60), (60, 20), (60, 60)])
    # Two of four are found, one of three is invented.
    stained = spots([(21, 20), (60, 61), (90, 95)])
    assert scores(stained, real, bone) == pytest.approx({"precision": 2 / 3, "recall": 1 / 2, "f1": 4 / 7})
    assert scores(real, real, bone) == {"precision": 1.0, "recall": 1.0, "f1": 1.0}
    empty = spots([])
    nothing = scores(empty, real, bone)
    assert np.isnan(nothing["precision"])
    assert (nothing["recall"], nothing["f1"]) == (0.0, 0.0)
    assert all(np.isnan(value) for value in scores(empty, empty, bone).values())


def test_only_bone_counts_and_labels_are_needed():
    labels = np.full((120, 120), int(Label.MARROW))
    labels[:, :60] = int(Label.BONE)
    labels[20, 20] = int(Label.LACUNA)
    real, stained = spots([(20, 20), (60, 100)]), spots([(20, 20), (90, 100)])
    assert scores(stained, real, labels)["f1"] == 1.0
    unlabelled = ImageSample("p", stained, real, np.ones((120, 120), bool), PIXEL_UM)
    with pytest.raises(InputError, match=r"has no labels.tif"):
        get_metric("lacunae_f1").compute(unlabelled)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 500), st.integers(0, 12), st.integers(0, 12))
def test_matches_are_symmetric_and_bounded(seed, drawn, true):
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(0, 60, (drawn, 2)), rng.uniform(0, 60, (true, 2))
    forward, back = Detection.of(a, b, PIXEL_UM), Detection.of(b, a, PIXEL_UM)
    assert forward.matched == back.matched <= min(drawn, true)
    assert forward.invented == invented(a, b, PIXEL_UM)
    if drawn and true and forward.matched:
        assert forward.f1 == pytest.approx(2 / (1 / forward.precision + 1 / forward.recall))


def test_regions_have_no_rim():
    labels = np.full((40, 40), int(Label.DEGRADATION))
    labels[:, 20:] = int(Label.WOVEN)
    regions = lacuna_regions(labels, np.ones((40, 40), bool), pixel_um=3.0)
    assert regions["bone"][20, 24]
    assert not regions["bone"][20, 22]
    assert not regions["degradation layer"][20, 18]


def test_counterparts_may_lie_across_the_border_of_a_region():
    # All spots of the real image are in the stained one, shifted by 7 µm, less than the 12 µm that registration allows.
    rng = np.random.default_rng(4)
    grid = np.stack(np.meshgrid(np.arange(14, 108, 8), np.arange(14, 108, 8), indexing="ij"), axis=-1).reshape(-1, 2)
    centres = grid + rng.integers(-1, 2, grid.shape)
    real, stained = spots(centres), spots(centres + 2)
    labels = np.full((120, 120), int(Label.BONE), np.uint8)
    labels[np.arange(120) // 24 % 2 == 1] = int(Label.DEGRADATION)
    sample = ImageSample("a", stained, real, np.ones((120, 120), bool), PIXEL_UM, labels)
    assert len(detect_lacunae(stained, PIXEL_UM)) > 100
    for name, expected in {
        "lacunae": 0.0,
        "lacunae_degradation": 0.0,
        "lacunae_precision": 1.0,
        "lacunae_recall": 1.0,
        "lacunae_f1": 1.0,
    }.items():
        assert get_metric(name).compute(sample) == expected, name


def test_the_f1_of_different_numbers_of_matches_is_the_harmonic_mean():
    assert Detection(drawn=4, true=10, matched=3, true_matched=5).f1 == pytest.approx(2 * 0.75 * 0.5 / (0.75 + 0.5))
    assert Detection(drawn=4, true=10, matched=0, true_matched=1).f1 == 0.0
