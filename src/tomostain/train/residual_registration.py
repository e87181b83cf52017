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
from tomostain.train.warp import warp_batch

_FACTORS = (16, 8, 4, 2, 1)
# The affine is found to a small part of a pixel, so that large images need not be used at full resolution.
_MAX_PIXELS, _MIN_SIDE = 2**20, 16
_STEPS = 8
# Pixels of shifted images that are compared at once on a GPU and on a CPU, whose cache holds few.
_PIXELS_AT_ONCE = (2**22, 2**18)
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
        units = torch.ones(3, device=affine.device)
        units[2] = factor  # on the device: a list would be copied there
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
    return float(_misfits(generated, torch.cat([real, mask]), affine[None]))


def _misfits(generated: Tensor, picture: Tensor, affines: Tensor) -> Tensor:
    """Return the misfit of each of N affines (N, 2, 3), without waiting for the device."""
    difference, weight, _ = _differences(generated, picture, affines)
    return (weight * difference.square()).sum((1, 2, 3)) / (weight.sum((1, 2, 3)) * len(generated)).clamp(min=1.0)


def _pyramid(generated: Tensor, real: Tensor, mask: Tensor) -> Iterator[tuple[tuple[Tensor, Tensor, Tensor], float]]:
    """Yield the images at up to three resolutions, coarse to fine, each with its downsampling factor."""
    short, pixels = min(generated.shape[1:]), generated.shape[1] * generated.shape[2]
    factors = [f for f in _FACTORS if short >= _MIN_SIDE * f and pixels <= _MAX_PIXELS * f**2]
    for factor in factors[-3:]:
        d, r, m = (functional.avg_pool2d(part, factor) for part in (generated, real, mask))
        yield (d, r, (m > 1 - 1e-4).to(m)), float(factor)


def _best_shift(generated: Tensor, real: Tensor, mask: Tensor, affine: Tensor, reach: int) -> Tensor:
    """Return the affine with the best shift by whole pixels added, the first of equally good ones."""
    shifts = torch.cartesian_prod(*[torch.arange(-reach, reach + 1, device=affine.device)] * 2).reshape(-1, 2)
    affines = affine + functional.pad(shifts[..., None].to(affine), (2, 0))
    picture = torch.cat([real, mask])
    at_once = max(1, _PIXELS_AT_ONCE[generated.device.type == "cpu"] // picture[0].numel())
    errors = torch.cat([_misfits(generated, picture, part) for part in affines.split(at_once)])
    # What is not finite is never the best.
    errors = torch.where(errors.isfinite(), errors, torch.inf)
    best = errors.argmin()
    return torch.where(errors.index_select(0, best[None]).isfinite(), affines.index_select(0, best[None])[0], affine)


def _differences(generated: Tensor, picture: Tensor, affines: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return differences, weights and the moved real image for N affines.

    Parameters
    ----------
    generated : Tensor (C, Y, X)
    picture : Tensor (C + 1, Y, X)
        The real image, and its mask as the last channel.
    affines : Tensor (N, 2, 3)

    Returns
    -------
    difference : Tensor (N, C, Y, X)
        The moved real image minus the generated one, without the difference of means.
    weight : Tensor (N, 1, Y, X)
        1 inside the moved mask.
    moved : Tensor (N, C, Y, X)
    """
    shape = (picture.shape[1], picture.shape[2])
    fields = torch.einsum("nij,jrc->nirc", affines, _monomials(shape, affines))
    moved = warp_batch(picture.expand(len(affines), -1, -1, -1), fields)
    image, weight = moved[:, :-1], (moved[:, -1:] > 1 - 1e-4).to(picture)
    difference = image - generated
    mean = (weight * difference).sum(dim=(2, 3), keepdim=True) / weight.sum((1, 2, 3), keepdim=True).clamp(min=1.0)
    return difference - mean, weight, image


def _gauss_newton(generated: Tensor, real: Tensor, mask: Tensor, affine: Tensor) -> Tensor:
    """Return the Gauss-Newton step of the affine for the squared difference (Lucas & Kanade 1981)."""
    difference, weight, image = (part[0] for part in _differences(generated, torch.cat([real, mask]), affine[None]))
    slope = torch.stack(torch.gradient(image, dim=(1, 2)))  # (2, C, Y, X)
    monomials = _monomials((generated.shape[1], generated.shape[2]), affine)
    # d(difference)/d(affine[i, j]) = slope[i] · monomial[j]
    jacobian = torch.einsum("icrk,jrk->ijcrk", slope, monomials).reshape(6, -1)
    weighted = jacobian * weight.expand_as(difference).reshape(-1)
    curvature, downhill = (jacobian @ weighted.T).double(), -(weighted @ difference.reshape(-1)).double()
    curvature += _RIDGE * torch.diag(torch.diagonal(curvature)) + 1e-9 * torch.eye(6, device=affine.device)
    # Without a check of the result, for which the host would wait: what is not finite is refused in the end.
    return torch.linalg.solve_ex(curvature, downhill)[0].to(affine).reshape(2, 3)


def _monomials(shape: tuple[int, int], like: Tensor) -> Tensor:
    """Return row and column from the centre, and 1, of every pixel: (3, rows, columns)."""
    rows, columns = (torch.arange(n, device=like.device, dtype=like.dtype) - (n - 1) / 2 for n in shape)
    row, column = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([row, column, torch.ones_like(row)])


__getattr__ = renamed(__name__, {"moved": "apply_affine"})
