"""Alpha of the paper (section 2.11), opacity transfer, lighting and the parts removed before rendering."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tomostain.view.render.camera import Camera, cut_away
from tomostain.view.render.rgba import HAZE, background_alpha, rgba, transfer_opacity
from tomostain.view.render.surfaces import crop_to_matter, light_surfaces, spread_colours


@given(arrays(np.uint8, (5, 4, 3)))
@settings(max_examples=25, deadline=None)
def test_alpha_is_the_inverted_mean(rgb):
    result = rgba(rgb)
    np.testing.assert_array_equal(result[..., :3], rgb)
    # Independent calculation: float64 mean, rounded.
    np.testing.assert_array_equal(result[..., 3], np.rint(255 - rgb.astype(np.float64).mean(axis=-1)))


def test_every_possible_sum_is_rounded_right():
    sums = np.arange(766)
    rgb = np.stack([np.minimum(sums, 255), np.clip(sums - 255, 0, 255), np.clip(sums - 510, 0, 255)], axis=-1)
    np.testing.assert_array_equal(rgba(rgb.astype(np.uint8))[:, 3], np.rint(255 - sums / 3))


@pytest.mark.parametrize("wrong", [np.zeros((2, 3)), np.zeros((2, 4), np.uint8), np.zeros((3, 2), np.uint8)])
def test_images_without_colour_are_refused(wrong):
    with pytest.raises(ValueError, match="colours are uint8"):
        rgba(wrong)


@given(st.floats(0, 200), st.floats(0.3, 3), st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_transfer_is_monotonous_and_keeps_colours(floor, gamma, strength):
    ramp = np.zeros((256, 4), np.uint8)
    ramp[:, 3] = np.arange(256)
    ramp[:, 0] = ramp[::-1, 3]
    result = transfer_opacity(ramp, floor=floor, gamma=gamma, strength=strength)
    np.testing.assert_array_equal(result[:, :3], ramp[:, :3])
    assert (np.diff(result[:, 3].astype(int)) >= 0).all()
    assert not result[: int(floor) + 1, 3].any()
    assert result[255, 3] == round(255 * strength)


def test_pale_glass_is_taken_for_haze_and_tissue_at_the_faces_is_not():
    rng = np.random.default_rng(0)
    alpha = rng.normal(60, 4, (20, 20, 20))  # glass as drawn by a model after a few minutes of training
    alpha[5:15, 5:15, 5:15] = 150
    volume = np.zeros((20, 20, 20, 4), np.uint8)
    volume[..., 3] = alpha
    shown = transfer_opacity(volume, floor=background_alpha(volume))[..., 3] > 0
    assert shown[5:15, 5:15, 5:15].all()
    shown[5:15, 5:15, 5:15] = False
    assert shown.mean() < 0.05
    volume[:, :, :8, 3] = 150  # tissue reaches three faces and more
    assert background_alpha(volume) == HAZE
    volume[..., 3] = rng.integers(0, 20, (20, 20, 20))  # white glass
    assert background_alpha(volume) == HAZE


def test_camera_axes_are_a_right_handed_frame_of_slices():
    straight = Camera(0, 0)  # views a slice in its display orientation: x to the right, y down
    np.testing.assert_allclose(straight.right, (0, 0, 1), atol=1e-12)
    np.testing.assert_allclose(straight.down, (0, 1, 0), atol=1e-12)
    np.testing.assert_allclose(straight.towards, (-1, 0, 0), atol=1e-12)
    frame = np.stack([Camera(40, 20).right, Camera(40, 20).down, -Camera(40, 20).towards])
    np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(frame[:, ::-1]) == pytest.approx(1)  # in (x, y, z)


def test_cuts_take_an_eighth_or_a_half_on_the_camera_s_side():
    solid = np.full((8, 6, 4, 4), 255, np.uint8)
    corner = cut_away(solid, "corner", Camera())  # is at small z, small y, large x
    assert (corner[..., 3] == 0).mean() == 1 / 8
    assert not corner[:4, :3, 2:, 3].any()
    half = cut_away(solid, "half", Camera())
    assert not half[:4, ..., 3].any()
    assert half[4:, ..., 3].all()
    assert solid.all()


def test_margins_are_cropped_and_specks_do_not_count():
    volume = np.zeros((20, 30, 40, 4), np.uint8)
    volume[5:15, 8:20, 10:30] = 200
    volume[1, 1, 1] = 200
    assert crop_to_matter(volume).shape == (10, 12, 20, 4)
    empty = np.zeros((3, 4, 5, 4), np.uint8)
    assert crop_to_matter(empty).shape == empty.shape


def test_clear_neighbours_take_the_colour_but_stay_clear():
    volume = np.zeros((5, 5, 5, 4), np.uint8)
    volume[..., :3] = 255
    volume[2, 2, 2] = (10, 20, 30, 200)
    result = spread_colours(volume)
    np.testing.assert_array_equal(result[..., 3], volume[..., 3])
    assert (result[1:4, 1:4, 1:4, :3] == (10, 20, 30)).all()
    assert (result[0, ..., :3] == 255).all()


def test_surfaces_are_lit_from_above_and_the_inside_is_unchanged():
    cube = np.full((24, 24, 24, 4), 200, np.uint8)
    lit = light_surfaces(cube, Camera(0, 0))
    top, bottom = lit[12, 0, 12, 0], lit[12, -1, 12, 0]
    assert bottom < top - 20
    assert lit[12, 12, 12, 0] == 200
    np.testing.assert_array_equal(lit[..., 3], cube[..., 3])
