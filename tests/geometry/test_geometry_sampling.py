"""Sections through arrays, compared with slices, known colours, spheres and analytic integrals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomostain.geometry.sampling import MAX_SLICES, depths, sample_nearest, sample_section
from tomostain.geometry.surfaces import plane_cut

VOXEL_UM = (10.0, 5.0, 4.0)
SHAPE = (20, 40, 50)
SIZE_UM = tuple((n - 1) * step for n, step in zip(SHAPE, VOXEL_UM, strict=True))
# The three channels of the volume at (z, y, x) µm: linear, so trilinear interpolation has no error.
GRADIENT = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.3, 0.2, 0.5]])


def linear() -> np.ndarray:
    places = np.stack(np.meshgrid(*(np.arange(n) * s for n, s in zip(SHAPE, VOXEL_UM, strict=True)), indexing="ij"), -1)
    return (places @ GRADIENT.T).astype(np.float32)


def block_of(volume: np.ndarray):
    return lambda first, end: volume[tuple(slice(a, b) for a, b in zip(first, end, strict=True))]


@pytest.mark.parametrize(("axis", "index"), [(0, 7), (1, 39), (2, 0)])
def test_a_plane_across_an_axis_is_the_slice_itself(axis, index):
    volume = np.random.default_rng(1).random((9, 9, 9, 3), dtype=np.float32)
    index = min(index, 8)
    middle, normal = np.full(3, 4.0), np.eye(3)[axis]
    middle[axis] = index
    cut = plane_cut(middle, normal, (8, 8, 8), 1.0)
    sampled = sample_section(block_of(volume), (9, 9, 9), (1, 1, 1), cut, blending="colour")
    # Rows and columns keep the order of the array's axes, (z, y), (z, x) or (y, x).
    np.testing.assert_allclose(sampled, volume.take(index, axis=axis), atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda n: np.linalg.norm(n) > 0.1), st.floats(0, 30))
def test_on_any_plane_a_linear_volume_has_its_analytic_values(normal, thickness):
    middle = np.array(SIZE_UM) / 2
    cut = plane_cut(middle, normal, SIZE_UM, 3.0)
    np.testing.assert_allclose((cut.places_um - middle) @ cut.normals[0, 0], 0, atol=1e-6)
    sampled = sample_section(block_of(linear()), SHAPE, VOXEL_UM, cut, thickness, "colour")
    # Where the whole thickness is inside, its mean is the value in its middle.
    margin = thickness / 2 + 1e-3
    inside = ((cut.places_um > margin) & (cut.places_um < np.array(SIZE_UM) - margin)).all(axis=-1)
    np.testing.assert_allclose(sampled[inside], (cut.places_um @ GRADIENT.T)[inside], atol=2e-3)
    outside = ((cut.places_um < -margin) | (cut.places_um > np.array(SIZE_UM) + margin)).any(axis=-1)
    assert np.isnan(sampled[outside]).all()


def test_a_sphere_cut_off_its_middle_has_the_radius_of_geometry():
    n, radius, offset = 64, 20.0, 12.0
    z, y, x = np.mgrid[:n, :n, :n] - (n - 1) / 2
    ball = ((z**2 + y**2 + x**2) <= radius**2).astype(np.float32)
    normal = np.array([1.0, 1.0, 1.0]) / np.sqrt(3)
    cut = plane_cut((n - 1) / 2 + offset * normal, normal, (n - 1,) * 3, 0.5)
    sampled = sample_section(block_of(ball), ball.shape, (1, 1, 1), cut, blending="colour")
    area = np.nansum(sampled) * 0.5**2
    assert np.sqrt(area / np.pi) == pytest.approx(np.sqrt(radius**2 - offset**2), rel=0.02)


def test_density_averages_as_light_is_dimmed():
    volume = np.stack([np.full((8, 8, 3), value, np.uint8) for value in (255, 63)])
    cut = plane_cut((0.5, 0, 0), (1, 0, 0), (1, 7, 7), 1.0)
    sampled = sample_section(block_of(volume), volume.shape[:3], (1, 1, 1), cut, 2.0)
    # Layers at z 0 and 1: transmittances (v + 1) / 256 of 1 and 1/4, whose geometric mean is 1/2.
    np.testing.assert_allclose(sampled, 127, atol=1e-3)
    assert depths(2.0, 1.0).tolist() == [-0.5, 0.5]


def test_only_what_is_near_the_section_is_read():
    requests = []

    def block(first, end):
        requests.append(np.prod(np.subtract(end, first)))
        return np.zeros((*np.subtract(end, first), 3), np.uint8)

    shape = (1000, 1000, 1000)
    cut = plane_cut((500, 500, 500), (1, 0.02, 0), (999,) * 3, 4.0)
    sample_section(block, shape, (1, 1, 1), cut, 4.0)
    assert max(requests) < 520 * 520 * 40


@settings(deadline=None, max_examples=40)
@given(st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda n: np.linalg.norm(n) > 0.1), st.integers(0, 2**32 - 1))
def test_labels_are_those_of_the_nearest_voxel(normal, seed):
    shape, asked = (2 * MAX_SLICES + 5, 9, 7), []
    labels = np.random.default_rng(seed).integers(0, 6, shape, dtype=np.uint8)
    size_um = tuple((n - 1) * step for n, step in zip(shape, VOXEL_UM, strict=True))
    cut = plane_cut(np.array(size_um) / 2, normal, size_um, 3.0)

    def read(start, stop):
        asked.append((start, stop))
        return labels[start:stop]

    values, inside = sample_nearest(read, shape, VOXEL_UM, cut)
    positions = cut.places_um / VOXEL_UM
    np.testing.assert_array_equal(
        inside, (np.abs(positions - (np.array(shape) - 1) / 2) <= np.array(shape) / 2 + 1e-6).all(-1)
    )
    continuous = sample_section(block_of(labels), shape, VOXEL_UM, cut, blending="colour")
    assert not (np.isfinite(continuous[..., 0]) & ~inside).any()
    index = np.rint(cut.places_um / VOXEL_UM).astype(int).clip(0, np.array(shape) - 1)
    np.testing.assert_array_equal(values, np.where(inside, labels[tuple(np.moveaxis(index, -1, 0))], 0))
    # Each slice is read once, and few at a time.
    slices = [z for start, stop in asked for z in range(start, stop)]
    assert len(slices) == len(set(slices))
    assert max(stop - start for start, stop in asked) <= MAX_SLICES
