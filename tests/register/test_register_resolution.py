"""Compare the volume at coarse resolution and the thin slab with direct interpolation."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import ndimage

from tomostain.geometry.section import Section, grid_um
from tomostain.imaging.intensity import IntensityReference
from tomostain.register.resolution import ResolutionLevel, coarser, read_coarse, read_slab, scale_to_bone
from tomostain.register.template_sampling import trilinear

UNIT = IntensityReference(0.0, 1.0)


@dataclass
class Scan:
    """A volume in memory that counts the slices of each read."""

    values: np.ndarray
    voxel_um: tuple[float, float, float] = (10.0, 10.0, 10.0)
    most: int = 0

    @property
    def shape(self):
        return self.values.shape

    def read(self, start, stop):
        self.most = max(self.most, stop - start)
        return self.values[start:stop]


def smooth_values(shape, seed=0):
    noise = np.random.default_rng(seed).random(shape).astype(np.float32)
    return ndimage.gaussian_filter(noise, 2.0)


def test_blocks_are_means_at_their_original_position():
    values = smooth_values((100, 130, 90))
    resolution = read_coarse(Scan(values), UNIT, max_voxels=64)
    assert resolution.voxel_um.tolist() == [20.0, 20.0, 20.0]
    assert resolution.origin_um.tolist() == [5.0, 5.0, 5.0]
    blocks = values.reshape(50, 2, 65, 2, 45, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(resolution.values.numpy(), blocks, atol=1e-6)


def test_a_large_volume_is_read_a_few_slices_at_a_time():
    scan = Scan(np.zeros((400, 20, 20), np.uint16))
    resolution = read_coarse(scan, UNIT, max_voxels=50)
    assert scan.most <= 40
    assert max(resolution.values.shape) <= 55


def test_the_grey_scale_is_background_0_bone_1_clipped():
    assert scale_to_bone(
        np.array([100, 200, 150, 65535], np.uint16), IntensityReference(100.0, 200.0)
    ).tolist() == pytest.approx([0.0, 1.0, 0.5, 1.2])


def test_coarser_keeps_a_linear_ramp_in_place():
    z = np.arange(60, dtype=np.float32)[:, None, None] * np.ones((60, 40, 50), np.float32) / 60
    resolution = ResolutionLevel.of(z, np.full(3, 10.0), np.array([100.0, 0.0, 0.0]))
    small = coarser(resolution, 37.0)
    assert float(small.voxel_um[0]) == pytest.approx(37.0)
    point = torch.tensor([[300.0, 150.0, 200.0]])
    assert float(trilinear(small, point)[0]) == pytest.approx(float(trilinear(resolution, point)[0]), abs=2e-3)
    assert coarser(resolution, 5.0) is resolution


def test_the_slab_is_the_volume_resampled():
    values = smooth_values((60, 50, 55), seed=3)
    angle = np.radians(30)
    row, column = np.array([np.cos(angle), np.sin(angle), 0]), np.array([0.0, 0.0, 1.0])
    section = Section(np.array([150.0, 50.0, 40.0]), row, column)
    slab = read_slab(Scan(values), UNIT, section, (30, 35), 10.0, 20.0)
    assert slab.values.shape == (5, 30, 35)
    for k in range(-2, 3):
        points = section.to_volume_um(grid_um((30, 35), 10.0)) + 10.0 * k * section.normal
        right = ndimage.map_coordinates(values, np.moveaxis(points / 10.0, -1, 0), order=1)
        np.testing.assert_allclose(slab.values[k + 2].numpy(), right, atol=1e-5)


@pytest.mark.parametrize("side", [563, 845, 1126, 1408, 1690, 1970, 64, 2000])
def test_a_volume_of_any_length_is_read(side):
    resolution = read_coarse(Scan(np.zeros((side, 4, 4), np.float32)), UNIT, max_voxels=256)
    assert resolution.values.shape[0] <= 1.1 * 256


def test_outside_the_volume_values_are_not_a_number():
    values = smooth_values((40, 50, 60))
    # Half of the rows of the plane are before the first slice. Its last columns are beyond the volume.
    flat = Section(np.array([-95.0, 200.0, 300.0]), np.array([1.0, 0, 0]), np.array([0, 0, 1.0]))
    slab = read_slab(Scan(values), UNIT, flat, (20, 40), 10.0, 15.0)
    assert slab.holes
    known = ~slab.values.isnan().numpy()
    rows, columns = np.indices((20, 40))
    inside = (rows >= 10) & (columns <= 29)
    assert (known == inside).all()
    points = torch.tensor([[0.0, 100.0, 100.0], [0.0, 20.0, 100.0]])
    sampled, gradient, seen = trilinear(slab, points)
    assert seen.tolist() == [True, False]
    assert float(sampled[0]) == pytest.approx(float(slab.values[2, 10, 10]))
    assert gradient[1].tolist() == [0.0, 0.0, 0.0]
