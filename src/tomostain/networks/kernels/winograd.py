"""3 × 3 convolutions with a quarter of the multiplications: Winograd's F(4 × 4, 3 × 3) as batched matrix products.

A 4 × 4 tile of the output depends on a 6 × 6 tile d of the input. With three fixed matrices,

    y = Aᵀ [ Σ_c (G g Gᵀ) ⊙ (Bᵀ d B) ] A,

so each of the 36 positions of a tile needs one matrix product, (tiles × channels in) · (channels in × out): 36
multiplications for each tile instead of 144. Written with Kronecker products, each transform is a matrix product too.

Source: Lavin & Gray 2016, "Fast algorithms for convolutional neural networks", arXiv:1509.09308, section 4. The
matrices follow from six points at which polynomials are evaluated. Lavin and Gray use 0, ±1, ±2, ∞. This module uses 0,
±2/3, ±3/2, ∞, where each pair is the reciprocal of the other: less than half the rounding error (on the choice of
points: Barabasz et al. 2020, DOI 10.1145/3412380).
"""

from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

OUT = 4
TILE = OUT + 2
POINTS = (0.0, 2 / 3, -2 / 3, 3 / 2, -3 / 2)
# Bytes of transformed tiles that are processed at once: they should stay in the cache.
_CHUNK_BYTES = 4 << 20


def conv3x3(image: Tensor, weight: Tensor, bias: Tensor | None = None, transformed: Tensor | None = None) -> Tensor:
    """Convolve with 3 × 3 kernels, without padding; as `torch.nn.functional.conv2d` but for rounding.

    Parameters
    ----------
    image : Tensor, shape (B, C, H, W)
        float32 or float64; H and W at least 3.
    weight : Tensor, shape (K, C, 3, 3)
    bias : Tensor, shape (K,), optional
    transformed : Tensor, shape (36, C, K), optional
        `transform_kernels` of `weight`, if the weight does not change. Not for training: an optimiser may change a
        weight without notice (``Adam(fused=True)`` does not increase a tensor's version).

    Returns
    -------
    Tensor, shape (B, K, H - 2, W - 2)
        Channels last in memory. An image with channels last is not copied.
    """
    height, width = image.shape[-2] - 2, image.shape[-1] - 2
    if cropped := bool(height % OUT or width % OUT):
        image = functional.pad(image, (0, -width % OUT, 0, -height % OUT))
    result = _Convolution.apply(image, weight, weight.new_zeros(len(weight)) if bias is None else bias, transformed)
    return result[..., :height, :width] if cropped else result


