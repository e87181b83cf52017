"""Bodies of new implants, their fit to labels, diameter, and degradation, on bodies and phantoms with known truth."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tomostain.errors import InputError
from tomostain.measure.classes import TissueClass, phantom_classes
from tomostain.measure.label_source import LabelArray
from tomostain.measure.morphometry import initial_geometry
from tomostain.measure.morphometry.bodies import BODIES, Body, Cylinder, ThreadedScrew, body_named
from tomostain.measure.morphometry.body_fit import FittedBody
from tomostain.measure.morphometry.boundary import boundary_points
from tomostain.measure.morphometry.diameter import check_diameter, measure_diameter
from tomostain.measure.morphometry.implant import Implant, find_implant
from tomostain.measure.morphometry.initial_geometry import (
    geometry_from_body,
    geometry_from_mask,
    given_geometry,
    volume_and_area,
)
from tomostain.phantom import PhantomConfig
from tomostain.phantom.anatomy import grow_anatomy
from tomostain.phantom.sampler import sample_tissue_in_volume
from tomostain.phantom.screw import screw_distance

Float = NDArray[np.float64]
VOXEL_UM = 60.0
SHAPE = (72, 70, 68)


@pytest.fixture
def coarse_area(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure areas on a coarser grid, which saves time."""
    monkeypatch.setattr(initial_geometry, "_AREA_STEP", 0.03)


def grid_um(shape: tuple[int, int, int], voxel_um: float) -> Float:
    """Return the centres of all voxels, shape (n, 3), µm."""
    return np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 3) * voxel_um


def placed(body: Body, seed: int, shift_um: tuple[float, float, float] = (0, 0, 0)) -> FittedBody:
    """Return a body in a random pose in the middle of the volume."""
    rotation = Rotation.random(None, np.random.default_rng(seed)).as_matrix()
    centre = (np.array(SHAPE) - 1) / 2 * VOXEL_UM + shift_um
    return FittedBody(body, rotation, centre, 0.0, 0.0, math.nan)


def labels_of(body: FittedBody, layer_um: float = 0.0) -> NDArray[np.uint8]:
    """Return labels of a body in bone, whose outer part is a degradation layer."""
    distance = body.distance(grid_um(SHAPE, VOXEL_UM)).reshape(SHAPE)
    labels = np.where(distance < layer_um, TissueClass.DEGRADATION, TissueClass.BONE)
    return np.where(distance < 0, TissueClass.METAL, labels).astype(np.uint8)


@pytest.fixture(scope="module")
def phantom() -> tuple[NDArray[np.uint8], Float]:
    """Labels of a phantom, partly outside of the field of view, and the signed distance to its new screw."""
    config = PhantomConfig(shape=SHAPE, voxel_um=VOXEL_UM, material="Mg-10Gd", weeks=12, seed=0)
    anatomy = grow_anatomy(config)
    points = grid_um(SHAPE, VOXEL_UM)
    distance = screw_distance(anatomy.pose.to_specimen(points).astype(np.float32)).astype(float)
    labels = np.where(distance < 0, TissueClass.METAL, TissueClass.SOFT).astype(np.uint8)
    near = np.abs(distance) < 400  # The layer is there.
    labels[near] = phantom_classes(sample_tissue_in_volume(anatomy, points[near], finest_um=VOXEL_UM).label)
    return labels.reshape(SHAPE), distance.reshape(SHAPE)


def test_the_screw_is_that_of_the_phantom() -> None:
    """The preset has the distances of the phantom's screw; without a slot as well."""
    points = np.random.default_rng(0).uniform(-2500, 2500, (4000, 3))
    screw = BODIES["m2-screw"]
    np.testing.assert_allclose(screw.distance(points), screw_distance(points.astype(np.float32)), atol=0.01)
    plain = ThreadedScrew(400, 2000, 4000, chamfer_um=300)
    expected = screw_distance(points.astype(np.float32), slotted=False)
    np.testing.assert_allclose(plain.distance(points), expected, atol=0.01)


def test_turning_the_thread_by_one_turn_changes_nothing() -> None:
    """The phase of the thread is periodic, and moves the thread along the axis."""
    screw = ThreadedScrew(400, 2000, 4000)
    points = np.random.default_rng(1).uniform(-800, 800, (500, 3))
    np.testing.assert_allclose(screw.distance(points, 1.0), screw.distance(points))
    moved = points - [100.0, 0, 0]
    np.testing.assert_allclose(screw.distance(points, 0.25), screw.distance(moved), atol=1e-6)


