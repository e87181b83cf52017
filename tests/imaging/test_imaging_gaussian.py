"""The Gaussian filters give the bits of SciPy's."""

import numpy as np
import pytest
from scipy import ndimage

from tomostain.imaging.gaussian import TRUNCATE, gaussian_filter_3d, gaussian_samples


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.3])
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 70, 33), (20, 130, 40)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_it_has_the_bits_of_scipy(sigma, shape, dtype):
    volume = (np.random.default_rng(0).random(shape) * 250).astype(dtype)
    expected = ndimage.gaussian_filter(volume.astype(np.float32), sigma, mode="nearest", truncate=TRUNCATE)
    before = volume.copy()
    filtered = gaussian_filter_3d(volume, sigma)
    assert filtered.dtype == np.float32
    np.testing.assert_array_equal(filtered, expected)
    np.testing.assert_array_equal(volume, before)


@pytest.mark.parametrize("sigma", [0.5, 2.0, 12.0])
@pytest.mark.parametrize("step", [1, 2, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_samples_of_a_filtered_image_have_the_bits_of_scipy(sigma, step, dtype):
    for shape in ((1, 9), (37, 50), (64, 31)):
        image = np.random.default_rng(1).random(shape).astype(dtype)
        expected = ndimage.gaussian_filter(image, sigma, truncate=3.0)[::step, ::step]
        sampled = gaussian_samples(image, sigma, step, truncate=3.0)
        assert sampled.dtype == dtype
        np.testing.assert_array_equal(sampled, expected)
