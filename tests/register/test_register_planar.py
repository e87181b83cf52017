"""Register two images of one section: the slide returns to its position on the µCT slice from any rotation and face."""

import numpy as np
import pytest
from scipy import ndimage

from tests.register.conftest import SMALL
from tests.register.planar_scenes import (
    PIXEL_UM,
    SHAPE,
    SOFT_COLOURS,
    SOFT_CT,
    classes,
    ct_of,
    error_px,
    slide_of,
)
from tomostain.errors import InputError
from tomostain.geometry.section import Section, sample_volume
from tomostain.imaging.slide_reference import shrink_slide
from tomostain.io import open_slide, open_volume
from tomostain.register.config import RegisterConfig
from tomostain.register.hints import read_section
from tomostain.register.planar import register_in_plane, resample_on_slice
from tomostain.register.planar_pose import PlanarPose

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
def location(slice_and_slide):
    ct, rgb, pixel_um, *_ = slice_and_slide
    return register_in_plane(ct, VOXEL_UM, rgb, pixel_um, QUICK)


def place_px(location, slide_um):
    section = location.section
    return section.to_volume_um(section.slide_to_section_um(slide_um))[:, 1:] / VOXEL_UM


def test_the_slide_is_at_the_true_position(slice_and_slide, location):
    _, rgb, pixel_um, first_um, truth = slice_and_slide
    at = np.random.default_rng(0).uniform(0.3, 0.7, (100, 2)) * np.array(rgb.shape[:2]) * pixel_um
    right = truth.slide_to_section_um(at + first_um) / VOXEL_UM
    assert np.median(np.linalg.norm(place_px(location, at) - right, axis=1)) < 0.7


def test_a_turned_and_mirrored_copy_comes_back_to_the_same_place(slice_and_slide, location):
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
    apart = place_px(location, old * pixel_um) - place_px(again, new * pixel_um)
    assert np.median(np.linalg.norm(apart, axis=1)) < 1.0


def test_the_slide_is_brought_on_the_slices_grid(slice_and_slide, location):
    ct, rgb, pixel_um, *_ = slice_and_slide
    image = resample_on_slice(location, rgb, pixel_um, ct.shape, VOXEL_UM)
    assert image.shape == (*ct.shape, 3)
    # The screw is bright in µCT and black in histology.
    black = image.max(axis=2) < 60
    assert ct[black].mean() > 1.5 * ct[~black].mean()


def test_glass_without_tissue_is_refused(slice_and_slide):
    ct, rgb, pixel_um, *_ = slice_and_slide
    with pytest.raises(InputError, match=r"tissue|bright"):
        register_in_plane(ct, VOXEL_UM, np.full_like(rgb, 245), pixel_um, QUICK)


# Synthetic sections without bone, with inverted contrast, partial overlap and moved tissue

MIDDLE = np.array(SHAPE) / 2 * PIXEL_UM
TURNED = PlanarPose(MIDDLE + np.array([20.0, -30.0]), np.radians(130.0), True, np.full(2, 1740.0), np.zeros((2, 2)))
BONE_BRIGHT, BONE_DARK = (60.0, 90.0, 200.0), (200.0, 150.0, 90.0)
DARK_STAIN = ((230, 225, 230), (200, 120, 160), (60, 30, 70))
PALE_STAIN = ((60, 40, 60), (200, 120, 160), (250, 235, 240))


@pytest.mark.parametrize(
    ("values", "colours"),
    [
        pytest.param(SOFT_CT, SOFT_COLOURS, id="soft tissue, H&E"),
        pytest.param(BONE_BRIGHT, PALE_STAIN, id="bone bright in both"),
        pytest.param(BONE_BRIGHT, DARK_STAIN, id="bone bright, and dark on the slide"),
        pytest.param(BONE_DARK, PALE_STAIN, id="bone dark, and pale on the slide"),
    ],
)
def test_no_tissue_needs_to_be_bright(values, colours):
    tissue = classes()
    result = register_in_plane(ct_of(tissue, values), PIXEL_UM, slide_of(tissue, TURNED, colours), PIXEL_UM)
    assert np.median(error_px(result.section, TURNED)) < 0.3
    assert result.evidence.sure
    assert np.abs(result.strain).max() < 0.003


