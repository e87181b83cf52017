"""The study of few pairs: another laboratory, nested sets of pairs, and its report."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies.few_pairs.laboratory import ABSORBANCE, member
from studies.few_pairs.report import comparison, draw, read, table, values_of, without_differences_of_pairs
from studies.few_pairs.run import MAX_TEST, _spread, held_out, order
from studies.models import family
from tomostain.dataset.dataset import Dataset


def dataset(tmp_path, subjects, per_subject, test):
    records = {f"{s}{i:03d}": {"subject": s} for s in subjects for i in range(per_subject)}
    test_pairs = tuple(pair for pair, record in records.items() if record["subject"] in test)
    return Dataset(tmp_path, 10.0, tuple(records), test=test_pairs, records=records)


@given(st.integers(1, 300))
def test_spread_is_a_permutation_that_reaches_far_first(n):
    positions = _spread(n)
    assert sorted(positions) == list(range(n))
    if n >= 4:
        # The first four points leave no gap larger than about a quarter of the range, on the side of the end.
        assert max(np.diff(sorted([*positions[:4], n]))) <= n / 4 + 2


def test_the_order_takes_subjects_in_turn_and_leaves_out_test_pairs(tmp_path):
    data = dataset(tmp_path, "abc", 8, test="c")
    pairs = order(data)
    assert [pair[0] for pair in pairs[:4]] == ["a", "b", "a", "b"]
    assert set(pairs) == {pair for pair in data.ids if pair[0] != "c"}
    assert held_out(data) == data.test
    assert len(held_out(dataset(tmp_path, "ac", 100, test="c"))) == MAX_TEST


def test_without_test_pairs_the_first_fold_is_held_out(tmp_path):
    records = {f"{s}{i:03d}": {"subject": s} for s in "abc" for i in range(4)}
    folds = tuple(tuple(pair for pair in records if pair[0] == s) for s in "cab")
    data = Dataset(tmp_path, 10.0, tuple(records), folds=folds, records=records)
    assert held_out(data) == folds[0]
    assert {pair[0] for pair in order(data)} == {"a", "b"}


def test_the_laboratory_is_outside_the_ranges_of_the_pre_training():
    pretrained = [family.member(number, "toluidine-blue") for number in range(64)]
    other = [member(number) for number in range(48)]
    for name in ("energy_kev", "blur", "noise"):
        highest = max(getattr(config.tomography, name) for config in pretrained)
        assert min(getattr(config.tomography, name) for config in other) > highest
    assert min(c.histology.thickness_um for c in other) > max(c.histology.thickness_um for c in pretrained)
    assert not {c.seed for c in other} & {c.seed for c in pretrained}
    assert {c.histology.absorbance for c in other} == {ABSORBANCE}
    assert {c.material for c in other[:5]} == {"Mg-10Gd", "Mg-5Gd", "Ti", "PEEK"}


@pytest.fixture
def scores(tmp_path):
    lines = [
        {"n": n, "arm": arm, "pair": pair, "ssim": 0.5 + 0.01 * n + bonus, "lpips": 0.3, "psnr": 18.0, "st_lpips": 0.2}
        for n in (5, 20)
        for arm, bonus in (("random", 0.0), ("init", 0.2))
        for pair in "ab"
    ]
    path = tmp_path / "scores.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return read(path)


def test_differences_between_test_pairs_are_removed_and_means_stay(scores):
    shifted = scores.copy()
    shifted.loc[shifted["pair"] == "a", "ssim"] += 0.3
    centred = without_differences_of_pairs(shifted)
    np.testing.assert_allclose(values_of(centred, "init", 5, "ssim"), 0.75 + 0.15)
    assert centred["ssim"].mean() == pytest.approx(shifted["ssim"].mean())


def test_the_report_states_means_and_paired_differences(scores, tmp_path):
    assert "| 20 | random weights | 0.700 | 0.300 | 18.000 | 0.200 |" in table(scores)
    # 0.5 + 0.05 + 0.2 - (0.5 + 0.2)
    assert comparison(scores, 5, 20).startswith("5 pairs, pre-trained, less 20 pairs, random weights: ssim +0.050 [")
    draw({"toys": scores}, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000
