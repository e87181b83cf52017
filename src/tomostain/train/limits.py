"""When a training ends: after a number of steps, a training time or a processor time, whichever is reached first."""

from dataclasses import dataclass

NO_LIMIT = 10**12


@dataclass(frozen=True)
class Limits:
    """The limits that the user sets. The epochs of the recipe end a training only if there are none.

    Attributes
    ----------
    max_steps : int or None
    max_seconds : float or None
        Training time, s.
    max_cpu_seconds : float or None
        Processor time of the training, over all threads, s.
    """

    max_steps: int | None = None
    max_seconds: float | None = None
    max_cpu_seconds: float | None = None

    def total_steps(self, epochs_steps: int) -> int:
        """Return the number of steps at which a training ends at the latest.

        Parameters
        ----------
        epochs_steps : int
            Steps in all epochs of the recipe.

        Examples
        --------
        >>> Limits().total_steps(500), Limits(max_steps=7).total_steps(500), Limits(max_steps=700).total_steps(500)
        (500, 7, 700)
        >>> Limits(max_seconds=60).total_steps(500) == NO_LIMIT
        True
        """
        if self.max_steps is not None:
            return self.max_steps
        return NO_LIMIT if self.in_time else epochs_steps

    @property
    def in_time(self) -> bool:
        """Whether a time ends the training."""
        return self.max_seconds is not None or self.max_cpu_seconds is not None

    def time_left(self, seconds: float, cpu_seconds: float) -> bool:
        """Return whether neither time is used up."""
        in_time = self.max_seconds is None or seconds < self.max_seconds
        return in_time and (self.max_cpu_seconds is None or cpu_seconds < self.max_cpu_seconds)

    def reached(self, total: int, step: int, seconds: float, cpu_seconds: float) -> str:
        """Return why no step is left, or "".

        Examples
        --------
        >>> Limits(max_seconds=10).reached(NO_LIMIT, 292, 35.2, 35.0)
        'has trained for 35 s already (`max_seconds=10`)'
        >>> Limits(max_steps=100).reached(100, 292, 35.2, 35.0)
        'has taken 292 steps already (`max_steps=100`)'
        >>> Limits().reached(500, 292, 35.2, 35.0)
        ''
        """
        if step >= total:
            limit = f" (`max_steps={self.max_steps}`)" if self.max_steps is not None else ""
            return f"has taken {step} steps already{limit}"
        if self.max_seconds is not None and seconds >= self.max_seconds:
            return f"has trained for {seconds:.0f} s already (`max_seconds={self.max_seconds:g}`)"
        if self.max_cpu_seconds is not None and cpu_seconds >= self.max_cpu_seconds:
            spent = f"has used {cpu_seconds:.0f} s of processor time already"
            return f"{spent} (`max_cpu_seconds={self.max_cpu_seconds:g}`)"
        return ""


class Pace:
    """Predicts the step at which a training ends, from the pace since it began or was resumed.

    Parameters
    ----------
    limits : Limits
    total : int
        `Limits.total_steps`.
    step : int
        Steps done so far.
    seconds, cpu_seconds : float
        Time used so far.
    """

    def __init__(self, limits: Limits, total: int, step: int, seconds: float, cpu_seconds: float) -> None:
        self.limits, self.total = limits, total
        self._step, self._seconds, self._cpu_seconds = step, seconds, cpu_seconds

    def expected_total(self, step: int, seconds: float, cpu_seconds: float) -> int:
        """Return the expected last step; before the first step of this process the latest possible one.

        Examples
        --------
        >>> pace = Pace(Limits(max_seconds=100), NO_LIMIT, step=10, seconds=20.0, cpu_seconds=0.0)
        >>> pace.expected_total(30, 60.0, 0.0)
        50
        """
        steps_done, total = step - self._step, self.total
        if steps_done <= 0:
            return total
        for limit, spent, began in (
            (self.limits.max_seconds, seconds, self._seconds),
            (self.limits.max_cpu_seconds, cpu_seconds, self._cpu_seconds),
        ):
            if limit is not None and spent > began:
                total = min(total, step + max(round((limit - spent) * steps_done / (spent - began)), 0))
        return total
