"""The confidence of a planar registration as a function of its numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.register.planar_scenes import PIXEL_UM, SHAPE, classes, ct_of, slide_of
from tomostain.register.planar import register_in_plane
from tomostain.register.planar_confidence import blocks_confidence, planar_confidence, right_within_um
from tomostain.register.planar_pose import PlanarPose

CLEAR = {"chance": 0.0, "metrics_differ_um": 0.0, "tolerance_um": 40.0, "margin": 1.0}
counts = st.integers(0, 60)


@pytest.mark.parametrize("blocks", [0, 1, 4, 6, 14, 60])
def test_blocks_that_all_agree_have_the_analytic_value(blocks):
    # The integral of (1 + n/4) q^(n/4) from 1/2 to 1.
    assert blocks_confidence(blocks, blocks) == pytest.approx(1 - 0.5 ** (1 + blocks / 4), abs=1e-12)


@pytest.mark.parametrize(("agreeing", "distinct"), [(8, 9), (7, 13), (41, 44), (3, 43)])
def test_blocks_are_weighed_by_a_beta_posterior(agreeing, distinct):
    expected = stats.beta.sf(0.5, 1 + agreeing / 4, 1 + (distinct - agreeing) / 4)
    assert blocks_confidence(agreeing, distinct) == pytest.approx(expected, abs=1e-12)


def test_as_many_for_as_against_leave_it_open():
    assert blocks_confidence(20, 40) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, 0.75),
        ({"chance": 0.01}, 0.375),
        ({"metrics_differ_um": 40.0}, 0.375),
        ({"metrics_differ_um": 80.0}, 0.75 / 17),
        ({"margin": 0.15}, 0.375),
    ],
)
def test_each_factor_is_halved_at_its_limit(change, expected):
    assert planar_confidence(4, 4, **(CLEAR | change)) == pytest.approx(expected, abs=1e-9)


def test_chance_has_no_effect_without_votes():
    assert planar_confidence(0, 0, **(CLEAR | {"chance": 1.0})) == pytest.approx(0.5)


@given(counts, counts)
@settings(max_examples=60, deadline=None)
def test_few_blocks_bound_the_confidence(agreeing, others):
    value = planar_confidence(agreeing, agreeing + others, **CLEAR)
    assert 0 <= value <= 1 - 0.5 ** (1 + agreeing / 4) + 1e-12
    assert planar_confidence(agreeing + 1, agreeing + 1 + others, **CLEAR) >= value
    assert planar_confidence(agreeing, agreeing + others + 1, **CLEAR) <= value


@given(counts, counts, st.floats(0, 1), st.floats(0, 500), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_worse_evidence_never_raises_the_confidence(agreeing, others, chance, differ_um, margin, step):
    numbers = CLEAR | {"chance": chance, "metrics_differ_um": differ_um, "margin": margin}
    value = planar_confidence(agreeing, agreeing + others, **numbers)
    for worse in (
        {"chance": min(1.0, chance + step)},
        {"metrics_differ_um": differ_um + 100 * step},
        {"margin": margin * (1 - step)},
    ):
        assert planar_confidence(agreeing, agreeing + others, **(numbers | worse)) <= value + 1e-15


def test_the_numbers_of_the_study_that_were_wrong_and_sure_are_not_sure_any_more():
    former = [
        (8, 9, 5.2e-8, 17.35, 0.1124),  # another specimen
        (10, 10, 1.7e-7, 43.62, 0.3134),  # 100 µm off the plane, 2.9 px
        (17, 28, 6.8e-5, 61.37, 0.2052),  # pixel size 1.05, 4.1 px
    ]
    for agreeing, distinct, chance, differ_um, margin in former:
        value = planar_confidence(
            agreeing, distinct, chance=chance, metrics_differ_um=differ_um, tolerance_um=40.0, margin=margin
        )
        assert value < 0.45


def test_right_is_two_pixels_or_half_a_percent():
    assert right_within_um(20.0, 6000.0) == 40.0
    assert right_within_um(10.0, 9000.0) == 45.0


def test_another_specimen_with_the_same_outline_and_implant_is_not_sure():
    ours, other = classes(), classes(11)
    row, column = np.ogrid[-1 : 1 : SHAPE[0] * 1j, -1 : 1 : SHAPE[1] * 1j]
    other[other < 0] = 0
    other[ours < 0] = -1
    for section in (ours, other):
        section[np.abs(row) + np.abs(column) < 0.4] = 2
    as_given = PlanarPose.as_given(np.array(SHAPE) / 2 * PIXEL_UM)
    result = register_in_plane(ct_of(ours), PIXEL_UM, slide_of(other, as_given), PIXEL_UM)
    assert not result.evidence.sure
    assert result.evidence.confidence < 0.5
