from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomostain.errors import InputError
from tomostain.measure.classes import TissueClass
from tomostain.measure.label_source import LabelArray
from tomostain.measure.measures import by_key
from tomostain.measure.morphometry.distance import ImplantDistance
from tomostain.measure.morphometry.implant import find_implant
from tomostain.measure.morphometry.shells import count_by_distance, profile_edges, shell_measures


def sphere(radii, classes, *, side=80, voxel_um=10.0, axis_um=None):
    """A metal sphere of 100 µm, around it shells of classes to the radii (µm), then soft tissue."""
    sizes = axis_um or (voxel_um,) * 3
    shape = tuple(int(side * voxel_um / size) for size in sizes)
    grid = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2 + 0.13) * size for n, size in zip(shape, sizes, strict=True)), indexing="ij"
    )
    radius = np.sqrt(sum(each**2 for each in grid))
    labels = np.full(shape, TissueClass.SOFT, np.uint8)
    for outer, tissue in sorted(zip(radii, classes, strict=True), reverse=True):
        labels[radius < outer] = tissue
    labels[radius < 100] = TissueClass.METAL
    return labels, sizes


def ball(radius_um):
    return 4 / 3 * np.pi * radius_um**3 * 1e-9


@pytest.mark.parametrize("axis_um", [None, (12.5, 10.0, 8.0)])
def test_volumes_of_concentric_spheres(axis_um):
    labels, sizes = sphere((200, 250), (TissueClass.NEW_BONE, TissueClass.BONE), axis_um=axis_um)
    implant = find_implant(LabelArray(labels, sizes))
    measures = by_key(shell_measures(count_by_distance(implant, (0, 50, 100, 200))))
    new, old = ball(200) - ball(100), ball(250) - ball(200)
    assert measures["nb_v", "0-200 µm"].value == pytest.approx(new, rel=0.02)
    assert measures["bv", "0-200 µm"].value == pytest.approx(new + old, rel=0.02)
    assert measures["tv", "0-200 µm"].value == pytest.approx(ball(300) - ball(100), rel=0.03)
    assert measures["nb_v_tv", "0-50 µm"].value == 100
    assert measures["bv_tv", "100-200 µm"].value == pytest.approx(100 * old / (ball(300) - ball(200)), abs=2)
    assert measures["soft_v_tv", "100-200 µm"].value == pytest.approx(100 - measures["bv_tv", "100-200 µm"].value)
    assert all(measure.note == "" for measure in measures.values())


def test_voxels_that_were_not_measured_do_not_count():
    labels, sizes = sphere((300,), (TissueClass.BONE,))
    labels[:40][labels[:40] == TissueClass.BONE] = TissueClass.NOT_MEASURED
    labels[40:, :40][labels[40:, :40] == TissueClass.BONE] = TissueClass.VOID
    measures = by_key(shell_measures(count_by_distance(find_implant(LabelArray(labels, sizes)), (0, 100))))
    assert measures["bv_tv", "0-100 µm"].value == pytest.approx(50, abs=2)
    assert measures["void_v_tv", "0-100 µm"].value == pytest.approx(50, abs=2)
    assert measures["tv", "0-100 µm"].value == pytest.approx((ball(200) - ball(100)) / 2, rel=0.03)
    assert measures["tv", "0-100 µm"].note.endswith("% of the region is measured")


def test_a_shell_without_measured_voxels_is_nan():
    labels, sizes = sphere((1000,), (TissueClass.NOT_MEASURED,))
    measures = by_key(shell_measures(count_by_distance(find_implant(LabelArray(labels, sizes)), (0, 50))))
    assert np.isnan(measures["bv_tv", "0-50 µm"].value)
    assert measures["bv_tv", "0-50 µm"].note == "nothing is measured in this region"
    assert measures["tv", "0-50 µm"].value == 0


def test_the_profile_of_new_bone():
    labels, sizes = sphere((160, 220), (TissueClass.NEW_BONE, TissueClass.BONE))
    implant = find_implant(LabelArray(labels, sizes))
    edges = profile_edges(implant, 200)
    assert edges.tolist() == list(range(0, 201, 20))
    profile = count_by_distance(implant, edges)
    share = profile.share(TissueClass.NEW_BONE)
    assert (share[:2] == 100).all()
    assert (share[4:] == 0).all()
    assert profile.tissue.sum() == profile.counts.sum()
    assert (np.diff(profile.tissue) > 0).all()


def test_the_bins_of_a_profile_are_at_least_one_voxel():
    labels, sizes = sphere((300,), (TissueClass.BONE,), axis_um=(25.0, 10.0, 10.0))
    assert profile_edges(find_implant(LabelArray(labels, sizes)), 90).tolist() == [0, 25, 50, 75, 100]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), thickness=st.integers(1, 8))
def test_the_counts_do_not_depend_on_the_blocks(seed, thickness):
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 2, 3, 255], (18, 20, 22)).astype(np.uint8)
    labels[6:12, 5:15, 4:18] = TissueClass.DEGRADATION
    implant = find_implant(LabelArray(labels, (20.0, 10.0, 10.0)))
    whole = count_by_distance(implant, (0, 30, 60))
    reports = []
    with mock.patch.object(ImplantDistance, "budget", lambda self, max_bytes: max_bytes):
        thin = count_by_distance(
            implant,
            (0, 30, 60),
            max_bytes=20 * 22 * (4 * 8 + 20 * thickness),
            progress=lambda label, done, total: reports.append(total),
        )
    assert reports[-1] == -(-18 // thickness)
    assert (whole.counts == thin.counts).all()
    assert whole.counts[:, TissueClass.NOT_MEASURED].sum() > 0


@pytest.mark.parametrize("edges", [(0,), (0, 100, 100), (-5, 100), (0, np.inf)])
def test_the_edges_are_checked(edges):
    labels, sizes = sphere((300,), (TissueClass.BONE,), side=40)
    with pytest.raises(InputError, match="`shell_um`"):
        count_by_distance(find_implant(LabelArray(labels, sizes)), edges)


def test_one_pass_gives_shells_profile_and_map():
    labels, sizes = sphere((160, 220), (TissueClass.NEW_BONE, TissueClass.BONE), side=60)
    implant = find_implant(LabelArray(labels, sizes))
    fine = profile_edges(implant, 150)
    shells = (0.0, 50.0, 150.0)
    parts = []
    profile = count_by_distance(
        implant,
        np.union1d(fine, shells),
        write=lambda start, values: parts.append((start, values)),
        max_bytes=60 * 60 * (8 * 2 * 17 + 24 * 25),
    )
    assert (profile.regroup(shells).counts == count_by_distance(implant, shells).counts).all()
    assert (profile.regroup(fine).counts == count_by_distance(implant, fine).counts).all()
    assert [start for start, _ in parts] == list(range(0, 60, len(parts[0][1])))
    expected = ImplantDistance(implant, 170.0).read(0, 60)
    np.testing.assert_array_equal(np.concatenate([values for _, values in parts]), expected)
    with pytest.raises(InputError, match="are not among those"):
        profile.regroup((0.0, 55.0))
