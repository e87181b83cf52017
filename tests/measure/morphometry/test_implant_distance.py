import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tomostain.errors import InputError
from tomostain.measure.classes import TissueClass
from tomostain.measure.label_source import LabelArray
from tomostain.measure.morphometry.distance import ImplantDistance, write_distances
from tomostain.measure.morphometry.implant import find_implant


def blob(seed, shape):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    labels = np.ones(shape, np.uint8)
    labels[smooth > np.quantile(smooth, 0.85)] = TissueClass.METAL
    return labels


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    voxel_um=st.sampled_from([(10.0, 10.0, 10.0), (25.0, 10.0, 12.0), (5.0, 8.0, 8.0)]),
    max_um=st.sampled_from([12.0, 60.0, 1000.0]),
    thickness=st.integers(1, 20),
)
def test_it_is_the_distance_transform_of_the_whole_up_to_the_maximum(seed, voxel_um, max_um, thickness):
    labels = blob(seed, (18, 24, 21))
    implant = find_implant(LabelArray(labels, voxel_um))
    mask = implant.read(0, 18)
    quarter = min(voxel_um) / 4
    outside = ndimage.distance_transform_edt(~mask, voxel_um) - quarter
    inside = ndimage.distance_transform_edt(mask, voxel_um) - quarter
    expected = np.clip(np.where(mask, -inside, outside), -max_um, max_um)
    distance = ImplantDistance(implant, max_um)
    parts = [distance.read(start, min(start + thickness, 18)) for start in range(0, 18, thickness)]
    np.testing.assert_allclose(np.concatenate(parts), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("voxel_um", [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0)])
def test_distance_to_a_cylinder(voxel_um):
    _, y, x = np.meshgrid(*(np.arange(n) * v for n, v in zip((30, 60, 60), voxel_um, strict=True)), indexing="ij")
    radius = np.hypot(y - 29.3, x - 29.6)
    labels = np.where(radius < 10, TissueClass.METAL, TissueClass.SOFT).astype(np.uint8)
    distance = ImplantDistance(find_implant(LabelArray(labels, voxel_um)), 15.0).read(0, 30)
    error = distance - (radius - 10)
    near = np.abs(radius - 10) < 9
    assert abs(error[near & (np.abs(radius - 10) > 1.5)].mean()) < 0.12
    assert np.abs(error[near]).max() < 0.75
    assert (distance[radius > 26] == 15).all()
    assert ((distance < 0) == (labels == TissueClass.METAL)).all()


def test_without_the_inside():
    labels = blob(1, (12, 20, 20))
    implant = find_implant(LabelArray(labels, 10.0))
    both, outside = ImplantDistance(implant, 80.0), ImplantDistance(implant, 80.0, inside=False)
    mask = implant.read(0, 12)
    assert (both.read(0, 12)[~mask] == outside.read(0, 12)[~mask]).all()
    assert (outside.read(0, 12)[mask] == -2.5).all()


def test_blocks_are_written_in_order_and_do_not_change_the_result():
    implant = find_implant(LabelArray(blob(2, (30, 20, 20)), 10.0))
    reports, parts = [], []
    write_distances(
        implant,
        40.0,
        lambda start, values: parts.append((start, values)),
        max_bytes=20 * 20 * (8 * 8 + 24 * 7),
        progress=lambda label, done, total: reports.append((label, done, total)),
    )
    assert len(parts) > 2
    assert [start for start, _ in parts] == np.cumsum([0, *(len(values) for _, values in parts)])[:-1].tolist()
    assert reports[-1] == ("distance", len(parts), len(parts))
    np.testing.assert_array_equal(
        np.concatenate([values for _, values in parts]), ImplantDistance(implant, 40.0).read(0, 30)
    )


@pytest.mark.parametrize("max_um", [0.0, -3.0, np.nan, np.inf])
def test_the_maximum_is_checked(max_um):
    implant = find_implant(LabelArray(blob(2, (12, 20, 20)), 10.0))
    with pytest.raises(InputError, match="`max_um`"):
        ImplantDistance(implant, max_um)


def test_a_budget_below_the_overlap_is_refused():
    implant = find_implant(LabelArray(blob(2, (30, 20, 20)), 10.0))
    with pytest.raises(InputError, match=r"distances up to 100 µm need .* raise `memory_gb`") as error:
        ImplantDistance(implant, 100.0).z_blocks(max_bytes=50_000)
    assert error.value.parameter == "memory_gb"
    assert len(ImplantDistance(implant, 100.0).z_blocks()) == 1


def test_the_budget_allows_eight_slices():
    distance = ImplantDistance(find_implant(LabelArray(blob(2, (30, 20, 20)), 10.0)), 100.0)
    with pytest.raises(InputError):
        distance.z_blocks(max_bytes=50_000)
    parts = distance.z_blocks(max_bytes=distance.budget(50_000))
    assert [part.stop - part.start for part in parts] == [8, 8, 8, 6]
    assert distance.budget(10**9) == 10**9


def test_slices_that_are_read_again_or_backwards_are_the_same():
    implant = find_implant(LabelArray(blob(2, (30, 20, 20)), 10.0))
    whole, parts = ImplantDistance(implant, 80.0).read(0, 30), ImplantDistance(implant, 80.0)
    for start, stop in ((0, 4), (4, 12), (8, 20), (2, 6), (25, 30)):
        assert np.array_equal(parts.read(start, stop), whole[start:stop])
