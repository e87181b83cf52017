"""Local thickness against its definition, another package, and bodies of known thickness."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tomostain.errors import InputError
from tomostain.measure.classes import TissueClass
from tomostain.measure.label_source import LabelArray
from tomostain.measure.measures import by_key
from tomostain.measure.morphometry import thickness
from tomostain.measure.morphometry.spheres import radius_classes
from tomostain.measure.morphometry.squared_distances import Metric, squared_distances
from tomostain.measure.morphometry.thickness import (
    ThicknessOptions,
    local_thickness,
    plane_thickness_measures,
    thickness_map,
    thickness_measures,
)

Mask = NDArray[np.bool_]
BONE, SOFT = TissueClass.BONE, TissueClass.SOFT


def foam(shape: tuple[int, ...], width: float, seed: int = 0, threshold: float = 0.0) -> Mask:
    """Return a random phase whose structures are a few times `width` voxels wide."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), width)
    return np.asarray(noise > threshold * noise.std())


def by_definition(inside: Mask, voxel_um: tuple[float, ...]) -> NDArray[np.float64]:
    """Return twice the radius of the largest sphere that contains each voxel, sphere by sphere."""
    radius = ndimage.distance_transform_edt(inside, sampling=voxel_um)
    grid = np.moveaxis(np.indices(inside.shape), 0, -1) * voxel_um
    result = np.zeros(inside.shape)
    for centre in np.argwhere(inside):
        size = radius[tuple(centre)]
        contained = ((grid - centre * voxel_um) ** 2).sum(axis=-1) < size**2 * (1 - 1e-6)
        result[contained] = np.maximum(result[contained], 2 * size)
    return np.where(inside, result, 0)


def body(kind: str, size: float, seed: int) -> tuple[Mask, Mask]:
    """Return a plate, rod or sphere in a random pose, `size` voxels wide, and its part away from the border."""
    rng = np.random.default_rng(seed)
    grid = np.moveaxis(np.indices((44,) * 3), 0, -1) - 21.5 + rng.uniform(-0.5, 0.5, 3)
    turned = grid @ Rotation.random(None, rng).as_matrix()
    axes = {"plate": 1, "rod": 2, "sphere": 3}[kind]
    inside = np.linalg.norm(turned[..., :axes], axis=-1) < size / 2
    middle = np.zeros_like(inside)
    middle[10:-10, 10:-10, 10:-10] = True
    return inside, inside & middle


@pytest.mark.parametrize("voxel_um", [(10.0, 10.0, 10.0), (20.0, 10.0, 14.0), (12.0, 12.0)])
def test_squared_distances_are_those_of_scipy(voxel_um: tuple[float, ...]) -> None:
    """The squared distances equal those of `scipy.ndimage.distance_transform_edt`."""
    inside = foam((22, 25, 19)[: len(voxel_um)], 2.0)
    squared = squared_distances(inside, Metric.of(voxel_um), 1e4)
    expected = ndimage.distance_transform_edt(inside, sampling=voxel_um)
    np.testing.assert_allclose(np.sqrt(squared) * min(voxel_um), expected, rtol=1e-6)


def test_the_map_is_that_of_the_definition() -> None:
    """Cubic voxels: equal. Other voxels: within half the width of the classes of radius, 1.5 %."""
    inside = foam((22, 24, 20), 2.2)
    cubic = (10.0, 10.0, 10.0)
    np.testing.assert_allclose(thickness_map(inside, cubic), by_definition(inside, cubic), rtol=1e-6)
    for flat in ((20.0, 10.0, 14.0), (10.0, 15.0, 7.0), (10.1, 10.0, 10.0)):
        np.testing.assert_allclose(thickness_map(inside, flat), by_definition(inside, flat), rtol=0.015)
    double = (20.0, 10.0, 10.0)
    np.testing.assert_allclose(thickness_map(inside, double), by_definition(inside, double), rtol=1e-6)
    plane = foam((40, 44), 1.5)
    np.testing.assert_allclose(thickness_map(plane, (5.0, 5.0)), by_definition(plane, (5.0, 5.0)), rtol=1e-6)


