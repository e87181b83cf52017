import csv

import numpy as np
import pytest

from studies.measure.planes import KINDS, draw_plane, measure_planes, write_csv
from studies.measure.rims import RULES, changed, contacts
from tomostain.measure.classes import TissueClass
from tomostain.measure.label_source import LabelArray
from tomostain.measure.morphometry.implant import find_implant


@pytest.fixture(scope="module")
def labels():
    """A cylinder of 1.6 mm along x, in bone where y is below the axis."""
    z, y, x = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * 20.0 for n in (60, 60, 100)], indexing="ij")
    labels = np.where(y > 0, TissueClass.BONE, TissueClass.SOFT).astype(np.uint8)
    labels[(np.hypot(y, z) < 300) & (np.abs(x) < 800)] = TissueClass.METAL
    return labels


def test_axial_planes_contain_the_axis_apart_from_tilt_and_offset(labels):
    implant = find_implant(LabelArray(labels, 20.0))
    rng = np.random.default_rng(1)
    for _ in range(20):
        section = draw_plane(implant, "axial", rng, 100)
        assert abs(section.normal @ implant.axis) <= np.sin(np.radians(3.01))
        distance = (implant.centre_um - section.origin_um) @ section.normal
        assert abs(distance) <= 151
    angles = [draw_plane(implant, "any", rng, 100).normal @ implant.axis for _ in range(200)]
    assert np.ptp(angles) > 1.5


def test_planes_vary_around_the_value_in_3d_and_repeat_by_seed(labels):
    implant = find_implant(LabelArray(labels, 20.0))
    planes = measure_planes(implant, labels, "axial", 0, 25)
    again = measure_planes(implant, labels, "axial", 0, 25)
    assert (planes.bic == again.bic).all()
    assert planes.bic.std() > 1
    assert abs(planes.bic.mean() - 50) < 15
    rng = np.random.default_rng(0)
    widths = [np.ptp(planes.interval(n, rng)) for n in (1, 3, 5)]
    assert widths[0] > widths[1] > widths[2]


def test_the_table_has_one_row_for_each_plane(labels, tmp_path):
    implant = find_implant(LabelArray(labels, 20.0))
    planes = {kind: measure_planes(implant, labels, kind, 0, 3) for kind in KINDS}
    write_csv(tmp_path / "planes.csv", "cylinder", 50.0, planes)
    with (tmp_path / "planes.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == ["3D"] + ["axial"] * 3 + ["any"] * 3
    assert float(rows[1]["bic_percent"]) == pytest.approx(planes["axial"].bic[0], abs=1e-3)


def test_only_the_default_rule_withstands_every_rim(labels):
    expected = contacts(labels)
    errors = dict.fromkeys(RULES, 0.0)
    for _, wrong in list(changed(labels))[:3]:
        for rule, value in contacts(wrong).items():
            errors[rule] = max(errors[rule], abs(value - expected[rule]))
    default = errors.pop("half of two voxels beyond the gap (default)")
    assert default < 2
    assert min(errors.values()) > 5
