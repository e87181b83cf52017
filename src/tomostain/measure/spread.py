"""The spread of measures between models, and between planes within the error of a registration."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tomostain.measure.measures import Measure, by_key


def with_model_spread(measures: Sequence[Measure], *ensembles: Sequence[Sequence[Measure]]) -> list[Measure]:
    """Return measures with the standard deviation between the members of ensembles.

    Parameters
    ----------
    measures : sequence of Measure
        The values that are reported.
    *ensembles : sequence of sequence of Measure
        The same measures from the members of an ensemble: of models that stain, or of classifiers. Members that lack a
        measure are left out. The variances of several ensembles are added.

    Returns
    -------
    list of Measure
        `sd_model` is NaN where fewer than two members of an ensemble have a finite value.

    Examples
    --------
    >>> from tomostain.measure.morphometry.contact import BIC_SURFACE
    >>> members = [[Measure(BIC_SURFACE, value)] for value in (60.0, 64.0)]
    >>> round(with_model_spread([Measure(BIC_SURFACE, 61.0)], members)[0].sd_model, 3)
    2.828
    """
    tables = [[by_key(member) for member in ensemble] for ensemble in ensembles]
    result = []
    for measure in measures:
        variances = []
        for members in tables:
            values = [member[measure.key].value for member in members if measure.key in member]
            finite = [value for value in values if math.isfinite(value)]
            if len(finite) > 1:
                variances.append(float(np.var(finite, ddof=1)))
        result.append(replace(measure, sd_model=math.sqrt(sum(variances))) if variances else measure)
    return result


def with_registration_spread(measures: Sequence[Measure], planes: Sequence[Sequence[Measure]]) -> list[Measure]:
    """Return measures with the standard deviation over planes within the error of the registration.

    Parameters
    ----------
    measures : sequence of Measure
    planes : sequence of sequence of Measure
        The same measures of each plane.

    Returns
    -------
    list of Measure
        `sd_registration` is NaN where fewer than two planes have a finite value.
    """
    tables = [by_key(plane) for plane in planes]
    result = []
    for measure in measures:
        values = np.array([table[measure.key].value for table in tables if measure.key in table])
        finite = values[np.isfinite(values)]
        spread = float(finite.std(ddof=1)) if len(finite) > 1 else float("nan")
        result.append(replace(measure, sd_registration=spread))
    return result
