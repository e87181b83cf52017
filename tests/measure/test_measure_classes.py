"""Tissue classes and label sources."""

import numpy as np
import pytest

from tomostain.errors import InputError
from tomostain.measure.classes import CLASSES, COLOURS, TITLES, TissueClass, phantom_classes
from tomostain.measure.label_source import LabelArray, check_classes
from tomostain.measure.measures import DEFINITIONS, Measure, by_key, define
from tomostain.phantom.tissue import Label


def test_every_class_has_a_distinct_title_and_colour():
    assert set(TITLES) == set(COLOURS) == set(TissueClass)
    assert len(set(COLOURS.values())) == len(set(TITLES.values())) == len(TissueClass)
    assert TissueClass.NOT_MEASURED not in CLASSES


def test_every_label_of_a_phantom_has_a_class():
    labels = np.array(list(Label), np.uint8)
    expected = {"AIR": 0, "TUBE": 0, "SOFT": 1, "MARROW": 1, "ADIPOCYTE": 1, "BONE": 2, "WOVEN": 3}
    expected |= {"LACUNA": 1, "CANAL": 1, "DEGRADATION": 4, "SCREW": 5}
    assert phantom_classes(labels).tolist() == [expected[label.name] for label in Label]


def test_label_array_reads_slices():
    labels = np.arange(3, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    source = LabelArray(labels, (40.0, 20.0, 20.0))
    assert source.voxel_um == (40.0, 20.0, 20.0)
    assert source.shape == (3, 2, 2)
    assert source.read(1, 3)[:, 0, 0].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("labels", "voxel_um", "message"),
    [
        (np.zeros((3, 3), np.uint8), 20.0, "uint8 of shape \\(3, 3\\)"),
        (np.zeros((3, 3, 3), int), 20.0, "int64 of shape"),
        (np.full((3, 3, 3), 9, np.uint8), 20.0, "the values 9 are not tissue classes.*5 \\(metal\\)"),
        (np.zeros((3, 3, 3), np.uint8), 0.0, "`voxel_um` is 0.0"),
        (np.zeros((3, 3, 3), np.uint8), (1.0, np.nan, 1.0), "`voxel_um` is"),
    ],
)
def test_label_array_refuses(labels, voxel_um, message):
    with pytest.raises(InputError, match=message):
        LabelArray(labels, voxel_um)


def test_check_classes_accepts_all_classes():
    check_classes(np.array(list(TissueClass), np.uint8), "x")
    with pytest.raises(InputError, match=r"labels\.tif: the values 6, 254"):
        check_classes(np.array([6, 254, 5], np.uint8), "labels.tif")


def test_definitions_are_unique():
    first = define("trial", symbol="T", title="trial", unit="%", dimension=3, method="trial-1", text="A\n  trial.")
    try:
        assert first.text == "A trial."
        with pytest.raises(ValueError, match="'trial' is defined twice"):
            define("trial", symbol="T", title="trial", unit="%", dimension=3, method="trial-1", text="")
        measure = Measure(first, 1.0)
        assert measure.with_note("a").with_note("b").note == "a; b"
        assert by_key([measure]) == {("trial", "all"): measure}
        with pytest.raises(InputError, match="'trial' of the region 'all' occurs twice"):
            by_key([measure, measure])
    finally:
        del DEFINITIONS["trial"]
