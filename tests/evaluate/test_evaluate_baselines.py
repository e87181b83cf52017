"""The baselines are the best of their kind on the training pixels."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomostain.errors import InputError
from tomostain.evaluate import ColourLookup, MeanImage, raw_ct


def make_pair(seed, shape=(12, 14), masked=0.8):
    rng = np.random.default_rng(seed)
    ct = rng.integers(0, 45000, shape, dtype=np.uint16)
    return SimpleNamespace(
        ct=ct, histology=rng.integers(0, 256, (*shape, 3), dtype=np.uint8), mask=rng.random(shape) < masked
    )


def test_raw_ct_shows_what_the_network_sees():
    # The window [0, 40000] of tomostain.imaging.network_range: background 10000 is a quarter, bone 30000 three
    # quarters.
    ct = np.array([[0, 10000, 30000, 40000, 65535]], np.uint16)
    assert raw_ct(ct)[0, :, 0].tolist() == [0, 64, 191, 255, 255]
    assert raw_ct(ct).shape == (1, 5, 3)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.floats(-30, 30))
def test_no_other_lookup_has_less_squared_error_on_the_training_pixels(seed, step):
    pairs = [make_pair(seed), make_pair(seed + 1, (9, 9))]
    lookup = ColourLookup.fit(pairs, bins=8)

    def error(colours):
        table = ColourLookup(colours)
        indices = [np.minimum(p.ct / 40000 * 8, 7).astype(int)[p.mask] for p in pairs]
        return sum(((table.colours[i] - p.histology[p.mask]) ** 2).sum() for i, p in zip(indices, pairs, strict=True))

    other = lookup.colours.copy()
    rng = np.random.default_rng(seed)
    other[rng.integers(8), rng.integers(3)] += step
    assert error(lookup.colours) <= error(other) + 1e-6
    assert error(lookup.colours) <= error(np.tile(lookup.colours.mean(axis=0), (8, 1))) + 1e-6


def test_lookup_recovers_a_colour_map():
    ct = np.linspace(0, 39999, 900).astype(np.uint16).reshape(30, 30)
    colours = np.stack([ct // 200, 255 - ct // 200, ct // 400], axis=2).astype(np.uint8)
    lookup = ColourLookup.fit([SimpleNamespace(ct=ct, histology=colours, mask=np.ones(ct.shape, bool))])
    assert np.abs(lookup(ct).astype(int) - colours).max() <= 1


def test_lookup_interpolates_grey_values_absent_from_training():
    ct = np.array([[1000, 39000]], np.uint16)
    colours = np.array([[[0, 0, 0], [200, 100, 50]]], np.uint8)
    lookup = ColourLookup.fit([SimpleNamespace(ct=ct, histology=colours, mask=np.ones((1, 2), bool))], bins=2 * 20)
    np.testing.assert_allclose(lookup(np.array([[20000]], np.uint16))[0, 0], (100, 50, 25), atol=4)


def test_mean_image_is_the_mean_of_the_masked_pixels():
    pairs = [make_pair(seed) for seed in range(3)]
    stack = np.ma.stack([np.ma.array(p.histology, mask=np.repeat(~p.mask[..., None], 3, 2)) for p in pairs])
    expected = stack.mean(axis=0).filled(np.nan)
    image = MeanImage.fit(iter(pairs)).image
    seen = ~np.isnan(expected)
    np.testing.assert_allclose(image[seen], expected[seen])
    np.testing.assert_allclose(image[~seen[..., 0]], np.tile(stack.mean(axis=(0, 1, 2)), ((~seen[..., 0]).sum(), 1)))


def test_mean_image_falls_back_to_the_mean_colour():
    pairs = [make_pair(0), make_pair(1, (9, 9))]
    mean = MeanImage.fit(pairs)
    pixels = np.concatenate([p.histology[p.mask] for p in pairs])
    assert mean.image is None
    np.testing.assert_allclose(mean.colour, pixels.mean(axis=0))
    assert (mean(pairs[0].ct) == np.rint(pixels.mean(axis=0))).all()
    assert MeanImage.fit(pairs[:1])(np.zeros((3, 3), np.uint16)).std(axis=(0, 1)).max() == 0


@pytest.mark.parametrize("baseline", [MeanImage, ColourLookup])
def test_nothing_to_learn_from_is_an_error(baseline):
    empty = make_pair(0, masked=0.0)
    for pairs in ([], [empty]):
        with pytest.raises(InputError, match="no training pixel inside a mask"):
            baseline.fit(pairs)
