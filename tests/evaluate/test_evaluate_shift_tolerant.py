"""Shift-tolerant metrics: a shifted copy scores like an exact copy, and a shift does not improve a wrong image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tomostain.errors import InputError
from tomostain.evaluate.metrics.patch import psnr, ssim
from tomostain.evaluate.metrics.shift_tolerant import REACH_PX, best_shift, shift_tolerant_metrics

SHIFT = st.integers(-REACH_PX, REACH_PX)


def texture(seed: int, side: int = 64) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(side, side, 3))
    smooth = ndimage.gaussian_filter(noise, (1.0, 1.0, 0), mode="wrap")
    return np.clip(128 + 200 * smooth, 0, 255).astype(np.uint8)


def disc(side: int) -> np.ndarray:
    """Return the mask of a round specimen that touches the border of the image."""
    row, column = np.ogrid[:side, :side]
    return (row - side / 2) ** 2 + (column - side / 2) ** 2 < (0.45 * side) ** 2


@settings(deadline=None, max_examples=25)
@given(SHIFT, SHIFT, st.integers(0, 100))
def test_a_shifted_copy_is_perfect(row, column, seed):
    real = texture(seed)
    fake = np.roll(real, (row, column), axis=(0, 1))
    assert best_shift(fake, real) == (row, column)
    metrics = shift_tolerant_metrics(fake, real)
    assert metrics["ssim"] == pytest.approx(1.0)
    assert metrics["psnr"] == np.inf
    assert metrics["shift_px"] == pytest.approx(np.hypot(row, column))
    assert np.isnan(metrics["lpips"])


@settings(deadline=None, max_examples=25)
@given(SHIFT, SHIFT, st.integers(0, 100))
def test_a_shifted_copy_is_perfect_within_a_mask(row, column, seed):
    # The border between the tissue and a bright filled background is the strongest edge; it must not hold the shift.
    real, mask = texture(seed), disc(64)
    fake = np.roll(real, (row, column), axis=(0, 1))
    assert best_shift(fake, real, mask=mask) == (row, column)
    metrics = shift_tolerant_metrics(fake, real, mask=mask, colour=np.full(3, 245, np.uint8))
    assert metrics["ssim"] == pytest.approx(1.0)
    assert metrics["psnr"] == np.inf


def test_pixels_outside_the_mask_do_not_count():
    real, fake, mask = texture(0), np.roll(texture(0), 2, axis=0), disc(64)
    other = np.where(ndimage.binary_dilation(mask, iterations=6)[..., None], fake, texture(1))
    assert best_shift(other, real, mask=mask) == (2, 0)
    assert shift_tolerant_metrics(other, real, mask=mask)["psnr"] == np.inf


def test_a_mask_of_the_whole_patch_changes_nothing():
    real, fake = texture(0), texture(1)
    whole = np.ones((64, 64), bool)
    np.testing.assert_equal(shift_tolerant_metrics(fake, real, mask=whole), shift_tolerant_metrics(fake, real))


def test_a_mask_within_the_border_gives_no_shift():
    mask = np.zeros((64, 64), bool)
    mask[:REACH_PX] = True
    assert best_shift(np.roll(texture(0), 2, axis=0), texture(0), mask=mask) == (0, 0)


def test_without_a_shift_it_is_the_plain_metric_within_the_border():
    real = texture(0)
    fake = np.clip(real.astype(int) + 9, 0, 255).astype(np.uint8)
    inside = np.s_[REACH_PX:-REACH_PX, REACH_PX:-REACH_PX]
    metrics = shift_tolerant_metrics(fake, real)
    assert metrics["shift_px"] == 0
    assert metrics["psnr"] == psnr(fake[inside], real[inside])
    assert metrics["ssim"] == ssim(fake[inside], real[inside])


def test_beyond_its_reach_it_forgives_nothing():
    real = texture(0)
    near, far = (shift_tolerant_metrics(np.roll(real, shift, axis=1), real)["ssim"] for shift in (3, 12))
    assert near > 0.99
    assert far < 0.5


def test_a_blurred_image_scores_worse_than_a_displaced_sharp_one():
    real = texture(5)
    blurred = ndimage.gaussian_filter(real.astype(float), (3, 3, 0), mode="wrap").astype(np.uint8)
    displaced = np.roll(real, 2, axis=0)
    assert psnr(blurred, real) > psnr(displaced, real)
    assert shift_tolerant_metrics(displaced, real)["psnr"] > shift_tolerant_metrics(blurred, real)["psnr"]


def test_images_must_match_and_leave_something():
    with pytest.raises(InputError, match="one shape"):
        best_shift(texture(0), texture(0)[1:])
    with pytest.raises(InputError, match="nothing is left"):
        best_shift(texture(0, 6), texture(0, 6))
    with pytest.raises(InputError, match=r"`mask` has the shape \(9, 9\), but the images have 64 × 64 px; give one"):
        best_shift(texture(0), texture(0), mask=np.ones((9, 9), bool))
