"""Residual registration of the histology: it recovers a known affine map, and changes nothing if it finds none."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tests.support.operators import count_operators
from tests.support.versions import EARLY_TORCH
from tomostain.train import residual_registration
from tomostain.train.residual_registration import Bounds, _best_shift, align, apply_affine, displacement, misfit

NOWHERE = torch.zeros(2, 3)


def picture(seed, shape=(96, 112)):
    """Return a smooth random picture (3, Y, X) in about [-1, 1]."""
    noise = np.random.default_rng(seed).normal(size=(3, *shape))
    smooth = ndimage.gaussian_filter(noise, (0, 4, 4))
    return torch.from_numpy((smooth / np.abs(smooth).max()).astype(np.float32))


def lies_elsewhere(image, shift, turn):
    """Return the picture turned about its centre and shifted, by SciPy as an independent reference."""
    cosine, sine = np.cos(turn), np.sin(turn)
    matrix = np.array([[cosine, -sine], [sine, cosine]])
    centre = (np.array(image.shape[1:]) - 1) / 2
    offset = centre - matrix @ (centre + np.array(shift))
    return torch.stack(
        [torch.from_numpy(ndimage.affine_transform(c, matrix, offset, order=3, mode="nearest")) for c in image.numpy()]
    )


@settings(max_examples=8, deadline=None)
@given(shift=st.tuples(st.floats(-7, 7), st.floats(-7, 7)), turn=st.floats(-0.015, 0.015), seed=st.integers(0, 10**6))
def test_a_shift_and_a_turn_are_found_to_a_tenth_of_a_pixel(shift, turn, seed):
    drawn = picture(seed)
    real = lies_elsewhere(drawn, shift, turn)
    place = align(drawn, real, torch.ones_like(drawn[:1]), NOWHERE)
    inner = (slice(None), slice(16, -16), slice(16, -16))
    assert (apply_affine(real, place) - drawn)[inner].abs().max() < 0.1
    # Taken from where it went to: R (r - shift) came to r, so r comes from R⁻¹ r + shift.
    expected = np.array([np.cos(turn) - 1, np.sin(turn), shift[0], -np.sin(turn), np.cos(turn) - 1, shift[1]])
    estimated = place.numpy().ravel()
    assert np.abs(estimated - expected)[[2, 5]].max() < 0.1
    # 0.16 to 0.2 px at the inner edge; large shifts repeat the border, which pulls a little.
    assert np.abs(estimated - expected)[[0, 1, 3, 4]].max() < 0.005


def test_a_mean_that_differs_and_a_bright_stain_on_the_outside_do_not_move_it():
    drawn = picture(1)
    real = lies_elsewhere(drawn, (3.0, -2.0), 0.0) + 0.4
    mask = torch.ones_like(drawn[:1])
    mask[:, :, 80:] = 0
    real[:, :, 82:] = 1.0
    place = align(drawn, real, mask, NOWHERE)
    assert np.allclose(place[:, 2].numpy(), (3.0, -2.0), atol=0.1)


def test_poses_beyond_the_bounds_or_without_evidence_stay():
    drawn = picture(2)
    start = torch.tensor([[0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])
    assert torch.equal(align(drawn, picture(3), torch.zeros_like(drawn[:1]), start), start)
    real = lies_elsewhere(drawn, (6.0, 0.0), 0.0)
    place = align(drawn, real, torch.ones_like(drawn[:1]), start, Bounds(shift_px=2.0))
    assert place[:, 2].abs().max() <= 2.0


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), other=st.integers(0, 10**6))
def test_it_never_fits_worse_than_before(seed, other):
    drawn, real, mask = picture(seed, (40, 48)), picture(other, (40, 48)), torch.ones(1, 40, 48)
    place = align(drawn, real, mask, NOWHERE)
    assert misfit(drawn, real, mask, place) <= misfit(drawn, real, mask, NOWHERE)
    assert place[:, 2].abs().max() <= Bounds().shift_px
    assert place[:, :2].abs().max() <= Bounds().strain


def test_a_displacement_is_an_affine_map_about_the_centre():
    place = torch.tensor([[0.01, 0.0, 1.0], [0.0, -0.02, 2.0]])
    field = displacement(place, (5, 7))[0]
    assert torch.allclose(field[:, 2, 3], torch.tensor([1.0, 2.0]))
    assert torch.allclose(field[:, 4, 6], torch.tensor([1.0 + 0.02, 2.0 - 0.06]))


def test_an_image_that_is_too_small_to_be_registered_stays():
    image, start = torch.rand(3, 12, 40, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 3)
    assert align(image.roll(1, -1), image, torch.ones(1, 12, 40), start) is start


def one_by_one(drawn, real, mask, place, reach):
    """Return what `_best_shift` returns, by its definition: the first shift with the lowest misfit."""
    shifts = [(row, column) for row in range(-reach, reach + 1) for column in range(-reach, reach + 1)]
    places = [place + torch.tensor([[0.0, 0.0, row], [0.0, 0.0, column]]) for row, column in shifts]
    errors = [misfit(drawn, real, mask, each) for each in places]
    return places[int(np.argmin(errors))]


@pytest.mark.parametrize("at_once", [1, 5 * 40 * 52, 2**22])
@pytest.mark.parametrize("covered", [True, False])
def test_shifts_in_chunks_of_any_size_find_the_best_one(monkeypatch, at_once, covered):
    monkeypatch.setattr(residual_registration, "_PIXELS_AT_ONCE", (at_once, at_once))
    drawn = picture(4, (40, 52))
    real, mask = torch.roll(drawn, (2, -1), (1, 2)) + 0.3, torch.full((1, 40, 52), float(covered))
    place = torch.tensor([[0.003, 0.0, 0.4], [-0.002, 0.001, -0.3]])
    best = _best_shift(drawn, real, mask, place, 3)
    assert torch.equal(best, one_by_one(drawn, real, mask, place, 3))
    if covered:
        assert (best - place)[:, 2].tolist() == pytest.approx([2, -1])
    assert torch.equal(_best_shift(drawn * torch.nan, real, mask, place, 3), place)


@pytest.mark.skipif(EARLY_TORCH, reason="an early version of torch dispatches more operators")
def test_shifts_are_compared_together_without_waiting():
    """On the device "meta", which has no values, so that reading one fails."""
    images = [torch.empty(channels, 250, 250, device="meta") for channels in (3, 3, 1)]
    counted = count_operators(lambda: _best_shift(*images, NOWHERE.to("meta"), 3))
    assert counted.synchronisations == 0
    assert counted.total <= 110  # 5,341 before


@pytest.mark.skipif(EARLY_TORCH, reason="an early version of torch dispatches more operators")
def test_a_registration_takes_a_third_of_the_operators_and_a_fifth_of_the_waits(monkeypatch):
    monkeypatch.setattr(residual_registration, "_PIXELS_AT_ONCE", (2**22, 2**22))  # as on a GPU
    drawn = picture(0, (512, 512))
    real, mask = torch.roll(drawn, (3, -2), (1, 2)), torch.ones(1, 512, 512)
    counted = count_operators(lambda: align(drawn, real, mask, NOWHERE))
    assert counted.total <= 7334 / 3
    assert counted.synchronisations <= 61 / 5 + 12  # at most one for each step of 24
