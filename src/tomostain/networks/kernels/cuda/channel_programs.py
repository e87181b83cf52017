"""Triton programs for `ChannelNorm` with channels last in memory. Import this module only where Triton is installed.

A program instance holds all channels of its pixels, so one pass over the image is enough in each direction.
"""

# Triton's types exist only inside its compiler: annotations other than `tl.constexpr` have no meaning there.
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,attr-defined"

import triton
import triton.language as tl


@triton.jit
def _normalise(source, pixel, pixels, channels, EPS: tl.constexpr, WIDE: tl.constexpr, BLOCK_C: tl.constexpr):
    """Return x̂ of some pixels, (variance + ε)^(-½), where they are, and which values exist."""
    channel = tl.arange(0, BLOCK_C)
    known = (pixel < pixels)[:, None] & (channel < channels)[None, :]
    at = pixel.to(tl.int64)[:, None] * channels + channel[None, :]
    value = tl.load(source + at, mask=known, other=0.0).to(WIDE)
    mean = tl.sum(value, axis=1) / channels
    deviation = tl.where(known, value - mean[:, None], 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(deviation * deviation, axis=1) / channels + EPS)
    return deviation * scale[:, None], scale, at, known


@triton.jit(do_not_specialize=["pixels"])
def normalise(
    source,
    gain,
    bias,
    result,
    pixels,
    channels,
    SLOPE: tl.constexpr,
    EPS: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write activate(x̂ · gain + bias)."""
    pixel = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    value, _, at, known = _normalise(source, pixel, pixels, channels, EPS, WIDE, BLOCK_C)
    channel = tl.arange(0, BLOCK_C)
    g = tl.load(gain + channel, mask=channel < channels, other=0.0).to(WIDE)
    b = tl.load(bias + channel, mask=channel < channels, other=0.0).to(WIDE)
    value = value * g[None, :] + b[None, :]
    if SLOPE == 0.0:
        value = tl.where(value < 0, 0.0, value)
    elif SLOPE != 1.0:
        value = tl.where(value < 0, value * SLOPE, value)
    tl.store(result + at, value.to(result.dtype.element_ty), mask=known)


@triton.jit(do_not_specialize=["pixels"])
def gradients(
    source,
    grad,
    gain,
    bias,
    result,
    to_gain,
    to_bias,
    pixels,
    channels,
    STEPS: tl.constexpr,
    SLOPE: tl.constexpr,
    EPS: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write the gradient of the source, and those of gain and bias for each piece of the pixels, (pieces, C)."""
    channel = tl.arange(0, BLOCK_C)
    inside = channel < channels
    factor = tl.load(gain + channel, mask=inside, other=0.0).to(WIDE)
    shift = tl.load(bias + channel, mask=inside, other=0.0).to(WIDE)
    along = tl.zeros([BLOCK_P, BLOCK_C], dtype=WIDE)
    total = tl.zeros([BLOCK_P, BLOCK_C], dtype=WIDE)
    for step in range(STEPS):
        pixel = (tl.program_id(0) * STEPS + step) * BLOCK_P + tl.arange(0, BLOCK_P)
        value, scale, at, known = _normalise(source, pixel, pixels, channels, EPS, WIDE, BLOCK_C)
        g = tl.load(grad + at, mask=known, other=0.0).to(WIDE)
        if SLOPE != 1.0:
            g = tl.where(value * factor[None, :] + shift[None, :] > 0, g, g * SLOPE)
        along += g * value
        total += g
        g = g * factor[None, :]
        average = tl.sum(g, axis=1) / channels
        product = tl.sum(g * value, axis=1) / channels
        g = scale[:, None] * (g - average[:, None] - value * product[:, None])
        tl.store(result + at, g.to(result.dtype.element_ty), mask=known)
    at = tl.program_id(0) * channels + channel
    tl.store(to_gain + at, tl.sum(along, axis=0), mask=inside)
    tl.store(to_bias + at, tl.sum(total, axis=0), mask=inside)
