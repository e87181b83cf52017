"""Planes, rows of images, scale bars."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomostain.figures.drawing import INK, nice_length_um, to_rgb
from tomostain.figures.planes import cut_planes, orthogonal_planes, side_by_side


def test_planes_go_through_the_point():
    volume = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    xy, xz, yz = cut_planes(volume, (1, 2, 3))
    np.testing.assert_array_equal(xy, volume[1])
    np.testing.assert_array_equal(xz, volume[:, 2, :])
    np.testing.assert_array_equal(yz, volume[:, :, 3].T)  # rows are y, as in the XY plane next to it
    assert xy[2, 3] == xz[1, 3] == yz[2, 1] == volume[1, 2, 3]
    with pytest.raises(ValueError, match="outside"):
        cut_planes(volume, (4, 0, 0))


def test_proportions_are_true_for_anisotropic_voxels():
    # 10 slices of 30 µm, 20 rows of 10 µm, 60 columns of 10 µm: 300 × 200 × 600 µm, all red.
    volume = np.zeros((10, 20, 60, 3), np.uint8)
    volume[..., 0] = 255
    picture = orthogonal_planes(volume, (30, 10, 10), width_px=920, marks=False)
    red = (picture == (255, 0, 0)).all(axis=-1)
    rows, columns = red.sum(axis=0), red.sum(axis=1)
    um = 900 / (920 - 10)  # 1 µm per pixel: 600 + 300 µm and the gap
    assert rows[10] * um == pytest.approx(200 + 300, rel=0.01)  # XY and XZ below it
    assert rows[-10] * um == pytest.approx(200, rel=0.01)  # YZ
    assert columns.max() * um == pytest.approx(900, rel=0.01)


@pytest.mark.parametrize("voxel_um", [0.7, 5.0, 20.0, 333.0])
def test_the_scale_bar_has_its_length(voxel_um):
    image = np.full((50, 100, 3), 255, np.uint8)
    picture = side_by_side([image], [""], voxel_um, width_px=1000)
    bar = max(_longest_run(row) for row in (picture == INK).all(axis=-1))
    length_um = bar * voxel_um * 100 / 1000
    nice = nice_length_um(250 * voxel_um / 10)
    assert length_um == pytest.approx(nice, abs=voxel_um / 10)


def _longest_run(row):
    ends = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    return int((ends[1::2] - ends[::2]).max(initial=0))


@given(st.floats(1e-3, 1e7))
@settings(max_examples=25, deadline=None)
def test_nice_lengths_are_the_largest_that_fit(available):
    nice = nice_length_um(available)
    assert nice <= available * (1 + 1e-6) < nice * 2.5 * (1 + 1e-5)
    assert f"{nice:e}"[0] in "125"


def test_images_keep_their_colours_side_by_side():
    grey = np.full((40, 40), 40000, np.uint16)
    blue = np.zeros((40, 40, 3), np.uint8)
    blue[..., 2] = 200
    picture = side_by_side([grey, blue], ["µCT", "stained"], 5, windows=[(0, 40000), None], width_px=400)
    assert picture.shape[1] == 400
    assert (picture[100, 300] == (0, 0, 200)).all()
    assert (picture[100, 100] == 255).all()
    with pytest.raises(ValueError, match="cannot be arranged in a row"):
        side_by_side([grey, blue[:20]], ["a", "b"], 5)


def test_grey_windows():
    assert to_rgb(np.array([[False, True]]))[0, :, 0].tolist() == [0, 255]
    ramp = np.linspace(-3, 7, 1001, dtype=np.float32).reshape(7, 143)
    shown = to_rgb(ramp)
    assert shown.min() == 0
    assert shown.max() == 255
    assert not to_rgb(np.full((4, 4), 7, np.uint16)).any()


def test_a_grey_volume_is_shown_in_one_window():
    volume = np.zeros((10, 10, 10), np.uint16)
    volume[5] = 1000
    picture = orthogonal_planes(volume, 5, width_px=210, marks=False)
    assert (picture[60, 40] == 255).all()  # the bright slice
    assert (picture[60, 110] == 0).all()  # YZ at its first slice: black, although half of its content is
    with pytest.raises(ValueError, match="a volume is"):
        orthogonal_planes(volume[0], 5)
