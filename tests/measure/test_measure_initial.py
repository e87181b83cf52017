"""The new implant from labels, from a mask or from numbers, where parts of the volume were not measured."""

import math

import numpy as np
import pytest
import tifffile

from tomostain.errors import InputError
from tomostain.measure.classes import TissueClass
from tomostain.measure.config import MeasureConfig
from tomostain.measure.initial import known_implant, open_initial
from tomostain.measure.label_files import write_labels
from tomostain.measure.label_source import LabelArray
from tomostain.measure.morphometry.degradation import degradation_measures
from tomostain.measure.morphometry.implant import find_implant

UM = 20.0
BLOCK = (slice(10, 30), slice(8, 32), slice(10, 40))
VOXELS = 20 * 24 * 30


def block(value=TissueClass.METAL, around=TissueClass.SOFT):
    """A block in a volume of 40 x 40 x 50 voxels, which touches no face."""
    labels = np.full((40, 40, 50), around, np.uint8)
    labels[BLOCK] = value
    return labels


def geometry_of(path, labels):
    return known_implant(MeasureConfig(initial=path), LabelArray(labels, UM)).geometry


def loss(labels, **options):
    source = LabelArray(labels, UM)
    known = known_implant(MeasureConfig(**options), source)
    measures = degradation_measures(find_implant(source), initial=known.geometry, weeks=8)
    return {each.definition.symbol: each for each in measures}


@pytest.fixture
def initial(tmp_path):
    return write_labels(tmp_path / "initial.ome.zarr", LabelArray(block(), UM))


def test_voxels_that_were_not_measured_are_no_lost_metal(initial):
    labels = block()
    labels[20:] = TissueClass.NOT_MEASURED  # half of the block
    labels[10:12, 8:32, 10:40] = TissueClass.SOFT  # 2 of the 10 remaining slices are lost
    measures = loss(labels, initial=initial)
    assert measures["VL"].value == pytest.approx(20)
    assert "50.0% of it were not measured and do not count" in measures["VL"].note


def test_the_initial_surface_ends_where_nothing_was_measured(initial):
    whole = geometry_of(initial, block())
    assert whole.volume_um3 == VOXELS * UM**3
    labels = block()
    labels[20:] = TissueClass.NOT_MEASURED
    half = geometry_of(initial, labels)
    assert half.volume_um3 == whole.volume_um3 / 2
    assert half.area_um2 == pytest.approx(whole.area_um2 / 2, rel=1e-3)
    labels[:] = TissueClass.NOT_MEASURED
    labels[0, 0, 0] = TissueClass.SOFT
    with pytest.raises(InputError, match="lies in voxels that were not measured"):
        geometry_of(initial, labels)


def test_only_the_largest_body_of_the_initial_labels_counts(tmp_path, initial):
    two = block()
    two[33:37, 2:36, 2:48] = TissueClass.METAL  # another implant in the same scan
    geometry = geometry_of(write_labels(tmp_path / "two.ome.zarr", LabelArray(two, UM)), block())
    alone = geometry_of(initial, block())
    assert geometry.volume_um3 == alone.volume_um3
    assert geometry.area_um2 == pytest.approx(alone.area_um2)
    assert f"{4 * 34 * 46} voxels apart from it are ignored" in geometry.note


@pytest.mark.parametrize(("value", "dtype"), [(1, np.uint8), (255, np.uint8), (2, np.uint8), (1000, np.uint16)])
def test_a_binary_mask_is_the_implant(tmp_path, initial, value, dtype):
    path = tmp_path / "mask.tif"
    tifffile.imwrite(path, np.where(block() == TissueClass.METAL, value, 0).astype(dtype))
    geometry = geometry_of(path, block())
    expected = geometry_of(initial, block())
    assert (geometry.volume_um3, geometry.area_um2) == (expected.volume_um3, expected.area_um2)


@pytest.mark.parametrize("value", [TissueClass.METAL, TissueClass.DEGRADATION])
def test_labels_of_metal_or_layer_are_no_mask(tmp_path, value):
    """With bone and unmeasured voxels around it, only the implant counts."""
    labels = block(value, TissueClass.BONE)
    labels[:, :3] = TissueClass.NOT_MEASURED
    path = write_labels(tmp_path / "labels.ome.zarr", LabelArray(labels, UM))
    assert geometry_of(path, block()).volume_um3 == VOXELS * UM**3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 0, 0), "mask of the initial implant is empty"),
        ((0, 1, 255), "contains the values 0, 1, 255; give labels in which the new implant is 5"),
        ((0, 80, 200), "contains the values 0, 80, 200"),
        ((1, 1, 1), "contains the values 1; give"),
    ],
)
def test_a_file_that_is_neither_is_refused(tmp_path, values, message):
    labels = block(values[1], values[0])
    labels[:, :3] = values[2]
    path = tmp_path / "initial.tif"
    tifffile.imwrite(path, labels)
    with pytest.raises(InputError, match=message) as error:
        open_initial(path, LabelArray(block(), UM))
    assert error.value.parameter == "initial"


def test_a_small_initial_implant_names_the_file(tmp_path):
    labels = np.zeros((40, 40, 50), np.uint8)
    labels[:2, :2, :2] = 1
    path = tmp_path / "mask.tif"
    tifffile.imwrite(path, labels)
    with pytest.raises(InputError, match=r"mask\.tif: the implant has 8 connected voxels"):
        geometry_of(path, block())


def test_an_initial_volume_without_a_surface_gives_the_loss_only():
    measures = loss(block(), initial_volume_mm3=2 * VOXELS * UM**3 * 1e-9)
    assert measures["VL"].value == pytest.approx(50)
    assert measures["VL"].note == "initial volume was given"
    assert math.isnan(measures["DR"].value)
    assert "the initial surface is not known" in measures["DR"].note


def test_numbers_get_a_note_where_the_box_of_the_implant_was_not_measured():
    labels = block()
    labels[:5] = TissueClass.NOT_MEASURED  # outside of the box
    assert loss(labels, initial_volume_mm3=1.0)["VL"].note == "initial volume was given"
    labels[20:22, 8:32, 10:25] = TissueClass.NOT_MEASURED
    assert (
        "5.0% of the bounding box of the implant were not measured" in loss(labels, initial_volume_mm3=1.0)["VL"].note
    )
