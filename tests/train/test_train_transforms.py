import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from tests.support.operators import count_operators
from tomostain.errors import InputError
from tomostain.train.augment import IDENTITY, Augment
from tomostain.train.transforms import (
    _covered,
    _draw_corners,
    _part_of,
    draw_transforms,
    integral,
    sampling_grid,
    sampling_positions,
    window_px,
)


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 12))
def test_the_integral_image_gives_the_sum_of_any_rectangle(seed, height, width):
    draws = np.random.default_rng(seed)
    mask = draws.random((height, width)) < 0.5
    area = integral(mask)
    (top, bottom), (left, right) = (np.sort(draws.integers(0, side + 1, 2)) for side in mask.shape)
    total = area[bottom, right] - area[top, right] - area[bottom, left] + area[top, left]
    assert total == mask[top:bottom, left:right].sum()


@pytest.mark.parametrize("flip", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("scale", [0.9, 1.0, 1.1])
def test_the_grid_is_torchs_own_of_the_same_affine_map(scale, flip):
    """Reference: `torch.nn.functional.affine_grid`, which takes the map in coordinates from -1 to 1."""
    patch = 33
    size = window_px(patch, scale)
    grid = sampling_grid(sampling_positions(np.array([scale]), np.array([flip]), patch, size))
    # The source window is (P - 1) / scale px wide and begins in the corner, where the coordinates are -1.
    half = (patch - 1) / scale / (size - 1)
    rows, columns = (-half if flipped else half for flipped in flip)
    theta = torch.tensor([[[columns, 0, half - 1], [0, rows, half - 1]]], dtype=torch.float64)
    truth = functional.affine_grid(theta, [1, 1, patch, patch], align_corners=True)
    np.testing.assert_allclose(grid, truth, atol=1e-6)


@given(st.integers(2, 300), st.floats(0.5, 2))
def test_the_window_holds_the_last_pixel_and_its_neighbour(patch, scale):
    last = (patch - 1) / scale
    assert math.floor(last) + 1 <= window_px(patch, scale) - 1 <= last + 1


@given(st.integers(0, 10_000))
def test_drawn_values_are_within_their_ranges(seed):
    areas = [integral(np.ones((64, 80), bool)), integral(np.ones((90, 50), bool))]
    augment = Augment(scale=(0.8, 1.25), jitter=0.2)
    drawn = draw_transforms(areas, 32, 5, augment, torch.Generator().manual_seed(seed))
    assert set(drawn.pair.tolist()) <= {0, 1}
    assert drawn.scale.min() >= 0.8
    assert drawn.scale.max() <= 1.25
    for jitter in (drawn.ct_jitter, drawn.histology_jitter):
        assert jitter.min() >= 0.8
        assert jitter.max() <= 1.2
    for pair, corner, scale in zip(drawn.pair, drawn.corner, drawn.scale, strict=True):
        sides = [side - 1 for side in areas[int(pair)].shape]
        assert all(
            first >= 0 and first + 31 / scale <= side - 1 for first, side in zip(corner.tolist(), sides, strict=True)
        )


def test_without_augmentation_nothing_but_the_place_is_drawn():
    drawn = draw_transforms([integral(np.ones((64, 64), bool))], 32, 4, IDENTITY, torch.Generator().manual_seed(0))
    assert drawn.scale.eq(1).all()
    assert not drawn.flip.any()
    assert drawn.ct_jitter.eq(1).all()
    assert drawn.histology_jitter.eq(1).all()
    assert len(drawn.corner.unique(dim=0)) > 1


def one_by_one(area, extent, min_mask, generator):
    """Draw a corner with two random numbers for each try, when they are needed."""
    best, max_share = (0, 0), -1.0
    for _ in range(8):
        numbers = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        row, column = (_part_of(side - 2 - extent, u) for side, u in zip(area.shape, numbers, strict=True))
        share = _covered(area, row, column, round(extent) + 1)
        if share > max_share:
            best, max_share = (row, column), share
        if share >= min_mask:
            break
    return best


@pytest.mark.parametrize("min_mask", [0.0, 0.5, 0.8, 1.1])
def test_corners_are_those_that_are_drawn_one_by_one(min_mask):
    areas = [integral(np.random.default_rng(seed).random((50, 40 + seed)) < 0.8) for seed in range(7)]
    extents, draws, reference = np.linspace(20, 60, 7), *(torch.Generator().manual_seed(1) for _ in range(2))
    counted = count_operators(lambda: _draw_corners(areas, extents, min_mask, draws))
    draws.manual_seed(1)
    corners = _draw_corners(areas, extents, min_mask, draws)
    expected = [one_by_one(area, extent, min_mask, reference) for area, extent in zip(areas, extents, strict=True)]
    assert corners.tolist() == [list(corner) for corner in expected]
    assert torch.equal(draws.get_state(), reference.get_state())
    if min_mask == 0:
        assert counted.total == 1


@pytest.mark.parametrize("name", ["jitter", "histology_jitter"])
def test_a_jitter_of_one_or_more_would_make_images_black_and_is_refused(name):
    assert getattr(Augment(**{name: 0.99}), name) == 0.99
    for value in (1.0, 1.5, -0.1):
        with pytest.raises(InputError, match=name):
            Augment(**{name: value})
