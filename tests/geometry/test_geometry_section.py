"""Compare section geometry with analytic truth: planes through linear ramps, known rotations and round trips."""

from contextlib import nullcontext
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tomostain.errors import InputError
from tomostain.geometry.section import (
    Section,
    grid_um,
    interpolate,
    plane_in_box,
    resample_slide,
    sample_volume,
    slices_needed,
)


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


def test_without_an_affine_the_slide_is_the_section():
    points = np.array([[0.0, 0.0], [3.0, 5.0]])
    pose = {"origin_um": [0.0, 0.0, 0.0], "row": [1.0, 0.0, 0.0], "column": [0.0, 1.0, 0.0]}
    for section in (Section(*map(np.array, pose.values())), Section.from_dict(pose)):
        np.testing.assert_array_equal(section.slide_to_section_um(points), points)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_a_dictionary_keeps_everything(seed):
    section = any_section(seed)
    again = Section.from_dict(section.to_dict())
    for key in ("origin_um", "row", "column", "slide_to_section"):
        np.testing.assert_array_equal(getattr(again, key), getattr(section, key))


def test_a_linear_ramp_is_sampled_exactly():
    # Trilinear interpolation reproduces a linear function, so the truth is known for any oblique plane.
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
    block = sample_volume(volume[first:last], (10, 10, 10), section, (6, 7), 10.0, first_slice=first)
    np.testing.assert_array_equal(block, volume[2])


@given(
    st.integers(0, 10_000),
    st.tuples(st.integers(2, 9), st.integers(2, 9)),
    st.sampled_from([3.0, 40.0, 700.0]),
    st.sampled_from([2.0, 25.0]),
)
@settings(max_examples=60, deadline=None)
def test_slices_needed_are_those_around_the_plane_and_one_more_at_each_end(seed, shape, pixel_um, z_um):
    section, n_slices = any_section(seed), 40
    z = section.to_volume_um(grid_um(shape, pixel_um))[..., 0] / z_um
    touched = {n + side for n in np.floor(z).astype(int).ravel() for side in (0, 1)} & {*range(n_slices)}
    named = {*range(*slices_needed(section, shape, pixel_um, z_um, n_slices))}
    assert touched <= named
    near = {n for n in range(n_slices) if z.min() - 2.001 <= n <= z.max() + 2.001}
    assert named <= near


def test_slices_needed_stay_within_the_volume():
    section = Section(np.array([-500.0, 0, 0]), np.array([1.0, 0, 0]), np.array([0, 0, 1.0]))
    assert slices_needed(section, (1000, 10), 10.0, 10.0, 50) == (0, 50)


def test_area_averaging_of_a_slide_is_the_block_mean():
    # With pixel = 4 slide pixels and the first centre in the middle of a block, each result is a block mean.
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


def plane_in_box_by_edges(section: Section, far_um: np.ndarray) -> np.ndarray:
    """Reference: the intersections of a plane and a box, without a tolerance at the corners."""
    points = []
    for axis in range(3):
        for a, b in product((0.0, 1.0), repeat=2):
            start = np.insert(np.array([a, b]), axis, 0.0) * far_um
            stop = np.insert(np.array([a, b]), axis, 1.0) * far_um
            heights = [(point - section.origin_um) @ section.normal for point in (start, stop)]
            if heights[0] == heights[1]:
                points += [start, stop] if abs(heights[0]) < 1e-6 else []
            elif heights[0] * heights[1] <= 0:
                points.append(start + (stop - start) * heights[0] / (heights[0] - heights[1]))
    return np.array(points).reshape(-1, 3)


@pytest.mark.parametrize("kind", ["oblique", "axis-aligned"])
def test_the_corners_of_plane_and_box_span_the_same_part_of_the_plane(kind):
    rng = np.random.default_rng(3)
    size_um = np.array([500.0, 900.0, 700.0])
    for _ in range(50):
        frame = np.linalg.qr(rng.normal(size=(3, 3)))[0] if kind == "oblique" else np.eye(3)[rng.permutation(3)]
        origin_um = rng.integers(0, 50, 3) * 10.0
        section = Section(origin_um, frame[0], frame[1])
        points = section.from_volume_um(plane_in_box(section.origin_um, section.normal, size_um))
        reference = section.from_volume_um(plane_in_box_by_edges(section, size_um))
        assert np.array_equal(points.min(axis=0), reference.min(axis=0))
        assert np.array_equal(points.max(axis=0), reference.max(axis=0))


def test_a_plane_outside_the_box_has_no_points_in_it():
    assert plane_in_box(np.array([-5.0, 0.0, 0.0]), np.array([1.0, 0.0, 0.0]), (10.0, 10.0, 10.0)).shape == (0, 3)


def test_interpolation_fills_or_repeats_outside():
    image = np.array([[0, 10], [20, 30]], np.uint8)
    index = np.array([[0.5, 0.5], [3.0, 3.0]])
    assert interpolate(image, index).tolist() == [15.0, 30.0]
    assert interpolate(image, index, fill=-1.0).tolist() == [15.0, -1.0]


def test_lengths_whose_products_overflow_are_refused():
    with pytest.raises(InputError, match=r"origin_um reaches 1e\+300; lengths are below 1e\+09 µm"):
        Section.from_dict({"origin_um": [1e300] * 3, "row": [1, 0, 0], "column": [0, 1, 0]})


def test_an_affine_that_cannot_be_one_of_lengths_is_refused():
    values = {
        "origin_um": [0, 0, 0],
        "row": [1, 0, 0],
        "column": [0, 1, 0],
        "slide_to_section": [[1e6, 0, 0], [0, 1e6, 0]],
    }
    with pytest.raises(InputError, match=r"scales by 1e\+06"):
        Section.from_dict(values)


@pytest.mark.parametrize(("scale", "refused"), [(1000.0, False), (1000.5, True)])
def test_the_largest_scale_of_a_slide_is_a_thousand(scale, refused):
    values = {"slide_to_section": ((scale, 0.0, 0.0), (0.0, scale, 0.0))}
    with pytest.raises(InputError, match="scales by") if refused else nullcontext():
        Section((0, 0, 0), (0, 1, 0), (0, 0, 1), **values)
