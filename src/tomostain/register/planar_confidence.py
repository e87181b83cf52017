"""Confidence of a planar registration: a product of four factors, from numbers that `pair.yaml` contains.

1. **Blocks.** k of n distinct blocks of edges agree. Blocks overlap by half, so four count as one observation. With a
   uniform prior, the share q of places that agree has the posterior Beta(1 + k/4, 1 + (n - k)/4), and the factor is the
   probability that q exceeds one half (Gelman et al. 2013, Bayesian Data Analysis, section 2.4). If all n agree, it is
   1 - 2^-(1 + n/4): 0.5 without blocks, 0.82 with 6, 0.95 with 14. So few blocks cannot give a high confidence.
2. **Chance.** Many blocks at one place are one observation. p is the probability that as many tiles of the section
   agree by chance (binomial). The factor is 1 / (1 + p / 0.01).
3. **Metrics.** The optima of mutual information and of edges lie at a distance d from each other. They cannot both be
   within the tolerance t if d exceeds 2 t. The factor is 1 / (1 + (d / t)^4).
4. **Margin.** The slide of another specimen from the same laboratory has the same outline and implant, so one pose is
   always somewhat better than the others. The factor is a logistic function of the margin. Its centre lies halfway
   between slides of other specimens and correct slides of the calibration half of `studies/registration`.

The strain of the transform is no factor: the one slide of another specimen with agreeing blocks was strained by 0.2 %,
and correct slides with a wrong pixel size by 5 %.
"""

import numpy as np
from scipy import special

# Overlapping blocks that count as one observation.
BLOCKS_PER_OBSERVATION = 4.0
# Probability of agreement by chance that halves the confidence.
CHANCE = 0.01
# A pose is right within so many pixels, or within this fraction of the size of the tissue if that is more.
TOLERANCE_PX, TOLERANCE_SIZE = 2.0, 0.005
# Centre and slope of the logistic function of the margin.
MARGIN, MARGIN_SLOPE = 0.15, 60.0


def right_within_um(pixel_um: float, size_um: float) -> float:
    """Return the distance within which a pose is called right, µm.

    Parameters
    ----------
    pixel_um : float
        Pixel size at which the images are compared, µm.
    size_um : float
        Longest side of the tissue, µm.

    Examples
    --------
    >>> right_within_um(20.0, 6000.0), right_within_um(10.0, 9000.0)
    (40.0, 45.0)
    """
    return max(TOLERANCE_PX * pixel_um, TOLERANCE_SIZE * size_um)


def blocks_confidence(agreeing: int, distinct: int) -> float:
    """Return the posterior probability that most places of the section agree.

    Parameters
    ----------
    agreeing, distinct : int
        Number of agreeing blocks, and of all blocks with distinct edges.

    Examples
    --------
    >>> blocks_confidence(0, 0), blocks_confidence(4, 4), round(blocks_confidence(8, 9), 2)
    (0.5, 0.75, 0.83)
    """
    observations = np.array([agreeing, distinct - agreeing]) / BLOCKS_PER_OBSERVATION
    # P(q > 1/2) under Beta(a, b) is the regularised incomplete beta function I_{1/2}(b, a).
    return float(special.betainc(1.0 + observations[1], 1.0 + observations[0], 0.5))


def planar_confidence(
    agreeing: int, distinct: int, *, chance: float, metrics_differ_um: float, tolerance_um: float, margin: float
) -> float:
    """Return the confidence that a planar pose is right.

    Parameters
    ----------
    agreeing, distinct : int
        Number of agreeing blocks, and of all blocks with distinct edges. Without such blocks, `chance` has no effect.
    chance : float
        Probability that as many tiles agree by chance.
    metrics_differ_um : float
        Mean distance over the section between the optima of mutual information and of edges, µm.
    tolerance_um : float
        Distance within which a pose is called right, µm; see `right_within_um`.
    margin : float
        1 - (score of the best pose elsewhere) / (score of this one), between 0 and 1.

    Returns
    -------
    float
        Between 0 and 1. At most 0.5 without such blocks.
    """
    beyond_chance = 1.0 / (1.0 + chance / CHANCE) if distinct else 1.0
    metrics = 1.0 / (1.0 + (metrics_differ_um / tolerance_um) ** 4)
    ahead = special.expit(MARGIN_SLOPE * (margin - MARGIN))
    return float(blocks_confidence(agreeing, distinct) * beyond_chance * metrics * ahead)
