"""How sure a pose is: what only the right plane can show.

The screw and the outline of the bone look much the same in many planes, so their correlation says little. Fine
structure outside the screw does not: trabeculae, vessels and thread that lie where the slide has them. `detail` is the
correlation of that alone, over the section and by region.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from tomostain.register.poses import Poses
from tomostain.register.refine import OVERLAP, Freedom, random_steps, refine, sample_slab
from tomostain.register.resolution import ResolutionLevel
from tomostain.register.template import Template

COARSE_UM = 300.0
_SCREW_RIM_UM = 80.0
REGIONS = 3
_AT_ONCE = 600_000
# Constant and weights of detail, margin and restarts.
LOGISTIC = (-10.5, 8.0, 45.0, 2.5)


@dataclass(frozen=True, eq=False)
class Detail:
    """Agreement of fine structure outside the screw, for K poses.

    Attributes
    ----------
    correlation : Tensor, shape (K,)
        Over the section, -1 to 1; lowered where the volume covers too little of it.
    regions : Tensor, shape (K, 3, 3)
        In each ninth of the template's box; NaN where there is too little to compare.
    """

    correlation: Tensor
    regions: Tensor


def detail(level: ResolutionLevel, template: Template, poses: Poses, slab_um: float = 0.0) -> Detail:
    """Compare the fine structure of µCT and slide under each pose.

    Parameters
    ----------
    level : ResolutionLevel
        Its voxel size is the resolution of the comparison.
    template : Template
    poses : Poses
    slab_um : float
        Thickness of the section.
    """
    picture = template.picture(float(level.voxel_um.max()))
    away = ndimage.distance_transform_edt(template.screw < 0.5) * template.pixel_um > _SCREW_RIM_UM
    kept = torch.from_numpy(template.pick(away, picture.u_um)) & (picture.weight > 0.4)
    u, values = picture.u_um[kept], picture.values[:, kept]
    half = torch.tensor(template.half_um, dtype=torch.float32)
    cell = ((u / half + 1) / 2 * REGIONS).floor().long().clamp(0, REGIONS - 1)
    regions = torch.nn.functional.one_hot(cell[:, 0] * REGIONS + cell[:, 1], REGIONS**2).float()
    smooth = _smoother(u, half)
    many = max(1, _AT_ONCE // max(len(u), 1))
    parts = []
    for i in range(0, len(poses), many):
        some = poses[i : i + many]
        v, _, inside = sample_slab(level, some.points_um(u), some.rotation[:, :, 2], slab_um)
        parts.append(_fine_correlation(v, values[some.hypothesis], inside.float(), smooth, regions))
    total, by_region = (torch.cat(x) for x in zip(*parts, strict=True))
    return Detail(total, by_region.reshape(-1, REGIONS, REGIONS))


def _smoother(u: Tensor, half: Tensor) -> Tensor:
    """Return Gaussian weights (N, C) of the points about the knots of a coarse grid."""
    knots = [torch.arange(-float(h), float(h) + COARSE_UM, COARSE_UM) for h in half]
    at = torch.stack(torch.meshgrid(*knots, indexing="ij"), dim=-1).reshape(-1, 2)
    return torch.exp(-0.5 * (torch.cdist(u, at) / COARSE_UM) ** 2)


def _fine_correlation(v: Tensor, t: Tensor, w: Tensor, smooth: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
    """Return the correlation of v and t (K, N) without their local means, in all (K,) and by region (K, 9)."""
    back = smooth / smooth.sum(dim=1, keepdim=True).clamp(min=1e-9)
    near = (w @ smooth).clamp(min=1e-6)
    fine = [(x - ((x * w) @ smooth / near) @ back.T) * w for x in (v, t)]
    covered = w.mean(dim=1)
    sums = [fine[0] * fine[1], fine[0] ** 2, fine[1] ** 2]
    all_ = [x.sum(dim=1) for x in sums]
    total = all_[0] / (all_[1] * all_[2]).sqrt().clamp(min=1e-9) * (covered / OVERLAP).clamp(max=1.0)
    part = [x @ regions for x in sums]
    by_region = part[0] / (part[1] * part[2]).sqrt().clamp(min=1e-9)
    enough = (w @ regions) > 0.02 * w.shape[1]
    return total, torch.where(enough, by_region, torch.full_like(by_region, float("nan")))


def restarts(
    level: ResolutionLevel, template: Template, pose: Poses, freedom: Freedom, seed: int, number: int = 8
) -> float:
    """Return the part of independent restarts near a pose that come back to it.

    Each is turned by 5° and shifted by 2 % of the volume's side, both in a random direction, and refined anew.
    """
    generator = torch.Generator().manual_seed(seed)
    side_um = float(level.side_um.max())
    start = Poses.stack([pose] * number)
    step = random_steps(start, 1.0, 1.0, freedom, generator)
    for first, size in ((0, 0.02 * side_um), (3, float(np.radians(5.0)))):
        part = step[:, first : first + 3]
        step[:, first : first + 3] = part / part.norm(dim=1, keepdim=True) * size
    start = start.moved(step)
    picture = template.picture(float(level.voxel_um.max()))
    again, _ = refine(level, picture, start, freedom, steps=14)
    corners = template.corners_um
    apart = (again.points_um(corners) - pose.points_um(corners)).norm(dim=-1).mean(dim=-1)
    return float((apart < 1.5 * float(level.voxel_um.max())).float().mean())


@dataclass(frozen=True, eq=False)
class Evidence:
    """What speaks for a pose.

    Attributes
    ----------
    detail : float
        Correlation of the fine structure outside the screw.
    margin : float
        How far the best pose is ahead of the next one elsewhere (correlation plus detail).
    restarts : float
        Part of the restarts nearby that come back.
    support : int
        Starts of the global search that came to the pose by themselves.
    regions : ndarray of float64, shape (3, 3)
        Detail by region of the slide; NaN where there is nothing to compare.
    threshold : float
        Confidence from which on the pose is called sure.
    """

    detail: float
    margin: float
    restarts: float
    support: int
    regions: NDArray[np.float64]
    threshold: float = 0.5

    @property
    def confidence(self) -> float:
        """Chance that the pose is right, by a logistic model whose weights were set on tuning phantoms."""
        constant, *weights = LOGISTIC
        evidence = (self.detail, self.margin, self.restarts)
        return float(1 / (1 + np.exp(-constant - np.dot(weights, evidence))))

    @property
    def sure(self) -> bool:
        """Whether the confidence reaches the threshold."""
        return self.confidence >= self.threshold

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers for YAML; regions without tissue are null."""
        regions = [[None if np.isnan(x) else round(float(x), 3) for x in row] for row in self.regions]
        numbers = {
            name: round(float(getattr(self, name)), 4) for name in ("confidence", "detail", "margin", "restarts")
        }
        return numbers | {"support": self.support, "sure": self.sure, "regions": regions}