def test_bad_bodies_are_refused() -> None:
    """Lengths must be positive, a thread less deep than the radius, a name known."""
    with pytest.raises(InputError, match="`diameter_um` is 0"):
        Cylinder(0, 100)
    with pytest.raises(InputError, match="smaller pitch"):
        ThreadedScrew(2000, 2000, 4000)
    with pytest.raises(InputError, match=r"no implant is named 'm3'; choose from: m2-screw"):
        body_named("m3")
    with pytest.raises(InputError, match="`area_mm2` is -1"):
        given_geometry(1, -1)


@pytest.mark.parametrize("seed", range(3))
def test_the_diameter_of_a_cylinder(seed: int) -> None:
    """A cylinder in any pose, whole or half outside of the volume."""
    for shift in ((0, 0, 0), (900, 700, 0)):
        body = placed(Cylinder(1600, 3000), seed, shift)
        measured = measure_diameter(find_implant(LabelArray(labels_of(body), VOXEL_UM)))
        assert measured.diameter_um == pytest.approx(1600, abs=50)
        assert abs(measured.axis @ body.rotation[:, 0]) > np.cos(np.radians(2.5))


def test_a_wrong_voxel_size_is_found_by_the_diameter() -> None:
    """The message states both diameters and the factor."""
    labels = labels_of(placed(BODIES["m2-screw"], 4))
    assert check_diameter(find_implant(LabelArray(labels, VOXEL_UM)), 2000).diameter_um == pytest.approx(2000, abs=60)
    implant = find_implant(LabelArray(labels, VOXEL_UM / 2))
    with pytest.raises(InputError, match=r"is (99\d|10\d\d) µm where 2000 µm is expected, a factor of 0\.5\d?; co"):
        check_diameter(implant, 2000)
    with pytest.raises(InputError, match="the expected diameter is 0"):
        check_diameter(implant, 0)


@pytest.mark.parametrize("seen", [0, 1, 4])
def test_an_implant_whose_surface_is_not_seen_has_no_diameter(seen: int) -> None:
    """Everything around it is not measured, except `seen` voxels at one face, or the implant fills the volume."""
    labels = np.full((20, 20, 20), TissueClass.NOT_MEASURED, np.uint8)
    labels[5:15, 5:15, 5:15] = TissueClass.METAL
    labels[15, 5 : 5 + seen, 5:10] = TissueClass.BONE
    expected = f"almost no surface \\({5 * seen} voxel faces\\)" if seen else "^no surface"
    with pytest.raises(InputError, match=f"{expected} of the implant is in the field of view"):
        check_diameter(find_implant(LabelArray(labels, 20.0)), 2000)
    if not seen:
        full = find_implant(LabelArray(np.full((9, 9, 9), TissueClass.METAL, np.uint8), 20.0))
        with pytest.raises(InputError, match=r"^no surface of the implant is in the field of view"):
            geometry_from_body(full, BODIES["m2-screw"])


def test_one_flat_face_gives_no_diameter() -> None:
    """All of the visible surface is one plane: the fit has nothing to measure, or finds another diameter."""
    labels = np.full((20, 20, 20), TissueClass.BONE, np.uint8)
    labels[:10] = TissueClass.METAL
    with pytest.raises(InputError, match=r"surface .* of the implant is in the field of view|is expected, a factor of"):
        check_diameter(find_implant(LabelArray(labels, 20.0)), 2000)


