"""Triton programs for normalisation, activation, enlarging and reflection padding, with channels last in memory.

Each program instance handles a block of pixels × channels of one image. Sums over pixels are computed piece by piece
and then added in a fixed order, so results have the same bits each time. `WIDE` is the data type of the computation.
Import this module only where Triton is installed.
"""

# Triton's types exist only inside its compiler: annotations other than `tl.constexpr` have no meaning there.
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,attr-defined"

import triton
import triton.language as tl


@triton.jit
def reflect(index, size):
    """Return the pixel that reflection about the outermost pixels shows at an index outside of the image."""
    index = tl.abs(index)
    return size - 1 - tl.abs(size - 1 - index)


@triton.jit
def _activate(value, SLOPE: tl.constexpr):
    """Return the leaky ReLU of a value. NaN remains NaN, and minus infinity times 0 is 0, as in torch."""
    if SLOPE == 0.0:
        value = tl.where(value < 0, 0.0, value)
    elif SLOPE != 1.0:
        value = tl.where(value < 0, value * SLOPE, value)
    return value


@triton.jit
def normalise(value, mean, scale, image, channel, channels, WIDE: tl.constexpr):
    """Return (value - mean) · scale with the mean and scale (B, C) of the image."""
    inside = channel < channels
    m = tl.load(mean + image * channels + channel, mask=inside, other=0.0).to(WIDE)
    r = tl.load(scale + image * channels + channel, mask=inside, other=0.0).to(WIDE)
    return (value - m[None, :]) * r[None, :]


@triton.jit(do_not_specialize=["height", "width", "pad"])
def write_padded(
    source,
    mean,
    scale,
    residual,
    padded,
    plain,
    of_image,
    of_row,
    of_column,
    of_channel,
    height,
    width,
    channels,
    pad,
    NORM: tl.constexpr,
    RESIDUAL: tl.constexpr,
    PLAIN: tl.constexpr,
    SLOPE: tl.constexpr,
    UP: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write reflect(enlarge(activate(normalise(source) + residual))), and the same without enlarging and reflection.

    The source has any strides. The residual and the results have channels last.
    """
    image = tl.program_id(2).to(tl.int64)
    pixel = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    rows = UP * height + 2 * pad
    columns = UP * width + 2 * pad
    i = pixel // columns - pad
    j = pixel % columns - pad
    h = reflect(i, UP * height) // UP
    w = reflect(j, UP * width) // UP
    inside = pixel < rows * columns
    known = inside[:, None] & (channel < channels)[None, :]
    place = h.to(tl.int64) * of_row + w.to(tl.int64) * of_column
    across = channel.to(tl.int64) * of_channel
    value = tl.load(source + image * of_image + place[:, None] + across[None, :], mask=known, other=0.0).to(WIDE)
    if NORM:
        value = normalise(value, mean, scale, image, channel, channels, WIDE)
    if RESIDUAL:
        at = ((image * height + h) * width + w)[:, None] * channels + channel[None, :]
        value += tl.load(residual + at, mask=known, other=0.0).to(WIDE)
    value = _activate(value, SLOPE)
    to = (image * rows * columns + pixel)[:, None] * channels + channel[None, :]
    tl.store(padded + to, value.to(padded.dtype.element_ty), mask=known)
    if PLAIN:
        unreflected = (i >= 0) & (i < height) & (j >= 0) & (j < width)
        at = ((image * height + h) * width + w)[:, None] * channels + channel[None, :]
        tl.store(plain + at, value.to(plain.dtype.element_ty), mask=known & unreflected[:, None])


@triton.jit
def _weighted_mean(values, weights, total):
    """Return the mean over the rows. The second step removes the rounding of a mean far from 0."""
    mean = tl.sum(values * weights[:, None], axis=0) / total
    return mean + tl.sum((values - mean[None, :]) * weights[:, None], axis=0) / total


@triton.jit(do_not_specialize=["pixels"])
def moments(
    source,
    means,
    squares,
    pixels,
    channels,
    STEPS: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write the mean and the sum of squared deviations of each piece of the pixels, (B, pieces, C), channels last.

    Each row of a block is a running mean (Welford 1962); the rows are then combined (Chan et al. 1979). So values with
    a mean far from 0 keep their precision.
    """
    image = tl.program_id(2).to(tl.int64)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    row = tl.arange(0, BLOCK_P)
    start = tl.program_id(0) * (STEPS * BLOCK_P)
    stop = tl.minimum(start + STEPS * BLOCK_P, pixels)
    mean = tl.zeros([BLOCK_P, BLOCK_C], dtype=WIDE)
    square = tl.zeros([BLOCK_P, BLOCK_C], dtype=WIDE)
    number = tl.zeros([1, 1], dtype=WIDE)
    for step in range(STEPS):
        number += 1.0
        pixel = start + step * BLOCK_P + row
        known = (pixel < stop)[:, None] & (channel < channels)[None, :]
        at = (image * pixels + pixel)[:, None] * channels + channel[None, :]
        value = tl.load(source + at, mask=known, other=0.0).to(WIDE)
        deviation = tl.where(known, value - mean, 0.0)
        mean += deviation * (1.0 / number)
        square += tl.where(known, deviation * (value - mean), 0.0)
    # Pixels that each row has seen.
    seen = tl.maximum((stop - start - row + BLOCK_P - 1) // BLOCK_P, 0).to(WIDE)
    together = _weighted_mean(mean, seen, (stop - start).to(WIDE))
    deviation = mean - together[None, :]
    total = tl.sum(square + seen[:, None] * deviation * deviation, axis=0)
    at = (image * tl.num_programs(0) + tl.program_id(0)) * channels + channel
    tl.store(means + at, together, mask=channel < channels)
    tl.store(squares + at, total, mask=channel < channels)


@triton.jit(do_not_specialize=["pixels", "piece", "pieces"])
def combine_moments(
    means,
    squares,
    mean,
    scale,
    pixels,
    channels,
    piece,
    pieces,
    EPS: tl.constexpr,
    WIDE: tl.constexpr,
    PIECES: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write mean and (variance + ε)^(-½), (B, C), from those of the pieces."""
    image = tl.program_id(1).to(tl.int64)
    channel = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    number = tl.arange(0, PIECES)
    known = (number < pieces)[:, None] & (channel < channels)[None, :]
    at = (image * pieces + number)[:, None] * channels + channel[None, :]
    part = tl.load(means + at, mask=known, other=0.0)
    seen = tl.maximum(tl.minimum(pixels - number * piece, piece), 0).to(WIDE)
    total = _weighted_mean(part, seen, pixels.to(WIDE))
    deviation = part - total[None, :]
    square = tl.load(squares + at, mask=known, other=0.0) + seen[:, None] * deviation * deviation
    variance = tl.sum(square, axis=0) / pixels.to(WIDE)
    to = image * channels + channel
    tl.store(mean + to, total, mask=channel < channels)
    tl.store(scale + to, 1.0 / tl.sqrt(variance + EPS), mask=channel < channels)
