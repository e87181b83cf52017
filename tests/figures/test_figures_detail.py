"""An enlarged region: whole factor, same pixels, a scale bar of the right length."""

import numpy as np
import pytest

from tomostain.figures.detail import enlarged_detail, square_around


def test_the_region_is_enlarged_by_a_whole_factor():
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    detail = enlarged_detail(image, (10, 40, 20, 60), 20.0, width_px=100, scale_bar=False)
    assert detail.shape == (90, 120, 3)
    same = enlarged_detail(image, (10, 40, 20, 60), 20.0, width_px=40, scale_bar=False)
    np.testing.assert_array_equal(same, image[10:40, 20:60])


def test_grey_values_go_through_the_window():
    image = np.array([[0, 20000], [40000, 60000]], np.uint16)
    detail = enlarged_detail(image, (0, 2, 0, 2), 1.0, width_px=2, window=(0, 40000), scale_bar=False)
    assert detail[..., 0].tolist() == [[0, 128], [255, 255]]


@pytest.mark.parametrize("pixel_um", [5.0, 20.0])
def test_the_scale_bar_has_its_length(pixel_um):
    image = np.full((100, 100, 3), 200, np.uint8)
    detail = enlarged_detail(image, (0, 100, 0, 100), pixel_um, width_px=800)
    ink = (detail < 80).all(axis=-1)
    lengths = [len(run) for row in ink for run in "".join("x" if p else " " for p in row).split()]
    expected_um = {5.0: 100.0, 20.0: 500.0}[pixel_um]  # at most a quarter of the width: 125 and 500 µm
    assert max(lengths) == pytest.approx(expected_um * 8 / pixel_um, abs=1)


def test_the_box_stays_in_the_image():
    mask = np.zeros((50, 50), bool)
    mask[0, 0] = True
    assert square_around(mask, 20) == (0, 20, 0, 20)
    assert square_around(mask, 90) == (0, 50, 0, 50)
    assert square_around(np.zeros((50, 50), bool), 20) == (15, 35, 15, 35)
