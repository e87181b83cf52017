"""Triton programs for convolutions of few channels. Import this module only where Triton is installed."""

# Triton's types exist only inside its compiler: annotations other than `tl.constexpr` have no meaning there.
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,attr-defined"

import triton
import triton.language as tl

from tomostain.networks.kernels.cuda.forward_programs import reflect


@triton.jit(do_not_specialize=["height", "width", "rows", "columns", "pad"])
def gather(
    source,
    result,
    of_image,
    of_row,
    of_column,
    of_channel,
    height,
    width,
    channels,
    eighths,
    rows,
    columns,
    pad,
    R: tl.constexpr,
    S: tl.constexpr,
    STRIDE: tl.constexpr,
    REFLECT: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write what R × S taps see at each position of the padded image, tap after tap, as 8 · eighths channels."""
    outputs = 8 * eighths  # so that the compiler knows that 16 bytes can be written at once
    image = tl.program_id(2).to(tl.int64)
    pixel = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    number = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    tap = number // channels
    y = (pixel // columns * STRIDE - pad)[:, None] + (tap // S)[None, :]
    x = (pixel % columns * STRIDE - pad)[:, None] + (tap % S)[None, :]
    inside = pixel < rows * columns
    known = inside[:, None] & (tap < R * S)[None, :]
    if REFLECT:
        y = reflect(y, height)
        x = reflect(x, width)
    else:
        known = known & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    at = y.to(tl.int64) * of_row + x.to(tl.int64) * of_column + (number % channels).to(tl.int64)[None, :] * of_channel
    value = tl.load(source + image * of_image + at, mask=known, other=0.0)
    to = (image * rows * columns + pixel)[:, None] * outputs + number[None, :]
    tl.store(result + to, value.to(result.dtype.element_ty), mask=inside[:, None] & (number < outputs)[None, :])


@triton.jit
def _copy(index, number, size, pad):
    """Return where copy `number` of a pixel is in the padded image, and whether it exists. 0 is the pixel itself."""
    before = pad - index
    after = pad + 2 * (size - 1) - index
    at = tl.where(number == 0, index + pad, tl.where(number == 1, before, after))
    is_before = (index >= 1) & (index <= pad)
    is_after = (index <= size - 2) & (index >= size - 1 - pad)
    exists = (number == 0) | ((number == 1) & is_before) | ((number == 2) & is_after)
    return at, exists


@triton.jit(do_not_specialize=["height", "width", "rows", "columns", "pad"])
def gather_gradient(
    grad,
    result,
    height,
    width,
    channels,
    outputs,
    rows,
    columns,
    pad,
    R: tl.constexpr,
    S: tl.constexpr,
    STRIDE: tl.constexpr,
    COPIES: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write the gradient of the source of `gather`: each pixel adds up the taps that see it, in a fixed order."""
    image = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    channel = tl.arange(0, BLOCK_C)
    h = pixel // width
    w = pixel % width
    known = (pixel < height * width)[:, None] & (channel < channels)[None, :]
    total = tl.zeros([BLOCK_P, BLOCK_C], dtype=WIDE)
    for vertical in range(COPIES):
        y, above = _copy(h, vertical, height, pad)
        for horizontal in range(COPIES):
            x, in_columns = _copy(w, horizontal, width, pad)
            seen = above & in_columns & (pixel < height * width)
            # Blocks away from the border have no copies.
            if tl.sum(seen.to(tl.int32), axis=0) > 0:
                for r in range(R):
                    i = (y - r) // STRIDE
                    upright = seen & (y >= r) & ((y - r) % STRIDE == 0) & (i < rows)
                    for s in range(S):
                        j = (x - s) // STRIDE
                        valid = upright & (x >= s) & ((x - s) % STRIDE == 0) & (j < columns)
                        at = ((image * rows + i) * columns + j)[:, None] * outputs + channel[None, :]
                        at += (r * S + s) * channels
                        total += tl.load(grad + at, mask=known & valid[:, None], other=0.0).to(WIDE)
    at = (image * height * width + pixel)[:, None] * channels + channel[None, :]
    tl.store(result + at, total.to(result.dtype.element_ty), mask=known)


@triton.jit(do_not_specialize=["rows", "columns"])
def sum_rows(
    source,
    bias,
    result,
    rows,
    columns,
    channels,
    outputs,
    R: tl.constexpr,
    BIAS: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write the sum over r of the channels r · outputs + o of row i + r of the source, plus the bias."""
    image = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    channel = tl.arange(0, BLOCK_C)
    known = (pixel < rows * columns)[:, None] & (channel < outputs)[None, :]
    total = tl.zeros([BLOCK_P, BLOCK_C], dtype=WIDE)
    if BIAS:
        total += tl.load(bias + channel, mask=channel < outputs, other=0.0).to(WIDE)[None, :]
    for r in range(R):
        at = (image * (rows + R - 1) * columns + r * columns + pixel)[:, None] * channels
        total += tl.load(source + at + (r * outputs + channel)[None, :], mask=known, other=0.0).to(WIDE)
    at = (image * rows * columns + pixel)[:, None] * outputs + channel[None, :]
    tl.store(result + at, total.to(result.dtype.element_ty), mask=known)


@triton.jit(do_not_specialize=["rows", "columns"])
def spread_rows(
    grad,
    result,
    rows,
    columns,
    eighths,
    outputs,
    R: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write the gradient of the source of `sum_rows`, of 8 · eighths channels."""
    channels = 8 * eighths
    image = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    number = tl.arange(0, BLOCK_C)
    r = number // outputs
    i = (pixel // columns)[:, None] - r[None, :]
    inside = pixel < (rows + R - 1) * columns
    known = inside[:, None] & (i >= 0) & (i < rows) & (r < R)[None, :]
    at = (image * rows * columns + (pixel % columns)[:, None] + i * columns) * outputs + (number % outputs)[None, :]
    value = tl.load(grad + at, mask=known, other=0.0)
    to = (image * (rows + R - 1) * columns + pixel)[:, None] * channels + number[None, :]
    tl.store(result + to, value, mask=inside[:, None] & (number < channels)[None, :])
