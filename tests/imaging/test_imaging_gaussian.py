"""The Gaussian filter on all cores gives the bits of SciPy's."""

import numpy as np
import pytest
from scipy import ndimage

from tomostain.imaging.gaussian import TRUNCATE, gaussian_filter_3d


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
