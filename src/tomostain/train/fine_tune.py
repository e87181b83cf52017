"""The learning rate of a training that begins with the weights of another model."""

import math

from pydantic import Field

from tomostain.config import Config


class FineTune(Config):
    """The learning rate of fine-tuning, as a function of the step alone: a resumed run has the same rates.

    Attributes
    ----------
    learning_rate : float or None
        The highest rate. None: half the `learning_rate` of the recipe.
    warmup_steps : int
        The rate grows linearly during these steps, while the optimiser has seen few gradients.
    decay_steps : int
        After the warm-up the rate decreases along a cosine for these steps, and then stays. 0: no decrease.
    final : float
        The rate after the decrease, as a fraction of the highest.
    """

    learning_rate: float | None = Field(None, gt=0)
    warmup_steps: int = Field(100, ge=0)
    decay_steps: int = Field(0, ge=0)
    final: float = Field(0.1, gt=0, le=1)

    def peak(self, learning_rate: float) -> float:
        """Return the highest rate for a recipe's `learning_rate`.

        Examples
        --------
        >>> FineTune().peak(5e-4)
        0.00025
        """
        return learning_rate / 2 if self.learning_rate is None else self.learning_rate

    def rate(self, learning_rate: float, step: int) -> float:
        """Return the rate of a step, counted from 0, for a recipe's `learning_rate`.

        Examples
        --------
        >>> tune = FineTune(learning_rate=1.0, warmup_steps=4, decay_steps=10, final=0.2)
        >>> [round(tune.rate(9.0, step), 3) for step in (0, 1, 3, 4, 9, 14, 99)]
        [0.25, 0.5, 1.0, 1.0, 0.6, 0.2, 0.2]
        """
        highest = self.peak(learning_rate)
        if step < self.warmup_steps:
            return highest * (step + 1) / self.warmup_steps
        if not self.decay_steps:
            return highest
        part = min((step - self.warmup_steps) / self.decay_steps, 1.0)
        return highest * (self.final + (1 - self.final) * (1 + math.cos(math.pi * part)) / 2)
