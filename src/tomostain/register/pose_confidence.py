"""Confidence of a pose, from the agreement of fine structure.

The screw and the outline of the bone look similar in many planes, so their correlation is weak evidence. Fine
structure outside the screw (trabeculae, vessels) only agrees in the right plane. `compare_detail` computes its
correlation, over the section and by region.
"""

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from tomostain.devices import choose_device
from tomostain.integers import to_integers
from tomostain.register.poses import Poses
from tomostain.register.refine import random_steps, refine
from tomostain.register.resolution import ResolutionLevel
from tomostain.register.task import SearchTask
from tomostain.register.template import Template
from tomostain.register.template_sampling import OVERLAP, sample_slab

COARSE_UM = 300.0
_SCREW_RIM_UM = 80.0
REGIONS = 3
# Points of all poses that are computed together.
_MAX_POINTS = 600_000
# Constant and weights of detail, margin and restarts.
LOGISTIC = (-10.5, 8.0, 45.0, 2.5)


@dataclass(frozen=True, eq=False)
class Detail:
    """Agreement of fine structure outside the screw, for K poses.

    Attributes
    ----------
    correlation : Tensor, shape (K,)
        Over the section, -1 to 1. Decreased if the volume covers too little of it.
    regions : Tensor, shape (K, 3, 3)
        In each ninth of the bounding box of the template. NaN where there is too little tissue to compare.
    """

    correlation: Tensor
    regions: Tensor


@dataclass(frozen=True, eq=False)
class DetailPoints:
    """The points of a slide whose fine structure is compared, on one device.

    Attributes
    ----------
    u_um : Tensor, shape (N, 2)
        Offsets on the slide from the centre of the template, µm.
    values : Tensor, shape (H, N)
        Expected µCT values under each hypothesis.
    smooth : Tensor, shape (N, C)
        Weights of the points around the knots of a coarse grid, for the local mean.
    regions : Tensor, shape (N, 9)
        1 for the ninth of the bounding box that contains the point.
    """

    u_um: Tensor
    values: Tensor
    smooth: Tensor
    regions: Tensor


def detail_points(resolution: ResolutionLevel, template: Template, device: str | torch.device = "cpu") -> DetailPoints:
    """Choose the points for `compare_detail`. They do not depend on the pose.

    Parameters
    ----------
    resolution : ResolutionLevel
        Its voxel size is the resolution of the comparison.
    template : Template
    device : str or torch.device
        See `tomostain.devices.choose_device`.
    """
    place = choose_device(device)
    picture = template.picture(resolution.voxel_range_um[1])
    away = ndimage.distance_transform_edt(template.screw < 0.5) * template.pixel_um > _SCREW_RIM_UM
    compared = torch.from_numpy(template.pick(away, picture.u_um)) & (picture.weight > 0.4)
    u, values = picture.u_um[compared], picture.values[:, compared]
    half = torch.tensor(template.half_um, dtype=torch.float32)
    cell = to_integers(((u / half + 1) / 2 * REGIONS).floor(), torch.int64, "positions").clamp(0, REGIONS - 1)
    regions = torch.nn.functional.one_hot(cell[:, 0] * REGIONS + cell[:, 1], REGIONS**2).float()
    return DetailPoints(u.to(place), values.to(place), _smoother(u, half).to(place), regions.to(place))


def compare_detail(
    resolution: ResolutionLevel,
    template: Template,
    poses: Poses,
    slab_um: float = 0.0,
    device: str | torch.device = "cpu",
) -> Detail:
    """Compare the fine structure of µCT and slide under each pose.

    Parameters
    ----------
    resolution : ResolutionLevel
        The volume. Its voxel size is the resolution of the comparison.
    template : Template
    poses : Poses
    slab_um : float
        Thickness of the section, µm.
    device : str or torch.device
        Where to compute: see `tomostain.devices.choose_device`. The result is on the CPU.
    """
    return compare_at_points(resolution, detail_points(resolution, template, device), poses, slab_um)


