"""Sections with pixels larger than the voxels: means over the pixels, compared with NumPy, SciPy and plane waves."""

import numpy as np
import pytest
from scipy import ndimage

from tomostain.geometry.sampling import depths, sample_section
from tomostain.geometry.section import Section, grid_um
from tomostain.geometry.surfaces import Cut, curved_cut, plane_cut, section_cut

VOXEL_UM = np.array([10.0, 5.0, 4.0])
NORMAL = np.array([0.5, -0.3, 0.8])
MIDDLE = (31.5, 31.5, 31.5)
SIZE = (63.0, 63.0, 63.0)


def block_of(volume: np.ndarray):
    return lambda first, end: volume[tuple(slice(a, b) for a, b in zip(first, end, strict=True))]


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_pixel_of_whole_voxels_is_their_mean(axis: int) -> None:
    volume, pixel_um = noise(12, 24, 30, 3), 20.0
    sides, directions = np.delete(volume.shape[:3], axis), np.delete(np.eye(3), axis, axis=0)
    rows, columns = factors = np.delete(pixel_um / VOXEL_UM, axis).astype(int)
    # The centre of the first pixel is in the middle of the voxels that it covers, in slice 7.
    origin = (np.insert((factors - 1) / 2, axis, 7)) * VOXEL_UM
    cut = section_cut(Section(origin, *directions), tuple(sides // factors), pixel_um)
    sampled = sample_section(block_of(volume), volume.shape[:3], VOXEL_UM, cut, blending="colour")
    parts = volume.take(7, axis=axis).reshape(sides[0] // rows, rows, sides[1] // columns, columns, 3)
    np.testing.assert_allclose(sampled, parts.mean(axis=(1, 3)), atol=1e-3)


@pytest.mark.parametrize("curved", [False, True])
@pytest.mark.parametrize("pixel_um", [2.0, 5.0, 7.5])
def test_noise_on_an_oblique_section_falls_as_over_an_area(pixel_um: float, curved: bool) -> None:
    volume = noise(64, 64, 64, 1)
    points = np.random.default_rng(0).uniform(5, 58, (12, 2)) if curved else None
    cut = (
        plane_cut(MIDDLE, NORMAL, SIZE, pixel_um)
        if points is None
        else curved_cut(np.column_stack([31 + points[:, 0] / 4, points]), SIZE, pixel_um)
    )
    fine = np.linspace(-0.5, 0.5, 40, endpoint=False) + 0.0125
    down, right = (np.gradient(cut.places_um, axis=axis) for axis in (0, 1))
    places = (
        cut.places_um[:, :, None, None]
        + fine[:, None, None] * down[:, :, None, None]
        + fine[None, :, None] * right[:, :, None, None]
    )
    truth = ndimage.map_coordinates(volume[..., 0].astype(float), np.moveaxis(places, -1, 0), order=1).mean(axis=(2, 3))
    sampled = sample_section(block_of(volume), volume.shape[:3], (1, 1, 1), cut, blending="colour")[..., 0]
    whole = ((places >= 0) & (places <= 63)).all(axis=(2, 3, 4))
    assert whole.sum() > 20
    # Single voxels have a standard deviation of 74. Both are means over the same area of a noisy image.
    assert np.std((sampled - truth)[whole]) < 0.35 * np.std(truth[whole])
    assert np.std(sampled[whole]) == pytest.approx(np.std(truth[whole]), rel=0.2)


def test_a_wave_with_the_period_of_a_pixel_vanishes() -> None:
    cut = plane_cut(MIDDLE, NORMAL, SIZE, 8.0)
    right = (cut.places_um[0, 1] - cut.places_um[0, 0]) / 8
    phase = np.tensordot(right, np.indices((64, 64, 64)), 1) * 2 * np.pi / 8
    volume = (128 + 100 * np.cos(phase)).astype(np.float32)
    sampled = sample_section(block_of(volume), volume.shape, (1, 1, 1), cut, blending="colour")[..., 0]
    inner = ((cut.places_um > 6) & (cut.places_um < 57)).all(axis=-1)
    assert inner.sum() > 5
    np.testing.assert_allclose(sampled[inner], 128, atol=1.0)


def test_density_is_averaged_over_the_thickness_and_light_over_the_area() -> None:
    volume = noise(4, 16, 16, 3)
    cut = section_cut(Section(np.array([1.5, 1.5, 1.5]), np.eye(3)[1], np.eye(3)[2]), (4, 4), 4.0)
    sampled = sample_section(block_of(volume), volume.shape[:3], (1, 1, 1), cut, 4.0)
    assert depths(4.0, 1.0).tolist() == [-1.5, -0.5, 0.5, 1.5]
    through = np.exp(np.log(volume + 1.0).mean(axis=0)) - 1
    np.testing.assert_allclose(sampled, through.reshape(4, 4, 4, 4, 3).mean(axis=(1, 3)), atol=1e-3)


@pytest.mark.parametrize("pixel_um", [4.0, 3.0])
def test_pixels_that_are_not_larger_than_the_voxels_are_single_samples(pixel_um: float) -> None:
    volume = noise(12, 30, 40)
    size = (np.array(volume.shape) - 1) * VOXEL_UM
    cut = plane_cut(size / 2, NORMAL, tuple(size), pixel_um)
    sampled = sample_section(block_of(volume), volume.shape, VOXEL_UM, cut, blending="colour")[..., 0]
    inside = np.isfinite(sampled)
    single = ndimage.map_coordinates(volume.astype(float), (cut.places_um[inside] / VOXEL_UM).T, order=1)
    np.testing.assert_allclose(sampled[inside], single, atol=1e-3)


@pytest.mark.parametrize("thickness_um", [0.0, 30.0])
def test_the_same_pixels_are_inside_for_any_size_of_pixel(thickness_um: float) -> None:
    volume = noise(12, 30, 40)
    axes = np.array([[0.3, 1.0, 0.2], [-0.1, 0.0, 1.0]])
    places = np.array([55.0, 70.0, 75.0]) + (grid_um((15, 15), 20.0) - 140) @ axes
    one = Cut(places, np.broadcast_to(NORMAL / np.linalg.norm(NORMAL), places.shape), 20.0)
    fine = Cut(one.places_um, one.normals, 4.0)
    wide, single = (
        np.isfinite(sample_section(block_of(volume), volume.shape, VOXEL_UM, cut, thickness_um, "colour"))
        for cut in (one, fine)
    )
    np.testing.assert_array_equal(wide, single)
    assert 0 < wide.sum() < wide.size


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1)])
def test_a_section_of_a_single_row_or_column(shape: tuple[int, int]) -> None:
    volume = noise(4, 20, 20)
    cut = section_cut(Section(np.array([2.0, 1.5, 1.5]), np.eye(3)[1], np.eye(3)[2]), shape, 4.0)
    sampled = sample_section(block_of(volume), volume.shape, (1, 1, 1), cut, blending="colour")[..., 0]
    means = volume[2].reshape(5, 4, 5, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(sampled, means[: shape[0], : shape[1]], atol=1e-3)


def test_a_pixel_that_is_much_larger_than_the_volume_has_the_value_of_its_centre() -> None:
    volume = noise(4, 20, 20)
    cut = plane_cut((2.0, 0, 0), (1, 0, 0), (3.0, 19.0, 19.0), 1e6)
    sampled = sample_section(block_of(volume), volume.shape, (1, 1, 1), cut, blending="colour")
    np.testing.assert_allclose(sampled, volume[2, :1, :1, None])


def test_a_section_across_a_volume_thinner_than_a_pixel_has_its_values() -> None:
    # A pixel of 20 µm has four samples of 5 µm around the only slice, none of which is in it.
    volume = np.full((1, 30, 30, 1), 100, np.uint8)
    cut = section_cut(Section(np.array([0.0, 50.0, 0.0]), np.array([1.0, 0, 0]), np.array([0, 0, 1.0])), (1, 7), 20.0)
    sampled = sample_section(block_of(volume), volume.shape[:3], (5.0, 5.0, 5.0), cut, blending="colour")
    np.testing.assert_allclose(sampled, 100)
