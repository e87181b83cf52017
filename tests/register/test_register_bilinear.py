"""Bilinear interpolation has the same bits as that of SciPy."""

import numpy as np
from scipy import ndimage

from tomostain.register.bilinear import BilinearImage


def test_the_values_are_those_of_scipy_also_at_the_border():
    rng = np.random.default_rng(0)
    image = rng.uniform(0.0, 15.0, (31, 47)).astype(np.float32)
    index = rng.uniform(0.0, 1.0, (2, 5000)) * np.array([[30.0], [46.0]])
    index[:, :1000] = np.rint(index[:, :1000])
    corners = np.array([[0.0, 0.0, 30.0, 30.0], [0.0, 46.0, 0.0, 46.0]])
    index = np.concatenate([index, corners], axis=1)
    values = BilinearImage(image).at(index)
    expected = ndimage.map_coordinates(image, index, order=1)
    assert values.dtype == expected.dtype
    np.testing.assert_array_equal(values, expected)
