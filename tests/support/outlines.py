"""Outlines as masks again, independent of the tracer."""

import itertools

import numpy as np

from tomostain.geometry.outlines import Outline


def filled(outlines: list[Outline], shape: tuple[int, int]) -> np.ndarray:
    """Return how many polygons contain the centre of each pixel, by the even-odd rule."""
    total = np.zeros(shape, int)
    for outline in outlines:
        inside = np.zeros(shape, int)
        for ring in (outline.exterior, *outline.holes):
            for (x0, y0), (x1, y1) in itertools.pairwise(ring):
                if x0 == x1:  # a ray to the left of the pixel crosses this edge
                    inside[min(y0, y1) : max(y0, y1), x0:] += 1
        total += inside % 2
    return total
