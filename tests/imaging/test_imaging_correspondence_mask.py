"""Compare correspondence masks with shapes whose hull is known."""

import numpy as np
import pytest
from skimage.draw import disk, polygon

from tomostain.errors import InputError
from tomostain.imaging.correspondence_mask import correspondence_mask, hull, main_bodies, rigid_ct, rigid_histology

SHAPE = (200, 220)
ROWS, COLUMNS = np.indices(SHAPE)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def made_pair(screw_ct: int = 30000, screw_rgb: int = 12, shift: int = 0):
    """Two pieces of bone next to a screw, with soft tissue around them. The truth is the hull of bone and screw."""
    left = polygon([40, 60, 150, 160], [40, 95, 95, 40])
    right = polygon([60, 50, 160, 150], [135, 190, 180, 135])
    screw = (slice(60, 150), slice(96, 135))
    ct = np.full(SHAPE, 10000, np.uint16)
    ct[(np.hypot(ROWS - 100, COLUMNS - 110) < 90)] = 14000
    histology = np.full((*SHAPE, 3), 250, np.uint8)
    histology[np.hypot(ROWS - 100, COLUMNS - 110) < 88] = (120, 150, 200)
    rigid = np.zeros(SHAPE, bool)
    for piece in (left, right):
        ct[piece], histology[piece], rigid[piece] = 30000, (150, 90, 140), True
    ct[screw], histology[screw], rigid[screw] = screw_ct, screw_rgb, True
    rng = np.random.default_rng(0)
    ct = np.clip(ct + rng.normal(0, 800, SHAPE), 0, 65535).astype(np.uint16)
    noisy = np.clip(histology + rng.normal(0, 3, histology.shape), 0, 255).astype(np.uint8)
    return ct, np.roll(noisy, shift, axis=1), hull(rigid)


@pytest.mark.parametrize(("screw_ct", "screw_rgb"), [(30000, 12), (65000, 12), (15000, 240), (30000, 250)])
def test_the_mask_is_the_hull_of_bone_and_screw(screw_ct, screw_rgb):
    """Mg, Ti, PEEK (dark in µCT, pale on the slide), and H&E, where the screw is lost. The hull includes the screw."""
    ct, histology, truth = made_pair(screw_ct, screw_rgb)
    assert dice(correspondence_mask(ct, histology, margin_px=0), truth) > 0.97


def test_the_hulls_are_intersected_and_the_exclusion_taken_away():
    ct, histology, truth = made_pair(shift=12)
    mask = correspondence_mask(ct, histology, margin_px=0)
    assert dice(mask, truth & np.roll(truth, 12, axis=1)) > 0.97
    exclude = COLUMNS < 110
    np.testing.assert_array_equal(correspondence_mask(ct, histology, exclude, margin_px=0), mask & ~exclude)
    valid = ROWS > 90
    assert not correspondence_mask(ct, histology, valid=valid)[~valid].any()


def test_the_hull_of_a_ring_is_the_disc_and_the_margin_is_round():
    """Area of a disc of radius r: π r²."""
    ring = np.zeros(SHAPE, bool)
    ring[disk((100, 110), 60)] = True
    ring[disk((100, 110), 50)] = False
    assert hull(ring).sum() == pytest.approx(np.pi * 60**2, rel=0.01)
    assert hull(ring, 10).sum() == pytest.approx(np.pi * 70**2, rel=0.02)
    assert not hull(np.zeros(SHAPE, bool), 5).any()


def test_the_wall_of_the_tube_and_specks_are_left_out():
    rigid = np.zeros(SHAPE, bool)
    distance = np.hypot(ROWS - 100, COLUMNS - 110)
    rigid[(distance > 92) & (distance < 96)] = True
    rigid[70:130, 80:140] = True
    rigid[5:8, 5:8] = True
    bodies = main_bodies(rigid)
    assert not bodies[distance > 90].any()
    assert bodies[72:128, 82:138].all()


def test_rigid_matter_is_bone_and_screw_in_both():
    ct, histology, truth = made_pair()
    for rigid in (rigid_ct(ct), rigid_histology(histology)):
        assert rigid[100, 65]
        assert rigid[100, 115]
        assert not rigid[100, 30]
        assert (rigid & ~truth).sum() < 0.02 * truth.sum()


def test_a_mask_that_excludes_everything_names_the_pair():
    ct, histology, _ = made_pair()
    with pytest.raises(InputError, match="pair 'rat 3': the exclusion removes the whole mask"):
        correspondence_mask(ct, histology, np.ones(SHAPE, bool), source="pair 'rat 3'")
    with pytest.raises(InputError, match="no bone and no screw found in the µCT"):
        correspondence_mask(np.full(SHAPE, 10000, np.uint16), histology)
    with pytest.raises(InputError, match="no bone and no screw found in the histology"):
        correspondence_mask(ct, np.full((*SHAPE, 3), 250, np.uint8))
    apart = np.full(SHAPE, 10000, np.uint16)
    apart[:20, :20] = 30000
    with pytest.raises(InputError, match="do not overlap"):
        correspondence_mask(apart, histology)
