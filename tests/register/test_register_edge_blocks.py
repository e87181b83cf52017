"""Shifts of blocks by the orientation of edges, and the robust fit to them."""

import numpy as np
import pytest

from tests.register.planar_scenes import PIXEL_UM, SHAPE, classes, ct_of, slide_of
from tomostain.register.edge_blocks import EdgeShifts, edge_shifts, fit_shifts
from tomostain.register.planar_images import planar_images
from tomostain.register.planar_pose import PlanarPose

MIDDLE = np.array(SHAPE) / 2 * PIXEL_UM
NO_STRAIN = np.zeros((2, 2))


@pytest.fixture(scope="module")
def images():
    tissue = classes()
    as_given = PlanarPose.as_given(MIDDLE)
    return planar_images(ct_of(tissue), PIXEL_UM, slide_of(tissue, as_given), PIXEL_UM, 1024)


@pytest.mark.parametrize("shift_px", [(0.0, 0.0), (3.0, -2.0), (-4.5, 1.5)])
def test_blocks_find_the_shift_of_the_pose(images, shift_px):
    moved = PlanarPose.as_given(MIDDLE).moved(np.array(shift_px) * PIXEL_UM)
    shifts = edge_shifts(images, moved)
    assert len(shifts) > 0.4 * shifts.compared
    # The pose is `shift_px` off, so each block shows what is at −shift.
    np.testing.assert_allclose(np.median(shifts.shift_um, axis=0), -np.array(shift_px) * PIXEL_UM, atol=0.25 * PIXEL_UM)


def test_contrast_does_not_matter(images):
    as_given = PlanarPose.as_given(MIDDLE)
    inverted = type(images)(-images.ct, images.valid, images.rgb, images.tissue, images.pixel_um)
    np.testing.assert_allclose(edge_shifts(inverted, as_given).shift_um, edge_shifts(images, as_given).shift_um)


def test_other_tissue_rarely_has_a_distinct_optimum(images):
    other = planar_images(ct_of(classes(9)), PIXEL_UM, images.rgb.astype(np.uint8), PIXEL_UM, 1024)
    shifts = edge_shifts(other, PlanarPose.as_given(MIDDLE))
    assert len(shifts) < 0.1 * shifts.compared


def grid_of_shifts(linear, offset_um, side: int = 8) -> EdgeShifts:
    """Return blocks on a grid of 200 µm that move by ``(linear − 1) x + offset`` around their middle."""
    index = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1).reshape(-1, 2)
    centre = index * 200.0
    tile = index // 2
    shift = (centre - centre.mean(axis=0)) @ (np.asarray(linear) - np.eye(2)).T + offset_um
    number = np.ones(len(centre))
    return EdgeShifts(
        centre, shift, number, tile[:, 0] * 10 + tile[:, 1], tile.sum(axis=1) % 2, len(centre), 10.0, 250.0
    )


def test_a_rotation_with_a_shift_is_fitted():
    angle = 0.02
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shifts = grid_of_shifts(turn, np.array([30.0, -20.0]))
    linear, offset = fit_shifts(shifts, shifts.centre_um.mean(axis=0), None)
    np.testing.assert_allclose(linear, turn, atol=3e-4)
    np.testing.assert_allclose(offset, [30.0, -20.0], atol=0.1)


def test_a_third_of_the_section_that_moved_does_not_pull_the_fit():
    shifts = grid_of_shifts(np.eye(2), np.zeros(2))
    moved = shifts.centre_um[:, 1] > 900
    assert 0.3 < moved.mean() < 0.4
    shifts.shift_um[moved] = [120.0, 150.0]
    linear, offset = fit_shifts(shifts, shifts.centre_um.mean(axis=0), None)
    np.testing.assert_allclose(offset, 0, atol=3.0)
    np.testing.assert_allclose(linear, np.eye(2), atol=5e-3)


def test_the_prior_decides_how_much_strain_is_fitted():
    shifts = grid_of_shifts(np.diag([1.02, 0.99]), np.zeros(2))
    middle = shifts.centre_um.mean(axis=0)
    strains = [fit_shifts(shifts, middle, sigma)[0][0, 0] - 1 for sigma in (0.0005, 0.006, 0.1)]
    assert strains == sorted(strains)
    assert strains[0] < 0.005
    assert strains[2] == pytest.approx(0.02, abs=5e-4)
