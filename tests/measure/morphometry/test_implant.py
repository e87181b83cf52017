import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tomostain.errors import InputError
from tomostain.measure.classes import TissueClass
from tomostain.measure.label_source import LabelArray
from tomostain.measure.morphometry.implant import find_implant


def cylinder(axis, *, shape=(60, 60, 60), voxel_um=(1.0, 1.0, 1.0), length=36.0, radius=9.0):
    """Labels of a metal cylinder in soft tissue, around the centre of the volume; lengths in µm."""
    axis = np.asarray(axis, float) / np.linalg.norm(axis)
    grid = np.stack(np.meshgrid(*(np.arange(n) * v for n, v in zip(shape, voxel_um, strict=True)), indexing="ij"), -1)
    points = grid - (np.array(shape) - 1) * voxel_um / 2
    along = points @ axis
    across = np.linalg.norm(points - along[..., None] * axis, axis=-1)
    labels = np.full(shape, TissueClass.SOFT, np.uint8)
    labels[(np.abs(along) <= length / 2) & (across <= radius)] = TissueClass.METAL
    return labels


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (1, 1, 0.3), (-0.2, 0.5, 1)])
@pytest.mark.parametrize(("shape", "voxel_um"), [((60, 60, 60), (1.0, 1.0, 1.0)), ((40, 60, 75), (1.5, 1.0, 0.8))])
def test_volume_axis_and_centre_of_a_cylinder(axis, shape, voxel_um):
    implant = find_implant(LabelArray(cylinder(axis, shape=shape, voxel_um=voxel_um), voxel_um))
    assert implant.volume_um3 == pytest.approx(np.pi * 81 * 36, rel=0.04)
    assert abs(implant.axis @ axis) / np.linalg.norm(axis) == pytest.approx(1, abs=5e-4)
    assert implant.axis[np.argmax(np.abs(implant.axis))] > 0
    np.testing.assert_allclose(implant.centre_um, (np.array(shape) - 1) * voxel_um / 2, atol=0.1)
    assert implant.touches == ()


def test_the_axis_of_a_short_piece_is_still_its_axis_of_rotation():
    implant = find_implant(LabelArray(cylinder((1, 0.4, 0), length=8, radius=20), 1.0))
    assert abs(implant.axis @ [1, 0.4, 0]) / np.hypot(1, 0.4) == pytest.approx(1, abs=1e-3)


def test_specks_are_ignored_and_cavities_are_filled():
    labels = cylinder((1, 0, 0))
    whole = (labels == TissueClass.METAL).sum()
    labels[20:25, 30, 28:32] = TissueClass.DEGRADATION
    labels[30:33, 29:32, 30] = TissueClass.VOID
    labels[40, 30, 30] = TissueClass.NOT_MEASURED
    labels[5:8, 5:8, 5:8] = TissueClass.METAL
    labels[0, 59, 0] = TissueClass.DEGRADATION
    implant = find_implant(LabelArray(labels, 1.0), max_bytes=60 * 60 * 12 * 7)
    assert implant.voxels == whole
    assert implant.filled_voxels == 10
    assert implant.metal_voxels == whole - 10 - 20
    assert implant.ignored_voxels == 28
    mask = implant.read(0, 60)
    assert mask[30, 30, 30]
    assert not mask[6, 6, 6]
    metal = implant.metal(20, 40)
    assert not metal[10, 30, 30]
    assert not metal[0, 30, 30]
    assert metal.sum() == (labels[20:40] == TissueClass.METAL).sum()


def test_a_channel_that_reaches_the_surface_is_not_filled():
    labels = cylinder((1, 0, 0))
    labels[20:, 30, 30] = TissueClass.BONE
    implant = find_implant(LabelArray(labels, 1.0))
    assert implant.filled_voxels == 0
    assert not implant.read(30, 31)[0, 30, 30]


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), thickness=st.integers(1, 12))
def test_the_implant_does_not_depend_on_the_blocks(seed, thickness):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(12, 20, 21)), 1.5)
    labels = np.where(smooth > np.quantile(smooth, 0.55), TissueClass.METAL, TissueClass.SOFT).astype(np.uint8)
    labels[4, 10:12, 10:12] = TissueClass.DEGRADATION
    whole = find_implant(LabelArray(labels, (3.0, 1.0, 1.0)))
    thin = find_implant(LabelArray(labels, (3.0, 1.0, 1.0)), max_bytes=thickness * 420 * 12)
    assert (whole.read(0, 12) == thin.read(0, 12)).all()
    assert whole.box == thin.box
    assert whole.touches == thin.touches
    assert (whole.voxels, whole.metal_voxels, whole.filled_voxels) == (
        thin.voxels,
        thin.metal_voxels,
        thin.filled_voxels,
    )
    np.testing.assert_allclose(whole.axis, thin.axis, atol=1e-9)
    components, _ = ndimage.label(np.isin(labels, (TissueClass.METAL, TissueClass.DEGRADATION)))
    largest = np.argmax(np.bincount(components.reshape(-1))[1:]) + 1
    assert (whole.read(0, 12) == ndimage.binary_fill_holes(components == largest)).all()


def test_the_faces_that_the_implant_reaches():
    labels = np.ones((20, 21, 22), np.uint8)
    labels[0:12, 5:21, 6:12] = TissueClass.DEGRADATION
    implant = find_implant(LabelArray(labels, 1.0))
    assert implant.touches == ("-z", "+y")
    assert implant.box == (slice(0, 12), slice(5, 21), slice(6, 12))
    assert implant.metal_voxels == 0


def test_no_implant_lists_the_classes():
    labels = np.full((8, 8, 8), TissueClass.SOFT, np.uint8)
    labels[3:5] = TissueClass.BONE
    with pytest.raises(InputError, match="neither metal nor degradation layer occurs, but soft tissue and marrow, min"):
        find_implant(LabelArray(labels, 10.0))


def test_an_implant_of_a_few_voxels_is_refused():
    labels = np.full((8, 8, 8), TissueClass.SOFT, np.uint8)
    labels[2:4, 2, 2:7] = TissueClass.METAL
    labels[7, 7, 7] = TissueClass.METAL
    with pytest.raises(InputError, match="has 10 connected voxels"):
        find_implant(LabelArray(labels, 10.0))
