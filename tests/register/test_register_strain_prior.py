"""The prior on strain and the number of independent samples."""

import numpy as np
import pytest
from scipy import ndimage

from tomostain.geometry.section import Section
from tomostain.register.strain_prior import (
    STRAIN_PARAFFIN,
    STRAIN_RESIN,
    effective_samples,
    histology_strain,
    strain_cost,
)

WHOLE = np.ones((128, 128), bool)


def test_white_noise_has_as_many_samples_as_pixels():
    images = np.random.default_rng(0).standard_normal((2, 128, 128))
    assert effective_samples(list(images), WHOLE) == pytest.approx(128**2, rel=0.1)


@pytest.mark.parametrize("sigma", [1.5, 3.0])
def test_smooth_images_have_fewer(sigma):
    noise = np.random.default_rng(1).standard_normal((2, 128, 128))
    images = [ndimage.gaussian_filter(image, sigma, mode="wrap") for image in noise]
    # ρ is a Gaussian of standard deviation √2 σ, so Σ ρ² = 2 π σ².
    assert effective_samples(images, WHOLE) == pytest.approx(128**2 / (2 * np.pi * sigma**2), rel=0.35)


def test_only_the_mask_counts():
    images = np.random.default_rng(2).standard_normal((2, 128, 128))
    mask = np.zeros((128, 128), bool)
    mask[32:96, 32:96] = True
    inside = effective_samples([np.where(mask, image, 1e6) for image in images], mask)
    assert inside == effective_samples([np.where(mask, image, -5.0) for image in images], mask)
    assert inside == pytest.approx(64**2, rel=0.1)


def test_a_constant_image_is_one_sample_at_least():
    assert effective_samples([np.zeros((16, 16))] * 2, np.ones((16, 16), bool)) >= 1.0


def test_the_cost_is_the_negative_logarithm_of_the_normal_density():
    strain = np.array([[0.01, 0.002], [0.002, -0.01]])
    squares = 0.01**2 + 2 * 0.002**2 + 0.01**2
    assert strain_cost(strain, STRAIN_RESIN) == pytest.approx(squares / (2 * STRAIN_RESIN**2))
    assert strain_cost(strain, STRAIN_PARAFFIN) < strain_cost(strain, STRAIN_RESIN)


@pytest.mark.parametrize("turn_deg", [0.0, 40.0, 180.0])
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_rotation_and_side_of_a_slide_are_no_strain(turn_deg, side):
    angle = np.radians(turn_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([1.0, side])
    stretch = np.array([[1.02, 0.004], [0.004, 0.99]])
    axes = np.zeros(3), np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])
    section = Section(*axes, np.column_stack([turn @ stretch, [5.0, 7.0]]))
    np.testing.assert_allclose(histology_strain(section), [0.02, -0.01, 0.004], atol=1e-12)
