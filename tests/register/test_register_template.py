"""Compare the µCT image predicted from a slide with the labels of the phantom."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tests.register.conftest import SMALL
from tests.support.phantom_slides import phantom_slide
from tomostain.errors import InputError
from tomostain.imaging.colour import ColourReference
from tomostain.phantom import PhantomConfig
from tomostain.phantom.tissue import Label
from tomostain.register.template import STRAIN_SOFT, STRAIN_STIFF, make_template
from tomostain.register.template_features import BONE, FLAT_WEIGHT, NEW_BONE, texture_weight


@pytest.fixture(scope="module", params=["toluidine-blue", "h&e"])
def slide(request):
    """Return the pixels of a slide and the labels at their positions."""
    config = PhantomConfig.from_dict({"seed": 31, "material": "Ti", "stain": request.param} | SMALL)
    made = phantom_slide(config)
    return made.rgb, made.labels, request.param


def test_the_screw_is_found_black_or_lost(slide):
    rgb, labels, stain = slide
    template = make_template(rgb, SMALL["pixel_um"])
    assert template.hypotheses == ("dense", "light")
    screw = labels == Label.SCREW
    dice = 2 * (template.screw.astype(bool) & screw).sum() / (template.screw.sum() + screw.sum())
    assert dice > (0.95 if stain == "toluidine-blue" else 0.85)


def test_bone_is_distinguished_from_marrow(slide):
    rgb, labels, _ = slide
    template = make_template(rgb, SMALL["pixel_um"])
    marrow = np.isin(labels, (Label.MARROW, Label.ADIPOCYTE))
    dense = template.base == BONE
    assert dense[labels == Label.BONE].mean() > 0.75
    assert dense[marrow].mean() < 0.25


def test_new_bone_is_dense_where_it_covers_much():
    # A small field around the screw: little glass and much deep blue, which moved the threshold to marrow.
    values = {"seed": 33, "material": "Mg-10Gd", "weeks": 8, "shape": (128,) * 3, "voxel_um": 34.0, "pixel_um": 17.0}
    config = PhantomConfig.from_dict(values | {"laboratory": {"field_of_view": 0.6}})
    made = phantom_slide(config)
    labels = made.labels
    template = make_template(made.rgb, 17.0)
    dense = template.base >= NEW_BONE
    assert dense[labels == Label.BONE].mean() > 0.75
    assert dense[labels == Label.WOVEN].mean() > 0.45
    assert dense[np.isin(labels, (Label.MARROW, Label.ADIPOCYTE))].mean() < 0.2
    # White is the colour of the glass, not of pale marrow: fat is nearly white.
    fat = np.median(template.rgb[labels == Label.ADIPOCYTE], axis=0)
    assert np.ptp(fat) < 25


def test_only_the_tissue_is_moved_to_the_template(slide):
    template = make_template(slide[0], SMALL["pixel_um"])
    alone = template.tissue_alone()
    np.testing.assert_array_equal(alone.middle_um, template.middle_um)
    weighted = alone.weight > 0
    assert template.inside is not None
    assert not weighted[~template.inside].any()
    assert ndimage.distance_transform_edt(template.screw < 0.5)[weighted].min() * SMALL["pixel_um"] > 60
    np.testing.assert_array_equal(alone.weight[weighted], template.weight[weighted])


def test_the_screw_stays_where_there_is_almost_no_tissue():
    template = make_template(drawn_section(), 20.0)
    everything = dataclasses.replace(template, screw=np.ones_like(template.screw))
    assert everything.tissue_alone() is everything


def drawn_section() -> np.ndarray:
    """A square of bone with marrow and a round screw of 600 µm, at 20 µm per pixel."""
    rgb = np.full((200, 200, 3), 245, np.uint8)
    rows, columns = np.indices((200, 200)) - 100
    rgb[(np.abs(rows) < 80) & (np.abs(columns) < 80)] = (160, 114, 174)
    rgb[(np.abs(rows) < 60) & (np.abs(columns) < 20)] = (134, 140, 186)
    rgb[np.hypot(rows, columns) < 30] = 5
    return rgb


def test_the_screws_radius_is_that_of_its_largest_disc():
    assert make_template(drawn_section(), 20.0).screw_radius_um == pytest.approx(600.0, rel=0.07)


def test_the_picture_is_the_template_averaged(slide):
    template = make_template(slide[0], SMALL["pixel_um"])
    picture = template.picture(4 * SMALL["pixel_um"])
    assert picture.values.shape == (2, len(picture.u_um))
    everything = (template.base * (1 - template.screw) + 1.2 * template.screw) * template.weight
    mean = float((picture.values[0] * picture.weight).sum() / picture.weight.sum())
    assert mean == pytest.approx(everything.sum() / template.weight.sum(), rel=0.1)
    # The origin of the positions is the centre of the bounding box of the specimen.
    assert float(picture.u_um.mean(dim=0).abs().max()) < 0.25 * template.half_um.max()


def test_glass_without_tissue_is_refused():
    glass = np.random.default_rng(0).normal(240, 2, (200, 200, 3)).clip(0, 255).astype(np.uint8)
    with pytest.raises(InputError, match=r"slide.tif: no tissue found"):
        make_template(glass, 20.0, source="slide.tif")


def test_the_stain_sets_the_maximum_strain_of_the_section(slide):
    rgb, _, stain = slide
    expected = STRAIN_STIFF if stain == "toluidine-blue" else STRAIN_SOFT
    assert make_template(rgb, SMALL["pixel_um"]).strain == expected


def test_a_patch_of_one_colour_counts_little():
    # Speckled tissue with a quarter of it washed over.
    rng = np.random.default_rng(0)
    relative = np.clip(rng.normal(0.6, 0.1, (200, 200, 3)), 0.05, 1).astype(np.float32)
    relative[:, :50] = 0.5
    exclusion = np.ones((200, 200), bool)
    exclusion[:10] = False
    weight = texture_weight(relative, exclusion, 20.0)
    assert (weight[30:, :35] == np.float32(FLAT_WEIGHT)).all()
    assert (weight[30:, 65:] == 1.0).all()
    assert (weight[:10] == 1.0).all()
    # Without texture the rule gives no result.
    assert (texture_weight(np.full_like(relative, 0.5), exclusion, 20.0) == 1.0).all()


@given(st.floats(0.3, 3.0))
def test_texture_does_not_depend_on_the_thickness_of_the_wash(factor):
    # Beer-Lambert: a thicker layer increases all optical densities equally and does not change their spread.
    rng = np.random.default_rng(1)
    relative = np.clip(rng.normal(0.8, 0.05, (60, 60, 3)), 0.4, 1).astype(np.float32)
    exclusion = np.ones((60, 60), bool)
    thick = relative * np.float32(np.exp(-factor / 3))
    np.testing.assert_allclose(
        texture_weight(thick, exclusion, 20.0), texture_weight(relative, exclusion, 20.0), atol=1e-3
    )


def test_a_manual_white_takes_precedence_over_the_estimate():
    rgb = drawn_section()
    levels = ColourReference((200.0, 245.0, 245.0), 0.0, 255.0)
    estimated, manual = make_template(rgb, 20.0), make_template(rgb, 20.0, colour_reference=levels)
    assert estimated.colour_reference.white == pytest.approx((245.0,) * 3, abs=1.0)
    assert manual.colour_reference is levels
