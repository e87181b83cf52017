"""Losses are compared with manually calculated values and with torch's own, and ignore masked pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from torch.nn import functional

from tomostain.train import losses

ONES = torch.ones(1, 1, 2, 2)


def flat(value, channels=3):
    return torch.full((1, channels, 2, 2), float(value))


def noise(seed, channels=3, size=6):
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(seed))


def test_losses_of_known_values():
    # Eq. (1): |0.5 - 0| + |0.25 - 1| = 1.25; eqs. (3) and (5) have the same form.
    four = (flat(0.5), flat(0.0), flat(0.25), flat(1.0), ONES)
    assert losses.cycle(*four).item() == losses.identity(*four).item() == losses.pixelwise(*four).item() == 1.25
    # Eq. (2): (0.5 - 1)² + (3 - 1)² = 4.25; eq. (8): its first half. The discriminator: ½ ((0.5 - 1)² + 3²) = 4.625.
    assert losses.adversarial(torch.tensor([0.5]), torch.tensor([3.0])).item() == 4.25
    assert losses.conditional_adversarial(torch.tensor([0.5])).item() == 0.25
    assert losses.discriminator(torch.tensor([0.5]), torch.tensor([3.0])).item() == 4.625
    # Eq. (9): |0.5 - 2| = 1.5.
    assert losses.l1(flat(0.5), flat(2.0), ONES).item() == 1.5


def test_greyscale_of_known_values():
    # Eq. (6): red 0, green 0.3, blue 0.9: the mean of 0.3, 0.6 and 0.9.
    coloured = torch.tensor([0.0, 0.3, 0.9])[None, :, None, None].expand(1, 3, 2, 2)
    assert losses.greyscale(coloured, ONES).item() == pytest.approx(0.6)
    assert losses.greyscale(flat(0.7), ONES).item() == 0
    assert losses.greyscale(noise(0, channels=1), torch.ones(2, 1, 6, 6)).item() == 0


def test_totals_of_known_values():
    # Eq. (4) with λ 6 and 3, eq. (7) with λ 6, 3, 6 and 1, eq. (10) with λ 20 (section 2.6.3).
    one, two, three, four, five = (torch.tensor(float(n)) for n in range(1, 6))
    assert losses.cyclegan_total(one, two, three).item() == 1 + 12 + 9
    assert losses.paired_total(one, two, three, four, five).item() == 1 + 12 + 9 + 24 + 5
    assert losses.pix2pix_total(one, two).item() == 41


def test_unmasked_losses_are_torchs_own():
    a, b, mask = noise(0), noise(1), torch.ones(2, 1, 6, 6)
    torch.testing.assert_close(losses.masked_l1(a, b, mask), functional.l1_loss(a, b))
    torch.testing.assert_close(losses.least_squares(a, 1.0), functional.mse_loss(a, torch.ones_like(a)))


ASIDE = torch.tensor([0.0, 1.0])[None, :, None, None].expand(2, 2, 1, 1)
MASKED = {
    "charbonnier": lambda a, b, c, d, mask: losses.charbonnier(a, b, mask),
    "multiscale_l1": lambda a, b, c, d, mask: losses.multiscale_l1(a, b, mask, (1, 0.5)),
    "composite": lambda a, b, c, d, mask: (losses.composite(a, b, mask) - b).square().mean(),
    "cycle": lambda a, b, c, d, mask: losses.cycle(a, b, c, d, mask),
    "identity": lambda a, b, c, d, mask: losses.identity(a, b, c, d, mask),
    "pixelwise": lambda a, b, c, d, mask: losses.pixelwise(a, b, c, d, mask),
    "greyscale": lambda a, b, c, d, mask: losses.greyscale(a, mask),
    "l1": lambda a, b, c, d, mask: losses.l1(a, b, mask),
    "noise_spread": lambda a, b, c, d, mask: losses.noise_spread(a, b, mask),
    # One pixel away from the border, so that the interpolation reads pixel centres.
    "registered_pixelwise": lambda a, b, c, d, mask: losses.registered_pixelwise(a, b, c, d, mask, ASIDE),
    "registered_l1": lambda a, b, c, d, mask: losses.registered_l1(a, b, mask, ASIDE),
    "shift_tolerant_l1": lambda a, b, c, d, mask: losses.shift_tolerant_l1(a, b, mask, 1, 3),
}


@pytest.mark.parametrize("name", MASKED)
@given(seed=st.integers(0, 10**6), share=st.floats(0.1, 0.9), change=st.floats(-100, 100))
@settings(max_examples=8, deadline=None)
def test_pixels_outside_the_mask_move_neither_the_loss_nor_its_gradient(name, seed, share, change):
    mask = (torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(seed)) < share).float()
    images = [noise(seed + number).requires_grad_() for number in range(4)]
    loss = MASKED[name](*images, mask)
    loss.backward()
    gradients = [torch.zeros_like(image) if image.grad is None else image.grad for image in images]
    for gradient in gradients:
        assert torch.equal(gradient * (1 - mask), torch.zeros_like(gradient))
    if loss.item() != 0:
        assert any(float(gradient.abs().max()) > 0 for gradient in gradients)
    moved = [image.detach() + change * (1 - mask) for image in images]
    assert MASKED[name](*moved, mask).item() == loss.item()


@pytest.mark.parametrize(("truth", "spread"), [(0.0, 1.0), (0.7, 1.0), (-2.0, 0.5)])
def test_l1_and_noise_spread_are_the_score_of_a_normal_distribution(truth, spread):
    first, second = (
        torch.from_numpy(np.random.default_rng(seed).normal(0, spread, (1, 3, 256, 256))) for seed in (0, 1)
    )
    real, everywhere = torch.full_like(first, truth), torch.ones(1, 1, 256, 256, dtype=first.dtype)
    score = losses.l1(first, real, everywhere) + losses.noise_spread(first, second, everywhere)
    # Gneiting and Raftery 2007, after eq. (21): the continuous ranked probability score of a normal distribution.
    z = truth / spread
    analytic = spread * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    assert score.item() == pytest.approx(analytic, abs=0.01)


def test_the_right_spread_has_the_best_score():
    draw = np.random.default_rng(2)
    real, first, second = (torch.from_numpy(draw.normal(0, 0.3, (1, 3, 128, 128))) for _ in range(3))
    ones = torch.ones(1, 1, 128, 128, dtype=real.dtype)

    def score(factor):
        return (
            losses.l1(factor * first, real, ones) + losses.noise_spread(factor * first, factor * second, ones)
        ).item()

    assert score(1.0) < min(score(0.0), score(0.6), score(1.6))


@given(value=st.floats(-1, 1), noise_level=st.floats(0.01, 0.5))
@settings(max_examples=10, deadline=None)
def test_psnr_is_its_definition_and_ignores_what_is_masked(value, noise_level):
    real = torch.full((1, 3, 4, 4), value)
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    fake = real + noise_level * mask - 7 * (1 - mask)
    # 10 log10(range² / mean squared error) with the range 2 of [-1, 1].
    expected = 10 * torch.log10(torch.tensor(4 / noise_level**2))
    torch.testing.assert_close(losses.masked_psnr(fake, real, mask), expected, atol=0.01, rtol=0)


def test_smoothness_of_known_values():
    field = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]], [[0.0, 0.0], [3.0, 3.0]]]])
    # Down: 0, 0, 3, 3; across: 1, 1, 0, 0.
    assert losses.smoothness(field).item() == pytest.approx((9 + 9) / 4 + (1 + 1) / 4)


def test_smoothness_compares_neighbours_only():
    """A ramp of three knots has the steps 1 and 1, and not 2 between its ends."""
    ramp = torch.tensor([0.0, 1.0, 2.0])
    for field in (ramp.view(1, 1, 3, 1), ramp.view(1, 1, 1, 3)):
        assert losses.smoothness(field.expand(1, 2, *field.shape[2:])).item() == pytest.approx(1.0)


def test_displacements_are_forgiven_up_to_the_reach():
    large = noise(3, size=80)
    mask = torch.ones(1, 1, 60, 60)
    real = large[..., 10:70, 10:70]
    for shift, forgiven in ((0, True), (3, True), (4, False)):
        fake = large[..., 10 + shift : 70 + shift, 10 - shift : 70 - shift]
        loss = losses.shift_tolerant_l1(fake, real, mask).item()
        assert (loss < 1e-6) == forgiven
    # With no reach it is ℓ1; both are equal where the neighbourhood does not reach the border.
    inner = torch.zeros_like(mask)
    inner[..., 20:-20, 20:-20] = 1
    other = noise(4, size=60)
    plain = losses.shift_tolerant_l1(other, real, inner, reach_px=0).item()
    assert plain == pytest.approx(losses.masked_l1(other, real, inner).item(), rel=1e-4)
    assert (
        losses.shift_tolerant_l1(other, real, mask).item()
        < losses.shift_tolerant_l1(other, real, mask, reach_px=0).item()
    )


def test_features_are_matched_where_the_mask_is():
    real, fake = (
        [torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 2, 2)],
        [torch.ones(1, 2, 4, 4), torch.full((1, 3, 2, 2), 3.0)],
    )
    assert losses.feature_matching(real, fake, torch.ones(1, 1, 8, 8)).item() == pytest.approx((1 + 3) / 2)
    half = torch.ones(1, 1, 8, 8)
    half[..., :4] = 0
    assert losses.feature_matching(real, fake, half).item() == pytest.approx((1 + 3) / 4)
    assert losses.feature_matching(real, real, half).item() == 0
    # The real image is a target and does not move.
    target = torch.zeros(1, 2, 4, 4, requires_grad=True)
    assert not losses.feature_matching([target], [fake[0]], half).requires_grad


def test_the_mask_of_features_is_averaged_over_their_area():
    """A feature counts by the share of its pixels that the mask covers, not by the pixel in its corner."""
    real, fake = [torch.zeros(1, 1, 1, 1)], [torch.ones(1, 1, 1, 1)]
    for covered in (1, 3, 5):
        mask = torch.zeros(1, 1, 4, 4)
        mask.view(-1)[16 - covered :] = 1
        assert losses.feature_matching(real, fake, mask).item() == pytest.approx(covered / 16)


def test_pushing_pixels_out_of_the_mask_gains_nothing():
    # The error is the same everywhere, so the loss does not depend on the mask.
    fake, real, mask = flat_square(0.0), flat_square(0.5), torch.zeros(1, 1, 12, 12)
    mask[..., 2:10] = 1
    for columns in (0.0, 2.0, 5.0):
        field = torch.tensor([0.0, columns])[None, :, None, None]
        assert losses.registered_l1(fake, real, mask, field).item() == pytest.approx(0.5 * 8 / 12)


def flat_square(value):
    return torch.full((1, 3, 12, 12), value)


def test_charbonnier_is_the_absolute_difference_with_a_smooth_minimum():
    # √(0.3² + 0.4²) - 0.4 = 0.1 with ε = 0.4; far from 0 it is ℓ1.
    assert losses.charbonnier(flat(0.3), flat(0.0), ONES, epsilon=0.4).item() == pytest.approx(0.1, abs=1e-6)
    a, b, mask = noise(0), noise(1), torch.ones(2, 1, 6, 6)
    torch.testing.assert_close(losses.charbonnier(a, b, mask), functional.l1_loss(a, b), atol=2e-3, rtol=0)
    equal = noise(0).requires_grad_()
    losses.charbonnier(equal, noise(0), mask).backward()
    assert equal.grad is not None
    assert torch.equal(equal.grad, torch.zeros_like(equal))


def test_multiscale_l1_compares_means_of_blocks():
    # Rows of 0 and 1 against 0.5: |difference| 0.5 at full resolution, and no difference of the blocks' means.
    rows = torch.arange(8.0).remainder(2)[None, None, :, None].expand(1, 1, 8, 8)
    half, mask = torch.full_like(rows, 0.5), torch.ones(1, 1, 8, 8)
    assert losses.multiscale_l1(rows, half, mask).item() == pytest.approx(0.5)
    # A constant difference d is d at each scale: (1 + 1/2 + 1/4 + 1/8) d.
    assert losses.multiscale_l1(half, half + 0.2, mask).item() == pytest.approx(1.875 * 0.2, rel=1e-5)


def test_a_composite_is_the_output_inside_the_mask_and_the_truth_outside():
    a, b = noise(0), noise(1)
    mask = (noise(2, channels=1) > 0).float()
    torch.testing.assert_close(losses.composite(a, b, mask), torch.where(mask > 0, a, b))


def test_the_mask_of_feature_matching_is_averaged_over_the_area_of_each_feature():
    # One of the four pixels that a feature covers lies in the mask: its weight is 1/4, wherever that pixel is.
    real, fake = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        mask = torch.zeros(1, 1, 4, 4)
        mask[..., row, column] = 1
        assert losses.feature_matching([real], [fake], mask).item() == pytest.approx(1 / 16)


def test_the_shift_of_each_image_of_a_batch_is_its_own():
    fakes, reals = noise(5, size=24), noise(6, size=24)
    masks = torch.ones(2, 1, 24, 24)
    masks[1, :, :, :10] = 0
    single = [losses.shift_tolerant_l1(fakes[i : i + 1], reals[i : i + 1], masks[i : i + 1], 1, 5) for i in range(2)]
    whole = losses.shift_tolerant_l1(fakes, reals, masks, 1, 5)
    torch.testing.assert_close(whole, torch.stack(single).mean())
