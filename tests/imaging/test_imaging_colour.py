"""Classes of tissue by colour, on images whose classes are known by construction."""

import numpy as np
import pytest

from tomostain.imaging.colour import new_bone, redness, tissue_classes

WHITE = (246, 246, 246)
SHAPE = (80, 120)
BONE = np.s_[20:60, 20:50]
MARROW = np.s_[20:60, 50:80]
METAL = np.s_[20:60, 85:105]


def section(bone, marrow, metal=(15, 15, 15)) -> np.ndarray:
    """Return an image with a block of each tissue."""
    image = np.full((*SHAPE, 3), WHITE, np.float32)
    for place, colour in ((BONE, bone), (MARROW, marrow), (METAL, metal)):
        image[place] = colour
    return image + np.random.default_rng(0).normal(0, 1, image.shape).astype(np.float32)


@pytest.mark.parametrize(
    ("bone", "marrow"),
    [
        ((170, 90, 170), (130, 150, 210)),  # toluidine blue: purple against blue
        ((230, 150, 180), (150, 110, 180)),  # H&E: pink against purple
        ((120, 120, 120), (190, 190, 190)),  # grey: the darker half is bone
    ],
)
def test_bone_marrow_and_metal(bone, marrow):
    classes, metal = tissue_classes(section(bone, marrow), 246.0)
    inner = np.s_[24:56, 24:46], np.s_[24:56, 54:76], np.s_[24:56, 89:101]
    assert classes[inner[0]].mean() > 0.98
    assert classes[inner[1]].mean() < 0.02
    assert metal[inner[2]].all()
    assert not metal[inner[0]].any()
    assert not (classes | metal)[:15].any()


def test_unimaged_pixels_are_neither_background_nor_tissue():
    valid = np.ones(SHAPE, bool)
    valid[METAL] = False
    _, metal = tissue_classes(section((170, 90, 170), (130, 150, 210)), 246.0, valid)
    assert not metal.any()


def test_redness_is_the_difference_of_the_densities_over_their_sum():
    densities = np.array([0.1, 0.3, 0.5])
    colour = np.rint(255 * np.exp(-densities)).astype(np.uint8)
    assert redness(colour) == pytest.approx((0.5 - 0.1) / 0.9, abs=0.01)
    assert redness(colour[::-1]) == pytest.approx((0.1 - 0.5) / 0.9, abs=0.01)


def test_only_deep_blue_is_new_bone():
    colours = {
        "deep blue": (0.25, 0.3, 0.65),
        "blue": (0.55, 0.6, 0.85),
        "purple": (0.6, 0.3, 0.6),
        "white": (1.0, 1.0, 1.0),
    }
    image = np.array([list(colours.values())], np.float32)
    assert new_bone(image)[0].tolist() == [True, False, False, False]
