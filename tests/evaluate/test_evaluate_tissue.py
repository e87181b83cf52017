"""Colour error and Dice of tissue classes, on pictures with drawn classes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import deltaE_ciede2000, rgb2lab

from tomostain.errors import InputError
from tomostain.evaluate.metrics.tissue import ColourClasses, colour_error

NAMES = {1: "bone", 2: "marrow", 3: "screw"}
COLOURS = {1: (160, 114, 174), 2: (134, 140, 186), 3: (10, 10, 10)}


def picture(seed: int = 0, noise: float = 6.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.array([[1], [2], [3]]), 20, axis=0).repeat(60, axis=1)
    clean = np.array([COLOURS[label] for label in labels.ravel()]).reshape(60, 60, 3)
    return np.clip(clean + rng.normal(0, noise, clean.shape), 0, 255).astype(np.uint8), labels


def test_the_error_is_ciede2000_between_flat_colours():
    # Pair 1 of the reference data of Sharma et al. 2005 is in Lab; here scikit-image's own value of two sRGB colours.
    real, labels = picture(noise=0.0)
    fake = real.copy()
    fake[labels == 1] = (150, 120, 170)
    expected = deltaE_ciede2000(rgb2lab(np.array([[[150, 120, 170]]], np.uint8)), rgb2lab(real[:1, :1]))
    error = colour_error(fake, real, labels, NAMES)
    assert error["bone"] == pytest.approx(expected.item())
    assert error["marrow"] == error["screw"] == 0.0


def test_ciede2000_is_that_of_the_published_pair():
    # Sharma et al. 2005, table 1, pairs 1 and 17.
    for a, b, expected in (
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
    ):
        assert deltaE_ciede2000(np.array(a), np.array(b)) == pytest.approx(expected, abs=1e-4)


def test_a_class_that_is_not_there_has_no_number():
    real, labels = picture()
    assert np.isnan(colour_error(real, real, labels, {9: "canal"})["canal"])


def test_the_real_picture_is_read_rightly_and_a_wrong_colour_is_not():
    real, labels = picture()
    classes = ColourClasses.learn([real], [labels], list(NAMES))
    assert min(classes.dice(picture(1)[0], labels, NAMES).values()) > 0.97
    fake = real.copy()
    fake[labels == 3] = COLOURS[1]
    dice = classes.dice(fake, labels, NAMES)
    assert dice["screw"] == 0.0
    # Twice as much bone as there is: Dice 2·1/(1 + 2).
    assert dice["bone"] == pytest.approx(2 / 3, abs=0.02)
    assert dice["marrow"] > 0.97


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000))
def test_order_of_classes_does_not_matter_and_dice_is_a_part(seed):
    real, labels = picture(seed)
    fake, _ = picture(seed + 1, noise=60.0)
    a = ColourClasses.learn([real], [labels], [1, 2, 3]).dice(fake, labels, NAMES)
    b = ColourClasses.learn([real], [labels], [3, 1, 2]).dice(fake, labels, NAMES)
    assert a == pytest.approx(b)
    assert all(0 <= value <= 1 for value in a.values())


def test_mismatches_are_named():
    real, labels = picture()
    with pytest.raises(InputError, match="give one shape"):
        colour_error(real, real[1:], labels, NAMES)
    with pytest.raises(InputError, match="1 of 1 classes"):
        ColourClasses.learn([real], [labels], [1])
