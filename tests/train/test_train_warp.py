"""Displaced images are compared with SciPy's interpolation."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tomostain.train.warp import sample_bilinear, warp_batch


def noise(seed, channels=3, size=6):
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(seed))


def test_warping_is_scipys_interpolation():
    image, shift = noise(1, size=20), 3 * noise(2, channels=2, size=20)
    rows, columns = np.indices((20, 20))
    at = np.stack([rows, columns]) + shift[0].numpy()
    for channel in range(3):
        right = ndimage.map_coordinates(image[0, channel].numpy(), at, order=1, mode="nearest")
        np.testing.assert_allclose(warp_batch(image, shift)[0, channel].numpy(), right, atol=1e-4)


def test_a_coarse_field_is_linear_between_its_knots():
    # Knots at pixels 3.5 and 11.5 of 16 (the middles of the two halves): 0 and 8 px to the right.
    field = torch.zeros(1, 2, 1, 2)
    field[0, 1, 0, 1] = 8.0
    ramp = torch.arange(64.0).repeat(1, 1, 4, 1)[..., :16]
    moved = warp_batch(ramp, field)[0, 0, 0] - torch.arange(16.0)
    # Beyond the border the edge repeats: 15 at most.
    expected = torch.minimum((torch.arange(16.0) - 3.5).clamp(0, 8), 15 - torch.arange(16.0))
    torch.testing.assert_close(moved, expected)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_bilinear_samples_are_those_of_scipy(seed):
    draw = np.random.default_rng(seed)
    image, positions = draw.normal(size=(7, 9)), draw.uniform(-2, 11, (2, 5, 4))
    row, column = (torch.from_numpy(position)[None] for position in positions)
    samples = sample_bilinear(torch.from_numpy(image)[None, None], row, column)
    np.testing.assert_allclose(samples[0, 0], ndimage.map_coordinates(image, positions, order=1, mode="nearest"))
