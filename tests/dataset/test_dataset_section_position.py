"""A section that was found in a region or a resampled copy of a volume, in the coordinates of the volume."""

import numpy as np
import pytest

from tomostain.dataset.cut_pair import CutConfig, cut_pair, default_pixel_um
from tomostain.dataset.section_position import section_in_volume, state_volume
from tomostain.geometry.section import Section
from tomostain.imaging.resampling import resample_volume
from tomostain.io import Volume
from tomostain.io.metadata.placement import Placement
from tomostain.phantom import PhantomConfig, make_images

ROW, COLUMN = np.array([0.6, 0.8, 0.0]), np.array([0.0, 0.0, 1.0])
# Where the section begins in the whole volume, µm.
TRUE_UM = np.array([60.0, 20.0, 30.0])
STATED = Placement((12300.0, -40.0, 700.0))


def scan(voxel_um, placement=None) -> Volume:
    return Volume.from_array(np.zeros((40, 50, 60), np.uint16), voxel_um, placement=placement)


def moved_um(found_in: Volume, first_um, used_with: Volume, *, is_older: bool = False) -> list[float]:
    """Return where a section begins, if it was found in a volume that begins at `first_um` of the whole one."""
    found = Section(TRUE_UM - np.array(first_um), ROW, COLUMN)
    keys = state_volume(found, found_in).to_dict()  # as `pair.yaml` holds them
    if is_older:
        del keys["volume_voxel_um"]
    return section_in_volume(Section.from_dict(keys), used_with).origin_um.tolist()


@pytest.mark.parametrize("placement", [None, STATED])
def test_a_region_and_its_volume(placement):
    whole = scan(5.0, placement)
    region = whole.region((4, 2, 0), (40, 50, 60))
    assert moved_um(region, (20.0, 10.0, 0.0), whole) == pytest.approx(TRUE_UM)
    assert moved_um(whole, (0.0, 0.0, 0.0), region) == pytest.approx(TRUE_UM - (20.0, 10.0, 0.0))
    assert moved_um(region, (20.0, 10.0, 0.0), region) == pytest.approx(TRUE_UM - (20.0, 10.0, 0.0))


# The first voxel of a copy with larger voxels covers the first ones of the volume: its centre is half the difference
# of the sizes further along each axis.
@pytest.mark.parametrize(
    ("voxel_um", "first_um"),
    [(5.0, (7.5, 7.5, 7.5)), ((20.0, 5.0, 5.0), (0.0, 7.5, 7.5)), ((2.0, 4.0, 4.0), (9.0, 8.0, 8.0))],
)
@pytest.mark.parametrize("placement", [None, STATED])
@pytest.mark.parametrize("is_older", [False, True])
def test_a_resampled_copy_and_its_volume(voxel_um, first_um, placement, is_older):
    fine = scan(voxel_um, placement)
    coarse = resample_volume(fine, 20.0)
    assert moved_um(coarse, first_um, fine, is_older=is_older) == pytest.approx(TRUE_UM)
    assert moved_um(fine, (0.0, 0.0, 0.0), coarse, is_older=is_older) == pytest.approx(TRUE_UM - first_um)


@pytest.mark.parametrize("placement", [None, STATED])
def test_a_copy_with_voxels_twice_as_large_begins_half_a_voxel_further(placement):
    fine = scan(10.0, placement)
    coarse = resample_volume(fine, 20.0)
    assert moved_um(coarse, (5.0, 5.0, 5.0), fine) == pytest.approx(TRUE_UM)
    assert moved_um(fine, (0.0, 0.0, 0.0), coarse) == pytest.approx(TRUE_UM - 5.0)
    region = coarse.region((2, 0, 1), coarse.shape)
    assert moved_um(region, (45.0, 5.0, 25.0), fine) == pytest.approx(TRUE_UM)


@pytest.mark.parametrize("origin_um", [STATED.origin_um, (2.5, 2.5, 2.5)])
@pytest.mark.parametrize("is_older", [False, True])
def test_a_copy_that_lost_its_position_is_the_same_volume(origin_um, is_older):
    positioned, copy = scan(5.0, Placement(origin_um)), scan(5.0)
    assert moved_um(positioned, (0.0, 0.0, 0.0), copy, is_older=is_older) == TRUE_UM.tolist()
    assert moved_um(copy, (0.0, 0.0, 0.0), positioned, is_older=is_older) == TRUE_UM.tolist()


def test_a_section_that_states_no_volume_stays():
    section = Section(TRUE_UM, ROW, COLUMN)
    assert section_in_volume(section, scan(5.0).region((4, 0, 0), (40, 50, 60))) is section


def test_pairs_of_a_scan_from_the_sections_of_its_copies():
    config = PhantomConfig(seed=5, shape=(64, 64, 64), voxel_um=60, pixel_um=40, orientation="upright")
    volume, slide, section = make_images(config)
    settings = CutConfig(60.0)
    expected, _ = cut_pair(volume, slide, section, "p", settings, "test")
    region = volume.region((3, 0, 5), (64, 64, 64))
    placed = state_volume(section, volume)
    in_region, _ = cut_pair(region, slide, placed, "p", settings, "test")
    assert in_region.section["volume_origin_um"] == [180.0, 0.0, 300.0]
    # The pair of the region is the first one of `prepare`; its section is then used with the whole scan.
    again, _ = cut_pair(volume, slide, Section.from_dict(in_region.section), "p", settings, "test")
    place = Section.from_dict(expected.section).from_volume_um(Section.from_dict(again.section).origin_um) / 60.0
    assert place == pytest.approx(np.rint(place), abs=1e-6)
    row, column = np.rint(place).astype(int)
    rows, columns = again.ct.shape
    assert min(rows, columns) > 30
    shared = np.s_[row : row + rows, column : column + columns]
    np.testing.assert_allclose(again.histology, expected.histology[shared], atol=1)
    np.testing.assert_allclose(again.ct, expected.ct[shared], atol=1)


def test_the_pixel_size_of_a_single_image_is_that_of_its_rows_and_columns():
    image = Volume.from_array(np.zeros((1, 8, 8), np.uint16), (1.0, 12.0, 10.0))
    assert default_pixel_um(image) == 10.0
    assert default_pixel_um(Volume.from_array(np.zeros((2, 8, 8), np.uint16), (1.0, 12.0, 10.0))) == 1.0
