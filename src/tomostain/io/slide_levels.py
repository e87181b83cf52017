"""The pixel size of each level of a slide's pyramid, from the rows and columns of the levels."""

import math
from collections.abc import Sequence
from typing import TypeAlias

Level: TypeAlias = tuple[tuple[int, int], float]


def slide_levels(shapes: Sequence[tuple[int, int]], pixel_um: float) -> tuple[Level, ...]:
    """Return the shape and the pixel size, µm, of each level of a slide.

    Parameters
    ----------
    shapes : sequence of (rows, columns)
        Of each level, finest first.
    pixel_um : float
        Pixel size of the finest level, µm.

    Returns
    -------
    tuple of ((rows, columns), pixel_um)

    Examples
    --------
    >>> slide_levels([(1025, 3000), (513, 1500), (129, 375)], 0.5)
    (((1025, 3000), 0.5), ((513, 1500), 1.0), ((129, 375), 4.0))
    """
    return tuple((shape, pixel_um * level_factor(shapes[0], shape)) for shape in shapes)


def level_factor(finest: tuple[int, int], shape: tuple[int, int]) -> float:
    """Return how many pixels of the finest level a pixel of another level is wide.

    Rows and columns of a level are rounded, so their ratio to those of the finest level is not the factor. If one whole
    number explains both, it is the factor; a power of two is preferred, because most pyramids are halved. Otherwise,
    the ratio of the longer sides is: its rounding error is smaller.

    Examples
    --------
    >>> level_factor((2001, 2600), (250, 325)), level_factor((2001, 2500), (800, 1000))
    (8.0, 2.5)
    """
    longer = 0 if finest[0] >= finest[1] else 1
    ratio = finest[longer] / shape[longer]
    whole = max(1, round(ratio))
    sides = list(zip(finest, shape, strict=True))
    for factor in (2 ** max(0, round(math.log2(ratio))), whole):
        if all(abs(before / factor - after) < 1 for before, after in sides):
            return float(factor)
    return ratio
