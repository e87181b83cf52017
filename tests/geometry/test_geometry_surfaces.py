"""Axes of planes: unit vectors at right angles to each other and to the normal direction."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomostain.geometry.surfaces import axes_of


@given(st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_the_axes_of_any_plane_lie_in_it(seed):
    normal = np.random.default_rng(seed).normal(size=3)
    normal /= np.linalg.norm(normal)
    axes = np.stack([*axes_of(normal), normal])
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("x", [-0.6, 0.0, 0.6])
def test_columns_run_along_x_as_far_as_the_plane_allows(x):
    normal = np.array([np.sqrt(1 - x**2), 0.0, x])
    _, right = axes_of(normal)
    assert right @ (0, 0, 1) == pytest.approx(np.sqrt(1 - x**2))
