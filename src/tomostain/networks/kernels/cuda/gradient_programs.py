"""Triton programs for the gradients of those in `tomostain.networks.kernels.cuda.forward_programs`.

Each pixel adds up the gradients of its copies beyond the border in a fixed order, so no two write to one place.
Import this module only where Triton is installed.
"""

# Triton's types exist only inside its compiler: annotations other than `tl.constexpr` have no meaning there.
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,attr-defined"

import triton
import triton.language as tl

from tomostain.networks.kernels.cuda.forward_programs import normalise


@triton.jit
def _fold_row(grad, first, j, columns, channel, channels, valid, pad, enlarged, near_side, WIDE: tl.constexpr):
    """Return the gradient of a pixel from one row of the padded image: the pixel and its copies left and right."""
    at = (first + j + pad)[:, None] * channels + channel[None, :]
    total = tl.load(grad + at, mask=valid, other=0.0).to(WIDE)
    if near_side:
        left = valid & ((j >= 1) & (j <= pad))[:, None]
        at = (first + pad - j)[:, None] * channels + channel[None, :]
        total += tl.load(grad + at, mask=left, other=0.0).to(WIDE)
        right = valid & ((j <= enlarged - 2) & (j >= enlarged - 1 - pad))[:, None]
        at = (first + pad + 2 * (enlarged - 1) - j)[:, None] * channels + channel[None, :]
        total += tl.load(grad + at, mask=right, other=0.0).to(WIDE)
    return total


