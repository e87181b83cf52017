import re

import numpy as np
import pytest

from tomostain.errors import InputError
from tomostain.measure.classes import TissueClass
from tomostain.measure.label_source import LabelArray
from tomostain.measure.measures import DEFINITIONS, by_key
from tomostain.measure.morphometry.contact import ContactRule, measure_contact
from tomostain.measure.morphometry.implant import find_implant
from tomostain.measure.morphometry.plane import find_plane_implant, plane_contact, plane_measures

RULE = ContactRule(18.0, 20.0)


def disc(bone, *, side=100, pixel_um=(10.0, 10.0), radius=200.0):
    """A metal disc in soft tissue; `bone` says where bone is, from (y, x, radius) in µm."""
    shape = tuple(int(side * 10 / size) for size in pixel_um)
    y, x = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2 + 0.13) * size for n, size in zip(shape, pixel_um, strict=True)), indexing="ij"
    )
    r = np.hypot(y, x)
    labels = np.where(bone(y, x, r), TissueClass.BONE, TissueClass.SOFT).astype(np.uint8)
    labels[r < radius] = TissueClass.METAL
    return labels


@pytest.mark.parametrize("pixel_um", [(10.0, 10.0), (12.5, 8.0)])
@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_a_disc_half_in_bone(pixel_um, angle):
    labels = disc(lambda y, x, r: y * np.cos(angle) + x * np.sin(angle) > 0, pixel_um=pixel_um)
    contact = plane_contact(find_plane_implant(labels, pixel_um), RULE)
    assert contact.percent == pytest.approx(50, abs=1)
    assert contact.total == pytest.approx(2 * np.pi * 200, rel=0.01)
    assert contact.seen == contact.total


@pytest.mark.parametrize(("gap", "percent"), [(10.0, 100.0), (50.0, 0.0)])
def test_a_gap_counts_up_to_the_tolerance(gap, percent):
    labels = disc(lambda y, x, r: r > 200 + gap)
    assert plane_contact(find_plane_implant(labels, 10.0), RULE).percent == percent


def test_areas_in_bands_around_a_disc():
    labels = disc(lambda y, x, r: r < 300)
    y, x = np.meshgrid(*[(np.arange(100) - 49.5 + 0.13) * 10.0] * 2, indexing="ij")
    labels[np.hypot(y, x) < 250] = TissueClass.NEW_BONE
    labels[np.hypot(y, x) < 200] = TissueClass.DEGRADATION
    labels[np.hypot(y, x) < 150] = TissueClass.METAL
    measures = by_key(plane_measures(find_plane_implant(labels, 10.0), edges_um=(0, 100, 200)))
    area = lambda outer, inner: np.pi * (outer**2 - inner**2) * 1e-6  # noqa: E731
    assert measures["b_ar", "0-200 µm"].value == pytest.approx(area(300, 200), rel=0.02)
    assert measures["nb_ar", "0-200 µm"].value == pytest.approx(area(250, 200), rel=0.02)
    assert measures["t_ar", "0-200 µm"].value == pytest.approx(area(400, 200), rel=0.03)
    assert measures["b_ar_t_ar", "0-100 µm"].value > 98
    assert measures["nb_ar_t_ar", "0-100 µm"].value == pytest.approx(100 * area(250, 200) / area(300, 200), abs=2)
    assert measures["st_ar_t_ar", "100-200 µm"].value > 98
    assert measures["dl_ar", "all"].value == pytest.approx(area(200, 150), rel=0.02)
    assert measures["im_ar", "all"].value == pytest.approx(area(150, 0), rel=0.02)
    assert measures["bic_plane", "all"].value == 100


def test_only_valid_pixels_count():
    labels = disc(lambda y, x, r: y > 0)
    mask = np.ones(labels.shape, bool)
    mask[50:, 50:] = labels[50:, 50:] == TissueClass.METAL  # half of the bone
    measures = by_key(plane_measures(find_plane_implant(labels, 10.0, mask=mask), rule=RULE, edges_um=(0, 100)))
    assert measures["bic_plane", "all"].value == pytest.approx(100 / 3, abs=2)
    assert re.search("BIC of 7[45] % of the outline", measures["bic_plane", "all"].note)
    assert measures["b_ar_t_ar", "0-100 µm"].value == pytest.approx(100 / 3, abs=2)
    assert measures["t_ar", "0-100 µm"].note == "75 % of the region is measured"


def test_parts_belong_to_the_implant_and_specks_do_not():
    labels = disc(lambda y, x, r: y > 0)
    labels[2:5, 2:5] = TissueClass.METAL
    labels[5:17, 80:92] = TissueClass.DEGRADATION
    labels[50, 50] = TissueClass.VOID
    labels[44:56, 40:45] = TissueClass.BONE
    implant = find_plane_implant(labels, 10.0)
    assert not implant.mask[3, 3]
    assert implant.mask[10, 85]
    assert implant.mask[50, 50]
    assert not implant.mask[50, 42]


def test_planes_of_a_rotationally_uniform_body_agree_with_3d():
    axes = [(np.arange(n) - (n - 1) / 2 + 0.13) * 10.0 for n in (48, 70, 70)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    radius = np.hypot(y, x)
    labels = np.where(np.sin(z / 50) > 0.4, TissueClass.BONE, TissueClass.SOFT).astype(np.uint8)
    labels[radius < 180] = TissueClass.METAL
    contact = measure_contact(find_implant(LabelArray(labels, 10.0)), RULE, "triangles")
    for plane in (labels[:, 35], labels[:, :, 34]):
        assert plane_contact(find_plane_implant(plane, 10.0), RULE).percent == pytest.approx(
            contact.percent, abs=1.5
        )  # 0.7 voxels


def test_names_and_symbols_differ_from_those_in_3d():
    flat = [each for each in DEFINITIONS.values() if each.dimension == 2]
    solid = [each for each in DEFINITIONS.values() if each.dimension == 3]
    assert len(flat) >= 10
    assert not {each.symbol for each in flat} & {each.symbol for each in solid}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.ones((5, 5, 5), np.uint8)}, r"shape \(5, 5, 5\)"),
        ({"labels": np.full((5, 5), 9, np.uint8)}, "9 are not tissue classes"),
        ({"labels": np.ones((5, 5), np.uint8)}, "no implant: at most 0 connected pixels .* soft tissue and marrow"),
        ({"pixel_um": 0.0}, "`pixel_um`"),
        ({"mask": np.ones((3, 3), bool)}, "`mask`"),
    ],
)
def test_bad_input(change, message):
    given = {"labels": disc(lambda y, x, r: y > 0), "pixel_um": 10.0} | change
    with pytest.raises(InputError, match=message):
        find_plane_implant(given.pop("labels"), given.pop("pixel_um"), **given)
