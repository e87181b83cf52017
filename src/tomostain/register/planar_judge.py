"""Choice between transforms of one slide by edges that were held out, and the evidence for the chosen one.

Blocks of edges (`tomostain.register.edge_blocks`) are counted. A transform that was fitted to edges is judged on the
other half of the section: tiles as on a chess board, two folds. A transform that maximises mutual information is judged
on all. A transform with more freedom is only chosen if it brings the edges closer by more than one standard error of
the difference, over tiles. So the result is never worse than the start, as far as the edges show it.
"""

from dataclasses import dataclass
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tomostain.register.edge_blocks import EdgeShifts, fit_shifts
from tomostain.register.planar_confidence import planar_confidence, right_within_um
from tomostain.register.planar_pose import PlanarPose

Float = NDArray[np.float64]
# Residuals above this fraction of the largest shift count as this much: the block does not fit.
_CLIP = 0.35
MIN_TILES = 5
# A block agrees within this fraction of the size of the tissue, and at least within so many pixels.
_AGREES, _AGREES_PX = 0.005, 2.5


@dataclass(frozen=True, eq=False)
class Option:
    """A transform to be judged.

    Attributes
    ----------
    name : str
        ``as given``, ``rigid`` or ``strained``, and how it was found.
    freedom : int
        0: the start; 1: shift and rotation; 2: strain too.
    pose : PlanarPose
        Fitted to everything.
    held_out_um : ndarray, shape (N,)
        Distance of each block from where the transform puts it. Of a transform fitted to edges: fitted without the fold
        of the block.
    """

    name: str
    freedom: int
    pose: PlanarPose
    held_out_um: Float


def fixed_option(name: str, freedom: int, pose: PlanarPose, base: PlanarPose, shifts: EdgeShifts) -> Option:
    """Return an option that was not fitted to edges. `shifts` are relative to `base`."""
    inverse: Float = np.asarray(np.linalg.inv(base.linear), dtype=np.float64)
    linear, offset = inverse @ pose.linear, inverse @ (pose.centre_um - base.centre_um)
    return Option(name, freedom, pose, shifts.residual_um(linear, offset, base.middle_um))


def fitted_option(name: str, base: PlanarPose, shifts: EdgeShifts, sigma: float | None) -> Option:
    """Return the transform that is fitted to all edges, with residuals from fits to the other fold."""
    middle = base.middle_um
    held_out = np.zeros(len(shifts))
    for fold in (0, 1):
        out, fitted = shifts.fold == fold, shifts.fold != fold
        if out.any():
            held_out[out] = shifts.of(out).residual_um(*fit_shifts(shifts.of(fitted), middle, sigma), middle)
    pose = base.after(*fit_shifts(shifts, middle, sigma))
    return Option(name, 1 if sigma is None else 2, pose, held_out)


def enough_blocks(shifts: EdgeShifts) -> bool:
    """Whether both folds have enough tiles with a distinct block to fit a transform."""
    tiles = [len(np.unique(shifts.tile[shifts.fold == fold])) for fold in (0, 1)]
    return min(tiles) >= 2 and sum(tiles) >= MIN_TILES and min(np.bincount(shifts.fold, minlength=2)) >= 3


def choose(options: list[Option], shifts: EdgeShifts) -> Option:
    """Return the option with the smallest residual, unless a simpler one is as good within one standard error."""
    order = sorted(options, key=lambda option: (option.freedom, _clipped(option.held_out_um, shifts).mean()))
    best = order[0]
    for option in order[1:]:
        errors = 1.0 if option.freedom > best.freedom else 0.0
        if gains(best.held_out_um, option.held_out_um, shifts, errors):
            best = option
    return best


def gains(before_um: Float, after_um: Float, shifts: EdgeShifts, errors: float = 1.0) -> bool:
    """Whether distances of blocks decrease by more than so many standard errors of the mean over tiles."""
    gain = _clipped(before_um, shifts) - _clipped(after_um, shifts)
    error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.inf
    return bool(gain.mean() > max(errors * error, 0.0))


def _clipped(distance_um: Float, shifts: EdgeShifts) -> Float:
    """Return the mean distance in each tile. A block that does not fit counts as a limited distance."""
    clip = max(_CLIP * shifts.reach_um, 2 * shifts.pixel_um)
    return _per_tile(np.minimum(distance_um, clip), shifts.tile)


def _per_tile(values: Float, tiles: NDArray[np.int64]) -> Float:
    """Return the mean of the values in each tile."""
    _, index = np.unique(tiles, return_inverse=True)
    return np.asarray(np.bincount(index, values) / np.bincount(index))


class PlanarNumbers(TypedDict):
    """The evidence as `pair.yaml` contains it."""

    confidence: float
    sure: bool
    transform: str
    agreeing_blocks: int
    distinct_blocks: int
    compared_blocks: int
    chance: float
    held_out_edges_um: float | None
    halves_um: float | None
    metrics_differ_um: float
    margin: float
    overlap: float
    mutual_information_nats: float
    independent_samples: float
    note: NotRequired[str]