def compare_at_points(resolution: ResolutionLevel, points: DetailPoints, poses: Poses, slab_um: float = 0.0) -> Detail:
    """Do the same as `compare_detail` at points that were chosen before, on their device."""
    u, place = points.u_um, points.u_um.device
    resolution, poses = resolution.to(place), poses.to(place)
    batch = max(1, _MAX_POINTS // max(len(u), 1))
    parts = []
    for i in range(0, len(poses), batch):
        part = poses[i : i + batch]
        v, _, inside = sample_slab(resolution, part.points_um(u), part.rotation[:, :, 2], slab_um)
        expected = points.values[part.hypothesis]
        parts.append(_fine_correlation(v, expected, inside.float(), points.smooth, points.regions))
    total, by_region = (torch.cat(x).cpu() for x in zip(*parts, strict=True))
    return Detail(total, by_region.reshape(-1, REGIONS, REGIONS))


def _smoother(u: Tensor, half: Tensor) -> Tensor:
    """Return Gaussian weights (N, C) of the points around the knots of a coarse grid."""
    knots = [torch.arange(-float(h), float(h) + COARSE_UM, COARSE_UM) for h in half]
    centres = torch.stack(torch.meshgrid(*knots, indexing="ij"), dim=-1).reshape(-1, 2)
    return torch.exp(-0.5 * (torch.cdist(u, centres) / COARSE_UM) ** 2)


def _fine_correlation(v: Tensor, t: Tensor, w: Tensor, smooth: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
    """Return the correlation of v and t (K, N) minus their local means: in total (K,) and by region (K, 9)."""
    back = smooth / smooth.sum(dim=1, keepdim=True).clamp(min=1e-9)
    near = (w @ smooth).clamp(min=1e-6)
    fine = [(x - ((x * w) @ smooth / near) @ back.T) * w for x in (v, t)]
    covered = w.mean(dim=1)
    sums = [fine[0] * fine[1], fine[0] ** 2, fine[1] ** 2]
    whole = [x.sum(dim=1) for x in sums]
    total = whole[0] / (whole[1] * whole[2]).sqrt().clamp(min=1e-9) * (covered / OVERLAP).clamp(max=1.0)
    part = [x @ regions for x in sums]
    by_region = part[0] / (part[1] * part[2]).sqrt().clamp(min=1e-9)
    enough = (w @ regions) > 0.02 * w.shape[1]
    return total, torch.where(enough, by_region, torch.full_like(by_region, float("nan")))


def returning_restarts(task: SearchTask, pose: Poses, *, seed: int, count: int = 8) -> float:
    """Return the fraction of independent restarts near a pose that return to it.

    Each restart is rotated by 5° and shifted by 2 % of the side of the volume, in random directions, and refined.
    """
    generator = torch.Generator().manual_seed(seed)
    start = Poses.stack([pose] * count)
    step = random_steps(start, 1.0, 1.0, task.freedom, generator)
    for first, size in ((0, 0.02 * task.side_um), (3, float(np.radians(5.0)))):
        part = step[:, first : first + 3]
        step[:, first : first + 3] = part / part.norm(dim=1, keepdim=True) * size
    start = start.moved(step)
    refined, _ = refine(task.resolution, task.picture, start, task.freedom, steps=14, device=task.device)
    corners = task.template.corners_um
    distances = (refined.points_um(corners) - pose.points_um(corners)).norm(dim=-1).mean(dim=-1)
    return float((distances < 1.5 * task.voxel_um).float().mean())


class EvidenceNumbers(TypedDict):
    """The evidence as `pair.yaml` contains it."""

    confidence: float
    detail: float
    margin: float
    restarts: float
    support: int
    sure: bool
    regions: list[list[float | None]]


@dataclass(frozen=True, eq=False)
class Evidence:
    """Evidence for a pose.

    Attributes
    ----------
    detail : float
        Correlation of the fine structure outside the screw.
    margin : float
        Score of the best pose minus that of the next distinct one. The score is correlation plus detail.
    restarts : float
        Fraction of the restarts nearby that return to the pose.
    support : int
        Number of starting poses of the global search that reached the pose independently.
    regions : ndarray of float64, shape (3, 3)
        Detail by region of the slide. NaN where there is too little tissue to compare.
    threshold : float
        Smallest confidence of a pose that is called sure.
    """

    detail: float
    margin: float
    restarts: float
    support: int
    regions: NDArray[np.float64]
    threshold: float = 0.5

    @property
    def confidence(self) -> float:
        """Probability that the pose is right, from a logistic model that was fitted to tuning phantoms."""
        constant, *weights = LOGISTIC
        evidence = (self.detail, self.margin, self.restarts)
        return float(1 / (1 + np.exp(-constant - np.dot(weights, evidence))))

    @property
    def sure(self) -> bool:
        """Whether the confidence reaches the threshold."""
        return self.confidence >= self.threshold

    def describe(self) -> str:
        """Return the scores for a person."""
        return f"detail {self.detail:.2f}, margin {self.margin:.2f}"

    def to_dict(self) -> EvidenceNumbers:
        """Return rounded numbers for YAML. Regions without tissue are None."""
        return {
            "confidence": round(float(self.confidence), 4),
            "detail": round(float(self.detail), 4),
            "margin": round(float(self.margin), 4),
            "restarts": round(float(self.restarts), 4),
            "support": self.support,
            "sure": self.sure,
            "regions": [[None if np.isnan(x) else round(float(x), 3) for x in row] for row in self.regions],
        }
