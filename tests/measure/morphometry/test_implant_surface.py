import numpy as np
import pytest

from tomostain.measure.classes import TissueClass
from tomostain.measure.label_source import LabelArray
from tomostain.measure.morphometry.implant import find_implant
from tomostain.measure.morphometry.surface import implant_surface
from tomostain.measure.morphometry.z_blocks import z_blocks


def points(shape, voxel_um, seed=0):
    """Positions of voxels relative to a point near the centre of the volume, µm."""
    centre = (np.array(shape) - 1) / 2 * voxel_um + np.random.default_rng(seed).uniform(-0.5, 0.5, 3)
    grid = np.meshgrid(*(np.arange(n) * v for n, v in zip(shape, voxel_um, strict=True)), indexing="ij")
    return np.stack(grid, -1) - centre, centre


def surfaces(labels, voxel_um, kind, thickness):
    implant = find_implant(LabelArray(labels, voxel_um))
    per_slice = labels.shape[1] * labels.shape[2]
    parts = [
        implant_surface(implant, block, kind) for block in z_blocks(labels.shape, max_bytes=8 * per_slice * thickness)
    ]
    return [np.concatenate([getattr(part, name) for part in parts]) for name in ("points_um", "normals", "areas_um2")]


@pytest.mark.parametrize("kind", ["faces", "triangles"])
@pytest.mark.parametrize("voxel_um", [(1.0, 1.0, 1.0), (1.3, 1.0, 0.8)])
def test_area_and_normals_of_a_sphere(kind, voxel_um):
    shape = tuple(int(48 / size) + 1 for size in voxel_um)
    position, centre = points(shape, voxel_um)
    labels = np.where((position**2).sum(-1) < 20**2, TissueClass.METAL, TissueClass.SOFT).astype(np.uint8)
    at, normals, areas = surfaces(labels, voxel_um, kind, 100)
    assert areas.sum() == pytest.approx(4 * np.pi * 20**2, rel=0.01)
    radial = (at - centre) / np.linalg.norm(at - centre, axis=1)[:, None]
    assert np.average((radial * normals).sum(axis=1), weights=areas) > 0.99
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)
    assert np.linalg.norm(at - centre, axis=1).mean() == pytest.approx(20, abs=0.3)


@pytest.mark.parametrize("kind", ["faces", "triangles"])
@pytest.mark.parametrize("axis", [(1, 0, 0), (1, 1, 0), (1, 2, 3)])
def test_area_of_a_cylinder_of_any_direction(kind, axis):
    axis = np.array(axis) / np.linalg.norm(axis)
    position, centre = points((90, 90, 90), (1.0, 1.0, 1.0), 3)
    along = position @ axis
    across = np.linalg.norm(position - along[..., None] * axis, axis=-1)
    labels = np.where((across < 16) & (np.abs(along) < 34), TissueClass.DEGRADATION, TissueClass.SOFT).astype(np.uint8)
    at, _, areas = surfaces(labels, (1.0, 1.0, 1.0), kind, 100)
    # Its side only: the smoothing rounds the edges of its ends.
    side = np.abs((at - centre) @ axis) < 25
    assert areas[side].sum() == pytest.approx(2 * np.pi * 16 * 50, rel=0.015)
    assert areas.sum() == pytest.approx(2 * np.pi * 16 * (68 + 16), rel=0.025)


@pytest.mark.parametrize("kind", ["faces", "triangles"])
@pytest.mark.parametrize("thickness", [1, 2, 7])
def test_no_element_is_counted_twice_or_lost_between_blocks(kind, thickness):
    rng = np.random.default_rng(5)
    labels = np.ones((20, 24, 26), np.uint8)
    labels[3:20, 6:20, 5:21] = TissueClass.METAL
    labels[rng.random(labels.shape) < 0.05] = TissueClass.SOFT
    whole = surfaces(labels, (2.0, 1.0, 1.0), kind, 20)
    parts = surfaces(labels, (2.0, 1.0, 1.0), kind, thickness)
    assert len(whole[2]) == len(parts[2]) > 1000
    assert len(np.unique(np.round(parts[0], 4), axis=0)) == len(np.unique(np.round(whole[0], 4), axis=0))
    assert parts[2].sum() == pytest.approx(whole[2].sum(), rel=1e-6)
    np.testing.assert_allclose((parts[0] * parts[2][:, None]).sum(0), (whole[0] * whole[2][:, None]).sum(0), rtol=1e-6)


@pytest.mark.parametrize("kind", ["faces", "triangles"])
def test_where_the_volume_cuts_the_implant_there_is_no_surface(kind):
    labels = np.ones((12, 40, 40), np.uint8)
    labels[:, 10:30, :20] = TissueClass.METAL
    at, normals, areas = surfaces(labels, (1.0, 1.0, 1.0), kind, 100)
    assert (np.abs(normals[:, 0]) < 1e-6).all()
    assert at[:, 2].max() == pytest.approx(19.5, abs=0.1)
    # Two sides of 20 voxels and one of 20; triangles lie between the centres of the first and the last slice.
    expected = 60 * (12 if kind == "faces" else 11)
    assert areas.sum() == pytest.approx(expected, rel=0.06)