@dataclass(frozen=True, eq=False)
class PlanarEvidence:
    """Evidence for a planar pose.

    Attributes
    ----------
    transform : str
        Name of the chosen `Option`.
    agreeing, distinct, compared : int
        Blocks whose edges lie where the transform puts them (held out), blocks with a distinct optimum, all blocks.
    chance : float
        Probability that as many independent blocks agree by chance.
    held_out_um : float
        Median distance of the held-out edges, µm; NaN without enough blocks. It is no bound of the error: all blocks
        may be wrong in the same way, and blocks without edges do not count.
    halves_um : float
        Mean distance over the section between the transforms fitted to the two halves, µm.
    metrics_differ_um : float
        Mean distance over the section between the rigid optima of mutual information and of edges, µm.
    size_um : float
        Size of the tissue, µm.
    margin : float
        1 − (score of the best pose elsewhere) / (score of this one).
    overlap : float
        Fraction of the tissue inside the slice.
    mutual_information : float
        (overlap) · I, nats.
    samples : float
        Independent samples that it represents.
    threshold : float
        Smallest confidence that is called sure.
    note : str
        One sentence if the transform with the highest mutual information was not used.
    pixel_um : float
        Pixel size at which the images were compared, µm.
    """

    transform: str
    agreeing: int
    distinct: int
    compared: int
    chance: float
    held_out_um: float
    halves_um: float
    metrics_differ_um: float
    size_um: float
    margin: float
    overlap: float
    mutual_information: float
    samples: float
    threshold: float = 0.5
    note: str = ""
    pixel_um: float = 0.0

    @property
    def has_enough_blocks(self) -> bool:
        """Whether enough blocks are distinct to judge the transform."""
        return not np.isnan(self.held_out_um)

    @property
    def confidence(self) -> float:
        """Between 0 and 1: high if edges agree in many blocks, the two metrics agree, and no other pose is as good.

        See `tomostain.register.planar_confidence`.
        """
        agreeing, distinct = (self.agreeing, self.distinct) if self.has_enough_blocks else (0, 0)
        return planar_confidence(
            agreeing,
            distinct,
            chance=self.chance,
            metrics_differ_um=self.metrics_differ_um,
            tolerance_um=right_within_um(self.pixel_um, self.size_um),
            margin=self.margin,
        )

    @property
    def sure(self) -> bool:
        """Whether the confidence reaches the threshold. Never if too few blocks are distinct to judge the transform."""
        return self.has_enough_blocks and self.confidence >= self.threshold

    def to_dict(self) -> PlanarNumbers:
        """Return rounded numbers for YAML."""
        held_out, halves = (None if np.isnan(x) else round(float(x), 2) for x in (self.held_out_um, self.halves_um))
        numbers: PlanarNumbers = {
            "confidence": round(self.confidence, 4),
            "sure": self.sure,
            "transform": self.transform,
            "agreeing_blocks": self.agreeing,
            "distinct_blocks": self.distinct,
            "compared_blocks": self.compared,
            "chance": float(f"{self.chance:.2g}"),
            "held_out_edges_um": held_out,
            "halves_um": halves,
            "metrics_differ_um": round(self.metrics_differ_um, 2),
            "margin": round(self.margin, 4),
            "overlap": round(self.overlap, 4),
            "mutual_information_nats": round(self.mutual_information, 4),
            "independent_samples": round(self.samples, 1),
        }
        return {**numbers, "note": self.note} if self.note else numbers

    def describe(self) -> str:
        """Return one line for a person."""
        if not self.has_enough_blocks:
            return f"{self.distinct} of {self.compared} blocks have distinct edges, too few to judge the transform"
        edges = f"edges agree in {self.agreeing} of {self.distinct} distinct blocks ({self.compared} compared)"
        edges += f", held-out edges within {self.held_out_um:.0f} µm (median)"
        return f"{edges}; mutual information and edges differ by {self.metrics_differ_um:.0f} µm"


def tolerance_um(shifts: EdgeShifts, size_um: float) -> float:
    """Return the distance within which a block agrees with a transform, µm."""
    return max(_AGREES * size_um, _AGREES_PX * shifts.pixel_um)


def agreement_by_chance(option: Option, shifts: EdgeShifts, size_um: float) -> tuple[int, float]:
    """Return the number of agreeing blocks, and the probability of as many agreeing tiles by chance.

    The optimum of a block that shows something else lies anywhere within reach. A tile agrees if most of its distinct
    blocks do.
    """
    tolerance = tolerance_um(shifts, size_um)
    agrees = option.held_out_um <= tolerance
    share = _per_tile(agrees.astype(float), shifts.tile)
    by_chance = min(0.5, np.pi * tolerance**2 / (2 * shifts.reach_um + shifts.pixel_um) ** 2)
    hits, tiles = int((share > 0.5).sum()), len(share)
    return int(agrees.sum()), float(stats.binom.sf(hits - 1, tiles, by_chance)) if hits else 1.0
