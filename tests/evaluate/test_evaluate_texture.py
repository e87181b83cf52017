"""Texture spectrum, amount of stain and mutual information on images with known answers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from tomostain.errors import InputError
from tomostain.evaluate.metrics import ImageSample, get_metric
from tomostain.evaluate.metrics.stain_amount import tile_correlation
from tomostain.evaluate.metrics.texture import BANDS, band_powers, spectrum_difference_db
from tomostain.imaging.network_range import ct_to_network
from tomostain.measure.tissue.stain_vectors import StainVectors, optical_density

SIDE = 160
BLUE, RED = np.array([0.8, 0.55, 0.25]), np.array([0.25, 0.8, 0.55])


def image_of(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def grey_noise(seed: int, sigma: float) -> np.ndarray:
    return 128 + np.random.default_rng(seed).normal(0, sigma, (SIDE, SIDE, 1)) * np.ones(3)


def amounts(seed: int) -> np.ndarray:
    """Smooth amounts of two stains, (Y, X, 2)."""
    fields = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(SIDE, SIDE, 2)), (8, 8, 0))
    return np.clip(0.6 + fields / fields.std() * 0.4, 0, None)


def stained_with(amount: np.ndarray) -> np.ndarray:
    return image_of(255 * np.exp(-(amount[..., :1] * BLUE + amount[..., 1:] * RED)))


def sample_of(stained: np.ndarray, real: np.ndarray, ct: np.ndarray | None = None) -> ImageSample:
    return ImageSample("p", stained, real, np.ones(real.shape[:2], bool), 20.0, ct=ct)


def test_white_noise_has_its_variance_in_every_band():
    powers = np.mean([band_powers(image_of(grey_noise(seed, 12.0))) for seed in range(8)], axis=0)
    # The local mean removes the longest periods; the bands of short ones are complete. 1/12 is that of rounding.
    np.testing.assert_allclose(powers[4:], 12.0**2 + 1 / 12 + 1, rtol=0.05)


def test_twice_the_contrast_is_6_db():
    difference = spectrum_difference_db(image_of(grey_noise(0, 24.0)), image_of(grey_noise(0, 12.0)))
    assert difference == pytest.approx(20 * np.log10(2), abs=0.1)


def test_blur_and_noise_both_count_and_position_does_not():
    real = image_of(ndimage.gaussian_filter(grey_noise(1, 60.0), (1, 1, 0)))
    other = image_of(ndimage.gaussian_filter(grey_noise(2, 60.0), (1, 1, 0)))
    assert spectrum_difference_db(other, real) < 1
    assert spectrum_difference_db(image_of(ndimage.gaussian_filter(real, (2, 2, 0))), real) > 5
    assert spectrum_difference_db(image_of(real + grey_noise(3, 20.0) - 128), real) > 3


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000))
def test_the_spectrum_difference_is_symmetric_and_zero_for_equal_images(seed):
    a, b = image_of(grey_noise(seed, 10.0)), image_of(grey_noise(seed + 1, 30.0))
    assert spectrum_difference_db(a, a) == 0.0
    assert spectrum_difference_db(a, b) == pytest.approx(spectrum_difference_db(b, a))
    white = np.full_like(a, 255)
    assert spectrum_difference_db(white, white[::-1]) == 0.0
    assert np.isfinite(spectrum_difference_db(a, white))


def test_small_regions_have_no_spectrum():
    image = np.zeros((64, 64, 3), np.uint8)
    assert np.isnan(band_powers(image, np.zeros((64, 64), bool))).all()
    assert band_powers(image).shape == (BANDS,)
    assert np.isnan(spectrum_difference_db(image[:15], image[:15]))
    with pytest.raises(InputError, match="shapes"):
        spectrum_difference_db(image, image[1:])


def test_the_colours_and_amounts_of_two_stains_are_recovered():
    amount = amounts(0)
    density = optical_density(stained_with(amount), np.full(3, 255))
    colours = StainVectors.estimate(density.reshape(-1, 3))
    expected = np.stack([vector / np.linalg.norm(vector) for vector in (BLUE, RED)])
    assert (colours.density * expected).sum(axis=1) == pytest.approx([1, 1], abs=0.01)
    exact = StainVectors(expected).amounts(density)
    for index, vector in enumerate((BLUE, RED)):
        np.testing.assert_allclose(exact[..., index], amount[..., index] * np.linalg.norm(vector), atol=0.05)


def test_the_correlation_over_tiles_is_that_of_scipy():
    a, b = (amounts(seed)[..., 0] for seed in (1, 2))
    means = [image.reshape(SIDE // 16, 16, SIDE // 16, 16).mean(axis=(1, 3)).ravel() for image in (a, b)]
    expected = stats.pearsonr(*means).statistic
    assert tile_correlation(a, b, np.ones(a.shape, bool)) == pytest.approx(expected)
    assert np.isnan(tile_correlation(a, np.ones_like(a), np.ones(a.shape, bool)))
    assert np.isnan(tile_correlation(a, b, np.zeros(a.shape, bool)))


def test_wrong_tissue_lowers_the_stain_correlation_and_another_texture_does_not():
    amount = amounts(3)
    real = stained_with(amount)
    metric = get_metric("stain_correlation")
    assert metric.fit is not None
    compute = metric.fit([sample_of(real, real)])
    textured = stained_with(amount * np.random.default_rng(0).uniform(0.5, 1.5, (SIDE, SIDE, 1)))
    assert min(compute(sample_of(textured, real)).values()) > 0.95
    swapped = stained_with(amount[..., ::-1])
    assert max(compute(sample_of(swapped, real)).values()) < 0.6
    assert compute(sample_of(real, real)) == pytest.approx({"blue": 1.0, "red": 1.0})
    pale = compute(sample_of(stained_with(0.5 * amount), real))
    assert min(pale.values()) > 0.9


def test_an_empty_slide_has_no_stain():
    white = np.full((SIDE, SIDE, 3), 255, np.uint8)
    with pytest.raises(InputError, match="0 px of tissue"):
        get_metric("stain_correlation").compute(sample_of(white, white))


def test_mutual_information_is_that_of_the_joint_histogram():
    rng = np.random.default_rng(0)
    ct = rng.integers(10_000, 30_000, (SIDE, SIDE)).astype(np.uint16)
    stained = image_of((ct_to_network(ct.astype(np.float32))[..., None] + 1) * 127 * np.ones(3))
    stained[::3] = rng.integers(0, 255, stained[::3].shape)
    joint = np.histogram2d(stained.mean(axis=2).ravel(), ct_to_network(ct.astype(np.float32)).ravel(), bins=64)[0]
    p = joint / joint.sum()
    entropy = [-(q[q > 0] * np.log(q[q > 0])).sum() for q in (p.sum(axis=1), p.sum(axis=0), p.ravel())]
    compute = get_metric("mutual_information").compute
    assert compute(sample_of(stained, stained, ct)) == pytest.approx((entropy[0] + entropy[1]) / entropy[2], abs=1e-6)


def test_a_look_up_has_more_mutual_information_than_another_section():
    ct = (10_000 + 20_000 * amounts(5)[..., 0]).astype(np.uint16)
    look_up = stained_with(np.stack([ct / 20_000.0 - 0.5, 1.5 - ct / 20_000.0], axis=2).clip(0))
    compute = get_metric("mutual_information").compute
    assert 1.0 <= compute(sample_of(look_up[::-1], look_up, ct)) < compute(sample_of(look_up, look_up, ct)) <= 2.0
    constant = np.zeros_like(look_up)
    assert compute(sample_of(constant, look_up, ct)) == pytest.approx(1.0)
    assert np.isnan(compute(sample_of(constant, look_up, np.full_like(ct, 7))))
    with pytest.raises(InputError, match="metric 'mutual_information': sample 'p' has no µCT"):
        compute(replace(sample_of(look_up, look_up), ct=None))