@pytest.mark.parametrize("voxel_um", [(10.0, 10.0, 10.0), (10.002, 10.0, 10.0), (12.0, 10.0, 10.0), (20.0, 10.0, 10.0)])
def test_thin_plates_do_not_depend_on_the_other_sides_of_the_voxels(voxel_um: tuple[float, float, float]) -> None:
    """Plates 2 and 4 voxels thick along x are 20 and 40 µm thick, whatever the voxel size along z."""
    for voxels in (2, 4):
        labels = np.full((16, 16, 48), SOFT, np.uint8)
        labels[..., np.arange(48) % 12 < voxels] = BONE
        labels[..., [*range(12), *range(36, 48)]] = SOFT
        values = by_key(thickness_measures(LabelArray(labels, voxel_um)))
        assert values["trabecular_thickness", "all"].value == pytest.approx(10 * voxels, rel=1e-3)
        share = np.mean(labels == BONE)
        assert values["trabecular_number", "all"].value == pytest.approx(1000 * share / (10 * voxels), rel=1e-3)
        plane = by_key(plane_thickness_measures(labels[0], voxel_um[:2]))
        assert plane["trabecular_width_plane", "all"].value == pytest.approx(10 * voxels, rel=1e-3)


def test_rounded_resolution_tags_do_not_change_the_thickness() -> None:
    """ImageJ stores 6.47 µm as 0.154559 pixels per µm: the thickness is that of 6.47 µm."""
    inside = foam((30, 30, 30), 1.4)
    stored = 1e6 / int(1e6 / 6.47)
    assert stored != 6.47
    tagged = thickness_map(inside, (6.47, stored, stored))
    np.testing.assert_allclose(tagged, by_definition(inside, (6.47,) * 3), rtol=1e-5)


def test_large_radii_are_rounded_within_their_classes() -> None:
    """Radii above 8 voxels are within 1.5 %. Above 64 voxels some voxels at the edge get a smaller sphere."""
    disc = np.hypot(*(np.indices((300, 300)) - 149.5)) < 130
    result = thickness_map(disc, (1.0, 1.0), options=ThicknessOptions(max_um=1000))
    assert result.max() == pytest.approx(260, rel=0.02)
    assert np.mean(result[disc] == result.max()) > 0.98
    small = np.hypot(*(np.indices((60, 60)) - 29.5)) < 25
    assert thickness_map(small, (1.0, 1.0)).max() == pytest.approx(50, rel=0.03)


@pytest.mark.parametrize("voxel_um", [(1.0, 1.0, 1.0), (1.5, 1.0, 1.0), (2.0, 1.0, 1.3), (1.0, 1.1)])
def test_classes_of_radius_cover_all_radii_once(voxel_um: tuple[float, ...]) -> None:
    """The classes are disjoint and complete, from large to small; the strides are powers of two."""
    classes = radius_classes(40_000.0, Metric.of(voxel_um))
    assert classes[0].high > 40_000 >= classes[0].low
    assert classes[-1].low == pytest.approx(1, abs=1e-5)
    assert classes[-1].low <= 1
    assert [each.low for each in classes[:-1]] == [each.high for each in classes[1:]]
    assert {each.stride for each in classes} == {1, 2, 4}
    assert len(classes) < 250