@triton.jit
def _fold(
    grad,
    image,
    start,
    height,
    width,
    channel,
    channels,
    pad,
    UP: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """Return the gradient of a block of pixels from that of the enlarged and padded image, in a fixed order.

    A pixel near a border has copies beyond it: at most two a border, so nine in all.
    """
    pixel = start + tl.arange(0, BLOCK_P)
    h = pixel // width
    w = pixel % width
    known = (pixel < height * width)[:, None] & (channel < channels)[None, :]
    rows = UP * height + 2 * pad
    columns = UP * width + 2 * pad
    # Only blocks at a border read the copies.
    top = start // width
    bottom = tl.minimum(start + BLOCK_P - 1, height * width - 1) // width
    near_top = (pad > 0) & ((top <= pad) | (bottom >= height - 1 - pad))
    last = start + BLOCK_P - 1 - top * width
    near_side = (pad > 0) & ((top != bottom) | (start - top * width <= pad) | (last >= width - 1 - pad))
    total = tl.zeros([BLOCK_P, channel.shape[0]], dtype=WIDE)
    for a in range(UP):
        i = UP * h + a
        for b in range(UP):
            j = UP * w + b
            first = (image * rows + i + pad) * columns
            total += _fold_row(grad, first, j, columns, channel, channels, known, pad, UP * width, near_side, WIDE)
            if near_top:
                above = known & ((i >= 1) & (i <= pad))[:, None]
                first = (image * rows + pad - i) * columns
                total += _fold_row(grad, first, j, columns, channel, channels, above, pad, UP * width, near_side, WIDE)
                below = known & ((i <= UP * height - 2) & (i >= UP * height - 1 - pad))[:, None]
                first = (image * rows + pad + 2 * (UP * height - 1) - i) * columns
                total += _fold_row(grad, first, j, columns, channel, channels, below, pad, UP * width, near_side, WIDE)
    return total


@triton.jit
def _gradient(
    padded,
    plain,
    source,
    mean,
    scale,
    image,
    start,
    height,
    width,
    channel,
    channels,
    pad,
    NORM: tl.constexpr,
    PADDED: tl.constexpr,
    PLAIN: tl.constexpr,
    SLOPE: tl.constexpr,
    UP: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """Return the gradient before the activation and the normalised values, of a block of pixels."""
    pixel = start + tl.arange(0, BLOCK_P)
    known = (pixel < height * width)[:, None] & (channel < channels)[None, :]
    at = (image * height * width + pixel)[:, None] * channels + channel[None, :]
    grad = tl.zeros([BLOCK_P, channel.shape[0]], dtype=WIDE)
    if PADDED:
        grad += _fold(padded, image, start, height, width, channel, channels, pad, UP, WIDE, BLOCK_P)
    if PLAIN:
        grad += tl.load(plain + at, mask=known, other=0.0).to(WIDE)
    value = grad
    if NORM or SLOPE != 1.0:
        value = tl.load(source + at, mask=known, other=0.0).to(WIDE)
        if NORM:
            value = tl.where(known, normalise(value, mean, scale, image, channel, channels, WIDE), 0.0)
        if SLOPE != 1.0:
            grad = tl.where(value > 0, grad, grad * SLOPE)
    return grad, value


@triton.jit(do_not_specialize=["height", "width", "pad"])
def gradient_sums(
    padded,
    plain,
    source,
    mean,
    scale,
    residual,
    sums,
    products,
    height,
    width,
    channels,
    pad,
    STEPS: tl.constexpr,
    PADDED: tl.constexpr,
    PLAIN: tl.constexpr,
    RESIDUAL: tl.constexpr,
    SLOPE: tl.constexpr,
    UP: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write the sums of g and of g x̂ over each piece, (B, pieces, C); with RESIDUAL, also g itself."""
    image = tl.program_id(2).to(tl.int64)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    begin = tl.program_id(0) * (STEPS * BLOCK_P)
    total = tl.zeros([BLOCK_P, BLOCK_C], dtype=WIDE)
    along = tl.zeros([BLOCK_P, BLOCK_C], dtype=WIDE)
    for step in range(STEPS):
        start = begin + step * BLOCK_P
        grad, value = _gradient(
            padded,
            plain,
            source,
            mean,
            scale,
            image,
            start,
            height,
            width,
            channel,
            channels,
            pad,
            True,
            PADDED,
            PLAIN,
            SLOPE,
            UP,
            WIDE,
            BLOCK_P,
        )
        if RESIDUAL:
            pixel = start + tl.arange(0, BLOCK_P)
            known = (pixel < height * width)[:, None] & (channel < channels)[None, :]
            at = (image * height * width + pixel)[:, None] * channels + channel[None, :]
            tl.store(residual + at, grad.to(residual.dtype.element_ty), mask=known)
        total += grad
        along += grad * value
    at = (image * tl.num_programs(0) + tl.program_id(0)) * channels + channel
    tl.store(sums + at, tl.sum(total, axis=0), mask=channel < channels)
    tl.store(products + at, tl.sum(along, axis=0), mask=channel < channels)


@triton.jit(do_not_specialize=["pieces", "pixels"])
def combine_sums(
    sums,
    products,
    mean_sum,
    mean_product,
    channels,
    pieces,
    pixels,
    WIDE: tl.constexpr,
    PIECES: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write mean(g) and mean(g x̂), (B, C), from the sums over the pieces."""
    image = tl.program_id(1).to(tl.int64)
    channel = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    number = tl.arange(0, PIECES)
    known = (number < pieces)[:, None] & (channel < channels)[None, :]
    at = (image * pieces + number)[:, None] * channels + channel[None, :]
    to = image * channels + channel
    total = tl.sum(tl.load(sums + at, mask=known, other=0.0), axis=0) / pixels.to(WIDE)
    tl.store(mean_sum + to, total, mask=channel < channels)
    total = tl.sum(tl.load(products + at, mask=known, other=0.0), axis=0) / pixels.to(WIDE)
    tl.store(mean_product + to, total, mask=channel < channels)


@triton.jit(do_not_specialize=["height", "width", "pad"])
def gradient_of_source(
    padded,
    plain,
    source,
    mean,
    scale,
    mean_sum,
    mean_product,
    result,
    height,
    width,
    channels,
    pad,
    NORM: tl.constexpr,
    PADDED: tl.constexpr,
    PLAIN: tl.constexpr,
    SLOPE: tl.constexpr,
    UP: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write the gradient of the source: r (g - mean(g) - x̂ mean(g x̂)) with normalisation, else g."""
    image = tl.program_id(2).to(tl.int64)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    start = tl.program_id(0) * BLOCK_P
    grad, value = _gradient(
        padded,
        plain,
        source,
        mean,
        scale,
        image,
        start,
        height,
        width,
        channel,
        channels,
        pad,
        NORM,
        PADDED,
        PLAIN,
        SLOPE,
        UP,
        WIDE,
        BLOCK_P,
    )
    inside = channel < channels
    if NORM:
        of = image * channels + channel
        average = tl.load(mean_sum + of, mask=inside, other=0.0).to(WIDE)
        along = tl.load(mean_product + of, mask=inside, other=0.0).to(WIDE)
        r = tl.load(scale + of, mask=inside, other=0.0).to(WIDE)
        grad = r[None, :] * (grad - average[None, :] - value * along[None, :])
    pixel = start + tl.arange(0, BLOCK_P)
    known = (pixel < height * width)[:, None] & inside[None, :]
    at = (image * height * width + pixel)[:, None] * channels + channel[None, :]
    tl.store(result + at, grad.to(result.dtype.element_ty), mask=known)
