"""Agreement of two methods that measure the same specimens: bias, limits of agreement and concordance.

A correlation does not measure agreement: it is 1 also where one method always reports the double of the other.

References
----------
Bland & Altman 1986, "Statistical methods for assessing agreement between two methods of clinical measurement",
Lancet 327, 307. Lin 1989, "A concordance correlation coefficient to evaluate reproducibility", Biometrics 45, 255; with
the corrected variance of Lin 2000, Biometrics 56, 324.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from tomostain.errors import InputError

MULTIPLE = 1.96
"""Limits of agreement are the bias plus and minus so many standard deviations: 95 % of normal differences."""


@dataclass(frozen=True)
class Estimate:
    """A number with its confidence interval. `low` and `high` are NaN where there are too few values."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


@dataclass(frozen=True)
class Agreement:
    """How well a method agrees with a reference.

    Attributes
    ----------
    n : int
        Pairs of values.
    bias : Estimate
        Mean of the differences, method minus reference.
    sd : float
        Standard deviation of the differences.
    lower, upper : Estimate
        Limits of agreement: about 95 % of the differences lie between them.
    concordance : Estimate
        Lin's coefficient: 1 where all values are equal, 0 where they are independent.
    correlation : float
        Pearson's.
    level : float
        Coverage of the intervals.
    """

    n: int
    bias: Estimate
    sd: float
    lower: Estimate
    upper: Estimate
    concordance: Estimate
    correlation: float
    level: float


def agreement(
    measured: ArrayLike, reference: ArrayLike, *, level: float = 0.95, multiple: float = MULTIPLE
) -> Agreement:
    """Compare paired values of a method and a reference.

    Parameters
    ----------
    measured, reference : array-like of float, shape (N,)
        The same specimens in the same order. A pair with a NaN is omitted.
    level : float
        Coverage of the intervals, between 0 and 1.
    multiple : float
        Standard deviations between the bias and a limit of agreement.

    Returns
    -------
    Agreement
        With fewer than two pairs, or a concordance without any spread, values are NaN. Intervals need three pairs.

    Raises
    ------
    InputError
        If the numbers of values differ, a value is infinite, or `level` is not between 0 and 1.

    Notes
    -----
    The intervals of bias and limits are those of Bland & Altman 1986: standard errors s/√n and √(3 s²/n), with
    Student's t of n − 1 degrees of freedom. They assume one pair per independent specimen and normal differences.

    Examples
    --------
    >>> result = agreement([1.0, 2.0, 3.0, 4.5], [1.1, 2.0, 2.8, 4.4])
    >>> print(f"{result.bias.value:.3f}", result.concordance)
    0.050 0.995 [0.963, 0.999]
    """
    a, b = _pairs(measured, reference)
    if not 0 < level < 1:
        raise InputError(f"`level` is {level:g}; give a number between 0 and 1", parameter="level")
    difference, n = a - b, len(a)
    bias = float(difference.mean()) if n else math.nan
    sd = float(difference.std(ddof=1)) if n > 1 else math.nan
    t = float(stats.t.ppf((1 + level) / 2, n - 1)) if n > 2 else math.nan
    error_bias, error_limit = (t * sd * math.sqrt(factor / max(n, 1)) for factor in (1.0, 3.0))
    lower, upper = (Estimate(limit, limit - error_limit, limit + error_limit) for limit in _limits(bias, sd, multiple))
    return Agreement(
        n=n,
        bias=Estimate(bias, bias - error_bias, bias + error_bias),
        sd=sd,
        lower=lower,
        upper=upper,
        concordance=_concordance(a, b, level),
        correlation=_correlation(a, b),
        level=level,
    )


def concordance(first: ArrayLike, second: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Return Lin's concordance correlation coefficient with its interval by Fisher's z.

    Parameters
    ----------
    first, second : array-like of float, shape (N,)
        A pair with a NaN is omitted.
    level : float
        Coverage of the interval.

    Returns
    -------
    Estimate
        NaN if neither has any spread and the means are equal, or there are fewer than two pairs.

    Raises
    ------
    InputError
        If the numbers of values differ, or a value is infinite.

    Examples
    --------
    >>> concordance([1, 2, 3], [2, 4, 6]).value < 0.5
    True
    """
    return _concordance(*_pairs(first, second), level)


def _pairs(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise InputError(f"agreement: values of shapes {a.shape} and {b.shape}; give one value of each per specimen")
    if np.isinf(a).any() or np.isinf(b).any():
        raise InputError("agreement: a value is infinite; give finite values, or NaN where there is none")
    complete = ~(np.isnan(a) | np.isnan(b))
    return a[complete], b[complete]


def _limits(bias: float, sd: float, multiple: float) -> tuple[float, float]:
    return bias - multiple * sd, bias + multiple * sd


def _concordance(a: NDArray[np.float64], b: NDArray[np.float64], level: float) -> Estimate:
    """Return Lin's ρc. Variances are divided by n, as there."""
    n = len(a)
    if n < 2:
        return Estimate(math.nan, math.nan, math.nan)
    # In units of the largest deviation, so that no square is too small or too large for the computer.
    scale = float(max(np.ptp(a), np.ptp(b), abs(a.mean() - b.mean())))
    if scale == 0 or not math.isfinite(scale):
        return Estimate(math.nan, math.nan, math.nan)
    x, y = (a - a.mean()) / scale, (b - b.mean()) / scale
    shift = float(a.mean() - b.mean()) / scale
    s1, s2 = math.sqrt(float(np.mean(x**2))), math.sqrt(float(np.mean(y**2)))
    total = s1**2 + s2**2 + shift**2
    rho_c = 2 * float(np.mean(x * y)) / total
    if bool((a == b).all()):
        rho_c = 1.0
    rho_c = min(1.0, max(-1.0, rho_c))
    if n < 3:
        return Estimate(rho_c, math.nan, math.nan)
    if abs(rho_c) >= 1 - 1e-12:
        return Estimate(rho_c, rho_c, rho_c)
    z = math.atanh(rho_c)
    error = float(stats.norm.ppf((1 + level) / 2)) * math.sqrt(_variance_z(rho_c, s1, s2, shift, n))
    return Estimate(rho_c, math.tanh(z - error), math.tanh(z + error))


def _variance_z(rho_c: float, s1: float, s2: float, shift: float, n: int) -> float:
    """Return the variance of artanh ρc (Lin 2000), written with C_b = ρc / ρ, so that nothing is divided by ρ."""
    if s1 == 0 or s2 == 0:
        return 0.0
    bias_correction = 2 * s1 * s2 / (s1**2 + s2**2 + shift**2)
    rho = rho_c / bias_correction
    u2 = shift**2 / (s1 * s2)
    complement = 1 - rho_c**2
    first = (1 - rho**2) * bias_correction**2 / complement
    second = 2 * rho_c**2 * bias_correction * (1 - rho_c) * u2 / complement**2
    third = rho_c**2 * bias_correction**2 * u2**2 / (2 * complement**2)
    return max(0.0, (first + second - third) / (n - 2))


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])
