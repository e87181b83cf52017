"""Filters with tensors: the values of SciPy, at any size, step and type."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tomostain.imaging.gaussian import gaussian_samples
from tomostain.imaging.tensor_filters import TensorFilters

FILTERS = TensorFilters(torch.device("cpu"))


def images(shape, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=(2, *shape)).astype(dtype)


@given(
    shape=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    sigma=st.sampled_from([0.3, 1.0, 3**0.5, 6.0, 16.0]),
    step=st.sampled_from([1, 2, 3, 4, 8]),
    truncate=st.sampled_from([3.0, 4.0]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_gaussian_samples_are_those_of_scipy(shape, sigma, step, truncate, dtype):
    values = images(shape, dtype)
    filtered = FILTERS.gaussian(torch.from_numpy(values), sigma, step, truncate).numpy()
    expected = np.stack([gaussian_samples(image, sigma, step, truncate) for image in values])
    assert filtered.dtype == dtype
    np.testing.assert_allclose(filtered, expected, rtol=0, atol=1e-14 if dtype == np.float64 else 5e-7)
    # In float32, sums of float64 are rounded to the same number with few exceptions.
    assert (filtered != expected).mean() < 0.01 or dtype == np.float64


@pytest.mark.parametrize("shape", [(1, 1), (2, 70), (45, 33)])
@pytest.mark.parametrize("axis", [-2, -1])
def test_gradients_are_those_of_scipy(shape, axis):
    values = images(shape, np.float32)
    expected = np.stack([ndimage.sobel(image, axis) for image in values])
    np.testing.assert_allclose(FILTERS.sobel(torch.from_numpy(values), axis).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (8, 9), (37, 64)])
@pytest.mark.parametrize("step", [4, 8])
def test_an_enlarged_image_is_interpolated_linearly(shape, step):
    coarse = images([-(-side // step) for side in shape], np.float32)
    enlarged = FILTERS.enlarged(torch.from_numpy(coarse), step, shape).numpy()
    assert enlarged.shape == (2, *shape)
    np.testing.assert_array_equal(enlarged[:, ::step, ::step], coarse)
    positions = np.meshgrid(*(np.arange(side) / step for side in shape), indexing="ij")
    for image, values in zip(coarse, enlarged, strict=True):
        expected = ndimage.map_coordinates(image, positions, order=1, mode="nearest")
        np.testing.assert_allclose(values, expected, atol=1e-6)
