"""Optical density and stain vectors against known mixtures, and against scikit-image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import combine_stains, rgb_from_hed, separate_stains

from tomostain.errors import InputError
from tomostain.measure.tissue.channels import ct_channel, stain_channels
from tomostain.measure.tissue.stain_vectors import (
    HAEMATOXYLIN_EOSIN,
    STAIN_VECTORS,
    TOLUIDINE_BLUE_PYRONIN,
    StainVectors,
    optical_density,
    transmitted,
)


def vectors(rng: np.random.Generator) -> StainVectors:
    """Two random stains that differ by at least 20°."""
    while True:
        found = StainVectors.of(*(tuple(each) for each in rng.uniform(0.05, 1.0, (2, 3))))
        if found.angle_deg > 20:
            return found


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_known_mixtures_are_recovered(seed):
    rng = np.random.default_rng(seed)
    stains = vectors(rng)
    amounts = rng.uniform(0, 1.5, (50, 2))
    separated = stains.separate(amounts @ stains.density)
    np.testing.assert_allclose(separated[:, :2], amounts, atol=1e-9)
    np.testing.assert_allclose(separated[:, 2], 0, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_amounts_are_recovered_from_8_bit_colours(seed):
    rng = np.random.default_rng(seed)
    white = rng.uniform(230, 255, 3)
    stains = HAEMATOXYLIN_EOSIN
    amounts = rng.uniform(0, 1, (100, 2))
    found = stains.amounts(optical_density(transmitted(amounts @ stains.density, white), white))
    assert np.abs(found - amounts).max() < 0.03


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_estimated_vectors_are_those_of_the_mixture(seed):
    rng = np.random.default_rng(seed)
    stains = vectors(rng)
    # The estimate takes percentiles of the angle: pixels with one stain only must be more than 1 %.
    share = np.clip(rng.uniform(-0.1, 1.1, 4000), 0, 1)
    amounts = rng.uniform(0.3, 1.5, (4000, 1)) * np.stack([share, 1 - share], axis=1)
    estimated = StainVectors.estimate(amounts @ stains.density)
    expected = stains.density[np.argsort(stains.density[:, 2] - stains.density[:, 0])]
    np.testing.assert_allclose(estimated.density, expected, atol=0.01)


def test_equal_to_scikit_image():
    rgb = np.random.default_rng(0).integers(1, 256, (40, 30, 3)).astype(np.uint8)
    three = np.vstack([HAEMATOXYLIN_EOSIN.density, np.cross(*HAEMATOXYLIN_EOSIN.density)])
    three[2] /= np.linalg.norm(three[2])
    # scikit-image divides the densities by that of its darkest value, 1e-6, and clips at 0.
    theirs = separate_stains(rgb, np.linalg.inv(three)) * -np.log(1e-6)
    ours = HAEMATOXYLIN_EOSIN.separate(optical_density(rgb, np.full(3, 255)))
    np.testing.assert_allclose(np.maximum(ours, 0), theirs, atol=1e-9)


def test_colours_of_scikit_image_are_separated():
    amounts = np.random.default_rng(1).uniform(0, 0.1, (20, 20, 3)) * [1, 1, 0]
    rgb = np.rint(255 * combine_stains(amounts, rgb_from_hed)).astype(np.uint8)
    scale = np.linalg.norm(rgb_from_hed[:2], axis=1) * -np.log(1e-6)
    found = HAEMATOXYLIN_EOSIN.amounts(optical_density(rgb, np.full(3, 255)))
    assert np.abs(found - amounts[..., :2] * scale).max() < 0.03


def test_the_stains_of_the_phantom_are_near_the_given_vectors():
    from tomostain.phantom.stains import TOLUIDINE_BLUE, absorbance_per_um
    from tomostain.phantom.tissue import Label

    young, woven = absorbance_per_um(TOLUIDINE_BLUE.young), absorbance_per_um(TOLUIDINE_BLUE.colours[Label.BONE])
    blue, purple = StainVectors.of(tuple(young), tuple(woven)).density
    assert np.degrees(np.arccos(blue @ TOLUIDINE_BLUE_PYRONIN.density[0])) < 5
    amounts = TOLUIDINE_BLUE_PYRONIN.separate(np.stack([blue, purple]))
    assert amounts[0, 0] > 0.9
    assert amounts[1, 1] > amounts[1, 0]


@pytest.mark.parametrize("stain", STAIN_VECTORS)
def test_channels_of_empty_glass_are_zero_and_of_black_are_finite(stain):
    rgb = np.array([[[255, 255, 255], [0, 0, 0]]], np.uint8)
    channels = stain_channels(rgb, stain)
    assert channels.shape == (3, 1, 2)
    assert channels.dtype == np.float32
    np.testing.assert_allclose(channels[:, 0, 0], 0, atol=1e-6)
    assert np.isfinite(channels).all()
    assert np.abs(channels[:, 0, 1]).sum() > 3


def test_channels_are_linear_in_density():
    density = TOLUIDINE_BLUE_PYRONIN.density * [[1.0], [0.6]]
    channels = stain_channels(transmitted(density, np.full(3, 255)), "toluidine-blue")
    np.testing.assert_allclose(channels, [[1, 0], [0, 0.6], [0, 0]], atol=0.02)


def test_ct_channel_is_0_for_background_and_1_for_bone():
    assert ct_channel(np.array([0, 10000, 20000, 30000], np.uint16)).tolist() == [[-0.5, 0.0, 0.5, 1.0]]


def test_wrong_vectors_and_stains_are_refused():
    with pytest.raises(InputError, match="angle between them is 0"):
        _ = StainVectors.of((1, 2, 3), (2, 4, 6)).separation
    with pytest.raises(InputError, match="give two vectors"):
        StainVectors(np.zeros((2, 3)))
    with pytest.raises(InputError, match="99 px of tissue"):
        StainVectors.estimate(np.ones((99, 3)))
    with pytest.raises(InputError, match="not known; known: toluidine-blue, h&e"):
        stain_channels(np.zeros((1, 1, 3), np.uint8), "masson")
