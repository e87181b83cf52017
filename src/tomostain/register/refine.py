"""Local refinement of a batch of poses: Gauss–Newton on the normalised correlation, with bounded strain.

The correlation of the µCT under the pose with the template (weights w) is ρ = Σ w t̂ v̂, where both have zero mean and
unit norm. Its maximum is the minimum of ½ Σ w (t̂ − v̂)², which has a Gauss–Newton step in closed form (Evangelidis &
Psarakis 2008, IEEE TPAMI 30, 1858, "enhanced correlation coefficient"). Each pose has its own Levenberg damping. A step
that does not improve the objective is rejected. The strain has a Gaussian prior, because sections deform only
slightly (paper section 2.3).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from tomostain.devices import choose_device
from tomostain.register.poses import Poses
from tomostain.register.resolution import ResolutionLevel

# The score decreases in proportion if less than this fraction of the template is inside the volume.
OVERLAP = 0.7
# Points of all poses that are computed together.
_MAX_POINTS = 600_000
_PRIOR = 0.005


@dataclass(frozen=True, eq=False)
class TemplatePicture:
    """The template at one resolution, as points with expected values.

    Attributes
    ----------
    u_um : Tensor, shape (N, 2)
        Offsets on the slide from the centre of the template, µm.
    values : Tensor, shape (H, N)
        Expected µCT values (background 0, bone 1) under each hypothesis.
    weight : Tensor, shape (N,)
    """

    u_um: Tensor
    values: Tensor
    weight: Tensor

    def to(self, device: torch.device) -> "TemplatePicture":
        """Return the picture on a device."""
        copy = TemplatePicture(self.u_um.to(device), self.values.to(device), self.weight.to(device))
        # Compute it here, because reading a number from a GPU blocks the host.
        vars(copy)["reach_um"] = self.reach_um
        return copy

    def every(self, n: int) -> "TemplatePicture":
        """Return every n-th point."""
        return TemplatePicture(self.u_um[::n], self.values[:, ::n], self.weight[::n])

    @cached_property
    def reach_um(self) -> float:
        """Root mean square distance of the points from the centre, µm."""
        return float((self.u_um**2).sum(dim=1).mean().sqrt())


@dataclass(frozen=True)
class Freedom:
    """Degrees of freedom of a pose and its prior.

    Attributes
    ----------
    strain : float
        Standard deviation of the prior of the strain. 0 does not change the strain.
    scale : float
        Standard deviation of the prior of the mean strain (isotropic scale), if larger than `strain`: for a wrong pixel
        size.
    bound : float
        Largest deviatoric strain. The mean strain may be twice as large, because a pixel size may be wrong.
    in_plane : bool
        Only translations and rotations within the plane, for µCT images that are sections already.
    """

    strain: float = 0.0
    scale: float = 0.0
    bound: float = float("inf")
    in_plane: bool = False


def random_steps(
    poses: Poses, shift_um: float, turn_deg: float, freedom: Freedom, generator: torch.Generator
) -> Tensor:
    """Draw a normally distributed step (K, 9) for each pose, within the plane if `freedom.in_plane`."""
    step = torch.zeros(len(poses), 9)
    step[:, :3] = torch.randn(len(poses), 3, generator=generator) * shift_um
    step[:, 3:6] = torch.randn(len(poses), 3, generator=generator) * float(np.radians(turn_deg))
    if freedom.in_plane:
        normal = poses.rotation[:, :, 2]
        step[:, :3] -= (step[:, :3] * normal).sum(dim=1, keepdim=True) * normal
        step[:, 3:6] = (step[:, 3:6] * normal).sum(dim=1, keepdim=True) * normal
    return step


def trilinear(resolution: ResolutionLevel, points_um: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Interpolate a volume and its gradient.

    Parameters
    ----------
    resolution : ResolutionLevel
    points_um : Tensor, shape (..., 3)
        Volume coordinates (z, y, x), µm.

    Returns
    -------
    values : Tensor, shape (...)
    gradient : Tensor, shape (..., 3)
        Per µm.
    inside : Tensor of bool, shape (...)
    """
    size = resolution.size
    index = (points_um - resolution.origin_um) / resolution.voxel_um
    inside = ((index >= -0.5) & (index <= size - 0.5)).all(dim=-1)
    index = torch.minimum(index.clamp(min=0), (size - 1).to(index.dtype))
    low = torch.minimum(index.floor().long(), (size - 2).clamp(min=0))
    part = index - low
    # On an axis with one voxel, the neighbour is the voxel itself.
    dz, dy, dx = (stride * (n > 1) for stride, n in zip(resolution.strides, resolution.values.shape, strict=True))
    base = (low * resolution.stride).sum(dim=-1)
    flat = resolution.values.reshape(-1)
    z, y, x = part.unbind(-1)
    c000, c001 = flat[base], flat[base + dx]
    c010, c011 = flat[base + dy], flat[base + dy + dx]
    base = base + dz
    c100, c101 = flat[base], flat[base + dx]
    c110, c111 = flat[base + dy], flat[base + dy + dx]
    c00, c01 = torch.lerp(c000, c001, x), torch.lerp(c010, c011, x)
    c10, c11 = torch.lerp(c100, c101, x), torch.lerp(c110, c111, x)
    c0, c1 = torch.lerp(c00, c01, y), torch.lerp(c10, c11, y)
    across_x = torch.lerp(torch.lerp(c001 - c000, c011 - c010, y), torch.lerp(c101 - c100, c111 - c110, y), z)
    gradient = torch.stack([c1 - c0, torch.lerp(c01 - c00, c11 - c10, z), across_x], dim=-1)
    values, gradient = torch.lerp(c0, c1, z), gradient / resolution.voxel_um
    if resolution.holes:
        has_value = ~values.isnan()
        return values.nan_to_num(), torch.where(has_value[..., None], gradient, 0.0), inside & has_value
    return values, gradient, inside