def test_it_agrees_with_bone_microarchitecture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its ridge heuristic, its margin and its tolerance, the other package gives the same map."""
    other = pytest.importorskip("bone_microarchitecture.thickness")
    inside = np.pad(foam((34, 30, 32), 2.2, threshold=0.3), 5)
    result = thickness_map(inside, (10.0, 10.0, 10.0))
    usual = other.hildebrand_thickness_map(inside, (0.01,) * 3, backend="cpu") * 1000 + 10 * inside
    assert result[inside].mean() == pytest.approx(usual[inside].mean(), abs=3)
    monkeypatch.setattr(other, "_sphere_inclusion_tolerance", lambda spacing: -1e-4 * min(spacing) ** 2)
    exact = other.hildebrand_thickness_map(
        inside, (0.01,) * 3, backend="cpu", center_dominance_mm=1.0, diameter_margin_voxels=0.0
    )
    np.testing.assert_allclose(result, exact * 1000, rtol=1e-5)


@pytest.mark.parametrize(("kind", "low", "high"), [("plate", 0.0, 0.7), ("rod", -0.6, 0.4), ("sphere", -1.6, 0.0)])
@pytest.mark.parametrize("size", [4.0, 7.3, 10.0])
def test_bodies_of_known_thickness(kind: str, low: float, high: float, size: float) -> None:
    """Plates and rods in random poses are measured within about half a voxel, spheres within 1.6 voxels."""
    errors = []
    for seed in range(3):
        inside, counted = body(kind, size, seed)
        errors.append(thickness_map(inside, (1.0, 1.0, 1.0))[counted].mean() - size)
    assert low <= np.mean(errors) <= high


@given(seed=st.integers(0, 99), slices=st.integers(1, 9), width=st.sampled_from([1.2, 2.0, 3.0]))
@settings(max_examples=12, deadline=None)
def test_the_result_does_not_depend_on_the_blocks(seed: int, slices: int, width: float) -> None:
    """Block by block the map is that of the whole volume, with voxels that are not measured as well."""
    labels = np.where(foam((26, 18, 16), width, seed), BONE, SOFT).astype(np.uint8)
    labels[:4, :5] = TissueClass.NOT_MEASURED
    source = LabelArray(labels, 10.0)
    whole, parts = np.zeros(labels.shape, np.float32), np.zeros(labels.shape, np.float32)
    starts: list[int] = []

    def store(start: int, values: NDArray[np.float32]) -> None:
        starts.append(start)
        parts[start : start + len(values)] = values

    first = local_thickness(source, (BONE,), on_block=lambda start, values: np.copyto(whole, values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thickness, "_LEAST_SLICES", slices)
        second = local_thickness(source, (BONE,), options=ThicknessOptions(max_bytes=1, threads=1), on_block=store)
    # Bone as thick as the volume needs all of it as context: then there is one block.
    assert starts == sorted(starts)
    np.testing.assert_array_equal(parts, whole)
    assert (whole > 0).sum() == (labels == BONE).sum() == first.voxels
    assert second.mean_um == pytest.approx(first.mean_um)
    assert second.sd_um == pytest.approx(first.sd_um)


def test_measures_of_parallel_plates() -> None:
    """Plates of 40 µm every 120 µm: Tb.Th 40, Tb.Sp 80, Tb.N 8.3 per mm; the implant belongs to neither."""
    labels = np.full((60, 40, 40), SOFT, np.uint8)
    labels[np.arange(-4, 56) % 12 < 4] = BONE
    labels[:, :5] = TissueClass.METAL
    labels[:, :, :3] = TissueClass.NOT_MEASURED
    measures = by_key(thickness_measures(LabelArray(labels, 10.0), region_name="all"))
    assert measures["trabecular_thickness", "all"].value == pytest.approx(40, abs=0.5)
    assert measures["trabecular_thickness_sd", "all"].value == pytest.approx(0, abs=0.5)
    assert measures["trabecular_separation", "all"].value == pytest.approx(80, abs=4)
    assert measures["trabecular_number", "all"].value == pytest.approx(1 / 3 / 0.040, rel=0.02)


def test_a_region_selects_the_voxels_but_not_the_spheres() -> None:
    """Thick and thin plate: each region has the thickness of its plate."""
    labels = np.full((40, 20, 20), SOFT, np.uint8)
    labels[4:8] = BONE
    labels[20:30] = BONE
    source = LabelArray(labels, 10.0)
    upper = np.zeros(labels.shape, bool)
    upper[:6] = True
    result = local_thickness(source, (BONE,), region=lambda start, stop: upper[start:stop])
    assert (result.voxels, result.mean_um) == (2 * 400, 40)
    assert local_thickness(source, (BONE,)).mean_um == pytest.approx((4 * 40 + 10 * 100) / 14)


def test_measures_of_a_plane_have_other_names() -> None:
    """Stripes in a plane; no identifier or symbol of the plane is one of the volume."""
    labels = np.full((48, 48), SOFT, np.uint8)
    labels[np.arange(-4, 44) % 12 < 4] = BONE
    plane = plane_thickness_measures(labels, 10.0)
    values = by_key(plane)
    assert values["trabecular_width_plane", "all"].value == pytest.approx(40)
    assert values["trabecular_separation_plane", "all"].value == pytest.approx(80)
    volume = thickness_measures(LabelArray(np.repeat(labels[None], 4, axis=0), 10.0))
    assert not {each.definition.id for each in plane} & {each.definition.id for each in volume}
    assert not {each.definition.symbol for each in plane} & {each.definition.symbol for each in volume}
    assert {each.definition.dimension for each in plane} == {2}


def test_nothing_to_measure_is_said() -> None:
    """Without bone the values of bone are NaN, with a note; a wide space is reported as capped."""
    source = LabelArray(np.full((20, 20, 20), SOFT, np.uint8), 10.0)
    values = by_key(thickness_measures(source, options=ThicknessOptions(max_um=100)))
    assert np.isnan(values["trabecular_thickness", "all"].value)
    assert values["trabecular_thickness", "all"].note == "no bone"
    assert values["trabecular_separation", "all"].value == pytest.approx(100)
    assert values["trabecular_separation", "all"].note.startswith("100.0% of the voxels are wider than 100 µm")
    with pytest.raises(InputError, match="`max_um` is 0"):
        ThicknessOptions(max_um=0)
    with pytest.raises(InputError, match="one length per axis"):
        thickness_map(np.ones((3, 3), bool), (1.0, 1.0, 1.0))
