"""Slice and slide on one grid: measured pixels and tissue."""

import numpy as np
import pytest

from tests.register.planar_scenes import PIXEL_UM, SHAPE, classes, ct_of, slide_of
from tomostain.errors import InputError
from tomostain.register.planar_images import measured, planar_images, tissue_with_rim
from tomostain.register.planar_pose import PlanarPose


def test_constant_padding_and_gaps_are_not_measured_but_dark_cavities_are():
    ct = np.full((60, 60), 100.0, np.float32)
    ct[:, :10] = 0  # padding
    ct[30:40, 30:40] = 0  # a cavity
    ct[50, 50] = np.nan
    valid = measured(ct)
    assert not valid[:, :10].any()
    assert valid[30:40, 30:40].all()
    assert not valid[50, 50]


def test_tissue_has_a_rim_of_glass():
    rgb = np.full((100, 100, 3), 245, np.uint8)
    rgb[40:60, 40:60] = (180, 90, 130)
    tissue = tissue_with_rim(rgb, 10.0)
    assert tissue[50, 30]
    assert not tissue[50, 20]


@pytest.mark.parametrize("rgb", [np.full((50, 50, 3), 245, np.uint8), np.full((50, 50, 3), 0, np.uint8)])
def test_a_slide_without_tissue_or_a_slice_of_one_value_is_refused(rgb):
    ct = np.random.default_rng(0).uniform(0, 1, (50, 50))
    if rgb.any():
        with pytest.raises(InputError, match="no tissue found"):
            planar_images(ct, 10.0, rgb, 10.0, 1024)
    with pytest.raises(InputError, match="one grey value"):
        planar_images(np.full((50, 50), 7.0), 10.0, rgb, 10.0, 1024)


def test_both_images_get_pixels_of_one_size():
    tissue = classes()
    slide = slide_of(tissue, PlanarPose.as_given(np.zeros(2)))
    images = planar_images(ct_of(tissue), PIXEL_UM, slide, 0.5 * PIXEL_UM, 1024)
    assert images.pixel_um == PIXEL_UM
    assert images.ct.shape == SHAPE
    assert images.rgb.shape[:2] == tuple(n // 2 for n in SHAPE)
    assert max(images.at(40.0).ct.shape) == pytest.approx(SHAPE[1] / 4, abs=1)
    assert planar_images(ct_of(tissue), PIXEL_UM, slide, PIXEL_UM, 120).pixel_um == 2 * PIXEL_UM


@pytest.mark.parametrize(
    ("ct_um", "slide_um"), [(10.0, 10.15), (10.15, 10.0), (10.0, 10.003), (10.0, 10.5), (10.0, 10.0)]
)
def test_a_position_has_the_same_pixel_in_both_images(ct_um, slide_um):
    # The grey values state the position: 1 per µm in the slice, 1 per 20 µm on the slide.
    rows = [np.arange(400) * um for um in (ct_um, slide_um)]
    ct = np.repeat(rows[0][:, None], 300, axis=1)
    slide = np.repeat(np.rint(rows[1] / 20)[:, None], 300, axis=1).astype(np.uint8)[..., None].repeat(3, axis=2)
    images = planar_images(ct, ct_um, slide, slide_um, 1024)
    place_um = np.arange(20, 380) * images.pixel_um
    np.testing.assert_allclose(images.ct[20:380, 150], place_um, atol=0.05 * images.pixel_um)
    np.testing.assert_allclose(20 * images.rgb[20:380, 150, 0], place_um, atol=20)
