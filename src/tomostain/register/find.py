"""From the global search to one pose: candidates are refined from coarse to fine, fewer at every resolution.

Thousands of poses survive the coarse search. Each is refined at the next resolution before the best are selected. At
the finest resolution the expected µCT value of each colour of the slide is learned from the pair itself (its joint
histogram), so that the result does not depend on assumed values.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from tomostain.deprecation import renamed
from tomostain.integers import to_integers
from tomostain.progress import Progress, silent
from tomostain.register.pose_confidence import compare_detail
from tomostain.register.poses import Poses, select_distinct
from tomostain.register.refine import Freedom, random_steps, refine, strain_penalty
from tomostain.register.resolution import ResolutionLevel
from tomostain.register.search import SearchGrid, search
from tomostain.register.task import SearchTask
from tomostain.register.template_sampling import TemplatePicture, sample_slab

# (voxels along the longest side, fraction of the candidates that are refined, steps)
STAGES = ((64, 1.0, 8), (96, 0.03, 10), (160, 0.007, 10))
# Candidates of the coarse search, relative to those of the first stage.
FIRST = 1.5
# Poses that are closer than this fraction of the side of the volume are one candidate.
APART = 0.02
# Restarts around the best poses of the first stage: (poses, restarts of each, rotation in degrees, shift as a fraction
# of the side of the volume). The number of poses is that for `_FULL` candidates, and smaller for fewer.
HOPS = ((48, 10, 6.0, 0.03), (20, 10, 3.0, 0.015))
_FULL = 1200
# The shortlist considers at most this multiple of its length.
_LIKELY = 12
# Restarts around the best pose at the end.
_FINAL_RESTARTS = 48
_BINS = 12
_PRIOR_PX = 30.0


@dataclass(frozen=True, eq=False)
class PoseCandidates:
    """Result of a search.

    Attributes
    ----------
    poses : Poses
        Candidates, best first, all distinct. The first one is fully refined.
    scores : Tensor, shape (K,)
        Correlation of each candidate at the resolution of the last stage.
    support : int
        Number of starting poses that reached the first candidate independently at 64 voxels.
    coarse : Poses, optional
        Candidates of the coarse search, for a second search.
    """

    poses: Poses
    scores: Tensor
    support: int
    coarse: Poses | None = None


def find_candidates(
    task: SearchTask, grid: SearchGrid, progress: Progress = silent, *, earlier: Poses | None = None
) -> PoseCandidates:
    """Search the whole volume for the template.

    Parameters
    ----------
    task : SearchTask
        With the volume at the finest resolution in memory.
    grid : SearchGrid
        Grid of the global search.
    progress : Progress
    earlier : Poses, optional
        Coarse candidates of an earlier search, which are refined too.

    Returns
    -------
    PoseCandidates
    """
    template, side_um = task.template, task.side_um
    # A small part of a section needs finer pixels to be distinguished from others.
    side = float(np.clip(grid.side * side_um / (2 * template.half_um.max()), grid.side, 1.5 * grid.side))
    coarse_task = task.coarser(side)
    poses, scores = search(coarse_task.resolution, template, grid, progress, task.device)
    # A small part matches more places, and each costs less.
    task = replace(task, candidates=round(task.candidates * (side / grid.side) ** 2))
    count = round(FIRST * task.candidates)
    coarse = poses[shortlist(poses, scores, template.corners_um, APART * side_um, count)]
    poses = coarse if earlier is None else Poses.stack([earlier, coarse])
    poses, scores = refine(
        coarse_task.resolution, coarse_task.picture, poses, task.freedom, steps=8, device=task.device
    )
    return replace(refine_candidates(task, poses, scores, progress), coarse=coarse)


def refine_candidates(task: SearchTask, poses: Poses, scores: Tensor, progress: Progress = silent) -> PoseCandidates:
    """Refine candidates at finer and finer resolution, and select the best; see `find_candidates`."""
    side_um, corners = task.side_um, task.template.corners_um
    first_stage = poses
    for number, (side, fraction, steps) in enumerate(STAGES):
        progress("refining", number, len(STAGES) + 1)
        count = max(8, round(fraction * task.candidates))
        if number == 0:
            selected = shortlist(poses, scores, corners, 0.25 * side_um / side, count)
        else:
            selected = select_distinct(poses, scores, corners, APART * side_um, count)
        stage = task.coarser(side)
        poses, scores = refine(
            stage.resolution, stage.picture, poses[selected], task.freedom, steps, device=task.device
        )
        scores = scores + compare_detail(stage.resolution, task.template, poses, device=task.device).correlation
        if number == 0:
            first_stage = poses
            poses, scores = _restart_best(stage, poses, scores)
    order = select_distinct(poses, scores, corners, APART * side_um, len(poses))
    poses, scores = poses[order], scores[order]
    progress("refining", len(STAGES), len(STAGES) + 1)
    best = refine_with_restarts(task, poses[:1])
    distances = (first_stage.points_um(corners) - best.points_um(corners)).norm(dim=-1).mean(-1)
    support = int((distances < side_um / 64).sum())
    progress("refining", len(STAGES) + 1, len(STAGES) + 1)
    return PoseCandidates(Poses.stack([best, poses[1:]]), scores, support)


def shortlist(poses: Poses, scores: Tensor, corners_um: Tensor, apart_um: float, max_count: int) -> Tensor:
    """Return the indices of the best poses of each hypothesis, no two closer than `apart_um`; about `max_count` in all.

    Correlations of different hypotheses are not comparable: a bright screw matches any bright body well, a dark screw
    only soft tissue. So each hypothesis has its own share.
    """
    hypotheses = poses.hypothesis.unique()
    max_count = round(max_count / len(hypotheses) ** 0.75)
    selected = []
    for hypothesis in hypotheses:
        index = torch.nonzero(poses.hypothesis == hypothesis)[:, 0]
        index = index[scores[index].topk(min(_LIKELY * max_count, len(index))).indices]
        selected.append(index[select_distinct(poses[index], scores[index], corners_um, apart_um, max_count)])
    return torch.cat(selected)


def _restart_best(task: SearchTask, poses: Poses, scores: Tensor) -> tuple[Poses, Tensor]:
    """Refine the best poses again from random poses around them, to leave local maxima."""
    generator = torch.Generator().manual_seed(task.seed)
    resolution, template, picture, side_um = task.resolution, task.template, task.picture, task.side_um
    share = min(1.0, task.candidates / _FULL)
    for count, restarts, turn_deg, shift in HOPS:
        number = max(2, round(share * count))
        best = poses[select_distinct(poses, scores, template.corners_um, 0.01 * side_um, number)]
        starts = Poses.stack([best] * restarts)
        step = random_steps(starts, shift * side_um, turn_deg, task.freedom, generator)
        new_poses, fit = refine(resolution, picture, starts.moved(step), task.freedom, steps=8, device=task.device)
        new_scores = fit + compare_detail(resolution, template, new_poses, device=task.device).correlation
        poses, scores = Poses.stack([poses, new_poses]), torch.cat([scores, new_scores])
    return poses, scores


def refine_with_restarts(task: SearchTask, pose: Poses) -> Poses:
    """Refine one pose fully, again from random poses around it, and return the best result.

    In a small section a strain looks like a tilt, and the refinement may end two voxels away. The score of the tissue
    alone decides, minus the prior of such a strain for the stain.
    """
    resolution, template = task.resolution, task.template
    pose, _ = refine_with_learned_values(task, pose)
    picture = template.tissue_alone().picture(task.voxel_um)
    starts = Poses.stack([pose] * _FINAL_RESTARTS)
    generator = torch.Generator().manual_seed(task.seed)
    step = random_steps(starts, 0.008 * task.side_um, 2.0, task.freedom, generator)
    # The first one is the pose itself.
    step[0] = 0
    poses, scores = refine(resolution, picture, starts.moved(step), task.freedom, steps=8, device=task.device)
    scores = scores + compare_detail(resolution, template, poses, device=task.device).correlation
    best = int((scores - strain_penalty(poses, Freedom(template.strain))).argmax())
    return pose if best == 0 else refine_with_learned_values(task, poses[best : best + 1])[0]


def refine_with_learned_values(
    task: SearchTask, pose: Poses, *, slab_um: float = 0.0, rounds: int = 3, max_points: int = 0
) -> tuple[Poses, TemplatePicture]:
    """Refine one pose at full resolution, and learn from the pair the µCT value of each colour.

    Parameters
    ----------
    task : SearchTask
    pose : Poses
        One pose.
    slab_um : float
        Thickness of the section, µm.
    rounds : int
        Number of times that the values are learned.
    max_points : int
        Thin out the points if there are more than this. 0 takes all.

    Returns
    -------
    pose : Poses
    picture : TemplatePicture
        The template with learned values, and with low weights where it does not fit.
    """
    resolution, freedom, device = task.resolution, task.freedom, task.device
    template = task.template.tissue_alone()
    picture = template.picture(task.voxel_um)
    if max_points and len(picture.u_um) > max_points:
        picture = picture.every(-(-len(picture.u_um) // max_points))
    pose, _ = refine(resolution, picture, pose, freedom, 10, slab_um, device)
    colours = template.colours_at(picture.u_um)
    learned = picture
    for _ in range(rounds):
        learned = learn_values(resolution, picture, colours, pose, slab_um)
        pose, _ = refine(resolution, learned, pose, freedom, 8, slab_um, device)
    return pose, learned


def learn_values(
    resolution: ResolutionLevel, picture: TemplatePicture, colours: NDArray[np.uint8], pose: Poses, slab_um: float
) -> TemplatePicture:
    """Replace the expected µCT values by the mean value under pixels of the same colour, and weight by the fit.

    Parameters
    ----------
    resolution : ResolutionLevel
    picture : TemplatePicture
    colours : ndarray of uint8, shape (N, 3)
        Colours of the slide at the points of the picture.
    pose : Poses
        One pose.
    slab_um : float

    Returns
    -------
    TemplatePicture
        With the same values for every hypothesis.
    """
    v, _, inside = sample_slab(resolution, pose.points_um(picture.u_um), pose.rotation[:, :, 2], slab_um)
    values, w = v[0].numpy(), (picture.weight * inside[0]).numpy()
    prior = picture.values[int(pose.hypothesis[0])].numpy()
    bins = (colours.astype(np.int64) * _BINS) // 256
    index = (bins[:, 0] * _BINS + bins[:, 1]) * _BINS + bins[:, 2]
    length = _BINS**3
    count = np.bincount(index, w, length) + _PRIOR_PX
    prior_mean = np.bincount(index, prior, length) / np.maximum(np.bincount(index, minlength=length), 1)
    mean = (np.bincount(index, w * values, length) + _PRIOR_PX * prior_mean) / count
    expected = 0.5 * mean[index] + 0.5 * prior
    misfit = local_mean(np.abs(values - expected) * (w > 0), picture.u_um.numpy(), 120.0)
    typical = np.median(misfit[w > 0]) if (w > 0).any() else 1.0
    trust = 1.0 / (1.0 + (misfit / (2.0 * max(typical, 1e-3))) ** 4)
    return replace(
        picture,
        values=torch.from_numpy(expected.astype(np.float32)).expand(len(picture.values), -1),
        weight=picture.weight * torch.from_numpy(trust.astype(np.float32)),
    )


def local_mean(values: NDArray[np.float32], u_um: NDArray[np.float32], cell_um: float) -> NDArray[np.float64]:
    """Return the mean of the values in square cells of side `cell_um`, interpolated at the points."""
    cell = (u_um - u_um.min(axis=0)) / cell_um
    shape = tuple(to_integers(np.ceil(cell.max(axis=0)), np.int64, "positions") + 1)
    rounded = to_integers(cell, np.int64, "positions")
    flat = np.ravel_multi_index((rounded[:, 0], rounded[:, 1]), shape)
    count = np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape).astype(float)
    total = np.bincount(flat, values, shape[0] * shape[1]).reshape(shape)
    count, total = (ndimage.gaussian_filter(x, 1.0, mode="constant") for x in (count, total))
    mean = total / np.maximum(count, 1e-6)
    # In double precision, unlike `geometry.section.interpolate`.
    return np.asarray(ndimage.map_coordinates(mean, cell.T, order=1, mode="nearest"))


__getattr__ = renamed(__name__, {"Found": "PoseCandidates"})
