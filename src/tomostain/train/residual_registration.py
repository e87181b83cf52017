"""Re-register each histology image to the output of the generator: a residual affine, by intensity.

µCT and histology differ in appearance, but generated and real histology are similar. Once the generator is roughly
trained, a least-squares fit finds the few pixels of misalignment that registration left, and training continues with
pairs that fit better. Each pair has one affine. Nothing is deformed locally, so that no structure can be invented.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tomostain.deprecation import renamed
from tomostain.train.losses import warp_batch

_FACTORS = (16, 8, 4, 2, 1)
# The affine is found to a small part of a pixel, so that large images need not be used at full resolution.
_MAX_PIXELS, _MIN_SIDE = 2**20, 16
_STEPS = 8
_CONVERGED_PX = 0.02
# Suppresses a rotation or strain that the data do not determine: this part of each curvature is added to it.
_RIDGE = 1e-3


@dataclass(frozen=True)
class Bounds:
    """Limits of the misalignment that registration may have left.

    Attributes
    ----------
    shift_px : float
        Along each axis, at the centre of the image.
    strain : float
        Rotation (rad) and strain.
    """

    shift_px: float = 12.0
    strain: float = 0.03


def displacement(affine: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return the displacement (1, 2, rows, columns), px, of an affine (2, 3).

    Columns of `affine`: along rows and along columns of the image (per px from its centre), and the shift (px).

    Examples
    --------
    >>> displacement(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -2.0]]), (3, 4))[0, :, 0, 0].tolist()
    [1.0, -2.0]
    """
    return torch.einsum("ij,jrc->irc", affine, _monomials(shape, affine))[None]


def apply_affine(image: Tensor, affine: Tensor) -> Tensor:
    """Return an image (C, Y, X) resampled at each pixel's position plus its displacement; edges repeat."""
    return warp_batch(image[None], displacement(affine, (image.shape[1], image.shape[2])))[0]


def align(generated: Tensor, real: Tensor, mask: Tensor, start: Tensor, bounds: Bounds | None = None) -> Tensor:
    """Return the affine that registers the real image to the generated one.

    Parameters
    ----------
    generated, real : Tensor (C, Y, X)
        Images on one scale. A difference of their means has no effect.
    mask : Tensor (1, Y, X)
        Of the real image: 1 where it may be compared.
    start : Tensor (2, 3)
        Initial affine; zeros for the original position.
    bounds : Bounds, optional
        Limits of the result.

    Returns
    -------
    Tensor (2, 3)
        See `displacement`. It is `start` if the fit exceeds `bounds` or is not better.
    """
    bounds = bounds or Bounds()
    affine, first = start.clone(), True
    for (d, r, m), factor in _pyramid(generated, real, mask):
        units = torch.tensor([1.0, 1.0, factor], device=affine.device)
        scaled = affine / units
        if first:
            scaled, first = _best_shift(d, r, m, scaled, int(bounds.shift_px / factor)), False
        for _ in range(_STEPS):
            step = _gauss_newton(d, r, m, scaled)
            scaled = scaled + step
            if step[:, 2].abs().max() < _CONVERGED_PX:
                break
        affine = scaled * units
    inside = affine[:, 2].abs().max() <= bounds.shift_px and affine[:, :2].abs().max() <= bounds.strain
    better = bool(inside) and misfit(generated, real, mask, affine) < misfit(generated, real, mask, start)
    return affine if better else start


def misfit(generated: Tensor, real: Tensor, mask: Tensor, affine: Tensor) -> float:
    """Return the mean squared difference inside the moved mask, without the difference of the means."""
    difference, weight = _difference(generated, real, mask, affine)
    return float((weight * difference.square()).sum() / (weight.sum() * len(generated)).clamp(min=1.0))


def _pyramid(generated: Tensor, real: Tensor, mask: Tensor) -> Iterator[tuple[tuple[Tensor, Tensor, Tensor], float]]:
    """Yield the images at up to three resolutions, coarse to fine, each with its downsampling factor."""
    short, pixels = min(generated.shape[1:]), generated.shape[1] * generated.shape[2]
    factors = [f for f in _FACTORS if short >= _MIN_SIDE * f and pixels <= _MAX_PIXELS * f**2]
    for factor in factors[-3:]:
        d, r, m = (functional.avg_pool2d(part, factor) for part in (generated, real, mask))
        yield (d, r, (m > 1 - 1e-4).to(m)), float(factor)


def _best_shift(generated: Tensor, real: Tensor, mask: Tensor, affine: Tensor, reach: int) -> Tensor:
    """Return the affine with the best shift by whole pixels added."""
    best, minimum = affine, float("inf")
    for row in range(-reach, reach + 1):
        for column in range(-reach, reach + 1):
            shifted = affine + torch.tensor([[0.0, 0.0, row], [0.0, 0.0, column]], device=affine.device)
            error = misfit(generated, real, mask, shifted)
            if error < minimum:
                best, minimum = shifted, error
    return best


def _difference(generated: Tensor, real: Tensor, mask: Tensor, affine: Tensor) -> tuple[Tensor, Tensor]:
    """Return the moved real image minus the generated one, without the difference of means; and the weights."""
    weight = (apply_affine(mask, affine) > 1 - 1e-4).to(mask)
    difference = apply_affine(real, affine) - generated
    mean = (weight * difference).sum(dim=(1, 2), keepdim=True) / weight.sum().clamp(min=1.0)
    return difference - mean, weight


def _gauss_newton(generated: Tensor, real: Tensor, mask: Tensor, affine: Tensor) -> Tensor:
    """Return the Gauss-Newton step of the affine for the squared difference (Lucas & Kanade 1981)."""
    difference, weight = _difference(generated, real, mask, affine)
    image = apply_affine(real, affine)
    slope = torch.stack(torch.gradient(image, dim=(1, 2)))  # (2, C, Y, X)
    monomials = _monomials((generated.shape[1], generated.shape[2]), affine)
    # d(difference)/d(affine[i, j]) = slope[i] · monomial[j]
    jacobian = torch.einsum("icrk,jrk->ijcrk", slope, monomials).reshape(6, -1)
    weighted = jacobian * weight.expand_as(difference).reshape(-1)
    curvature, downhill = (jacobian @ weighted.T).double(), -(weighted @ difference.reshape(-1)).double()
    curvature += _RIDGE * torch.diag(torch.diagonal(curvature)) + 1e-9 * torch.eye(6, device=affine.device)
    return torch.linalg.solve(curvature, downhill).to(affine).reshape(2, 3)


def _monomials(shape: tuple[int, int], like: Tensor) -> Tensor:
    """Return row and column from the centre, and 1, of every pixel: (3, rows, columns)."""
    rows, columns = (torch.arange(n, device=like.device, dtype=like.dtype) - (n - 1) / 2 for n in shape)
    row, column = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([row, column, torch.ones_like(row)])


__getattr__ = renamed(__name__, {"moved": "apply_affine"})
