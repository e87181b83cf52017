"""Local refinement of a batch of poses: Gauss–Newton on the normalised correlation, with bounded strain.

The correlation of the µCT under the pose with the template (weights w) is ρ = Σ w t̂ v̂, where both have zero mean and
unit norm. Its maximum is the minimum of ½ Σ w (t̂ − v̂)², which has a Gauss–Newton step in closed form (Evangelidis &
Psarakis 2008, IEEE TPAMI 30, 1858, "enhanced correlation coefficient"). Each pose has its own Levenberg damping. A step
that does not improve the objective is rejected. The strain has a Gaussian prior, because sections deform only
slightly (paper section 2.3).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tomostain.devices import choose_device
from tomostain.register.poses import Poses
from tomostain.register.resolution import ResolutionLevel
from tomostain.register.template_sampling import MAX_POINTS, OVERLAP, TemplatePicture, sample_slab, trilinear

_PRIOR = 0.005


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
    batch = max(1, MAX_POINTS // len(picture.u_um))
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
    jacobian = torch.cat([gradient, torch.linalg.cross(arm, gradient).div_(reach), strains.div_(reach)], dim=-1)
    jacobian.div_(size[..., None])
    # In place, because a new array of this size costs more than the computation.
    wj = jacobian * w[..., None]
    mean = wj.sum(dim=1, keepdim=True) / total[..., None]
    along = wj.mul_(v_hat[..., None]).sum(dim=1, keepdim=True)
    jacobian.sub_(mean).sub_(torch.mul(v_hat[..., None], along, out=wj))
    torch.mul(jacobian, w[..., None], out=wj)
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
