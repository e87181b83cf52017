"""Report of the training steps that were left out because a gradient was not finite."""

import logging
from collections import Counter
from collections.abc import Sequence

from tomostain.errors import InputError

MAX_SKIPPED_IN_A_ROW = 10
"""Steps of the same networks. After as many a training ends: it would not change its weights."""
logger = logging.getLogger(__name__)


class SkippedSteps:
    """Counts them.

    Attributes
    ----------
    total : Counter of str
        By the networks, "generators" or "discriminators".
    """

    def __init__(self) -> None:
        self.total: Counter[str] = Counter()
        self._in_a_row: Counter[str] = Counter()
        self._reported: Counter[str] = Counter()

    def add(self, step: int, skipped: Sequence[str]) -> None:
        """Count the networks that skipped a step.

        Raises
        ------
        InputError
            If the same networks have skipped `MAX_SKIPPED_IN_A_ROW` steps.
        """
        self._in_a_row = Counter({networks: self._in_a_row[networks] + 1 for networks in skipped})
        self.total.update(skipped)
        for networks, number in self._in_a_row.items():
            if number >= MAX_SKIPPED_IN_A_ROW:
                raise InputError(
                    f"step {step}: the last {number} steps of the {networks} were left out, because a gradient was not "
                    "finite; lower the recipe's learning_rate, or set precision: 32-true in the recipe"
                )

    def report(self, step: int) -> None:
        """Log a warning at the first steps that were left out, and whenever their number has doubled."""
        for networks, number in self.total.items():
            if number >= max(1, 2 * self._reported[networks]):
                self._reported[networks] = number
                logger.warning(
                    "step %d: %d step(s) of the %s were left out so far, because a gradient was not finite",
                    step, number, networks,
                )  # fmt: skip
