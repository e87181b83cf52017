"""The losses of the paper, one function for each of its equations (1) to (10), and some more.

Source: Irvine et al., J. Synchrotron Rad. 2026, section 2.6. Images are (B, C, H, W), float in [-1, 1]. Masks are
(B, 1, H, W): 1 where µCT and histology correspond, 0 elsewhere. Scores are the output of a discriminator, of any shape.
Expectations are means over batch, channels and pixels. Every function returns a tensor with one number.

The paper applies the correspondence mask as a binary multiplier of all ℓ1 terms (section 2.6.3). Here the mean is over
all pixels, and those outside the mask count as zero. So the weight of a patch is the area of its mask.
"""

from collections.abc import Callable, Sequence
from typing import TypedDict, Unpack

import torch
from torch import Tensor
from torch.nn import functional

from tomostain.deprecation import renamed
from tomostain.train.warp import warp_batch


def masked_l1(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """Mean over all pixels of mask · |a - b|. Pixels outside the mask affect neither the value nor its gradient.

    Examples
    --------
    >>> a, b = torch.tensor([[[[0.0, 9.0]]]]), torch.tensor([[[[1.0, 0.0]]]])
    >>> masked_l1(a, b, mask=torch.tensor([[[[1.0, 0.0]]]])).item()
    0.5
    """
    return (mask * (a - b).abs()).mean()


def least_squares(scores: Tensor, label: float) -> Tensor:
    """Mean squared difference between discriminator scores and a label, 1 for real and 0 for fake (LSGAN)."""
    return (scores - label).square().mean()


def cycle(cycled_x: Tensor, x: Tensor, cycled_y: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """Eq. (1), cycle consistency: E‖G_yx(G_xy(x)) - x‖₁ + E‖G_xy(G_yx(y)) - y‖₁."""
    return masked_l1(cycled_x, x, mask) + masked_l1(cycled_y, y, mask)


def adversarial(scores_fake_y: Tensor, scores_fake_x: Tensor) -> Tensor:
    """Eq. (2), of the generators: E(D_y(G_xy(x)) - 1)² + E(D_x(G_yx(y)) - 1)²."""
    return least_squares(scores_fake_y, 1.0) + least_squares(scores_fake_x, 1.0)


def discriminator(scores_real: Tensor, scores_fake: Tensor) -> Tensor:
    """Discriminator loss for eqs. (2) and (8): half of E(D(real) - 1)² + E D(fake)².

    The half slows the discriminators relative to the generators (Zhu et al. 2017, appendix).
    """
    return 0.5 * (least_squares(scores_real, 1.0) + least_squares(scores_fake, 0.0))


def identity(same_x: Tensor, x: Tensor, same_y: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """Eq. (3), identity: E‖G_yx(x) - x‖₁ + E‖G_xy(y) - y‖₁. An image of the target domain must stay unchanged."""
    return masked_l1(same_x, x, mask) + masked_l1(same_y, y, mask)


def cyclegan_total(gan: Tensor, cyc: Tensor, idt: Tensor, lambda_cyc: float = 6.0, lambda_id: float = 3.0) -> Tensor:
    """Eq. (4), CycleGAN: L_GAN + λ_cyc L_cyc + λ_id L_id."""
    return gan + lambda_cyc * cyc + lambda_id * idt


def pixelwise(fake_y: Tensor, y: Tensor, fake_x: Tensor, x: Tensor, mask: Tensor) -> Tensor:
    """Eq. (5), pixelwise supervision: E‖G_xy(x) - y‖₁ + E‖G_yx(y) - x‖₁."""
    return masked_l1(fake_y, y, mask) + masked_l1(fake_x, x, mask)


def greyscale(fake_x: Tensor, mask: Tensor) -> Tensor:
    """Eq. (6), greyscale: the mean of |r - g|, |g - b| and |b - r| of the generated µCT (B, 3, H, W).

    With one channel the loss is zero.
    """
    return masked_l1(fake_x, fake_x.roll(-1, dims=1), mask)


class PairedWeights(TypedDict, total=False):
    """Weights of eq. (7)."""

    lambda_cyc: float
    lambda_id: float
    lambda_px: float
    lambda_gs: float


def paired_total(
    gan: Tensor, cyc: Tensor, idt: Tensor, px: Tensor, gs: Tensor, **weights: Unpack[PairedWeights]
) -> Tensor:
    """Eq. (7), CycleGAN for paired data: eq. (4) + λ_px L_px + λ_gs L_gs.

    The weights of the paper are the defaults: `lambda_cyc` 6, `lambda_id` 3, `lambda_px` 6, `lambda_gs` 1.
    """
    total = cyclegan_total(gan, cyc, idt, weights.get("lambda_cyc", 6.0), weights.get("lambda_id", 3.0))
    return total + weights.get("lambda_px", 6.0) * px + weights.get("lambda_gs", 1.0) * gs


def conditional_adversarial(scores_fake: Tensor) -> Tensor:
    """Eq. (8), of the generator of pix2pix: E(D(x, G(x)) - 1)²; also for a discriminator without condition."""
    return least_squares(scores_fake, 1.0)


def feature_matching(real: Sequence[Tensor], fake: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Mean over a discriminator's layers of the ℓ1 distance between the features of the real and the generated image.

    Feature maps agree where texture agrees even if no pixel does. The mask is area-averaged to the resolution of each
    feature map. Source: Wang et al. 2018 (pix2pixHD), eq. (4), https://doi.org/10.1109/CVPR.2018.00917.
    """
    parts = [
        masked_l1(f, r.detach(), functional.interpolate(mask, size=tuple(r.shape[2:]), mode="area"))
        for r, f in zip(real, fake, strict=True)
    ]
    return torch.stack(parts).mean()


def l1(fake_y: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """Eq. (9), the pixelwise loss of pix2pix: E‖y - G(x)‖₁."""
    return masked_l1(fake_y, y, mask)


def noise_spread(fake_y: Tensor, other_fake_y: Tensor, mask: Tensor) -> Tensor:
    """Half the difference of two images of one µCT with different noise, negative: -½ E‖G(x, z) - G(x, z')‖₁.

    Together with ℓ1 of the same weight it is the energy form of the continuous ranked probability score of each pixel,
    E‖G(x, z) - y‖₁ - ½ E‖G(x, z) - G(x, z')‖₁. This score is smallest if the colours over all z have the distribution
    of the histology given the µCT. ℓ1 alone is smallest without any spread, so the network ignores the noise.

    References
    ----------
    Gneiting and Raftery 2007, eq. (21), doi:10.1198/016214506000001437. As a reward next to a discriminator: Bendel et
    al. 2023, arXiv:2210.13389.
    """
    return -0.5 * masked_l1(fake_y, other_fake_y, mask)


def charbonnier(fake_y: Tensor, y: Tensor, mask: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Mean over all pixels of mask · (√((fake_y - y)² + ε²) - ε): ℓ1 with a smooth minimum.

    Source: Charbonnier et al. 1994, https://doi.org/10.1109/ICIP.1994.413553.

    Examples
    --------
    >>> a, b = torch.tensor([[[[0.0, 9.0]]]]), torch.tensor([[[[1.0, 0.0]]]])
    >>> round(charbonnier(a, b, mask=torch.tensor([[[[1.0, 0.0]]]])).item(), 3)
    0.5
    """
    return (mask * (((fake_y - y).square() + epsilon**2).sqrt() - epsilon)).mean()


def multiscale_l1(fake_y: Tensor, y: Tensor, mask: Tensor, weights: Sequence[float] = (1, 0.5, 0.25, 0.125)) -> Tensor:
    """Weighted sum of the masked ℓ1 loss at full resolution and after averaging over 2, 4 and 8 px.

    At scale s the difference inside the mask is averaged over blocks of 2^s px. Blocks forgive small shifts, and their
    mean colour must still agree.

    Parameters
    ----------
    fake_y, y : Tensor (B, C, H, W)
    mask : Tensor (B, 1, H, W)
    weights : sequence of float
        Weight of each scale, beginning with full resolution. Sides of at least 2^(number of weights - 1) px are needed.

    Examples
    --------
    >>> a, b, mask = torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
    >>> multiscale_l1(a, b, mask).item()
    1.875
    """
    difference = mask * (fake_y - y)
    parts = [weights[0] * difference.abs().mean()]
    for weight in weights[1:]:
        difference = functional.avg_pool2d(difference, 2)
        parts.append(weight * difference.abs().mean())
    return torch.stack(parts).sum()


def composite(fake_y: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """Return `fake_y` inside the mask and `y` outside, for losses that cannot take a mask; fractions are mixed."""
    return torch.lerp(y, fake_y, mask.expand_as(y))


def pix2pix_total(gan: Tensor, l1_loss: Tensor, lambda_l1: float = 20.0) -> Tensor:
    """Eq. (10), pix2pix: L_cGAN + λ L_ℓ1."""
    return gan + lambda_l1 * l1_loss


def _unchanged(value: Tensor) -> Tensor:
    return value


def registered_pixelwise(
    fake_y: Tensor,
    y: Tensor,
    fake_x: Tensor,
    x: Tensor,
    mask: Tensor,
    displacement: Tensor,
    total: Callable[[Tensor], Tensor] = _unchanged,
) -> Tensor:
    """Eq. (5) after a displacement: E‖G_xy(x)∘(1 + φ) - y‖₁ + E‖G_yx(y) - x∘(1 + φ)‖₁.

    For each pixel of the histology, φ is the displacement to its counterpart in the µCT. Both images on the side of
    the µCT are resampled, so that no inverse is needed. Only pixels that lie in the mask before and after count. The
    loss is scaled up for the others, otherwise φ would push pixels out of the mask. Where a batch is divided among
    processes, `total` sums over them.
    """
    both, share = _in_both(mask, displacement, total)
    moved_fake_y, moved_x = warp_batch(mask * fake_y, displacement), warp_batch(mask * x, displacement)
    return share * (masked_l1(moved_fake_y, y, both) + masked_l1(fake_x, moved_x, both))


def registered_l1(
    fake_y: Tensor, y: Tensor, mask: Tensor, displacement: Tensor, total: Callable[[Tensor], Tensor] = _unchanged
) -> Tensor:
    """Eq. (9) after a displacement; see `registered_pixelwise`."""
    both, share = _in_both(mask, displacement, total)
    return share * masked_l1(warp_batch(mask * fake_y, displacement), y, both)


def _in_both(mask: Tensor, displacement: Tensor, total: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Return the mask of pixels whose sources all lie in the mask, and the ratio of the areas of both masks."""
    with torch.no_grad():
        both = mask * (warp_batch(mask, displacement) > 1 - 1e-4)
        return both, total(mask.sum()) / total(both.sum()).clamp(min=1.0)


def smoothness(displacement: Tensor) -> Tensor:
    """Mean squared difference of neighbouring knots of a displacement (B, 2, h, w), px²."""
    down = (displacement[:, :, 1:] - displacement[:, :, :-1]).square()
    across = (displacement[..., 1:] - displacement[..., :-1]).square()
    # A displacement with one knot has no neighbours.
    return sum((part.mean() for part in (down, across) if part.numel()), displacement.new_zeros(()))


def shift_tolerant_l1(fake: Tensor, real: Tensor, mask: Tensor, reach_px: int = 3, window_px: int = 17) -> Tensor:
    """ℓ1 distance that forgives shifts: for each neighbourhood, the minimum of its local mean over all shifts.

    Parameters
    ----------
    fake, real : Tensor (B, C, H, W)
    mask : Tensor (B, 1, H, W)
        Only pixels whose counterpart also lies in it are compared.
    reach_px : int
        Largest shift along each axis.
    window_px : int
        Side of the neighbourhood, odd. All its pixels shift together.
    """
    best = None
    padded = functional.pad(real, (reach_px,) * 4, mode="replicate")
    padded_mask = functional.pad(mask, (reach_px,) * 4)
    rows, columns = real.shape[2:]

    def local(image: Tensor) -> Tensor:
        return functional.avg_pool2d(image, window_px, 1, window_px // 2, count_include_pad=False)

    for row in range(2 * reach_px + 1):
        for column in range(2 * reach_px + 1):
            where = (slice(None), slice(None), slice(row, row + rows), slice(column, column + columns))
            both = mask * padded_mask[where]
            part = local(both)
            error = local((both * (fake - padded[where]).abs()).mean(dim=1, keepdim=True)) / part.clamp(min=1e-6)
            error = torch.where(part > 1e-6, error, torch.full_like(error, 2.0))
            best = error if best is None else torch.minimum(best, error)
    assert best is not None
    # As in the other terms, the weight of a patch is the area of its mask.
    return (best * local(mask)).mean()


def masked_psnr(fake: Tensor, real: Tensor, mask: Tensor) -> Tensor:
    """Peak signal-to-noise ratio inside the mask, dB, for images in [-1, 1]. Used in validation; not a loss.

    Examples
    --------
    >>> masked_psnr(torch.full((1, 3, 2, 2), 0.2), torch.zeros(1, 3, 2, 2), torch.ones(1, 1, 2, 2)).item()
    20.0...
    """
    inside = mask.expand_as(fake)
    error = (inside * (fake - real).square()).sum() / inside.sum().clamp(min=1.0)
    return 10.0 * torch.log10(4.0 / error.clamp(min=1e-10))


__getattr__ = renamed(
    __name__,
    {
        "settled": "registered_pixelwise",
        "settled_l1": "registered_l1",
        "tolerant": "shift_tolerant_l1",
        "psnr": "masked_psnr",
        "warp": "warp_batch",
        "sample_bilinear": "tomostain.train.warp:sample_bilinear",
    },
)