@dataclass
class _State:
    """Normal equations of each pose: objective, correlation, overlap, H (K, 9, 9), b (K, 9)."""

    objective: Tensor
    score: Tensor
    hessian: Tensor
    slope: Tensor


def refine(
    resolution: ResolutionLevel,
    picture: TemplatePicture,
    poses: Poses,
    freedom: Freedom,
    steps: int = 8,
    slab_um: float = 0.0,
    device: str | torch.device = "auto",
) -> tuple[Poses, Tensor]:
    """Maximise the correlation of each pose, starting from it.

    Parameters
    ----------
    resolution : ResolutionLevel
        The volume, at the resolution of the picture.
    picture : TemplatePicture
    poses : Poses
    freedom : Freedom
    steps : int
        Gauss–Newton steps of each pose.
    slab_um : float
        Thickness of the section, over which the µCT is averaged along the normal. 0 for a plane.
    device : str or torch.device
        Where to compute: see `tomostain.devices.choose_device`.

    Returns
    -------
    poses : Poses
    scores : Tensor, shape (K,)
        Correlation, decreased if the volume covers too little of the template.
    """
    place = choose_device(device)
    resolution, picture, poses = resolution.to(place), picture.to(place), poses.to(place)
    batch = max(1, _MAX_POINTS // len(picture.u_um))
    starts = range(0, len(poses), batch)
    parts = [_refine(resolution, picture, poses[i : i + batch], freedom, steps, slab_um) for i in starts]
    cpu = torch.device("cpu")
    return Poses.stack([part[0] for part in parts]).to(cpu), torch.cat([part[1] for part in parts]).to(cpu)


def score_poses(resolution: ResolutionLevel, picture: TemplatePicture, poses: Poses, slab_um: float = 0.0) -> Tensor:
    """Return the scores (K,) of poses without refinement; see `refine`."""
    return refine(resolution, picture, poses, Freedom(), steps=0, slab_um=slab_um)[1]


def correlate(resolution: ResolutionLevel, picture: TemplatePicture, poses: Poses) -> tuple[Tensor, Tensor]:
    """Return the scores (K,) of poses and the fraction (K,) of the template that the volume covers.

    The scores are those of `score_poses`. It is faster, because it computes no derivatives. On the CPU.
    """
    v, _, inside = trilinear(resolution, poses.points_um(picture.u_um))
    w = picture.weight * inside
    total = w.sum(dim=1, keepdim=True).clamp(min=1e-6)
    t_hat, _ = _standard(picture.values[poses.hypothesis], w, total)
    v_hat, _ = _standard(v, w, total)
    overlap = total[:, 0] / picture.weight.sum()
    return (w * t_hat * v_hat).sum(dim=1) * (overlap / OVERLAP).clamp(max=1.0), overlap


def _refine(
    resolution: ResolutionLevel, picture: TemplatePicture, poses: Poses, freedom: Freedom, steps: int, slab_um: float
) -> tuple[Poses, Tensor]:
    poses = poses.bounded(freedom.bound, 2.0 * freedom.bound)
    prior = _prior_matrix(freedom).to(picture.u_um.device)
    state = _normal_equations(resolution, picture, poses, prior, slab_um)
    damping = torch.full_like(state.score, 0.02)
    for _ in range(steps):
        step = _solve(state, damping, poses, prior, freedom, picture.reach_um)
        # At most two voxels in one step, because the gradient is only valid nearby.
        step = _limited(step, 2.0 * resolution.voxel_range_um[1], picture.reach_um)
        new_poses = poses.moved(step).bounded(freedom.bound, 2.0 * freedom.bound)
        new_state = _normal_equations(resolution, picture, new_poses, prior, slab_um)
        better = new_state.objective > state.objective
        poses = Poses(*(_choose(better, getattr(new_poses, n), getattr(poses, n)) for n in _FIELDS))
        state = _State(*(_choose(better, getattr(new_state, n), getattr(state, n)) for n in _STATE))
        damping = torch.where(better, damping * 0.3, damping * 6.0).clamp(1e-4, 1e4)
    return poses, state.score


_FIELDS = ("centre_um", "rotation", "strain", "hypothesis")
_STATE = ("objective", "score", "hessian", "slope")


def _choose(which: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(which.reshape(-1, *[1] * (yes.ndim - 1)), yes, no)


def sample_slab(
    resolution: ResolutionLevel, points_um: Tensor, normal: Tensor, slab_um: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Interpolate the mean along the normal over a thickness; see `trilinear` for arguments and results."""
    n = max(1, round(slab_um / resolution.voxel_range_um[0]))
    if n == 1:
        return trilinear(resolution, points_um)
    depths = ((torch.arange(n) + 0.5) / n - 0.5) * slab_um
    parts = [trilinear(resolution, points_um + float(d) * normal[:, None]) for d in depths]
    inside = torch.stack([part[2] for part in parts]).all(dim=0)
    return sum(p[0] for p in parts) / n, sum(p[1] for p in parts) / n, inside  # type: ignore[return-value]


def _normal_equations(
    resolution: ResolutionLevel, picture: TemplatePicture, poses: Poses, prior: Tensor, slab_um: float
) -> _State:
    """Compare µCT and template under each pose. Return correlation and normal equations."""
    u, reach = picture.u_um, picture.reach_um
    arm = u @ poses.linear.transpose(1, 2)
    points = poses.centre_um[:, None] + arm
    v, gradient, inside = sample_slab(resolution, points, poses.rotation[:, :, 2], slab_um)
    w = picture.weight * inside
    total = w.sum(dim=1, keepdim=True).clamp(min=1e-6)
    t = picture.values[poses.hypothesis]
    t_hat, _ = _standard(t, w, total)
    v_hat, size = _standard(v, w, total)
    correlation = (w * t_hat * v_hat).sum(dim=1)
    overlap = total[:, 0] / picture.weight.sum()
    row = (gradient * poses.rotation[:, None, :, 0]).sum(-1)
    column = (gradient * poses.rotation[:, None, :, 1]).sum(-1)
    strains = torch.stack([row * u[:, 0], column * u[:, 1], row * u[:, 1] + column * u[:, 0]], dim=-1)
    # All nine in µm: rotations and strains are expressed by the displacement at the reach of the template.
    jacobian = torch.cat([gradient, torch.linalg.cross(arm, gradient) / reach, strains / reach], dim=-1)
    jacobian = jacobian / size[..., None]
    wj = jacobian * w[..., None]
    mean = wj.sum(dim=1, keepdim=True) / total[..., None]
    along = (wj * v_hat[..., None]).sum(dim=1, keepdim=True)
    jacobian = jacobian - mean - v_hat[..., None] * along
    wj = jacobian * w[..., None]
    hessian = wj.transpose(1, 2) @ jacobian
    slope = (wj.transpose(1, 2) @ t_hat[..., None])[..., 0]
    penalty = _penalty(poses, prior)
    score = correlation * (overlap / OVERLAP).clamp(max=1.0)
    return _State(score - penalty, score, hessian, slope)


def _standard(values: Tensor, w: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """Return values with weighted mean 0 and weighted norm 1, and the norm."""
    centred = values - (w * values).sum(dim=1, keepdim=True) / total
    size = (w * centred**2).sum(dim=1, keepdim=True).sqrt().clamp(min=1e-6)
    return centred / size, size


def _precision(freedom: Freedom) -> tuple[float, float]:
    """Return the precision of the prior for the deviatoric strain and for the isotropic strain."""
    if not freedom.strain:
        return 0.0, 0.0
    return _PRIOR / freedom.strain**2, _PRIOR / max(freedom.strain, freedom.scale) ** 2


def _prior_matrix(freedom: Freedom) -> Tensor:
    """Return the precision of the prior as a matrix over (rr, cc, rc)."""
    shape, size = _precision(freedom)
    mean = (size - shape) / 2
    return torch.tensor([[shape + mean, mean, 0.0], [mean, shape + mean, 0.0], [0.0, 0.0, 2 * shape]])


def strain_penalty(poses: Poses, freedom: Freedom) -> Tensor:
    """Return the penalty of each pose from the prior on the strain, shape (K,)."""
    return _penalty(poses, _prior_matrix(freedom).to(poses.strain.device))


def _penalty(poses: Poses, prior: Tensor) -> Tensor:
    e = torch.stack([poses.strain[:, 0, 0], poses.strain[:, 1, 1], poses.strain[:, 0, 1]], dim=1)
    return 0.5 * ((e @ prior) * e).sum(dim=1)


def _solve(state: _State, damping: Tensor, poses: Poses, prior: Tensor, freedom: Freedom, reach: float) -> Tensor:
    """Return the damped Gauss–Newton step (K, 9), all in µm."""
    e = torch.stack([poses.strain[:, 0, 0], poses.strain[:, 1, 1], poses.strain[:, 0, 1]], dim=1)
    hessian, slope = state.hessian.clone(), state.slope.clone()
    hessian[:, 6:, 6:] += prior / reach**2
    slope[:, 6:] -= e @ prior / reach
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    mean = diagonal.mean(dim=1, keepdim=True)
    hessian = hessian + torch.diag_embed(damping[:, None] * (diagonal + 0.1 * mean) + 1e-4 * mean + 1e-20)
    basis = _free_directions(poses, freedom)
    reduced = basis.transpose(1, 2) @ hessian @ basis
    right = basis.transpose(1, 2) @ slope[..., None]
    solution, _ = torch.linalg.solve_ex(reduced, right)
    return torch.nan_to_num((basis @ solution)[..., 0])


def _limited(step: Tensor, longest_um: float, reach: float) -> Tensor:
    """Return a step of `_solve`, shortened to a length, in the units of `Poses.moved`."""
    longest = step.abs().amax(dim=1, keepdim=True)
    step = step * (longest_um / longest.clamp(min=1e-9)).clamp(max=1.0)
    return torch.cat([step[:, :3], step[:, 3:] / reach], dim=1)


def _free_directions(poses: Poses, freedom: Freedom) -> Tensor:
    """Return an orthonormal basis (K, 9, F) of the free directions."""
    k, device = len(poses), poses.strain.device
    columns = []
    axes = [poses.rotation[:, :, i] for i in range(3)]
    zero = torch.zeros(k, 3, device=device)
    for axis in axes[:2] if freedom.in_plane else axes:
        columns.append(torch.cat([axis, zero, zero], dim=1))
    for axis in axes[2:] if freedom.in_plane else axes:
        columns.append(torch.cat([zero, axis, zero], dim=1))
    if freedom.strain:
        for i in range(3):
            unit = torch.zeros(k, 3, device=device)
            unit[:, i] = 1
            columns.append(torch.cat([zero, zero, unit], dim=1))
    return torch.stack(columns, dim=2)
