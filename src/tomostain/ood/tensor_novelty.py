"""The novelty of slices on any device: `tomostain.ood.novelty` with operators of PyTorch.

What is computed is the same. The slice is clipped to the limits of the reference. Gaussian filters that end at three
standard deviations and mirror the image at its borders give 11 features of content and 16 of texture on a grid of 4 px
(`tomostain.ood.tensor_texture`). The texture is standardised by a quadratic regression on the content, averaged, and
sampled on a grid of 8 px. There the distances from the five nearest places of the reference are averaged and divided by
the root of their density and by the usual distance. Air is 0. Between the places of the grid it is interpolated.

Filters, regression and distances are computed in float64, so TF32 has no effect. Differences from SciPy come from the
last places of logarithms, exponentials and roots in float32. On a CPU and phantoms they were below 1e-6 of novelties
above 0.5; the tests allow 1e-4, and another grey level of a map of 256 in less than one pixel of a thousand, by one at
most. If several places of a reference are equally far and only some of them are among the nearest, SciPy may choose
others, with another density.
"""

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tomostain.imaging.gaussian import TRUNCATE
from tomostain.imaging.network_range import CT_BACKGROUND, CT_BONE
from tomostain.imaging.tensor_filters import TensorFilters
from tomostain.ood.grey_limits import GREY_LIMITS
from tomostain.ood.nearest_places import NEIGHBOURS
from tomostain.ood.neighbourhoods import NOISE, SIGMAS_PX, NeighbourhoodReference
from tomostain.ood.novelty import TrainingReference
from tomostain.ood.regional_reference import AIR_FRACTION, AIR_WINDOW_PX, GRID_PX, RegionalReference
from tomostain.ood.residual import TextureModel
from tomostain.ood.tensor_texture import Features, TensorTextureModel, describe, grey_of
from tomostain.ood.texture import STEP_PX

# Slices of up to so many pixels together are compared at once, and so many distances are in memory.
_TOGETHER_PX, _DISTANCES = 8 * 2**20, 2**25
# Memory of the filtered images and of the results for each pixel, and the most distances for each pixel: 8000 places of
# an older reference, on a grid of 4 px.
_BYTES_PER_PIXEL, _DISTANCES_PER_PIXEL = 128, 500