@pytest.mark.parametrize("gap", ["cropped", "not a number", "padded"])
def test_a_slice_that_shows_only_part_of_the_section_is_enough(gap):
    tissue = classes()
    ct = ct_of(tissue)
    if gap == "cropped":
        ct = ct[:, :140]
    else:
        ct[:, 140:] = np.nan if gap == "not a number" else 0.0
    result = register_in_plane(ct, PIXEL_UM, slide_of(tissue, TURNED), PIXEL_UM)
    assert np.median(error_px(result.section, TURNED)) < 0.3
    assert 0.4 < result.evidence.overlap < 0.7
    assert result.evidence.sure


def test_a_third_of_soft_tissue_that_moved_does_not_strain_the_rest():
    tissue = classes()
    moved = tissue.copy()
    moved[:, 150:] = np.roll(tissue, (10, 14), (0, 1))[:, 150:]
    as_given = PlanarPose.as_given(MIDDLE)
    result = register_in_plane(ct_of(tissue), PIXEL_UM, slide_of(moved, as_given), PIXEL_UM)
    on_the_rest = error_px(result.section, as_given)
    assert np.median(on_the_rest) < 0.5
    assert np.abs(result.strain).max() < 0.005


def test_a_real_strain_is_found():
    strain = np.array([[0.02, 0.005], [0.005, -0.015]])
    tissue = classes()
    pose = PlanarPose(MIDDLE, np.radians(1.0), False, MIDDLE, strain)
    result = register_in_plane(ct_of(tissue), PIXEL_UM, slide_of(tissue, pose), PIXEL_UM)
    assert result.evidence.transform.startswith("strained")
    assert np.median(error_px(result.section, pose)) < 0.4
    np.testing.assert_allclose(result.strain, [0.02, -0.015, 0.005], atol=0.004)


@pytest.mark.parametrize("seed", [5, 7])
def test_the_slide_of_another_section_is_not_sure(seed):
    result = register_in_plane(ct_of(classes()), PIXEL_UM, slide_of(classes(seed), TURNED), PIXEL_UM)
    assert not result.evidence.sure
    assert result.evidence.confidence < 0.2


def test_aligned_images_stay_as_given():
    tissue = classes()
    as_given = PlanarPose.as_given(MIDDLE)
    result = register_in_plane(ct_of(tissue), PIXEL_UM, slide_of(tissue, as_given), PIXEL_UM)
    assert np.max(error_px(result.section, as_given)) < 0.2


@pytest.mark.parametrize("pixel_um", [9.85, 10.15])
def test_pixels_that_are_slightly_different_are_no_strain(pixel_um):
    tissue = classes()
    as_given = PlanarPose.as_given(MIDDLE)
    slide = slide_of(tissue, as_given)
    shape = [int((n - 1) * PIXEL_UM / pixel_um) + 1 for n in SHAPE]
    parts = [ndimage.affine_transform(slide[..., c], [pixel_um / PIXEL_UM] * 2, output_shape=shape) for c in range(3)]
    result = register_in_plane(ct_of(tissue), PIXEL_UM, np.stack(parts, axis=-1), pixel_um)
    assert np.max(error_px(result.section, as_given)) < 0.3
    assert np.abs(result.strain).max() < 0.003


def test_a_start_pose_is_refined_and_nothing_else_searched(slice_and_slide, location):
    ct, rgb, pixel_um, *_ = slice_and_slide
    near = location.section
    start = Section(near.origin_um + np.array([0.0, 60.0, -40.0]), near.row, near.column, near.slide_to_section)
    again = register_in_plane(ct, VOXEL_UM, rgb, pixel_um, start=start)
    points = np.random.default_rng(0).uniform(0.3, 0.7, (100, 2)) * np.array(rgb.shape[:2]) * pixel_um
    assert np.median(np.linalg.norm(place_px(again, points) - place_px(location, points), axis=1)) < 0.5


def test_a_phantom_of_inverted_grey_values_is_registered_as_well(slice_and_slide, location):
    ct, rgb, pixel_um, first_um, truth = slice_and_slide
    again = register_in_plane(-ct, VOXEL_UM, rgb, pixel_um)
    at = np.random.default_rng(0).uniform(0.3, 0.7, (100, 2)) * np.array(rgb.shape[:2]) * pixel_um
    right = truth.slide_to_section_um(at + first_um) / VOXEL_UM
    assert np.median(np.linalg.norm(place_px(again, at) - right, axis=1)) < 0.7
