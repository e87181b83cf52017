"""The mixed model with a random intercept for each animal."""

import math
import warnings
from itertools import combinations

import numpy as np
from scipy import stats

from tomostain.measure.statistics.observations import Observations
from tomostain.measure.statistics.pair_effects import LEVEL, PairEffect, pair_effect

TestResult = tuple[str, str, float, float, tuple[PairEffect, ...]]
"""Name of a test, the reason for it, statistic, p, and all pairs of groups."""


def mixed_model(data: Observations, is_crossed: bool) -> TestResult | None:
    """Fit value ~ group + (1 | animal); None if it does not converge."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    if is_crossed:
        data = data.per_animal_and_group()
    names = data.names
    codes = np.array([names.index(group) for group in data.groups])
    design = np.column_stack([np.ones(len(codes)), *[codes == k for k in range(1, len(names))]]).astype(float)
    scale = float(data.values.std())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a variance of 0 between animals is a valid result
            fit = MixedLM(data.values / scale, design, groups=np.array(data.subjects)).fit(
                reml=True, method=["bfgs", "powell"]
            )
    except (np.linalg.LinAlgError, ValueError):
        return None
    mean, covariance = np.asarray(fit.fe_params), np.asarray(fit.cov_params())[: len(names), : len(names)]
    if not fit.converged or not np.isfinite(covariance).all():
        return None
    animals, k = len(set(data.subjects)), len(names)
    freedom = max(len(codes) - animals - (k - 1), animals - k) if is_crossed else animals - k
    effects = mean[1:]
    f = float(effects @ np.linalg.solve(covariance[1:, 1:], effects)) / (k - 1)
    pairs = []
    for i, j in combinations(range(k), 2):
        contrast = np.zeros(k)
        contrast[i], contrast[j] = float(i > 0), -float(j > 0)
        difference, error = float(contrast @ mean) * scale, math.sqrt(contrast @ covariance @ contrast) * scale
        p = float(2 * stats.t.sf(abs(difference) / error, freedom)) if error > 0 else math.nan
        half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
        pairs.append(pair_effect(data, names[i], names[j], (difference, difference - half, difference + half), p))
    several = "are in several groups, so their means per group are compared, with" if is_crossed else "have several"
    verb = "" if is_crossed else " specimens, so the model has"
    reason = (
        f"Animals {several}{verb} a random intercept for each of the {animals} animals ({freedom} degrees of freedom)."
    )
    return "mixed model", reason, f, float(stats.f.sf(f, k - 1, freedom)), tuple(pairs)
