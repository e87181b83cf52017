"""How far half precision is from float32, measured on tiles of the volume that is stained."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from tomostain.errors import ComputationWarning, warn_user
from tomostain.stain.translator import Translator

TILES, TILE_PX = 4, 512
LARGE_LEVELS, MAX_LARGE_SHARE = 3, 0.001
"""A warning is given if more than this share of the pixels differs by more than so many grey levels."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Deviation:
    """Difference between two precisions, in grey levels of 255.

    Attributes
    ----------
    precision : str
    max : int
    median : int
    large_share : float
        Share of the values that differ by more than `LARGE_LEVELS`.
    tiles : int
        Number of tiles that were compared: those that are finite.
    """

    precision: str
    max: int
    median: int
    large_share: float
    tiles: int

    def __str__(self) -> str:
        return (
            f"{self.precision} differs from float32 by at most {self.max} of 255 grey levels (median {self.median}) in "
            f"{self.tiles} tiles of the first z chunk"
        )


def measure_deviation(translator: Translator, images: Tensor) -> Deviation | None:
    """Compare a translator with its float32 form on tiles of slices; None if no tile is finite.

    Parameters
    ----------
    translator : Translator
        With `in_float32`.
    images : Tensor, shape (N, Y, X) or (N, S, Y, X)
        Slices as the model sees them, with their noise. One tile is cut from each of up to four of them.
    """
    assert translator.in_float32 is not None
    number = min(TILES, len(images))
    # All tiles at once: a shape that occurs again would be captured as a CUDA graph, which takes longer than it saves.
    tiles = torch.stack([_tile(images[n * len(images) // number], n) for n in range(number)])
    difference = (translator(tiles).round() - translator.in_float32()(tiles).round()).abs().flatten(1)
    levels = [each for each in difference if bool(each.isfinite().all())]
    if not levels:
        return None
    counts = torch.bincount(torch.cat(levels).to(torch.int64), minlength=LARGE_LEVELS + 2).cpu()
    total, reached = int(counts.sum()), counts.cumsum(0)
    return Deviation(
        translator.precision,
        int(counts.nonzero().max()),
        int((reached * 2 < total).sum()),
        int(counts[LARGE_LEVELS + 1 :].sum()) / total,
        len(levels),
    )


def _tile(image: Tensor, number: int) -> Tensor:
    """Cut a tile: of four, each nearer to another corner."""
    starts = []
    for part, side in zip(divmod(number % TILES, 2), image.shape[-2:], strict=True):
        free = max(0, side - TILE_PX)
        starts.append(free // 4 if part == 0 else free - free // 4)
    return image[..., starts[0] : starts[0] + TILE_PX, starts[1] : starts[1] + TILE_PX].contiguous()


class PrecisionComparison:
    """The comparison of a translator with float32 in a separate thread: the float32 form is built and waited for there.

    Parameters
    ----------
    measure : callable
        Returns the deviation, or None if there is none to report.
    """

    def __init__(self, measure: Callable[[], Deviation | None]) -> None:
        thread = ThreadPoolExecutor(1, "tomostain-precision")
        self._deviation = thread.submit(measure)
        thread.shutdown(wait=False)

    @property
    def done(self) -> bool:
        """Whether `report` does not wait."""
        return self._deviation.done()

    def report(self) -> None:
        """Wait for the comparison and log how far the translator is from float32, with a warning if that is far."""
        deviation = self._deviation.result()
        if deviation is None:
            return
        _log.info("%s", deviation)
        if deviation.large_share > MAX_LARGE_SHARE:
            warn_user(
                f"{deviation}, and by more than {LARGE_LEVELS} in {100 * deviation.large_share:.3g} % of the values; "
                "set `precision=float32` for colours that do not depend on the precision",
                ComputationWarning,
            )
