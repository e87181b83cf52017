"""Section geometry against analytic truth: planes through linear ramps, known rotations, and round trips."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tomostain.errors import InputError
from tomostain.geometry.section import Section, grid_um, resample_slide, sample_volume, slices_needed


def any_section(seed: int) -> Section:
    rng = np.random.default_rng(seed)
    axes = Rotation.random(random_state=seed).as_matrix()
    affine = np.hstack([np.eye(2) + rng.normal(0, 0.03, (2, 2)), rng.normal(0, 50, (2, 1))])
    return Section(rng.normal(0, 300, 3), axes[0], axes[1], affine)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_every_mapping_has_its_inverse(seed):
    section = any_section(seed)
    points = np.random.default_rng(seed).normal(0, 1000, (7, 2))
    np.testing.assert_allclose(section.from_volume_um(section.to_volume_um(points)), points, atol=1e-6)
    np.testing.assert_allclose(section.section_to_slide_um(section.slide_to_section_um(points)), points, atol=1e-6)
    np.testing.assert_allclose(
        (section.to_volume_um(points) - section.origin_um) @ section.normal, np.zeros(7), atol=1e-6
    )


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_a_dictionary_keeps_everything(seed):
    section = any_section(seed)
    again = Section.from_dict(section.to_dict())
    for key in ("origin_um", "row", "column", "slide_to_section"):
        np.testing.assert_array_equal(getattr(again, key), getattr(section, key))


def test_a_linear_ramp_is_sampled_exactly():
    # Trilinear interpolation reproduces a linear function: an outside truth for any oblique plane.
    voxel_um = (10.0, 8.0, 8.0)
    z, y, x = np.meshgrid(*(np.arange(n) * v for n, v in zip((20, 24, 28), voxel_um, strict=True)), indexing="ij")
    ramp = (2.0 * z - 0.5 * y + 0.25 * x).astype(np.float32)
    axes = Rotation.from_euler("xyz", [20, -10, 35], degrees=True).as_matrix()
    section = Section(np.array([90.0, 80.0, 100.0]), axes[0], axes[1])
    plane = sample_volume(ramp, voxel_um, section, (6, 5), 8.0)
    expected = section.to_volume_um(grid_um((6, 5), 8.0)) @ np.array([2.0, -0.5, 0.25])
    np.testing.assert_allclose(plane, expected, rtol=1e-5)


def test_an_axial_section_is_the_slice_itself():
    volume = np.random.default_rng(0).integers(0, 1000, (5, 6, 7)).astype(np.uint16)
    section = Section(np.array([20.0, 0, 0]), np.array([0, 1.0, 0]), np.array([0, 0, 1.0]))
    np.testing.assert_array_equal(sample_volume(volume, (10, 10, 10), section, (6, 7), 10.0), volume[2])
    first, last = slices_needed(section, (6, 7), 10.0, 10.0, 5)
    assert first <= 2 < last
    slab = sample_volume(volume[first:last], (10, 10, 10), section, (6, 7), 10.0, first_slice=first)
    np.testing.assert_array_equal(slab, volume[2])


def test_slices_needed_stay_within_the_volume():
    section = Section(np.array([-500.0, 0, 0]), np.array([1.0, 0, 0]), np.array([0, 0, 1.0]))
    assert slices_needed(section, (1000, 10), 10.0, 10.0, 50) == (0, 50)


def test_area_averaging_of_a_slide_is_the_block_mean():
    # With pixel = 4 slide pixels and the result's first centre in the middle of a block, each result is a block mean.
    slide = np.random.default_rng(1).integers(0, 256, (16, 20, 3)).astype(np.uint8)
    shift = np.array([[1, 0, -1.5], [0, 1, -1.5]])
    section = Section(np.zeros(3), np.array([0, 1.0, 0]), np.array([0, 0, 1.0]), shift)
    result = resample_slide(slide, 1.0, section, (4, 5), 4.0)
    blocks = slide.reshape(4, 4, 5, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(result, blocks, atol=0.51)


def test_a_slide_is_white_outside():
    slide = np.zeros((4, 4, 3), np.uint8)
    section = Section(np.array([0.0, 0, 0]), np.array([0, 1.0, 0]), np.array([0, 0, 1.0]))
    result = resample_slide(slide, 1.0, section, (10, 10), 1.0)
    assert result[8, 8].tolist() == [255, 255, 255]
    assert result[1, 1].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"origin_um": [0, 0, 0], "row": [0, 1, 0]}, "truth.yaml: key 'column' is missing"),
        ({"origin_um": [0, 0, 0], "row": [0, 1, 0], "column": [0, 1, 0]}, "right angles"),
        ({"origin_um": [0, 0], "row": [0, 1, 0], "column": [0, 0, 1]}, "origin_um must be"),
        ({"origin_um": ["a", 0, 0], "row": [0, 1, 0], "column": [0, 0, 1]}, "truth.yaml: not a section"),
        (
            {"origin_um": [0, 0, 0], "row": [0, 1, 0], "column": [0, 0, 1], "slide_to_section": [[0, 0, 0], [0, 1, 0]]},
            "not invertible",
        ),
    ],
)
def test_an_impossible_section_is_refused(values, message):
    with pytest.raises(InputError) as caught:
        Section.from_dict(values, source="truth.yaml")
    assert message in str(caught.value)
