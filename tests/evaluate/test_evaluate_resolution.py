"""Fourier ring correlation, compared with its expectation for white noise of known blur and known noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tomostain.errors import InputError
from tomostain.evaluate.metrics.resolution import (
    fourier_ring_correlation,
    resolution_um,
    single_image_resolution_um,
    split_counts,
)

SIDE = 384


def blurred_noise(sigma_px: float, seed: int) -> np.ndarray:
    """White noise of variance 1, blurred: its power spectrum is exp(-4 π² σ² q²)."""
    return ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(SIDE, SIDE)), sigma_px, mode="wrap")


@pytest.mark.parametrize(("sigma_px", "noise"), [(1.5, 0.02), (2.5, 0.01), (2.0, 0.1)])
def test_two_noisy_images_agree_up_to_where_signal_meets_noise(sigma_px, noise):
    # FRC(q) = S/(S + N), so it is 1/7 where S = N/6: exp(-4 π² σ² q²) = n²/6.
    rng = np.random.default_rng(1)
    image = blurred_noise(sigma_px, 0)
    a, b = (image + rng.normal(0, noise, image.shape) for _ in range(2))
    expected = 1 / np.sqrt(np.log(6 / noise**2) / (4 * np.pi**2 * sigma_px**2))
    assert resolution_um(a, b, 1.0) == pytest.approx(expected, rel=0.05)


def test_one_image_of_counts_is_split_into_two():
    # Halves of a Poisson image of mean m and signal power m² c² S have noise m/2 and signal m² c² S/4 each.
    sigma, contrast, mean = 2.0, 3.0, 200.0
    signal = np.clip(1 + contrast * blurred_noise(sigma, 3), 0, None)
    counts = np.random.default_rng(4).poisson(mean * signal)
    power = mean**2 * contrast**2 / 4
    noise = mean * signal.mean() / 2
    expected = 1 / np.sqrt(np.log(6 * power / noise) / (4 * np.pi**2 * sigma**2))
    assert single_image_resolution_um(counts, 2.0, seed=0) == pytest.approx(2.0 * expected, rel=0.07)
    assert single_image_resolution_um(0.5 * counts, 2.0, seed=0, grey_per_count=0.5) == pytest.approx(
        2.0 * expected, rel=0.07
    )


def test_equal_images_reach_nyquist_and_unlike_ones_nothing():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 128, 128))
    assert resolution_um(a, a, 5.0) == 10.0
    assert resolution_um(a, b, 5.0) == np.inf


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_correlation_is_symmetric_bounded_and_independent_of_scale(seed):
    a, b = np.random.default_rng(seed).normal(size=(2, 40, 50))
    _, forward = fourier_ring_correlation(a, b)
    _, back = fourier_ring_correlation(b, a)
    _, scaled = fourier_ring_correlation(3 * a + 7, b)
    np.testing.assert_allclose(forward, back, atol=1e-12)
    np.testing.assert_allclose(forward[1:], scaled[1:], atol=1e-9)
    assert np.abs(forward).max() <= 1 + 1e-12


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_the_halves_add_up_and_the_seed_decides(seed):
    counts = np.random.default_rng(seed).poisson(5.0, (8, 9))
    a, b = split_counts(counts, seed)
    np.testing.assert_array_equal(a + b, counts)
    np.testing.assert_array_equal(a, split_counts(counts, seed)[0])
    assert a.min() >= 0
    assert b.min() >= 0


def test_items_that_cannot_be_measured_are_named():
    image = np.ones((64, 64))
    with pytest.raises(InputError, match=r"shapes \(64, 64\) and \(64, 63\)"):
        resolution_um(image, image[:, 1:], 1.0)
    with pytest.raises(InputError, match="16 × 64 px"):
        resolution_um(image[:16], image[:16], 1.0)
    with pytest.raises(InputError, match="not finite"):
        resolution_um(np.where(image > 0, np.nan, image), image, 1.0)
    with pytest.raises(InputError, match="counts from -1"):
        single_image_resolution_um(-image, 1.0)
    with pytest.raises(InputError, match="grey_per_count = 0"):
        single_image_resolution_um(image, 1.0, grey_per_count=0.0)
