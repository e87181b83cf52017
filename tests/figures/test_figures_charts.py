"""Charts of measures: they show what they are given."""

import numpy as np
import pytest

from tomostain.figures.charts import (
    COLOURS,
    draw_bars,
    draw_bland_altman,
    draw_confusion,
    draw_histogram,
    draw_identity,
    draw_lines,
    draw_risk_coverage,
)
from tomostain.figures.groups import Dots, draw_groups

X = np.linspace(0, 1000, 11)


def pixels(picture, colour):
    """Return how many pixels have nearly this colour."""
    rgb = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)])
    return int((np.abs(picture.astype(int) - rgb).max(axis=2) < 40).sum())


def lines(n):
    return draw_lines(X, {f"s{k}": X * (k + 1) for k in range(n)}, "distance [µm]", "new bone [%]")


def bars(n):
    return draw_bars(["0-100", "100-250"], {f"s{k}": np.array([3.0, 4.0 + k]) for k in range(n)}, "BV/TV [%]")


def histogram(n):
    return draw_histogram(X, {f"s{k}": np.arange(10.0) + k for k in range(n)}, "thickness [µm]", "share [%]")


def identity(n):
    return draw_identity({f"s{k}": (X, X + 30 * k) for k in range(n)}, "µm")


def risk(n):
    return draw_risk_coverage({f"s{k}": (X / 1000, X * (k + 1)) for k in range(n)}, "error [%]", random=500.0)


@pytest.mark.parametrize("draw", [lines, bars, histogram, identity, risk])
def test_each_series_has_its_colour(draw):
    one, two = draw(1), draw(2)
    assert one.dtype == two.dtype == np.uint8
    assert pixels(one, COLOURS[0]) > 50
    assert pixels(one, COLOURS[1]) == 0
    assert pixels(two, COLOURS[1]) > 50


def test_missing_values_leave_a_gap():
    values = np.where(X > 400, np.nan, X + 500)
    assert pixels(draw_lines(X, {"s": values}, "x", "y"), COLOURS[0]) > 50
    both = draw_bars(["a", "b"], {"s": np.array([1.0, np.nan])}, "y")
    assert pixels(both, COLOURS[0]) < pixels(draw_bars(["a", "b"], {"s": np.ones(2)}, "y"), COLOURS[0])


def test_confusion_shows_shares_of_rows():
    counts = np.array([[90, 10, 0], [0, 50, 50], [0, 0, 0]])
    picture = draw_confusion(counts, ["void", "bone", "metal"])
    same = draw_confusion(counts * 1000, ["void", "bone", "metal"])
    np.testing.assert_array_equal(picture, same)
    assert (picture != draw_confusion(counts.T, ["void", "bone", "metal"])).any()


def test_bland_altman_shows_bias_and_limits():
    rng = np.random.default_rng(0)
    truth = rng.normal(50, 10, 20)
    picture = draw_bland_altman(truth + 2, truth, "%", bias=2.0, limits=(-1.0, 5.0), title="BIC")
    assert pixels(picture, COLOURS[0]) > 100
    assert pixels(picture, COLOURS[1]) > 300
    other = draw_bland_altman(truth + 2, truth, "%", bias=2.0, limits=(-9.0, 13.0), title="BIC")
    assert picture.shape == other.shape
    assert (picture != other).any()


def test_identity_of_no_values_is_empty():
    picture = draw_identity({"stained": (np.array([np.nan]), np.array([np.nan]))}, "%")
    assert pixels(picture, COLOURS[0]) < 200  # the entry of the legend only


def test_a_dot_for_each_animal():
    few = draw_groups({"Ti": Dots([[5.0]]), "Mg": Dots([[9.0]])}, "BIC [%]")
    many = draw_groups({"Ti": Dots([[5.0], [6.0], [7.0]]), "Mg": Dots([[9.0, 10.0], [1.0]])}, "BIC [%]", title="x")
    assert pixels(many, COLOURS[0]) > 2 * pixels(few, COLOURS[0]) > 0
