"""Compare mutual information with its analytic value, and check its properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomostain.register.similarity import joint_histogram, mutual_information, normalised_mutual_information


@pytest.mark.parametrize("rho", [0.5, 0.8, 0.95])
def test_of_correlated_normals_is_the_analytic_value(rho):
    # Cover & Thomas 2006, Elements of Information Theory, example 8.5.1: -1/2 log2(1 - rho^2).
    rng = np.random.default_rng(0)
    a = rng.standard_normal(400_000)
    b = rho * a + np.sqrt(1 - rho**2) * rng.standard_normal(a.size)
    assert mutual_information(a, b, bins=48) == pytest.approx(-0.5 * np.log2(1 - rho**2), abs=0.06)


def test_of_independent_images_is_nothing_and_of_an_image_with_itself_its_entropy():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 16, (2, 400, 400))
    assert mutual_information(a, b, bins=16) < 0.01
    assert mutual_information(a, a, bins=16) == pytest.approx(4.0, abs=0.01)
    assert normalised_mutual_information(a, a, bins=16) == pytest.approx(2.0)


@given(st.integers(0, 1000), st.integers(2, 40))
def test_is_symmetric_not_negative_and_independent_of_inversion(seed, bins):
    rng = np.random.default_rng(seed)
    a = rng.random((20, 20))
    b = np.clip(a + rng.normal(0, 0.2, a.shape), 0, 1)
    forward = mutual_information(a, b, bins=bins)
    assert forward >= -1e-12
    assert forward == pytest.approx(mutual_information(b, a, bins=bins))
    assert 1 - 1e-12 <= normalised_mutual_information(a, b, bins=bins) <= 2 + 1e-12


def test_excluded_pixels_do_not_count():
    rng = np.random.default_rng(2)
    a, mask = rng.random((30, 30)), np.zeros((30, 30), bool)
    mask[:15] = True
    spoilt = a.copy()
    spoilt[15:] = rng.random((15, 30))
    assert mutual_information(a, spoilt, mask) == mutual_information(a, a, mask)
    assert joint_histogram(a, a, mask).sum() == pytest.approx(1.0)


def test_errors_name_the_shapes():
    with pytest.raises(ValueError, match=r"\(2, 2\) and \(3, 3\)"):
        joint_histogram(np.zeros((2, 2)), np.zeros((3, 3)))
    with pytest.raises(ValueError, match="nothing can be compared"):
        joint_histogram(np.zeros((2, 2)), np.zeros((2, 2)), np.zeros((2, 2), bool))
