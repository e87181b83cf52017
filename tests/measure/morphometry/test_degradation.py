"""Degradation layer, volume loss and rate, on bodies whose truth is known."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from tomostain.errors import InputError
from tomostain.measure.classes import TissueClass
from tomostain.measure.label_source import LabelArray
from tomostain.measure.measures import by_key
from tomostain.measure.morphometry import degradation
from tomostain.measure.morphometry.degradation import degradation_measures, layer_thickness, loss_measures
from tomostain.measure.morphometry.implant import find_implant
from tomostain.measure.morphometry.initial_geometry import given_geometry

SIDE = 60


@pytest.fixture(autouse=True)
def thin_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Search for metal within 20 voxels, which saves time."""
    monkeypatch.setattr(degradation, "MAX_LAYER_UM", 200.0)


def layered(kind: str, thickness: float, seed: int) -> NDArray[np.uint8]:
    """Return labels of a plate, rod or ball of metal, 28 voxels wide, with a layer of `thickness` voxels."""
    rng = np.random.default_rng(seed)
    grid = np.moveaxis(np.indices((SIDE,) * 3), 0, -1) - (SIDE - 1) / 2 + rng.uniform(-0.5, 0.5, 3)
    turned = grid @ Rotation.random(None, rng).as_matrix()
    radius = np.linalg.norm(turned[..., : {"plate": 1, "rod": 2, "ball": 3}[kind]], axis=-1)
    labels = np.where(radius < 14 + thickness, TissueClass.DEGRADATION, TissueClass.SOFT)
    return np.where(radius < 14, TissueClass.METAL, labels).astype(np.uint8)


@pytest.mark.parametrize("kind", ["plate", "rod", "ball"])
@pytest.mark.parametrize("thickness", [1.2, 3.4, 8.0])
def test_thickness_of_known_layers(kind: str, thickness: float) -> None:
    """The mean is within 0.2 voxels, for layers of random orientation."""
    results = [layer_thickness(find_implant(LabelArray(layered(kind, thickness, seed), 10.0))) for seed in range(2)]
    assert np.mean([each.mean_um for each in results]) == pytest.approx(10 * thickness, abs=2)
    assert max(each.sd_um for each in results) < 4
    assert {each.capped for each in results} == {0}


@pytest.mark.parametrize("axis", range(3))
def test_the_correction_is_that_of_the_axis_across_the_face(axis: int) -> None:
    """A flat layer of 4 voxels along the grid, 20 µm or 10 µm each, is a quarter of such a voxel too thick."""
    voxel_um = (20.0, 10.0, 10.0)
    labels = np.full((30, 30, 30), TissueClass.SOFT, np.uint8)
    along = np.moveaxis(labels, axis, 0)
    along[:10], along[10:14] = TissueClass.METAL, TissueClass.DEGRADATION
    thickness = layer_thickness(find_implant(LabelArray(labels, voxel_um)))
    assert thickness.mean_um == pytest.approx(4.25 * voxel_um[axis])
    assert thickness.sd_um == pytest.approx(0, abs=1e-2)


@pytest.mark.parametrize("kind", ["plate", "ball"])
def test_thickness_in_voxels_that_are_not_cubic(kind: str) -> None:
    """Every second slice of layers of 8 voxels in random directions: the mean is within 2 %."""
    results = [
        layer_thickness(find_implant(LabelArray(layered(kind, 8.0, seed)[::2], (20.0, 10.0, 10.0))))
        for seed in range(2)
    ]
    assert np.mean([each.mean_um for each in results]) == pytest.approx(80, abs=1.5)


