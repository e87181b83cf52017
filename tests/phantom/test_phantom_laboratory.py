"""What the laboratory does: each effect changes what it should, and only there."""

import numpy as np
import pytest

from tomostain.phantom import Label, LaboratoryConfig, PhantomConfig, grow_anatomy, make_slide, section_through_screw
from tomostain.phantom.laboratory import STRAIN, damage, draw_affine

BASE = {"seed": 3, "shape": (12, 48, 48), "voxel_um": 100.0, "pixel_um": 50.0, "orientation": "lying"}
PERFECT = LaboratoryConfig.perfect()


def slide_of(laboratory=PERFECT, **values):
    config = PhantomConfig.from_dict(BASE | {"laboratory": laboratory.model_dump()} | values)
    anatomy = grow_anatomy(config)
    return make_slide(anatomy, *section_through_screw(config, anatomy.pose))


@pytest.fixture(scope="module")
def perfect():
    return slide_of()


def test_a_perfect_laboratory_changes_nothing(perfect):
    np.testing.assert_array_equal(perfect.rgb, perfect.ideal)
    np.testing.assert_allclose(perfect.section.slide_to_section, [[1, 0, 0], [0, 1, 0]], atol=1e-9)
    assert not perfect.shift_um.any()
    assert not perfect.damaged.any()


@pytest.mark.parametrize("stain", list(STRAIN))
def test_strain_stays_within_what_the_paper_saw(stain):
    # Paper section 2.3: shear below 1 %, H&E up to 3 to 4 %.
    largest = 0.0
    for seed in range(50):
        affine = draw_affine((100, 100), 10.0, STRAIN[stain], np.zeros(2), np.random.default_rng(seed))
        largest = max(largest, np.abs(affine[:, :2] - np.eye(2)).max())
        np.testing.assert_allclose(affine[:, :2] @ [495, 495] + affine[:, 2], [495, 495])  # about the centre
    assert {"toluidine-blue": 0.005, "h&e": 0.02}[stain] < largest <= STRAIN[stain]
    assert STRAIN["toluidine-blue"] < 0.01
    assert 0.03 <= STRAIN["h&e"] <= 0.04


def test_only_soft_tissue_shifts(perfect):
    slide = slide_of(PERFECT.model_copy(update={"soft_shift_um": 60.0}))
    size = np.abs(slide.shift_um).max(axis=-1)
    assert 20 < size.max() <= 60
    np.testing.assert_array_equal(slide.rgb[size == 0], perfect.rgb[size == 0])
    rigid = np.isin(perfect.labels, (Label.BONE, Label.SCREW))
    assert np.median(size[rigid]) < 0.1 * size.max()


@pytest.mark.parametrize("effect", ["cracks", "spills", "missing"])
def test_damage_is_where_it_is_said_to_be(perfect, effect):
    slide = slide_of(PERFECT.model_copy(update={effect: 4}))
    changed = (slide.rgb != perfect.rgb).any(axis=-1)
    assert slide.damaged.any()
    assert changed.any()
    if effect == "spills":  # a drop has a soft edge
        assert changed.sum() < 6 * slide.damaged.sum()
    else:
        assert not (changed & ~slide.damaged).any()
    if effect == "missing":
        lost = slide.damaged
        assert slide.rgb[lost].min() == 243
        assert not (lost & (perfect.labels == Label.SCREW)).any()


@pytest.mark.parametrize("effect", ["saw_marks", "illumination", "white_balance", "grain"])
def test_light_changes_brightness_and_nothing_else(perfect, effect):
    slide = slide_of(PERFECT.model_copy(update={effect: 0.05}))
    assert not np.array_equal(slide.rgb, perfect.rgb)
    assert np.abs(slide.rgb.astype(int) - perfect.rgb).mean() < 20
    np.testing.assert_array_equal(slide.labels, perfect.labels)
    np.testing.assert_array_equal(slide.ideal, perfect.ideal)


def test_a_partial_field_of_view_is_the_same_place(perfect):
    slide = slide_of(PERFECT.model_copy(update={"field_of_view": 0.5}))
    rows, columns = slide.rgb.shape[:2]
    assert (rows, columns) == (48, 48)
    top, left = np.rint(slide.section.slide_to_section[:, 2] / 50.0).astype(int)
    there = perfect.labels[top : top + rows, left : left + columns]
    assert (slide.labels == there).mean() > 0.8  # equal but for the part of a pixel that the corner falls between


def test_seeds():
    full = LaboratoryConfig()
    np.testing.assert_array_equal(slide_of(full).rgb, slide_of(full).rgb)
    assert not np.array_equal(slide_of(full).rgb, slide_of(full, seed=4).rgb)


def test_saw_marks_only_scale():
    ones = np.full((40, 40, 3), 0.5, np.float32)
    config = PERFECT.model_copy(update={"saw_marks": 0.1})
    picture, damaged = damage(ones, np.zeros((40, 40), np.uint8), 10.0, config, np.random.default_rng(0))
    np.testing.assert_allclose(picture[..., 0], picture[..., 2])
    assert picture.std() / picture.mean() == pytest.approx(0.1, rel=0.4)
    assert not damaged.any()
