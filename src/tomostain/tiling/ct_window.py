"""The window of grey values that networks see: a setting of each recipe, stored in each model.

µCT after normalisation has background at 10000 and bone at 30000 of a 16-bit scale. The window is mapped linearly to
[-1, 1] (`tomostain.imaging.network_range`), and values outside it are clipped.
"""

from typing import Annotated

from pydantic import AfterValidator

MAX_GREY = 65534
"""The largest even value of 16 bits."""
_MIN_WIDTH = 1000


def _ordered(window: tuple[int, int]) -> tuple[int, int]:
    low, high = window
    if not 0 <= low < high <= MAX_GREY:
        raise ValueError(f"{list(window)} must be two grey values from 0 to {MAX_GREY}, the smaller one first")
    if low % 2 or high % 2:
        raise ValueError(f"{list(window)} must be two even numbers")  # so that the middle is a whole number
    if high - low < _MIN_WIDTH:
        raise ValueError(f"{list(window)} is narrower than {_MIN_WIDTH} grey values; bone is 20000 above background")
    return window


CtWindow = Annotated[tuple[int, int], AfterValidator(_ordered)]
"""Lowest and highest grey value that a network distinguishes: even whole numbers."""

DEFAULT_CT_WINDOW: CtWindow = (0, 40_000)
"""The window of recipes and models that do not state one."""
