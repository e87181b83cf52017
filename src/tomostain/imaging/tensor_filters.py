"""Filters of images on any device, with the values of SciPy: sums in float64, and the type of the images in between.

The rows of an image are filtered in blocks. An index repeats the pixels that two blocks share and mirrors those beyond
the border. A product with a matrix, the same for all blocks, filters them. So there are few operators, none waits for
the device, and products of float64 are never rounded to TF32.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

Float64 = NDArray[np.float64]
# Pixels along an axis that are computed together. Larger blocks repeat fewer pixels, but need more multiplications.
_BLOCK_PX = 32


class _Plan(NamedTuple):
    """How an axis is filtered: pixels of each block, their number, the matrix (pixels, results), and the results."""

    pixels: Tensor
    blocks: int
    matrix: Tensor
    results: int


class TensorFilters:
    """Filters for images on one device.

    Parameters
    ----------
    device : torch.device
        With float64.

    Notes
    -----
    Indices and matrices are copied to the device at the first use and stay there.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._constants: dict[Any, Any] = {}

    def constant(self, values: NDArray[Any]) -> Tensor:
        """Return an array on the device. The host does not wait for the copy."""
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor

    def gaussian(self, images: Tensor, sigma: float, step: int = 1, truncate: float = 3.0) -> Tensor:
        """Return `tomostain.imaging.gaussian.gaussian_samples` of images (..., Y, X), of the same type."""
        weights = _gaussian_weights(float(sigma), truncate)
        return self._filtered(self._filtered(images, weights, -2, step), weights, -1, step)

    def sobel(self, images: Tensor, axis: int) -> Tensor:
        """Return ``scipy.ndimage.sobel`` of images (..., Y, X) along axis -2 or -1, of the same type."""
        return self._filtered(self._filtered(images, (-1.0, 0.0, 1.0), axis, 1), (1.0, 2.0, 1.0), -3 - axis, 1)

    def enlarged(self, coarse: Tensor, step: int, shape: tuple[int, int]) -> Tensor:
        """Interpolate every `step`-th pixel of images (..., Y, X) linearly, as float64; after the last it is constant.

        Examples
        --------
        >>> TensorFilters(torch.device("cpu")).enlarged(torch.tensor([[0.0, 4.0]]), 4, (2, 6)).tolist()[1]
        [0.0, 1.0, 2.0, 3.0, 4.0, 4.0]
        """
        rows, columns = map(functools.partial(self._interpolation, step), shape, coarse.shape[-2:])
        return rows @ coarse.double() @ columns.T

    def _interpolation(self, step: int, size: int, number: int) -> Tensor:
        matrix: Tensor = self._once(("linear", size, step, number), lambda: self.constant(_linear(size, step, number)))
        return matrix

    def _filtered(self, images: Tensor, weights: tuple[float, ...], axis: int, step: int) -> Tensor:
        """Correlate images with some weights along axis -2 or -1, and return every `step`-th result."""
        size = images.shape[axis]
        plan = self._once((weights, size, step), lambda: self._plan(weights, size, step))
        pixels, window = images.index_select(axis, plan.pixels).double(), len(plan.matrix)
        blocks = pixels.unflatten(axis, (plan.blocks, window))
        if axis == -1:
            results = (blocks @ plan.matrix).flatten(-2)
        else:
            results = (plan.matrix.T @ blocks).flatten(-3, -2)
        return results.narrow(axis, 0, plan.results).to(images.dtype)

    def _plan(self, weights: tuple[float, ...], size: int, step: int) -> _Plan:
        results, radius = -(-size // step), len(weights) // 2
        block = min(_BLOCK_PX, results)
        blocks, window = -(-results // block), (block - 1) * step + len(weights)
        pixels = (np.arange(blocks)[:, None] * block * step + np.arange(window) - radius) % (2 * size)
        mirrored = np.minimum(pixels, 2 * size - 1 - pixels)
        matrix = np.zeros((window, block))
        for number in range(block):
            matrix[number * step : number * step + len(weights), number] = weights
        return _Plan(self.constant(mirrored.ravel()), blocks, self.constant(matrix), results)

    def _once(self, key: object, make: Callable[[], Any]) -> Any:
        if key not in self._constants:
            self._constants[key] = make()
        return self._constants[key]


@functools.cache
def _gaussian_weights(sigma: float, truncate: float) -> tuple[float, ...]:
    """Return the weights of SciPy's Gaussian filter."""
    radius = int(truncate * sigma + 0.5)
    impulse = (np.arange(-radius, radius + 1) == 0).astype(np.float64)
    weights: list[float] = ndimage.gaussian_filter1d(impulse, sigma, truncate=truncate, mode="constant").tolist()
    return tuple(weights)


def _linear(size: int, step: int, number: int) -> Float64:
    """Return the matrix (size, number) that interpolates between every `step`-th pixel."""
    positions = np.minimum(np.arange(size) / step, number - 1)
    low = positions.astype(int)
    matrix, pixels = np.zeros((size, number)), np.arange(size)
    np.add.at(matrix, (pixels, low), 1 - (positions - low))
    np.add.at(matrix, (pixels, np.minimum(low + 1, number - 1)), positions - low)
    return matrix
