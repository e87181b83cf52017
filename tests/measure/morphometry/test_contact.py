import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tomostain.errors import InputError
from tomostain.measure.classes import TissueClass, phantom_classes
from tomostain.measure.label_source import LabelArray
from tomostain.measure.measures import by_key
from tomostain.measure.morphometry.contact import ContactRule, contact_measures, measure_contact
from tomostain.measure.morphometry.implant import find_implant
from tomostain.phantom import PhantomConfig
from tomostain.phantom.anatomy import grow_anatomy
from tomostain.phantom.sampler import sample_tissue

KINDS = ("faces", "triangles")
RULE = ContactRule(1.8, 2.0)


def body(rotation, bone, *, side=64, voxel_um=1.0, radius=12.0, length=44.0):
    """A metal cylinder in soft tissue; `bone` says where bone is, from the position in the frame of the cylinder."""
    axes = [(np.arange(side) - (side - 1) / 2 + 0.13) * voxel_um] * 3
    position = np.stack(np.meshgrid(*axes, indexing="ij"), -1) @ rotation
    across = np.hypot(position[..., 1], position[..., 2])
    labels = np.where(bone(position, across), TissueClass.BONE, TissueClass.SOFT).astype(np.uint8)
    labels[(across < radius) & (np.abs(position[..., 0]) < length / 2)] = TissueClass.METAL
    return LabelArray(labels, voxel_um)


def turned(seed):
    return np.eye(3) if seed == 0 else Rotation.random(None, seed).as_matrix()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_cylinder_half_in_bone_has_a_contact_of_50_percent(kind, seed):
    labels = body(turned(seed), lambda position, across: position[..., 1] > 0)
    contact = measure_contact(find_implant(labels), RULE, kind)
    assert contact.percent == pytest.approx(50, abs=1)
    assert contact.seen == contact.total


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("gap", "percent"), [(1.0, 100.0), (5.0, 0.0)])
def test_a_gap_of_soft_tissue_counts_up_to_the_tolerance(kind, gap, percent):
    labels = body(turned(4), lambda position, across: (across > 12 + gap) | (np.abs(position[..., 0]) > 22 + gap))
    assert measure_contact(find_implant(labels), RULE, kind).percent == pytest.approx(percent, abs=1.5)


@pytest.mark.parametrize("kind", KINDS)
def test_sampling_does_not_change_the_contact(kind):
    def bone(position, across):
        angle = np.arctan2(position[..., 2], position[..., 1])
        return (np.sin(3 * angle) > -0.2) & (np.abs(position[..., 0]) < 14)

    coarse = measure_contact(find_implant(body(turned(1), bone)), ContactRule(1.8, 2.0), kind)
    fine = measure_contact(find_implant(body(turned(1), bone, side=100, voxel_um=0.64)), ContactRule(1.8, 2.0), kind)
    assert coarse.percent == pytest.approx(fine.percent, abs=1.0)
    assert coarse.seen == pytest.approx(fine.seen, rel=0.02)


def test_both_surfaces_agree():
    labels = body(turned(2), lambda position, across: np.sin(position[..., 0] / 2.5) > 0.3)
    values = [measure_contact(find_implant(labels), RULE, kind).percent for kind in KINDS]
    assert values[0] == pytest.approx(values[1], abs=1)


def rims(labels, implant):
    """Labels whose voxels at the implant are wrong, as partial volume makes them."""
    ring = ndimage.binary_dilation(implant, np.ones((3, 3, 3))) & ~implant
    for wrong in (TissueClass.BONE, TissueClass.SOFT):
        yield np.where(ring, wrong, labels).astype(np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_a_rim_of_wrong_voxels_does_not_change_the_contact(kind):
    source = body(turned(3), lambda position, across: position[..., 1] > 4)
    implant = find_implant(source)
    expected = measure_contact(implant, RULE, kind).percent
    first_voxel = ContactRule(0.9, 0.0)
    for labels in rims(source.labels, implant.read(0, 64)):
        wrong = find_implant(LabelArray(labels, 1.0))
        assert measure_contact(wrong, RULE, kind).percent == pytest.approx(expected, abs=1.5)
        assert abs(measure_contact(wrong, first_voxel, kind).percent - expected) > 20


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), thickness=st.integers(1, 12), kind=st.sampled_from(KINDS))
def test_the_contact_does_not_depend_on_the_blocks(seed, thickness, kind):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(22, 30, 28)), 2)
    labels = np.digitize(smooth, np.quantile(smooth, [0.3, 0.6])).astype(np.uint8)
    labels[5:18, 8:22, 0:20] = TissueClass.METAL
    labels[rng.random(labels.shape) < 0.1] = TissueClass.NOT_MEASURED
    implant = find_implant(LabelArray(labels, (20.0, 10.0, 10.0)))
    rule = ContactRule.default(implant.voxel_um)
    whole = measure_contact(implant, rule, kind)
    thin = measure_contact(implant, rule, kind, max_bytes=30 * 28 * 24 * (2 * 9 + thickness))
    assert thin.contact == pytest.approx(whole.contact, rel=1e-9)
    assert thin.seen == pytest.approx(whole.seen, rel=1e-9)
    assert thin.total == pytest.approx(whole.total, rel=1e-9)


