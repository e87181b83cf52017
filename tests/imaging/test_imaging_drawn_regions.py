"""Drawn regions against grey values that are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomostain.errors import InputError
from tomostain.imaging.drawn_regions import DrawnRegion, drawn_reference, outline_box
from tomostain.imaging.intensity import reference_from_rois
from tomostain.io import Volume


def rectangle(z, row0, row1, column0, column1):
    """Return the outline of whole pixels, as napari draws it."""
    corners = [(row0, column0), (row0, column1), (row1, column1), (row1, column0)]
    return DrawnRegion(z, np.array(corners, float) - 0.5)


@pytest.fixture
def volume():
    values = np.random.default_rng(0).integers(1000, 1100, (4, 40, 50)).astype(np.uint16)
    values[1, 10:20, 5:15] = 5000
    values[3, 30:35, 5:15] = 6000
    return Volume.from_array(values, 5.0)


def test_a_rectangle_gives_the_values_of_a_box(volume):
    drawn = drawn_reference(volume, [rectangle(1, 0, 8, 20, 40)], [rectangle(1, 10, 20, 5, 15)])
    assert drawn.reference == reference_from_rois(volume[1], (0, 8, 20, 40), (10, 20, 5, 15))
    assert drawn.samples.shape == (1, 40, 50)
    assert drawn.bone[0, 10:20, 5:15].all()
    assert drawn.bone.sum() == 100


def test_regions_on_several_slices_count_together(volume):
    drawn = drawn_reference(
        volume, [rectangle(0, 0, 8, 20, 40)], [rectangle(1, 10, 20, 5, 15), rectangle(3, 30, 35, 5, 15)]
    )
    assert drawn.reference.bone == pytest.approx((100 * 5000 + 50 * 6000) / 150)
    assert drawn.reference.bone_px == 150
    assert drawn.samples.shape == drawn.background.shape == (3, 40, 50)
    assert [int(mask.sum()) for mask in drawn.bone] == [0, 100, 50]


def test_large_slices_are_averaged_for_the_figure_only():
    values = np.zeros((1, 1200, 900), np.uint8)
    values[0, :300, :300] = 200
    drawn = drawn_reference(
        Volume.from_array(values, 5.0), [rectangle(0, 600, 900, 0, 300)], [rectangle(0, 0, 301, 0, 300)]
    )
    assert drawn.reference.bone == pytest.approx(200 * 300 / 301)
    assert drawn.samples.shape == (1, 400, 300)


def test_missing_regions_are_stated(volume):
    region = [rectangle(1, 10, 20, 5, 15)]
    with pytest.raises(InputError, match="no region of bone is drawn"):
        drawn_reference(volume, region, [])
    with pytest.raises(InputError, match="on slice 9; the volume has 4"):
        drawn_reference(volume, region, [rectangle(9, 0, 3, 0, 3)])
    with pytest.raises(InputError, match="no pixels"):
        drawn_reference(volume, region, [rectangle(1, 90, 95, 0, 3)])
    with pytest.raises(InputError, match="must be brighter"):
        drawn_reference(volume, region, [rectangle(0, 0, 5, 0, 5)])


@given(*[st.integers(0, 19)] * 2, *[st.integers(1, 9)] * 2)
def test_whole_pixels_are_a_box(row, column, rows, columns):
    stop = (min(20, row + rows), min(20, column + columns))
    outline = rectangle(0, row, stop[0], column, stop[1]).outline
    assert outline_box(outline, (20, 20)) == (row, stop[0], column, stop[1])


def test_a_box_outside_the_image_is_refused():
    with pytest.raises(InputError, match="glass: contains no pixel"):
        outline_box(np.array([[-5.0, 0], [-2, 4]]), (20, 20), "glass")