def test_boundary_points_are_on_visible_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not on the border of the volume, not at unknown voxels; blocks select the same points."""
    labels = np.full((12, 10, 10), TissueClass.SOFT, np.uint8)
    labels[:8, 3:7, 3:7] = TissueClass.METAL
    labels[:, :3] = TissueClass.NOT_MEASURED
    implant = find_implant(LabelArray(labels, (20.0, 10.0, 10.0)))
    points = boundary_points(implant)
    assert points.total == len(points.points_um) == 3 * 8 * 4 + 16
    np.testing.assert_allclose(points.points_um[points.normals[:, 0] != 0, 0], 7.5 * 20)
    assert set(points.points_um[points.normals[:, 2] != 0, 2]) == {25.0, 65.0}
    some = boundary_points(implant, 20)
    parts = boundary_points(implant, 20, max_bytes=24 * 100 * 4)
    np.testing.assert_array_equal(some.points_um, parts.points_um)


@pytest.mark.usefixtures("coarse_area")
def test_initial_geometry_of_a_phantom(phantom: tuple[NDArray[np.uint8], Float]) -> None:
    """From the labels of a degraded screw, its initial volume is found within 0.5 %, the area within 4 %."""
    labels, distance = phantom
    geometry, fitted = geometry_from_body(find_implant(LabelArray(labels, VOXEL_UM)), BODIES["m2-screw"])
    volume = np.clip(0.5 - distance / VOXEL_UM, 0, 1).sum() * VOXEL_UM**3
    assert geometry.volume_um3 == pytest.approx(volume, rel=0.005)
    band = VOXEL_UM / 2
    assert geometry.area_um2 == pytest.approx((np.abs(distance) < band).sum() * VOXEL_UM**3 / (2 * band), rel=0.04)
    assert geometry.residual_um < VOXEL_UM / 2
    assert 0 < geometry.offset_um < 60
    assert "residual" in geometry.note
    found = fitted.distance(grid_um(SHAPE, VOXEL_UM)).reshape(SHAPE)
    assert np.abs(found - distance)[np.abs(distance) < 200].mean() < 15


@pytest.mark.usefixtures("coarse_area")
def test_initial_geometry_of_noisy_labels(phantom: tuple[NDArray[np.uint8], Float]) -> None:
    """With a rough boundary and specks, as a classifier gives them, the volume is still within 2 %."""
    labels, distance = phantom
    rng = np.random.default_rng(0)
    implant = np.isin(labels, (TissueClass.METAL, TissueClass.DEGRADATION)).astype(np.float32)
    noise = 1.8 * ndimage.gaussian_filter(rng.standard_normal(SHAPE), 1.5) + rng.normal(0, 0.1, SHAPE)
    rough = ndimage.gaussian_filter(implant, 0.8) + noise > 0.5
    labels = np.where(rough, TissueClass.METAL, TissueClass.SOFT).astype(np.uint8)
    geometry, _ = geometry_from_body(find_implant(LabelArray(labels, VOXEL_UM)), BODIES["m2-screw"])
    volume = np.count_nonzero(distance < 0) * VOXEL_UM**3
    assert geometry.volume_um3 == pytest.approx(volume, rel=0.02)


def test_the_area_of_the_screw() -> None:
    """Per pitch, the area of crest, root and two flanks (rings; the slope of the helix adds 0.2 %)."""
    screw = ThreadedScrew(400, 2000, 3200)
    body = FittedBody(screw, np.eye(3), np.array([390.0, 1500.0, 1500.0]), 0.0, 0.0, math.nan)
    _, area = volume_and_area(body, LabelArray(np.ones((40, 150, 150), np.uint8), 20.0))
    depth = screw.thread_depth_um
    flank, root = depth / math.cos(math.radians(30)), 400 * 7 / 8 - 2 * depth * math.tan(math.radians(30))
    per_pitch = 2 * math.pi * (50 * 1000 + root * (1000 - depth) + 2 * flank * (1000 - depth / 2))
    assert area == pytest.approx(2 * per_pitch, rel=0.01)


def test_a_body_that_does_not_fit_is_refused() -> None:
    """A flat block instead of a screw: the residual is stated."""
    labels = np.full(SHAPE, TissueClass.SOFT, np.uint8)
    labels[30:38, 15:53, 15:53] = TissueClass.METAL
    with pytest.raises(InputError, match="does not fit the implant"):
        geometry_from_body(find_implant(LabelArray(labels, VOXEL_UM)), BODIES["m2-screw"], tolerance=0.9)


@pytest.mark.usefixtures("coarse_area")
def test_geometry_of_a_cylinder_is_analytic() -> None:
    """Volume and area of a whole cylinder by fit and by mask; a part outside of the volume does not count."""
    body = placed(Cylinder(1500, 2500), 2)
    labels = labels_of(body, 60)
    implant: Implant = find_implant(LabelArray(labels, VOXEL_UM))
    geometry, _ = geometry_from_body(implant, body.body)
    volume, area = math.pi * 750**2 * 2500, 2 * math.pi * 750 * (750 + 2500)
    assert geometry.volume_um3 == pytest.approx(volume, rel=0.01)
    assert geometry.area_um2 == pytest.approx(area, rel=0.02)
    mask = labels == TissueClass.METAL
    by_mask = geometry_from_mask(lambda start, stop: mask[start:stop], SHAPE, (VOXEL_UM,) * 3)
    parts = geometry_from_mask(lambda start, stop: mask[start:stop], SHAPE, (VOXEL_UM,) * 3, max_bytes=5_000_000)
    assert by_mask.volume_um3 == pytest.approx(volume, rel=0.01)
    assert by_mask.area_um2 == pytest.approx(area, rel=0.03)
    assert parts.area_um2 == pytest.approx(by_mask.area_um2, rel=1e-5)
    half = LabelArray(labels[: SHAPE[0] // 2], VOXEL_UM)
    assert volume_and_area(body, half)[0] == pytest.approx(volume / 2, rel=0.02)
    with pytest.raises(InputError, match="mask of the initial implant is empty"):
        geometry_from_mask(lambda start, stop: np.zeros((stop - start, 4, 4), bool), (6, 4, 4), (1.0, 1.0, 1.0))
