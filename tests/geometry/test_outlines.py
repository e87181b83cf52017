"""Outlines of masks: exact areas, valid polygons, and the mask again when they are filled."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from tests.support.outlines import filled
from tomostain.geometry.outlines import signed_area, trace_outlines

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9), elements=st.booleans())


@settings(max_examples=150, deadline=None)
@given(MASKS)
def test_filling_gives_the_mask_again(mask):
    outlines = trace_outlines(mask)
    np.testing.assert_array_equal(filled(outlines, mask.shape), mask)
    assert sum(outline.area for outline in outlines) == mask.sum()
    assert len(outlines) == ndimage.label(mask)[1]


@settings(max_examples=150, deadline=None)
@given(MASKS)
def test_rings_are_closed_and_simple(mask):
    for outline in trace_outlines(mask):
        assert signed_area(outline.exterior) > 0
        assert all(signed_area(hole) < 0 for hole in outline.holes)
        for ring in (outline.exterior, *outline.holes):
            np.testing.assert_array_equal(ring[0], ring[-1])
            # No corner occurs twice, and every corner is a turn: so a ring neither touches nor crosses itself.
            assert len({*map(tuple, ring[:-1].tolist())}) == len(ring) - 1
            steps = np.diff(ring, axis=0)
            assert ((steps != 0).sum(axis=1) == 1).all()
            turned = np.roll(steps, -1, axis=0)
            assert (steps * turned == 0).all()
            assert not touches_itself(ring)


def touches_itself(ring: np.ndarray) -> bool:
    """Return whether a ring passes twice through a point of the grid, also between its corners."""
    visited = [
        tuple(point)
        for first, last in itertools.pairwise(ring)
        for point in (first + np.arange(np.abs(last - first).max())[:, None] * np.sign(last - first)).tolist()
    ]
    return len(set(visited)) < len(visited)


def test_pixels_that_touch_at_a_corner():
    apart = trace_outlines(np.eye(2, dtype=bool))
    assert [outline.exterior.tolist() for outline in apart] == [
        [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]],
        [[1, 1], [2, 1], [2, 2], [1, 2], [1, 1]],
    ]
    # A ring of pixels that closes at a corner only: its hole touches the exterior at (1, 1).
    closed = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 1]], bool)
    (outline,) = trace_outlines(closed)
    assert outline.area == 7
    assert [signed_area(hole) for hole in outline.holes] == [-1]
    assert [1, 1] in outline.exterior.tolist()
    assert [1, 1] in outline.holes[0].tolist()


def test_an_island_in_a_hole_is_a_separate_region():
    mask = np.ones((7, 7), bool)
    mask[1:6, 1:6] = False
    mask[3, 3] = True
    assert [(outline.area, len(outline.holes)) for outline in trace_outlines(mask)] == [(24, 1), (1, 0)]


@pytest.mark.parametrize("shape", [(0, 0), (3, 4)])
def test_an_empty_mask_has_no_outlines(shape):
    assert trace_outlines(np.zeros(shape, bool)) == []


def test_a_volume_is_refused():
    with pytest.raises(ValueError, match=r"found shape \(2, 2, 2\)"):
        trace_outlines(np.ones((2, 2, 2), bool))


def test_shapely_calls_them_valid():
    shapely = pytest.importorskip("shapely", reason="shapely is not installed; the properties are tested without it")
    noise = ndimage.gaussian_filter(np.random.default_rng(0).random((120, 90)), 1) > 0.5
    outlines = trace_outlines(noise)
    whole = shapely.MultiPolygon([(each.exterior, each.holes) for each in outlines])
    assert whole.is_valid, shapely.is_valid_reason(whole)
    assert whole.area == noise.sum()
