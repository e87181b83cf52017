"""Domain scaling: exact at the anchors of the paper, invertible between them, and equal for NumPy and torch."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tomostain.imaging import network_range as scaling

ROOT = Path(__file__).parents[2]
windows = st.tuples(st.integers(0, 10_000), st.integers(15_000, 32_767)).map(lambda ends: (2 * ends[0], 2 * ends[1]))


def test_the_papers_anchors():
    # Paper section 2.5: background 10000, bone 30000.
    x = scaling.ct_to_network(np.array([scaling.CT_BACKGROUND, scaling.CT_BONE]))
    assert x.tolist() == [-0.5, 0.5]
    # The full range of a type becomes the whole window of a network.
    assert tuple(scaling.ct_from_network(np.array([-1.0, 1.0]))) == scaling.FULL_RANGE_WINDOW


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


@given(windows, st.floats(0, 1), st.floats(0, 1e5))
@settings(max_examples=100, deadline=None)
def test_any_window_is_invertible_inside_and_clips_outside(window, part, beyond):
    low, high = window
    grey = np.float64(low + part * (high - low))
    x = scaling.ct_to_network(grey, window)
    assert -1 <= x <= 1
    assert abs(scaling.ct_from_network(x, window) - grey) < 1e-6
    assert abs(scaling.ct_to_network(np.float64(high + beyond), window) - 1) < 1e-9
    assert abs(scaling.ct_to_network(np.float64(low - beyond), window) + 1) < 1e-9
    assert scaling.ct_from_network(np.float64(1 + beyond), window) == pytest.approx(high)


def test_bone_and_metal_in_the_wide_window():
    grey = np.array([0.0, 30000.0, 45000.0, 60000.0, 65535.0])
    assert scaling.ct_to_network(grey, (0, 60000)).tolist() == [-1, 0, 0.5, 1, 1]
    assert scaling.ct_to_network(grey).tolist() == scaling.ct_to_network(grey, (0, 40000)).tolist()


def test_every_call_in_the_package_states_the_window():
    """The default is for other programs. In the package, the window is that of a recipe, of a model or of a picture."""
    calls = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "ct_to_network" in text else ():
            name = getattr(getattr(node, "func", None), "id", "")
            if isinstance(node, ast.Call) and name in ("ct_to_network", "ct_from_network"):
                calls.append((path.name, node.lineno, len(node.args)))
    assert len(calls) >= 9
    assert [call for call in calls if call[2] != 2] == []


def test_the_older_name_of_the_window_warns():
    with pytest.warns(DeprecationWarning, match="CT_WINDOW is now DISPLAY_WINDOW"):
        assert scaling.CT_WINDOW == (0.0, 40000.0)
