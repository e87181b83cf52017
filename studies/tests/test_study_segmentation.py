"""Scores of the comparison of segmentations, on counts that are known."""

import numpy as np

from studies.measure.segmentation import confusion, dice, interval, row_of, table
from studies.measure.train_classifiers import FEATURES, WIDE, coarser, columns_of, name_of, spec_of
from tomostain.measure.classes import CLASSES, TissueClass


def test_confusion_counts_measured_pixels_only():
    truth = np.array([[1, 1, 2, 255]], np.uint8)
    predicted = np.array([[1, 2, 2, 0]], np.uint8)
    counts = confusion(truth, predicted)
    assert counts.sum() == 3
    assert counts[1].tolist() == [0, 1, 1, 0, 0, 0]
    assert counts[2, 2] == 1


def test_dice_of_known_counts_ignores_rare_classes():
    counts = np.zeros((6, 6), np.int64)
    counts[1, 1], counts[1, 2], counts[2, 2], counts[5, 5] = 900, 100, 1000, 3
    scores = dice(counts)
    np.testing.assert_allclose(scores[1:3], [2 * 900 / 1900, 2 * 1000 / 2100])
    assert np.isnan(scores[[0, 3, 4, 5]]).all()
    row = row_of("a", "ct", counts)
    assert row["SOFT volume"] == -0.1
    assert row["BONE volume"] == 0.1


def test_interval_contains_the_mean_and_is_narrow_for_equal_differences():
    assert interval(np.full(8, 0.25)) == "+0.250 [+0.250, +0.250]"
    assert interval(np.array([0.1, np.nan])) == "-"


def test_table_states_means_and_paired_differences():
    counts = np.diag(np.full(6, 1000))
    other = counts.copy()
    other[2, 1] = 1000
    rows = [row_of(name, variant, c) for name in "ab" for variant, c in (("ct", counts), ("both", other))]
    text = table(rows, "ct")
    assert "both - ct" in text
    assert "-0.333 [-0.333, -0.333]" in text  # BONE: 1000 of 2000 voxels are found
    assert "-50.0 ± 0.0 %" in text


def test_coarser_takes_mean_colours_and_the_most_frequent_class():
    rgb = np.array([[[0, 0, 0], [4, 4, 4]], [[8, 8, 8], [12, 12, 12]]], np.uint8)
    classes = np.array([[2, 2], [1, 2]], np.uint8)
    small, labels = coarser(rgb, classes, 2)
    assert small.tolist() == [[[6, 6, 6]]]
    assert labels.tolist() == [[TissueClass.BONE]]


def test_variants_share_features_classes_and_capacity():
    specs = [spec_of(variant, "toluidine-blue") for variant in ("stain", "ct", "both")]
    assert {spec.hidden for spec in specs} == {32}
    assert all(spec.features == FEATURES and len(spec.classes) == len(CLASSES) for spec in specs)
    assert sorted(columns_of(specs[0]) + columns_of(specs[1])) == columns_of(specs[2])
    assert [name_of(spec) for spec in specs] == ["phantom-tb-stain", "phantom-ct", "phantom-tb-both"]
    assert WIDE.halo == 2 * FEATURES.halo