class TensorNovelty:
    """Computes the novelty of slices on a device, without a wait of the host.

    Parameters
    ----------
    references : sequence of TrainingReference
        At least one. The smallest of the novelties for them is returned.
    device : torch.device
        With float64.
    """

    def __init__(self, references: Sequence[TrainingReference], device: torch.device) -> None:
        self.filters = TensorFilters(device)
        self._references = [_on_device(each, self.filters) for each in references]

    def __call__(self, ct: Tensor) -> Tensor:
        """Return `tomostain.ood.novelty.novelty` of each slice, for the reference that knows it best.

        Parameters
        ----------
        ct : Tensor of float32, shape (N, Y, X)
            Normalised µCT, on the device.

        Returns
        -------
        Tensor of float32, shape (N, Y, X)
        """
        together = max(1, _TOGETHER_PX // (ct.shape[1] * ct.shape[2]))
        return torch.cat([self._least(_Slices(part, self.filters)) for part in ct.split(together)])

    def _least(self, slices: "_Slices") -> Tensor:
        shape = slices.ct.shape[1], slices.ct.shape[2]
        maps = (self.filters.enlarged(each.grid(slices), each.grid_px, shape).float() for each in self._references)
        return functools.reduce(torch.minimum, maps)


class _Slices:
    """Slices that are compared together, with what several references need of them."""

    def __init__(self, ct: Tensor, filters: TensorFilters) -> None:
        self.ct, self.filters = ct, filters
        self._features: dict[tuple[float, float], Features] = {}

    def features(self, limits: tuple[float, float]) -> Features:
        """Return content and texture, for references with these limits."""
        if limits not in self._features:
            self._features[limits] = describe(self.ct, limits, self.filters)
        return self._features[limits]

    @functools.cached_property
    def tissue(self) -> Tensor:
        """Where a window does not contain only air, on the grid of `RegionalReference`."""
        smooth = self.filters.gaussian(self.ct.clip(*GREY_LIMITS), 2.0, truncate=TRUNCATE)
        # Mirrored pixels are in the window already, so it may end at the border.
        largest = functional.max_pool2d(smooth[:, None], AIR_WINDOW_PX, GRID_PX, AIR_WINDOW_PX // 2)[:, 0]
        return ~(largest < CT_BACKGROUND + AIR_FRACTION * (CT_BONE - CT_BACKGROUND))

    @functools.cached_property
    def neighbourhoods(self) -> Tensor:
        """Features of neighbourhoods, for older references: `tomostain.ood.neighbourhoods.describe`, features last."""
        grey = grey_of(self.ct, GREY_LIMITS)
        images, features = torch.stack([grey, grey * grey]), []
        for sigma in SIGMAS_PX:
            mean, square = self.filters.gaussian(images, sigma, STEP_PX, TRUNCATE)
            features += [mean, 0.5 * ((square - mean * mean).clamp_min(0.0) + NOISE**2).log()]
        return torch.stack(features, dim=-1).float()


class _Regional:
    """A reference of this version on a device."""

    grid_px = RegionalReference.grid_px

    def __init__(self, reference: RegionalReference, filters: TensorFilters) -> None:
        self.reference = reference
        model = TextureModel(reference.content, reference.expected, reference.spread)
        self._model = TensorTextureModel(model, filters)
        wide = (reference.mean, reference.whitening, reference.places)
        self._mean, self._whitening, self._places = (filters.constant(each.astype(np.float64)) for each in wide)
        self._density = filters.constant(reference.density)

    def grid(self, slices: _Slices) -> Tensor:
        """Return the novelty on a coarse grid, float32, shape (N, rows, columns)."""
        features = slices.features(self.reference.limits)
        regional = self._model.regional(features, GRID_PX // STEP_PX).movedim(1, -1)
        whitened = (regional - self._mean) @ self._whitening
        distances, nearest = nearest_places(whitened.flatten(0, -2), self._places, NEIGHBOURS)
        scores = distances.mean(dim=1) / self._density[nearest].mean(dim=1).sqrt()
        usual = float(np.interp(min(slices.ct.shape[1:]), self.reference.sides, self.reference.usual))
        novelty = (scores / usual).float().view(regional.shape[:-1])
        return novelty.where(slices.tissue, novelty.new_zeros(()))


class _Neighbourhoods:
    """A reference of an older version on a device."""

    grid_px = NeighbourhoodReference.grid_px

    def __init__(self, reference: NeighbourhoodReference, filters: TensorFilters) -> None:
        self.usual, self._scale = reference.usual, filters.constant(reference.scale)
        self._places = filters.constant(reference.neighbourhoods.astype(np.float64))

    def grid(self, slices: _Slices) -> Tensor:
        """Return the novelty on a coarse grid, float32, shape (N, rows, columns)."""
        scaled = slices.neighbourhoods / self._scale
        distances, _ = nearest_places(scaled.flatten(0, -2).double(), self._places, 1)
        return (distances[:, 0] / self.usual).float().view(scaled.shape[:-1])


def _on_device(reference: TrainingReference, filters: TensorFilters) -> _Regional | _Neighbourhoods:
    if isinstance(reference, NeighbourhoodReference):
        return _Neighbourhoods(reference, filters)
    assert isinstance(reference, RegionalReference)
    return _Regional(reference, filters)


def memory_bytes(pixels: int) -> int:
    """Return the memory on a device in which the novelty of slices is computed, by their pixels together.

    Examples
    --------
    >>> memory_bytes(8 * 1024**2) / 1024**2
    1280.0
    """
    return _BYTES_PER_PIXEL * pixels + 8 * min(_DISTANCES, _DISTANCES_PER_PIXEL * pixels)


def nearest_places(places: Tensor, reference: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return distances and indices of the nearest places of a reference, shape (n, count), nearest first.

    Parameters
    ----------
    places : Tensor of float64, shape (n, dimensions)
    reference : Tensor of float64, shape (m, dimensions)
    count : int
        At most m are returned.
    """
    squares = reference.square().sum(dim=1)
    # Without the square of the place, which does not change the order.
    parts = [
        _smallest(torch.addmm(squares, part, reference.T, alpha=-2.0), min(count, len(reference)))
        for part in places.split(max(1, _DISTANCES // len(reference)))
    ]
    nearest = torch.cat(parts)
    # From the differences, because the products cancel where distances are small.
    distances = [(places - reference[index]).square_().sum(dim=1).sqrt_() for index in nearest.unbind(1)]
    return torch.stack(distances, dim=1), nearest


def _smallest(values: Tensor, count: int) -> Tensor:
    """Return the indices of the smallest values of each row, and replace all of them but the last by infinity.

    A GPU finds five minima of some thousand values faster than `torch.topk`, which reads them for every second bit.
    """
    indices = [values.argmin(dim=1, keepdim=True)]
    for _ in range(count - 1):
        values.scatter_(1, indices[-1], torch.inf)
        indices.append(values.argmin(dim=1, keepdim=True))
    return torch.cat(indices, dim=1)
