"""Domain scaling: exact at the anchors of the paper, invertible between them, and equal for NumPy and torch."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tomostain.imaging import network_range as scaling


def test_the_papers_anchors():
    # Paper section 2.5: background 10000, bone 30000.
    x = scaling.ct_to_network(np.array([scaling.CT_BACKGROUND, scaling.CT_BONE]))
    assert x.tolist() == [-0.5, 0.5]


@given(st.floats(0, 40000))
@settings(max_examples=50, deadline=None)
def test_ct_inverse(value):
    assert abs(scaling.ct_from_network(scaling.ct_to_network(np.float64(value))) - value) < 1e-6


@given(st.integers(0, 255))
def test_histology_inverse_is_exact_for_every_level(level):
    scaled = scaling.histology_to_network(np.float32(level))
    assert -1 <= scaled <= 1
    assert np.rint(scaling.histology_from_network(scaled)) == level


def test_numpy_and_torch_agree():
    values = np.linspace(-100, 70000, 50, dtype=np.float32)
    np.testing.assert_allclose(scaling.ct_to_network(torch.from_numpy(values)).numpy(), scaling.ct_to_network(values))
