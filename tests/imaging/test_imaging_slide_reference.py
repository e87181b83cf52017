"""Levels of a slide: from the whole slide, or from boxes in pixels of its finest level."""

import numpy as np
import pytest

from tomostain.errors import InputError
from tomostain.imaging.slide_reference import slide_reference
from tomostain.io import open_slide, write_image

GLASS, BONE = (240, 235, 225), (160, 100, 150)


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    rgb = np.full((900, 3000, 3), BONE, np.uint8)
    rgb[:300, :600] = GLASS
    rgb = np.clip(rgb + np.random.default_rng(0).normal(0, 2, rgb.shape), 0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("slide") / "slide.png"
    write_image(path, rgb)
    return open_slide(path, pixel_um=5.0)


def test_glass_is_found_and_boxes_say_the_same(slide):
    reference = slide_reference(slide)
    by_hand = slide_reference(slide, (20, 280, 20, 580), (400, 800, 100, 2900))
    assert reference.white == pytest.approx(GLASS, abs=1.0)
    assert by_hand.white == pytest.approx(GLASS, abs=1.0)
    assert by_hand.fmin == pytest.approx(reference.fmin)


def test_a_box_of_a_few_pixels_is_one_of_the_coarse_ones(slide):
    # The grey levels are measured on a copy with pixels of twice the size.
    assert slide_reference(slide, (100, 101, 100, 101), (500, 501, 500, 501)).white == pytest.approx(GLASS, abs=5.0)


@pytest.mark.parametrize(
    ("background", "bone", "words"),
    [
        ((0, 10, 0, 4000), (400, 800, 100, 2900), "is not a box"),
        # The user confused the two boxes.
        ((400, 800, 100, 2900), (20, 280, 20, 580), "not brighter than bone"),
    ],
)
def test_a_wrong_box_is_named(slide, background, bone, words):
    with pytest.raises(InputError, match=words):
        slide_reference(slide, background, bone)
