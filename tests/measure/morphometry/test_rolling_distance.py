"""Distances of a moving window against those of the whole volume, and how often each slice is computed."""

import numpy as np
import pytest

from tomostain.measure.classes import Labels, TissueClass
from tomostain.measure.label_source import LabelArray
from tomostain.measure.morphometry import rolling_distance
from tomostain.measure.morphometry.rolling_distance import RollingDistances, phase_distances
from tomostain.measure.morphometry.squared_distances import Metric

BONE = (TissueClass.BONE,)
WINDOWS = [(0, 9), (3, 15), (9, 21), (20, 40)]


def random_labels() -> Labels:
    labels = np.random.default_rng(3).choice([TissueClass.BONE, TissueClass.SOFT], (40, 9, 11), p=[0.97, 0.03])
    labels[:4, :3] = TissueClass.NOT_MEASURED
    return np.asarray(labels, np.uint8)


@pytest.mark.parametrize("voxel_um", [(10.0, 10.0, 10.0), (20.0, 10.0, 14.0)])
@pytest.mark.parametrize("max_bytes", [0, 10**6])
def test_a_window_has_the_distances_of_the_whole_volume(voxel_um: tuple[float, float, float], max_bytes: int) -> None:
    labels, metric = random_labels(), Metric.of(voxel_um)
    whole = phase_distances(labels, BONE, metric, 49.0)
    assert whole.max() > 9
    assert (whole[labels != TissueClass.BONE] == 0).all()
    rolling = RollingDistances(LabelArray(labels, voxel_um), BONE, metric, 49.0, max_bytes=max_bytes)
    for first, last in WINDOWS:
        assert np.array_equal(rolling.window(first, last), whole[first:last])


def test_each_slice_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = 0

    def counted(labels: Labels, *arguments: object) -> object:
        nonlocal computed
        computed += len(labels)
        return phase_distances(labels, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(rolling_distance, "phase_distances", counted)
    metric = Metric.of((10.0, 10.0, 10.0))
    rolling = RollingDistances(LabelArray(random_labels(), (10.0, 10.0, 10.0)), BONE, metric, 9.0, max_bytes=0)
    for first, last in WINDOWS:
        rolling.window(first, last)
    overlap = metric.reach(0, 9.0) + 1
    pieces = [(0, 8), (8, 9), (9, 15), (15, 21), (21, 29), (29, 37), (37, 40)]
    assert computed == sum(min(stop + overlap, 40) - max(start - overlap, 0) for start, stop in pieces)
