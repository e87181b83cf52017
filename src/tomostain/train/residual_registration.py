"""Real histology laid anew on what the generator draws: what registration left undone, found by the colours.

µCT and histology look unlike, a drawn and a real section alike: once the generator knows roughly what belongs where, a
plain least-squares fit finds the few pixels that registration left. Then training goes on with pairs that fit better.
Every pair has an affine of its own; nothing local is moved, so that nothing can be invented.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tomostain.train.losses import warp

_FACTORS = (16, 8, 4, 2, 1)
# A place is found to a small part of a pixel: large pictures need not be looked at in full.
_MOST_PIXELS, _LEAST_SIDE = 2**20, 16
_STEPS = 8
_SETTLED_PX = 0.02
# A turn or strain that the data do not tell stays away: so much of the mean curvature is added to theirs.
_RIDGE = 1e-3


@dataclass(frozen=True)
class Bounds:
    """What registration can have left.

    Attributes
    ----------
    shift_px : float
        Along each axis, at the picture's centre.
    strain : float
        Turn (rad) and strain.
    """

    shift_px: float = 12.0
    strain: float = 0.03


def displacement(place: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return the displacement field (1, 2, rows, columns), px, of an affine place (2, 3).

    Columns of `place`: along rows and along columns of the picture (per px from its centre), and the shift (px).

    Examples
    --------
    >>> displacement(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -2.0]]), (3, 4))[0, :, 0, 0].tolist()
    [1.0, -2.0]
    """
    return torch.einsum("ij,jrc->irc", place, _monomials(shape, place))[None]


def moved(image: Tensor, place: Tensor) -> Tensor:
    """Return an image (C, Y, X) taken from each pixel's place plus its displacement; edges repeat."""
    return warp(image[None], displacement(place, (image.shape[1], image.shape[2])))[0]


def align(drawn: Tensor, real: Tensor, mask: Tensor, start: Tensor, bounds: Bounds | None = None) -> Tensor:
    """Return the place from where the real picture is taken to fit the drawn one best.

    Parameters
    ----------
    drawn, real : Tensor (C, Y, X)
        On one scale; a difference of the means is no matter.
    mask : Tensor (1, Y, X)
        Of the real picture: 1 where there is anything to compare.
    start : Tensor (2, 3)
        Where to begin; zeros: as it lies.
    bounds : Bounds, optional
        Beyond them, or where the fit is no better, it stays at `start`.

    Returns
    -------
    Tensor (2, 3)
        See `displacement`.
    """
    bounds = bounds or Bounds()
    place, first = start.clone(), True
    for (d, r, m), factor in _pyramid(drawn, real, mask):
        units = torch.tensor([1.0, 1.0, factor], device=place.device)
        now = place / units
        if first:
            now, first = _best_shift(d, r, m, now, int(bounds.shift_px / factor)), False
        for _ in range(_STEPS):
            step = _gauss_newton(d, r, m, now)
            now = now + step
            if step[:, 2].abs().max() < _SETTLED_PX:
                break
        place = now * units
    inside = place[:, 2].abs().max() <= bounds.shift_px and place[:, :2].abs().max() <= bounds.strain
    better = bool(inside) and misfit(drawn, real, mask, place) < misfit(drawn, real, mask, start)
    return place if better else start


def misfit(drawn: Tensor, real: Tensor, mask: Tensor, place: Tensor) -> float:
    """Return the mean squared difference where the moved mask is, less that of the means."""
    difference, weight = _difference(drawn, real, mask, place)
    return float((weight * difference.square()).sum() / (weight.sum() * len(drawn)).clamp(min=1.0))


def _pyramid(drawn: Tensor, real: Tensor, mask: Tensor) -> Iterator[tuple[tuple[Tensor, Tensor, Tensor], float]]:
    """Yield the pictures from coarse to fine, at most three times, with how many pixels are one along each axis."""
    short, pixels = min(drawn.shape[1:]), drawn.shape[1] * drawn.shape[2]
    factors = [f for f in _FACTORS if short >= _LEAST_SIDE * f and pixels <= _MOST_PIXELS * f**2]
    for factor in factors[-3:]:
        d, r, m = (functional.avg_pool2d(part, factor) for part in (drawn, real, mask))
        yield (d, r, (m > 1 - 1e-4).to(m)), float(factor)


def _best_shift(drawn: Tensor, real: Tensor, mask: Tensor, place: Tensor, reach: int) -> Tensor:
    """Return the place shifted by the whole pixels that fit best."""
    best, least = place, float("inf")
    for row in range(-reach, reach + 1):
        for column in range(-reach, reach + 1):
            there = place + torch.tensor([[0.0, 0.0, row], [0.0, 0.0, column]], device=place.device)
            found = misfit(drawn, real, mask, there)
            if found < least:
                best, least = there, found
    return best


def _difference(drawn: Tensor, real: Tensor, mask: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Return moved real less drawn, without the difference of means, and where it counts."""
    weight = (moved(mask, place) > 1 - 1e-4).to(mask)
    difference = moved(real, place) - drawn
    mean = (weight * difference).sum(dim=(1, 2), keepdim=True) / weight.sum().clamp(min=1.0)
    return difference - mean, weight


def _gauss_newton(drawn: Tensor, real: Tensor, mask: Tensor, place: Tensor) -> Tensor:
    """Return the step of the place that lowers the squared difference (Lucas & Kanade 1981)."""
    difference, weight = _difference(drawn, real, mask, place)
    taken = moved(real, place)
    slope = torch.stack(torch.gradient(taken, dim=(1, 2)))  # (2, C, Y, X)
    monomials = _monomials((drawn.shape[1], drawn.shape[2]), place)
    # d(difference)/d(place[i, j]) = slope[i] · monomial[j]
    jacobian = torch.einsum("icrk,jrk->ijcrk", slope, monomials).reshape(6, -1)
    weighted = jacobian * weight.expand_as(difference).reshape(-1)
    curvature, downhill = (jacobian @ weighted.T).double(), -(weighted @ difference.reshape(-1)).double()
    curvature += _RIDGE * torch.diag(torch.diagonal(curvature)) + 1e-9 * torch.eye(6, device=place.device)
    return torch.linalg.solve(curvature, downhill).to(place).reshape(2, 3)


def _monomials(shape: tuple[int, int], like: Tensor) -> Tensor:
    """Return row and column from the centre, and 1, of every pixel: (3, rows, columns)."""
    rows, columns = (torch.arange(n, device=like.device, dtype=like.dtype) - (n - 1) / 2 for n in shape)
    row, column = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([row, column, torch.ones_like(row)])
