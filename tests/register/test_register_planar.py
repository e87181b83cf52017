"""Register two images of one section: the slide returns to its position on the µCT slice from any rotation and face."""

import numpy as np
import pytest
from scipy import ndimage

from tests.register.conftest import SMALL
from tomostain.errors import InputError
from tomostain.geometry.section import Section, sample_volume
from tomostain.imaging.slide_reference import shrink_slide
from tomostain.io import open_slide, open_volume
from tomostain.register.config import RegisterConfig
from tomostain.register.hints import read_section
from tomostain.register.planar import register_in_plane, resample_on_slice

QUICK = RegisterConfig(candidates=100)
VOXEL_UM = SMALL["voxel_um"]


@pytest.fixture(scope="module")
def slice_and_slide(specimen):
    """Return the µCT slice in the true plane, the slide (image, pixel size, first position) and the truth."""
    truth = read_section(specimen / "truth" / "section.yaml")
    volume, slide = open_volume(specimen / "volume"), open_slide(specimen / "slide.ome.tif")
    rgb, pixel_um, first_um = shrink_slide(slide, VOXEL_UM)
    shape = (max(rgb.shape[:2]),) * 2
    flat = Section(truth.origin_um, truth.row, truth.column)
    ct = sample_volume(volume.read(0, volume.shape[0]), volume.voxel_um, flat, shape, VOXEL_UM)
    return ct, rgb, pixel_um, first_um, truth


@pytest.fixture(scope="module")
def found(slice_and_slide):
    ct, rgb, pixel_um, *_ = slice_and_slide
    return register_in_plane(ct, VOXEL_UM, rgb, pixel_um, QUICK)


def place_px(found, slide_um):
    section = found.section
    return section.to_volume_um(section.slide_to_section_um(slide_um))[:, 1:] / VOXEL_UM


def test_the_slide_lies_where_the_truth_says(slice_and_slide, found):
    _, rgb, pixel_um, first_um, truth = slice_and_slide
    at = np.random.default_rng(0).uniform(0.3, 0.7, (100, 2)) * np.array(rgb.shape[:2]) * pixel_um
    right = truth.slide_to_section_um(at + first_um) / VOXEL_UM
    assert np.median(np.linalg.norm(place_px(found, at) - right, axis=1)) < 0.7


def test_a_turned_and_mirrored_copy_comes_back_to_the_same_place(slice_and_slide, found):
    ct, rgb, pixel_um, *_ = slice_and_slide
    angle = np.radians(37.0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([1.0, -1.0])
    side = int(1.5 * max(rgb.shape))
    offset = (np.array(rgb.shape[:2]) - 1) / 2 - turn @ np.full(2, (side - 1) / 2)
    turned = np.stack(
        [ndimage.affine_transform(rgb[..., c], turn, offset, (side, side), order=1, cval=255) for c in range(3)], -1
    )
    again = register_in_plane(ct, VOXEL_UM, turned, pixel_um, QUICK)
    old = np.random.default_rng(0).uniform(0.3, 0.7, (100, 2)) * np.array(rgb.shape[:2])
    new = (old - offset) @ turn
    apart = place_px(found, old * pixel_um) - place_px(again, new * pixel_um)
    assert np.median(np.linalg.norm(apart, axis=1)) < 1.0


def test_the_slide_is_brought_on_the_slices_grid(slice_and_slide, found):
    ct, rgb, pixel_um, *_ = slice_and_slide
    image = resample_on_slice(found, rgb, pixel_um, ct.shape, VOXEL_UM)
    assert image.shape == (*ct.shape, 3)
    # The screw is bright in µCT and black in histology.
    black = image.max(axis=2) < 60
    assert ct[black].mean() > 1.5 * ct[~black].mean()


def test_glass_without_tissue_is_refused(slice_and_slide):
    ct, rgb, pixel_um, *_ = slice_and_slide
    with pytest.raises(InputError, match=r"tissue|bright"):
        register_in_plane(ct, VOXEL_UM, np.full_like(rgb, 245), pixel_um, QUICK)
