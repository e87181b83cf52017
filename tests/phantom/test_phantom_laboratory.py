"""Laboratory effects: exact when off, limited to their region, and consistent with the returned truth."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tomostain.errors import InputError
from tomostain.geometry.section import Section, grid_um, resample_slide
from tomostain.phantom import Label, LaboratoryConfig, PhantomConfig, grow_anatomy, make_slide, section_through_screw
from tomostain.phantom.histology import stain_section, to_rgb
from tomostain.phantom.laboratory import STRAIN, blob, crack, damage, develop, draw_affine, saw_marks
from tomostain.phantom.sampler import sample_tissue_in_volume

PERFECT = LaboratoryConfig.perfect().model_dump()
SIZES = {"seed": 6, "shape": (32, 64, 64), "voxel_um": 60, "pixel_um": 30, "orientation": "lying"}
RIGID = (Label.BONE, Label.WOVEN, Label.LACUNA, Label.CANAL, Label.DEGRADATION, Label.SCREW)


@lru_cache
def bare():
    """The anatomy of all these slides. Stain and laboratory effects do not change it."""
    return grow_anatomy(PhantomConfig.from_dict(SIZES))


def grown(stain="toluidine-blue", **laboratory):
    config = PhantomConfig.from_dict(SIZES | {"stain": stain, "laboratory": PERFECT | laboratory})
    return replace(bare(), config=config)


@lru_cache
def slide(stain="toluidine-blue", **laboratory):
    """A slide that is created once for all tests that use it."""
    return slide_of(grown(stain, **laboratory))


def slide_of(anatomy):
    return make_slide(anatomy, *section_through_screw(anatomy.config, anatomy.pose))


def rng(seed=0):
    return np.random.default_rng(seed)


def test_a_perfect_laboratory_changes_nothing():
    anatomy, perfect = grown(), slide()
    section, shape = section_through_screw(anatomy.config, anatomy.pose)
    transmission, labels = stain_section(anatomy, section, shape, 30.0)
    assert np.array_equal(perfect.rgb, to_rgb(transmission))
    assert np.array_equal(perfect.rgb, perfect.ideal)
    assert np.array_equal(perfect.labels, labels)
    assert perfect.section.slide_to_section.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert not perfect.damaged.any()
    assert not perfect.shift_um.any()


def test_same_seed_same_bits():
    full = LaboratoryConfig().model_dump()
    first = slide_of(grown(**full))
    again, other = (
        slide_of(grow_anatomy(PhantomConfig.from_dict(SIZES | {"seed": seed, "laboratory": full}))) for seed in (6, 7)
    )
    for name in ("rgb", "ideal", "labels", "shift_um", "damaged"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert first.damaged.any()
    assert not np.array_equal(first.rgb, first.ideal)
    assert not np.array_equal(first.rgb, other.rgb)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), stain=st.sampled_from(["toluidine-blue", "h&e"]))
def test_affines_are_as_small_as_in_the_paper(seed, stain):
    # Paper section 2.3: shear below 1 % for toluidine blue, up to 3 to 4 % for H&E.
    corner = np.array([70.0, 30.0])
    affine = draw_affine((100, 80), 5.0, STRAIN[stain], corner, rng(seed))
    most = {"toluidine-blue": 0.008, "h&e": 0.035}[stain]
    assert np.abs(affine[:, :2] - np.eye(2)).max() <= most
    centre = np.array([99 / 2, 79 / 2]) * 5
    assert affine[:, :2] @ centre + affine[:, 2] == pytest.approx(centre + corner)


def test_h_and_e_is_strained_more():
    assert STRAIN["h&e"] > 3 * STRAIN["toluidine-blue"]
    strains = [np.abs(slide(stain, strain=None).section.slide_to_section[:, :2] - np.eye(2)).max() for stain in STRAIN]
    assert 0 < strains[0] < 0.01
    assert strains[1] / strains[0] == pytest.approx(STRAIN["h&e"] / STRAIN["toluidine-blue"])


def test_the_affine_says_where_each_pixel_was():
    # Indexing a fine, perfect section at the positions of the affine gives the strained slide.
    anatomy = grown(strain=0.04)
    section, shape = section_through_screw(anatomy.config, anatomy.pose)
    made = make_slide(anatomy, section, shape)
    _, fine = stain_section(anatomy, section, (shape[0] * 3, shape[1] * 3), 10.0)
    rows, columns = np.indices(shape) * 30.0
    affine = made.section.slide_to_section
    r = np.rint((affine[0, 0] * rows + affine[0, 1] * columns + affine[0, 2]) / 10).astype(int)
    c = np.rint((affine[1, 0] * rows + affine[1, 1] * columns + affine[1, 2]) / 10).astype(int)
    inside = (r >= 0) & (c >= 0) & (r < fine.shape[0]) & (c < fine.shape[1])
    is_screw = fine[r[inside], c[inside]] == Label.SCREW
    assert (is_screw == (made.labels == Label.SCREW)[inside]).mean() > 0.99
    unmoved, _ = np.indices(shape) * 3
    naive = fine[unmoved, unmoved.T][inside] == Label.SCREW
    assert (naive == (made.labels == Label.SCREW)[inside]).mean() < 0.985


@pytest.mark.parametrize(("seed", "orientation"), [(2, "random"), (4, "lying")])
def test_the_slide_registers_on_the_anatomy_by_its_truth(seed, orientation):
    # The slide, resampled with its stated affine, must match the labels of the anatomy at the same positions.
    sizes = {"seed": seed, "orientation": orientation, "shape": (96, 96, 96), "voxel_um": 40, "pixel_um": 20}
    anatomy = grow_anatomy(PhantomConfig.from_dict(sizes | {"laboratory": PERFECT | {"strain": 0.035}}))
    slide = slide_of(anatomy)
    lies = slide.section
    labels = sample_tissue_in_volume(anatomy, lies.to_volume_um(grid_um((90, 90), 40.0))).label
    screw = labels == Label.SCREW

    def dice(section):
        black = resample_slide(slide.rgb, 20.0, section, (90, 90), 40.0).max(axis=-1) < 50
        return 2 * (screw & black).sum() / (screw.sum() + black.sum())

    moved = lies.slide_to_section + np.array([[0, 0, 40], [0, 0, 0]])
    assert screw.sum() > 2000
    assert dice(lies) > 0.985
    assert dice(Section(lies.origin_um, lies.row, lies.column, moved)) < dice(lies) - 0.01
    assert dice(Section(lies.origin_um, lies.row, lies.column)) < dice(lies) - 0.01


def test_a_part_of_the_field_is_cut_out_of_the_whole():
    anatomy = grown(field_of_view=0.5)
    section, shape = section_through_screw(anatomy.config, anatomy.pose)
    made = make_slide(anatomy, section, shape)
    assert made.rgb.shape[:2] == (shape[0] // 2, shape[1] // 2)
    corner = made.section.slide_to_section[:, 2]
    assert ((corner >= 0) & (corner <= (np.array(shape) - made.rgb.shape[:2]) * 30.0)).all()
    moved = Section(section.to_volume_um(corner), section.row, section.column)
    _, labels = stain_section(anatomy, moved, made.rgb.shape[:2], 30.0)
    assert (labels == made.labels).mean() > 0.995


@pytest.mark.parametrize("max_um", [25.0, 300.0])
def test_only_soft_tissue_shifts(max_um):
    still, shifted = slide(), slide(soft_shift_um=max_um)
    length = np.linalg.norm(shifted.shift_um, axis=-1)
    assert 0.3 * max_um < length.max() <= max_um * (1 + 1e-6)
    rigid = np.isin(still.labels, RIGID)
    assert not shifted.shift_um[rigid].any()
    assert np.array_equal(shifted.labels[rigid], still.labels[rigid])
    # Only thin bone between two pixels may appear.
    assert (np.isin(shifted.labels, RIGID) & ~rigid).mean() < 0.02
    moved = np.abs(shifted.shift_um).max(axis=-1) > 0
    assert (shifted.rgb != still.rgb).any(axis=-1)[moved].any()
    assert np.array_equal(shifted.rgb[~moved], still.rgb[~moved])


@pytest.mark.parametrize("effect", ["cracks", "spills", "missing"])
def test_damage_is_only_in_the_damaged_mask(effect):
    perfect, spoilt = slide(), slide(**{effect: 4})
    changed = (spoilt.rgb != perfect.rgb).any(axis=-1)
    assert spoilt.damaged.any()
    assert changed.any()
    if effect == "spills":  # the edge of a drop is soft
        assert changed.sum() < 6 * spoilt.damaged.sum()
    else:
        assert not (changed & ~spoilt.damaged).any()
    if effect == "missing":
        lost = spoilt.damaged
        assert spoilt.rgb[lost].min() == 243
        assert not (lost & (perfect.labels == Label.SCREW)).any()


@pytest.mark.parametrize("effect", ["saw_marks", "illumination", "white_balance", "grain"])
def test_light_changes_brightness_and_nothing_else(effect):
    perfect, spoilt = slide(), slide(**{effect: 0.05})
    assert not np.array_equal(spoilt.rgb, perfect.rgb)
    assert np.abs(spoilt.rgb.astype(int) - perfect.rgb).mean() < 20
    np.testing.assert_array_equal(spoilt.labels, perfect.labels)
    np.testing.assert_array_equal(spoilt.ideal, perfect.ideal)


@pytest.fixture(scope="module")
def plane():
    labels = np.full((120, 160), Label.SOFT, np.uint8)
    labels[:, 60:] = Label.BONE
    labels[40:80, 100:140] = Label.SCREW
    picture = np.full((120, 160, 3), 0.5, np.float32)
    return picture, labels


def damaged(plane, seed=3, **effects):
    config = LaboratoryConfig.from_dict(PERFECT | effects)
    return damage(*plane, 10.0, config, rng(seed))


def test_cracks_are_pale_and_in_bone(plane):
    picture, where = damaged(plane, cracks=8)
    assert where.any()
    assert (plane[1][where] == Label.BONE).all()
    assert (picture[where] > plane[0][where]).all()
    assert np.array_equal(picture[~where], plane[0][~where])


def test_missing_pieces_are_white_and_do_not_include_the_screw(plane):
    picture, where = damaged(plane, missing=3)
    assert where.any()
    assert (picture[where] == 1).all()
    assert not (plane[1][where] == Label.SCREW).any()
    assert np.array_equal(picture[~where], plane[0][~where])


def test_spills_are_blue_drops(plane):
    picture, where = damaged(plane, spills=2)
    ratio = picture / plane[0]
    assert where.any()
    assert (ratio <= 1 + 1e-6).all()
    core = ndimage.binary_erosion(where, iterations=3)
    assert (ratio[core][:, 0] < ratio[core][:, 2]).all()
    far = ~ndimage.binary_dilation(where, iterations=12)
    assert ratio[far] == pytest.approx(1, abs=1e-3)


def test_saw_marks_scale_all_colours_equally(plane):
    picture, where = damaged(plane, saw_marks=0.05)
    factor = picture / plane[0]
    assert not where.any()
    assert np.array_equal(factor[..., 0], factor[..., 1])
    assert np.array_equal(factor[..., 0], factor[..., 2])
    assert 0.8 < factor.min() < 1 < factor.max() < 1.2


def test_saw_marks_run_in_one_direction():
    marks = saw_marks((200, 200), 10.0, 0.03, rng(1))
    assert marks.std() == pytest.approx(0.03, rel=0.5)
    rows, columns = np.gradient(marks.astype(np.float64))
    tensor = np.array([[np.sum(rows**2), np.sum(rows * columns)], [np.sum(rows * columns), np.sum(columns**2)]])
    small, large = np.linalg.eigvalsh(tensor)
    assert small < 0.01 * large


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_cracks_are_thin_and_blobs_are_whole(seed):
    line = crack((150, 150), 10.0, rng(seed))
    assert line.mean() < 0.1
    assert not ndimage.binary_erosion(line, np.ones((5, 5))).any()
    spot = blob((150, 150), 20.0, rng(seed), (75, 75))
    assert spot[75, 75]
    assert ndimage.label(spot)[1] == 1
    assert np.pi * 10**2 < spot.sum() < np.pi * 35**2


def test_light_is_uneven_and_the_cast_is_one_colour():
    empty = np.ones((60, 80, 3), np.float32)

    def picture(**effects):
        return develop(empty * 0.8, LaboratoryConfig.from_dict(PERFECT | effects), rng(2)).astype(float)

    cast = picture(white_balance=0.1)
    assert np.ptp(cast, axis=(0, 1)).max() == 0
    assert np.ptp(cast[0, 0]) > 3
    light = picture(illumination=0.2)
    assert np.ptp(light[..., 0]) > 5
    assert np.array_equal(light[..., 0], light[..., 2])
    assert np.abs(np.diff(light, axis=0)).max() <= 2
    assert picture(grain=0.01).std() == pytest.approx(2.55, rel=0.05)
    assert (picture() == round(0.8 * 243)).all()


def test_errors_name_key_and_value():
    with pytest.raises(InputError, match=r"field_of_view = 0: input should be greater than or equal to 0\.2"):
        LaboratoryConfig.from_dict({"field_of_view": 0})
    with pytest.raises(InputError, match=r"unknown key 'laboratory\.crack'; did you mean 'cracks'"):
        PhantomConfig.from_dict({"laboratory": {"crack": 1}})