def test_the_thickness_does_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mean and map of blocks are those of the whole volume; the map is 0 in metal and outside."""
    labels = layered("ball", 4.0, 3)
    labels[:3, 20:25] = TissueClass.NOT_MEASURED
    implant = find_implant(LabelArray(labels, (10.0, 10.0, 10.0)))
    whole, parts = np.zeros(labels.shape, np.float32), np.zeros(labels.shape, np.float32)

    def store(target: NDArray[np.float32], starts: list[int]) -> degradation.OnBlock:
        def on_block(start: int, values: NDArray[np.float32]) -> None:
            starts.append(start)
            target[start : start + len(values)] = values

        return on_block

    first_starts: list[int] = []
    second_starts: list[int] = []
    first = layer_thickness(implant, on_block=store(whole, first_starts))
    second = layer_thickness(implant, on_block=store(parts, second_starts), max_bytes=1)
    assert len(first_starts) == 1 < len(second_starts)
    assert second.mean_um == pytest.approx(first.mean_um)
    assert second.sd_um == pytest.approx(first.sd_um)
    np.testing.assert_array_equal(whole, parts)
    layer = labels == TissueClass.DEGRADATION
    assert not whole[~layer].any()
    assert whole[layer].mean() == pytest.approx(40, abs=3)


def test_bare_metal_has_a_layer_of_0() -> None:
    """An axis-parallel block: half of one face is covered by three voxels."""
    labels = np.full((30, 30, 30), TissueClass.SOFT, np.uint8)
    labels[10:20, 10:20, 10:20] = TissueClass.METAL
    bare = layer_thickness(find_implant(LabelArray(labels, 10.0)))
    assert (bare.mean_um, bare.sd_um) == (0, 0)
    labels[20:23, 10:20, 10:20] = TissueClass.DEGRADATION
    covered = layer_thickness(find_implant(LabelArray(labels, 10.0)))
    assert 100 * 30 / 720 < covered.mean_um < 100 * 35 / 720 + 4 * 30 * 20 / 720


def test_volumes_loss_and_rate() -> None:
    """A ball of 1 mm that lost its outer 100 µm in 26 weeks: every number follows from the radii."""
    grid = np.moveaxis(np.indices((56,) * 3), 0, -1) - 27.5
    radius = 20 * np.linalg.norm(grid, axis=-1)
    labels = np.where(radius < 500, TissueClass.DEGRADATION, TissueClass.BONE)
    labels = np.where(radius < 400, TissueClass.METAL, labels).astype(np.uint8)
    new, left = 4 / 3 * math.pi * 0.5**3, 4 / 3 * math.pi * 0.4**3
    area = 4 * math.pi * 0.5**2
    implant = find_implant(LabelArray(labels, 20.0))
    measures = degradation_measures(implant, initial=given_geometry(new, area), weeks=26, material="Mg-10Gd")
    values = {symbol: each.value for each in measures for symbol in (each.definition.symbol,)}
    assert values["Im.V"] == pytest.approx(left, rel=0.01)
    assert values["DL.V"] == pytest.approx(new - left, rel=0.01)
    assert values["DL.Th"] == pytest.approx(100, abs=3)
    assert values["VL"] == pytest.approx(100 * (1 - 0.8**3), abs=0.5)
    assert values["DR"] == pytest.approx((new - left) / area / (26 * 7 / 365.25), rel=0.01)
    assert {each.note for each in measures} == {"", "initial volume and surface were given"}
    units = {each.definition.symbol: each.definition.unit for each in measures}
    assert (units["DR"], units["VL"], units["DL.V"]) == ("mm/year", "%", "mm³")


def test_what_is_not_known_is_left_out() -> None:
    """Without initial geometry no loss, without weeks no rate; permanent materials and cut implants get a note."""
    labels = np.full((20, 20, 20), TissueClass.SOFT, np.uint8)
    labels[:14, 6:14, 6:14] = TissueClass.METAL
    implant = find_implant(LabelArray(labels, 10.0))
    measures = by_key(degradation_measures(implant))
    assert {key[0] for key in measures} == {
        "degradation_layer_volume",
        "degradation_layer_thickness",
        "degradation_layer_thickness_sd",
        "residual_metal_volume",
    }
    assert measures["residual_metal_volume", "all"].note.startswith("part of the implant lies outside")
    (loss,) = loss_measures(9e8, given_geometry(1, 5), material="Ti")
    assert loss.value == pytest.approx(10)
    assert "Ti does not degrade" in loss.note
    _, rate = loss_measures(9e8, given_geometry(1), weeks=8)
    assert math.isnan(rate.value)
    assert "the initial surface is not known" in rate.note
    with pytest.raises(InputError, match="`weeks` is 0"):
        degradation_measures(implant, weeks=0)


def test_a_layer_far_from_metal_is_capped() -> None:
    """Without metal nearby the thickness is the largest that is searched, with a note."""
    labels = np.full((40, 40, 90), TissueClass.SOFT, np.uint8)
    labels[10:30, 10:30, 5:85] = TissueClass.DEGRADATION
    labels[18:22, 18:22, 5:12] = TissueClass.METAL
    measures = by_key(degradation_measures(find_implant(LabelArray(labels, 10.0))))
    assert "of the surface is farther than 200 µm" in measures["degradation_layer_thickness", "all"].note


def test_a_layer_without_metal_has_a_volume_but_no_thickness() -> None:
    """The whole implant is degradation layer."""
    labels = np.full((20, 20, 20), TissueClass.SOFT, np.uint8)
    labels[5:15, 5:15, 5:15] = TissueClass.DEGRADATION
    implant = find_implant(LabelArray(labels, 10.0))
    measures = by_key(degradation_measures(implant, initial=given_geometry(1e-3, 6e-2)))
    assert measures["degradation_layer_volume", "all"].value == pytest.approx(1e-3)
    assert math.isnan(measures["degradation_layer_thickness", "all"].value)
    assert "contains no metal" in measures["degradation_layer_thickness", "all"].note
    assert measures["implant_volume_loss", "all"].value == 100