def tiles_of(image: Tensor) -> int:
    """Return how many tiles the images (B, C, H, W) of a batch are cut into."""
    down, across = (-(-(side - 2) // OUT) for side in image.shape[-2:])
    return len(image) * down * across


def transform_kernels(weight: Tensor) -> Tensor:
    """Return G g Gᵀ of kernels g (K, C, 3, 3) as factors for the right of a product: (36, C, K)."""
    return _transform_kernels(weight.transpose(0, 1))  # one copy here; the products would make many


class _Context(FunctionCtx):
    """Tensors that `_Convolution` keeps for its backward pass."""

    saved_tensors: tuple[Tensor, Tensor]
    needs_input_grad: tuple[bool, bool, bool, bool]


class _Convolution(torch.autograd.Function):
    """(B, C, 4 h + 2, 4 w + 2) → (B, K, 4 h, 4 w), with channels last inside."""

    @staticmethod
    def forward(ctx: _Context, image: Tensor, weight: Tensor, bias: Tensor, transformed: Tensor | None) -> Tensor:
        image = to_bhwc(image)
        ctx.save_for_backward(image, weight)
        kernels = transform_kernels(weight) if transformed is None else transformed
        batch, height, width, _ = image.shape
        result = image.new_empty(batch, height - 2, width - 2, len(weight))
        for place in _chunks(image, max(weight.shape[:2])):
            products = torch.bmm(_evaluate(image, place), kernels)
            values = _times(_transform("A", image).t(), products, place)
            torch.add(values, bias, out=_tiles(result, OUT, place))
        return result.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor | None, ...]:
        # Each step of `forward` is linear; these are the transposes in reverse order.
        image, weight = ctx.saved_tensors
        wants_image, wants_weight, wants_bias, _ = ctx.needs_input_grad
        grad, kernels = to_bhwc(grad), _transform_kernels(weight)
        to_image = torch.zeros_like(image) if wants_image else None
        to_kernels = torch.zeros_like(kernels) if wants_weight else None
        for place in _chunks(image, max(weight.shape[:2])):
            products = _transform("A", grad) @ _tiles(grad, OUT, place).reshape(OUT**2, -1)
            products = products.view(TILE**2, -1, len(weight))
            if to_image is not None:
                values = torch.bmm(products, kernels)
                _add_tiles(to_image, _times(_transform("B", grad), values, place), place)
            if to_kernels is not None:
                to_kernels.baddbmm_(products.transpose(1, 2), _evaluate(image, place))
        return (
            None if to_image is None else to_image.permute(0, 3, 1, 2),
            None if to_kernels is None else (to_kernels.flatten(1).t() @ _transform("G", grad)).view_as(weight),
            grad.sum(dim=(0, 1, 2)) if wants_bias else None,
            None,
        )


# Tiles that are processed at once: index of the image in the batch, first row of tiles, and number of rows.
_Place = tuple[int, int, int]


def _chunks(image: Tensor, channels: int) -> Iterator[_Place]:
    """Yield groups of rows of tiles that fit into the cache."""
    down, across = ((side - 2) // OUT for side in image.shape[1:3])
    chunks = -(-down * across * channels * TILE**2 * image.element_size() // _CHUNK_BYTES)
    rows = -(-down // chunks)
    for number in range(len(image)):
        for first in range(0, down, rows):
            yield number, first, min(rows, down - first)


def _tiles(image: Tensor, side: int, place: _Place) -> Tensor:
    """View tiles of an image (B, H, W, C) at every fourth pixel as (side, side, rows, columns, C)."""
    number, first, rows = place
    _, height, width, channels = image.shape
    across = width // OUT  # the width may include the two border pixels or not
    start = ((number * height + OUT * first) * width) * channels
    steps = (width * channels, channels, OUT * width * channels, OUT * channels, 1)
    return image.as_strided((side, side, rows, across, channels), steps, start)


def _transform_kernels(weight: Tensor) -> Tensor:
    return (_transform("G", weight) @ weight.reshape(-1, 9).t()).view(-1, *weight.shape[:2])


def _evaluate(image: Tensor, place: _Place) -> Tensor:
    """Return Bᵀ d B of the tiles d: (36, tiles, C)."""
    values = _transform("B", image).t() @ _tiles(image, TILE, place).reshape(TILE**2, -1)
    return values.view(TILE**2, -1, image.shape[3])


def _times(matrix: Tensor, values: Tensor, place: _Place) -> Tensor:
    """Multiply values (36, tiles, C) from the left; return them as tiles (side, side, rows, columns, C)."""
    side = TILE if len(matrix) == TILE**2 else OUT
    return (matrix @ values.view(TILE**2, -1)).view(side, side, place[2], -1, values.shape[2])


def _add_tiles(image: Tensor, tiles: Tensor, place: _Place) -> None:
    """Add tiles (6, 6, rows, columns, C) to the view of `_tiles`; neighbours overlap by two pixels."""
    into = _tiles(image, TILE, place)
    for rows in (slice(0, OUT), slice(OUT, TILE)):
        for columns in (slice(0, OUT), slice(OUT, TILE)):
            into[rows, columns] += tiles[rows, columns]  # within each of these, no two tiles share a pixel


def to_bhwc(image: Tensor) -> Tensor:
    """Return (B, C, H, W) as (B, H, W, C), contiguous; a copy unless it has channels last in memory."""
    if image.is_contiguous(memory_format=torch.channels_last):
        return image.permute(0, 2, 3, 1)
    result = image.new_empty(len(image), *image.shape[2:], image.shape[1])
    for into, single in zip(result, image, strict=True):
        # torch transposes matrices block by block: four times as fast where sides are powers of 2.
        into.flatten(0, 1).copy_(single.flatten(1).t())
    return result


def _transform(name: str, like: Tensor) -> Tensor:
    """Return the Kronecker product of a matrix with itself: it transforms rows and columns at once."""
    return _kronecker(name, like.dtype, like.device)


@lru_cache(maxsize=16)
def _kronecker(name: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # cached tensors must work in training too
        matrix = dict(zip("ABG", matrices(), strict=True))[name]
        return torch.kron(matrix, matrix).to(device, dtype)


def matrices() -> tuple[Tensor, Tensor, Tensor]:
    """Return A (6, 4), B (6, 6) and G (6, 3) in float64, for one dimension.

    G and A evaluate polynomials of 3 and of 4 coefficients at the six points (at ∞: take the last coefficient). B
    undoes the evaluation of one with 6, transposed: filtering is the transpose of multiplying polynomials.

    Examples
    --------
    >>> a, b, g = matrices()
    >>> signal, kernel = torch.arange(6.0).double() ** 2, torch.tensor([1.0, 2.0, 3.0]).double()
    >>> (a.T @ ((g @ kernel) * (b.T @ signal))).round(decimals=9).tolist()
    [14.0, 36.0, 70.0, 116.0]
    """

    def evaluate(coefficients: int) -> Tensor:
        powers = torch.tensor(POINTS, dtype=torch.float64)[:, None] ** torch.arange(coefficients)
        return torch.cat([powers, torch.eye(coefficients, dtype=torch.float64)[-1:]])

    return evaluate(OUT), torch.linalg.inv(evaluate(TILE)), evaluate(3)