def test_only_the_surface_in_the_field_of_view_counts():
    labels = body(np.eye(3), lambda position, across: position[..., 1] > 0).labels.copy()
    quarter = labels[:, 32:, 32:]  # half of the bone
    quarter[quarter != TissueClass.METAL] = TissueClass.NOT_MEASURED
    measures = by_key(contact_measures(find_implant(LabelArray(labels, 10.0)), ContactRule(18.0, 20.0)))
    bic = measures["bic_surface", "all"]
    assert bic.value == pytest.approx(100 / 3, abs=2)
    assert "BIC of 7" in bic.note
    assert "% of the surface; the rest is outside the field of view or not measured" in bic.note
    assert "gap tolerance 18 µm, depth 20 µm" in bic.note


def test_a_cut_implant_is_measured_where_it_is_seen():
    labels = body(np.eye(3), lambda position, across: position[..., 1] > 0).labels[:30]
    measures = by_key(contact_measures(find_implant(LabelArray(labels, 10.0))))
    assert measures["bic_voxel", "all"].value == pytest.approx(50, abs=1)
    assert "reaches the face +z of the volume" in measures["bic_voxel", "all"].note
    assert measures["im_s", "all"].value == pytest.approx(2 * np.pi * 120 * 190e-6 + np.pi * 120**2 * 1e-6, rel=0.06)


def test_a_surface_that_is_not_seen_gives_nan():
    labels = np.full((20, 20, 20), TissueClass.NOT_MEASURED, np.uint8)
    labels[5:15, 5:15, 5:15] = TissueClass.METAL
    measures = contact_measures(find_implant(LabelArray(labels, 10.0)))
    assert all(np.isnan(each.value) for each in measures if each.definition.unit == "%")
    assert "BIC of 0 % of the surface" in measures[0].note


def test_the_default_lengths_follow_the_voxel_size():
    assert ContactRule.default((0.3, 0.3, 0.3)) == ContactRule(0.52, 0.6)
    assert ContactRule.default((20.0, 20.0)) == ContactRule.default((20.0, 20.0, 20.0)) == ContactRule(34.6, 40.0)
    assert ContactRule.default((20.0, 20.0, 20.0), gap_um=5.0, depth_um=0.0) == ContactRule(5.0, 0.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", [1e-17, 0.01, 0.2, 0.9])
def test_a_small_depth_is_sampled(kind, depth):
    labels = body(turned(1), lambda position, across: position[..., 1] > 0)
    assert measure_contact(find_implant(labels), ContactRule(1.8, depth), kind).percent == pytest.approx(50, abs=1.5)


@pytest.mark.parametrize(("gap", "depth"), [(34.6, 1e-17), (34.6, 0.5), (34.6, 12.0), (3.0, 19.0), (0.0, 0.5)])
def test_samples_of_a_small_depth(gap, depth):
    distances = ContactRule(gap, depth).distances_um((20.0, 20.0, 20.0))
    assert (np.diff(distances) > 0).all()
    assert distances[0] > 0
    assert np.count_nonzero(distances > gap) >= max(1, np.floor(4 * depth / 20))
    assert distances[-1] <= np.nextafter(gap + depth, np.inf)


@pytest.mark.parametrize("voxel_um", [(20.0, 20.0, 20.0), (0.3, 0.3, 0.3), (40.0, 10.0, 10.0), (7.0, 5.0)])
def test_the_default_lengths_are_sampled_evenly(voxel_um):
    rule = ContactRule.default(voxel_um)
    reach = rule.gap_um + rule.depth_um
    count = int(np.ceil(4 * reach / min(voxel_um)))
    np.testing.assert_array_equal(rule.distances_um(voxel_um), (np.arange(count) + 0.5) * reach / count)


@pytest.mark.parametrize(("gap", "depth"), [(-1.0, 5.0), (5.0, np.nan), (0.0, 0.0)])
def test_the_lengths_are_checked(gap, depth):
    with pytest.raises(InputError, match=r"`gap_um`|`depth_um`"):
        ContactRule(gap, depth)


def phantom(rotation, voxel_um):
    """The middle of a phantom, within a sphere, on a rotated grid."""
    side = int(2 * 1300 / voxel_um)
    axes = [(np.arange(side) - (side - 1) / 2) * voxel_um] * 3
    position = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    inside = (position**2).sum(-1) < 1300**2
    labels = np.full((side,) * 3, TissueClass.NOT_MEASURED, np.uint8)
    anatomy = grow_anatomy(PhantomConfig(seed=7, material="Mg-10Gd", weeks=8))
    tissue = sample_tissue(anatomy, position[inside] @ rotation, finest_um=20.0)
    labels[inside] = phantom_classes(tissue.label)
    return LabelArray(labels, voxel_um)


def test_a_rotated_phantom_and_a_finer_one_have_the_same_contact():
    rule = ContactRule(60.0, 80.0)
    values = {
        (seed, voxel_um): measure_contact(find_implant(phantom(turned(seed), voxel_um)), rule, "triangles").percent
        for seed, voxel_um in ((0, 50.0), (1, 50.0), (1, 40.0))
    }
    assert 20 < values[0, 50.0] < 95
    assert np.ptp(list(values.values())) < 2.5, values
