"""The choice between transforms by held-out edges, and the confidence."""

from dataclasses import replace

import numpy as np
import pytest

from tests.register.test_register_edge_blocks import grid_of_shifts
from tomostain.register.planar_judge import (
    Option,
    PlanarEvidence,
    agreement_by_chance,
    choose,
    enough_blocks,
    fitted_option,
    fixed_option,
    gains,
)
from tomostain.register.planar_pose import PlanarPose


def noisy(linear, offset_um, noise_um: float = 5.0):
    shifts = grid_of_shifts(linear, np.asarray(offset_um))
    return replace(
        shifts, shift_um=shifts.shift_um + np.random.default_rng(0).normal(0, noise_um, shifts.shift_um.shape)
    )


def options_for(shifts):
    base = PlanarPose.as_given(shifts.centre_um.mean(axis=0))
    wrong = base.moved([0.0, 0.0], 0.0, [[-0.04, 0.0], [0.0, 0.0]])
    return [
        fixed_option("as given", 0, base, base, shifts),
        fixed_option("strained, by mutual information", 2, wrong, base, shifts),
        fitted_option("rigid, by edges", base, shifts, None),
        fitted_option("strained, by edges", base, shifts, 0.015),
    ]


@pytest.mark.parametrize(
    ("linear", "offset_um", "expected"),
    [
        (np.eye(2), (0.0, 0.0), "as given"),
        (np.eye(2), (40.0, -25.0), "rigid, by edges"),
        (np.diag([1.03, 0.98]), (40.0, -25.0), "strained, by edges"),
    ],
)
def test_the_simplest_transform_that_explains_the_edges_is_chosen(linear, offset_um, expected):
    shifts = noisy(linear, offset_um)
    assert choose(options_for(shifts), shifts).name == expected


def test_a_fixed_option_is_judged_where_it_puts_the_blocks():
    shifts = noisy(np.eye(2), (0.0, 0.0), 0.0)
    base = PlanarPose.as_given(shifts.centre_um.mean(axis=0))
    option = fixed_option("moved", 1, base.moved([3.0, 4.0]), base, shifts)
    np.testing.assert_allclose(option.held_out_um, 5.0)


def test_a_gain_must_exceed_its_standard_error():
    shifts = noisy(np.eye(2), (0.0, 0.0), 0.0)
    before = np.full(len(shifts), 20.0)
    assert gains(before, before - 5.0, shifts)
    assert not gains(before, before, shifts)
    noise = np.random.default_rng(0).normal(0, 1, len(before))
    assert not gains(before, before + noise - noise.mean(), shifts)


def test_few_blocks_or_one_tile_are_not_enough():
    shifts = grid_of_shifts(np.eye(2), np.zeros(2))
    assert enough_blocks(shifts)
    assert not enough_blocks(shifts.of(shifts.tile == shifts.tile[0]))
    assert not enough_blocks(shifts.of(np.zeros(len(shifts), bool)))


def test_agreement_of_random_blocks_is_likely_and_of_all_blocks_is_unlikely():
    shifts = grid_of_shifts(np.eye(2), np.zeros(2))
    agreeing, chance = agreement_by_chance(Option("x", 1, None, np.zeros(len(shifts))), shifts, 1600.0)
    assert agreeing == len(shifts)
    assert chance < 1e-9
    anywhere = np.linalg.norm(np.random.default_rng(0).uniform(-250, 250, (len(shifts), 2)), axis=1)
    assert agreement_by_chance(Option("x", 1, None, anywhere), shifts, 1600.0)[1] > 1e-3


GOOD = PlanarEvidence("rigid, by edges", 60, 62, 150, 1e-12, 4.0, 2.0, 5.0, 3000.0, 0.4, 0.9, 0.3, 100.0)


def test_confidence_needs_edges_agreement_of_the_metrics_and_no_rival():
    assert GOOD.confidence > 0.95
    assert GOOD.sure
    for worse in ({"chance": 0.5}, {"agreeing": 15}, {"metrics_differ_um": 150.0}, {"margin": 0.0}):
        assert replace(GOOD, **worse).confidence < 0.3
    assert not replace(GOOD, threshold=1.0).sure


def test_without_enough_distinct_blocks_it_is_never_sure():
    few = replace(GOOD, agreeing=0, distinct=4, chance=1.0, held_out_um=float("nan"), metrics_differ_um=0.0, margin=1.0)
    assert few.confidence == pytest.approx(0.5)
    assert not few.sure
    assert "4 of 150 blocks have distinct edges" in few.describe()


def test_it_is_written_as_plain_numbers():
    values = replace(GOOD, held_out_um=float("nan"), halves_um=float("nan")).to_dict()
    assert values["held_out_edges_um"] is None
    assert values["halves_um"] is None
    assert values["sure"] is False
    assert GOOD.to_dict()["sure"] is True
    assert values["agreeing_blocks"] == 60
