"""From a global search to the one pose: candidates refined coarse to fine, fewer at every resolution.

Nothing is decided early: thousands of places survive the coarse search, each is refined as it is at the next
resolution, and only then are the best kept. At the finest, what each colour of the slide looks like in the µCT is
learned from the pair itself (its joint histogram), so that the template no longer rests on expected grey values.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomostain.progress import Progress, silent
from tomostain.register.pose_confidence import detail
from tomostain.register.poses import Poses, distinct
from tomostain.register.refine import Freedom, Picture, random_steps, refine, sample_slab, strain_penalty
from tomostain.register.resolution import ResolutionLevel, coarser
from tomostain.register.search import Grid, search
from tomostain.register.template import Template

# (voxels along the longest side, part of the candidates refined there, trials)
STAGES = ((64, 1.0, 8), (96, 0.03, 10), (160, 0.007, 10))
# Candidates of the coarse search, relative to those that go on.
FIRST = 1.5
# Poses nearer to one another than this part of the volume's side are one candidate.
APART = 0.02
# Hops about the best of the first stage: (poses, hops of each, turn in degrees, shift as part of the volume's side).
HOPS = ((48, 10, 6.0, 0.03), (20, 10, 3.0, 0.015))
# Of the coarse search no more than this many times what is kept are looked at.
_LIKELY = 12
# Places about the best pose that are tried at the end.
_SETTLE = 48
_BINS = 12
_PRIOR_PX = 30.0


@dataclass(frozen=True, eq=False)
class Found:
    """What the search came to.

    Attributes
    ----------
    poses : Poses
        Candidates, best first, no two alike; the first one is refined to the end.
    scores : Tensor, shape (K,)
        Their correlation at one resolution, that of the last stage.
    support : int
        How many starts of the stage at 64 voxels came to the first pose by themselves.
    places : Poses, optional
        What the coarse search found, for a second look.
    """

    poses: Poses
    scores: Tensor
    support: int
    places: Poses | None = None


def find(
    level: ResolutionLevel,
    template: Template,
    grid: Grid,
    freedom: Freedom,
    progress: Progress = silent,
    candidates: int = 1200,
    places: Poses | None = None,
) -> Found:
    """Find where the template lies in the volume, from nothing.

    Parameters
    ----------
    level : ResolutionLevel
        The volume at the finest resolution that is in memory.
    template : Template
    grid : Grid
        How densely the search looks.
    freedom : Freedom
        What may be deformed.
    progress : Progress
    candidates : int
        How many are refined at 64 voxels along the volume's longest side.
    places : Poses, optional
        Of an earlier search, to be tried beside what this one finds.

    Returns
    -------
    Found
    """
    side_um = float(level.side_um.max())
    # A small part of a section needs finer pixels to be told from others.
    side = float(np.clip(grid.side * side_um / (2 * template.half_um.max()), grid.side, 1.5 * grid.side))
    coarse = coarser(level, side_um / (side - 1))
    poses, scores = search(coarse, template, grid, progress)
    # A small part also looks like more of the volume, and costs less.
    candidates = round(candidates * (side / grid.side) ** 2)
    new = poses[shortlist(poses, scores, template.corners_um, APART * side_um, round(FIRST * candidates))]
    poses = new if places is None else Poses.stack([places, new])
    picture = template.picture(float(coarse.voxel_um.max()))
    poses, scores = refine(coarse, picture, poses, freedom, steps=8)
    found = narrow(level, template, poses, scores, freedom, progress, candidates)
    return replace(found, places=new)


def narrow(
    level: ResolutionLevel,
    template: Template,
    poses: Poses,
    scores: Tensor,
    freedom: Freedom,
    progress: Progress = silent,
    candidates: int = 1200,
    seed: int = 0,
) -> Found:
    """Refine candidates at finer and finer resolution; keep the best. See `find`."""
    side_um = float(level.side_um.max())
    corners, arrived = template.corners_um, poses
    for number, (side, part, steps) in enumerate(STAGES):
        progress("refining", number, len(STAGES) + 1)
        most = max(8, round(part * candidates))
        if number == 0:
            kept = shortlist(poses, scores, corners, 0.25 * side_um / side, most)
        else:
            kept = distinct(poses, scores, corners, APART * side_um, most)
        here = coarser(level, side_um / (side - 1))
        picture = template.picture(float(here.voxel_um.max()))
        poses, scores = refine(here, picture, poses[kept], freedom, steps)
        scores = scores + detail(here, template, poses).correlation
        if number == 0:
            arrived = poses
            poses, scores = _hop(here, template, poses, scores, freedom, seed)
    order = distinct(poses, scores, corners, APART * side_um, len(poses))
    poses, scores = poses[order], scores[order]
    progress("refining", len(STAGES), len(STAGES) + 1)
    best = settle(level, template, poses[:1], freedom, seed)
    support = int(((arrived.points_um(corners) - best.points_um(corners)).norm(dim=-1).mean(-1) < side_um / 64).sum())
    progress("refining", len(STAGES) + 1, len(STAGES) + 1)
    return Found(Poses.stack([best, poses[1:]]), scores, support)


def shortlist(poses: Poses, scores: Tensor, corners_um: Tensor, apart_um: float, most: int) -> Tensor:
    """Return the indices of the best poses under each hypothesis, no two closer than `apart_um`; about `most` in all.

    Correlations under different hypotheses do not compare: a bright screw matches any bright body well, a dark one
    only soft tissue. So each has seats of its own.
    """
    hypotheses = poses.hypothesis.unique()
    most = round(most / len(hypotheses) ** 0.75)
    kept = []
    for hypothesis in hypotheses:
        own = torch.nonzero(poses.hypothesis == hypothesis)[:, 0]
        own = own[scores[own].topk(min(_LIKELY * most, len(own))).indices]
        kept.append(own[distinct(poses[own], scores[own], corners_um, apart_um, most)])
    return torch.cat(kept)


def _hop(
    level: ResolutionLevel, template: Template, poses: Poses, scores: Tensor, freedom: Freedom, seed: int
) -> tuple[Poses, Tensor]:
    """Refine the best poses anew from places drawn about them: a local maximum nearby is not the end."""
    generator = torch.Generator().manual_seed(seed)
    picture = template.picture(float(level.voxel_um.max()))
    side_um = float(level.side_um.max())
    for most, hops, turn_deg, shift in HOPS:
        best = poses[distinct(poses, scores, template.corners_um, 0.01 * side_um, most)]
        starts = Poses.stack([best] * hops)
        step = random_steps(starts, shift * side_um, turn_deg, freedom, generator)
        found, fit = refine(level, picture, starts.moved(step), freedom, steps=8)
        found_scores = fit + detail(level, template, found).correlation
        poses, scores = Poses.stack([poses, found]), torch.cat([scores, found_scores])
    return poses, scores


def settle(level: ResolutionLevel, template: Template, pose: Poses, freedom: Freedom, seed: int = 0) -> Poses:
    """Refine one pose to the end, and again from places drawn about it: of where they come to, the best is kept.

    In a small section a stretch looks like a tilt, and the pose may rest two voxels beside its place. So the tissue
    alone decides, less what such a strain is unlikely for the stain.
    """
    pose, _ = finish(level, template, pose, freedom)
    side_um = float(level.side_um.max())
    picture = template.tissue_alone().picture(float(level.voxel_um.max()))
    many = Poses.stack([pose] * _SETTLE)
    step = random_steps(many, 0.008 * side_um, 2.0, freedom, torch.Generator().manual_seed(seed))
    # The pose itself is the first of them.
    step[0] = 0
    found, scores = refine(level, picture, many.moved(step), freedom, steps=8)
    scores = scores + detail(level, template, found).correlation
    best = int((scores - strain_penalty(found, Freedom(template.strain))).argmax())
    return pose if best == 0 else finish(level, template, found[best : best + 1], freedom)[0]


def finish(
    level: ResolutionLevel,
    template: Template,
    pose: Poses,
    freedom: Freedom,
    slab_um: float = 0.0,
    rounds: int = 3,
    most_points: int = 0,
) -> tuple[Poses, Picture]:
    """Refine one pose at full resolution, learning from the pair how its colours look in the µCT.

    Parameters
    ----------
    level : ResolutionLevel
    template : Template
    pose : Poses
        One.
    freedom : Freedom
    slab_um : float
        Thickness of the section, µm.
    rounds : int
        How often the colours are learned anew.
    most_points : int
        Take every n-th point where there are more; 0 takes all.

    Returns
    -------
    pose : Poses
    picture : Picture
        The template as it was at last: learned values, and weights that leave out what does not fit.
    """
    voxel_um = float(level.voxel_um.max())
    template = template.tissue_alone()
    picture = template.picture(voxel_um)
    if most_points and len(picture.u_um) > most_points:
        picture = picture.every(-(-len(picture.u_um) // most_points))
    pose, _ = refine(level, picture, pose, freedom, steps=10, slab_um=slab_um)
    colours = template.colours_at(picture.u_um)
    learned = picture
    for _ in range(rounds):
        learned = learn(level, picture, colours, pose, slab_um)
        pose, _ = refine(level, learned, pose, freedom, steps=8, slab_um=slab_um)
    return pose, learned


def learn(level: ResolutionLevel, picture: Picture, colours: NDArray[np.uint8], pose: Poses, slab_um: float) -> Picture:
    """Replace the expected µCT values by the mean of what lies under pixels of the same colour, and weigh by the fit.

    Parameters
    ----------
    level : ResolutionLevel
    picture : Picture
    colours : ndarray of uint8, shape (N, 3)
        The slide at the picture's points.
    pose : Poses
        One.
    slab_um : float

    Returns
    -------
    Picture
        With the same values under every hypothesis.
    """
    v, _, inside = sample_slab(level, pose.points_um(picture.u_um), pose.rotation[:, :, 2], slab_um)
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


def local_mean(values: NDArray[np.float32], u_um: NDArray[np.float32], reach_um: float) -> NDArray[np.float64]:
    """Return the mean of the values in square cells of side `reach_um`, interpolated back to the points."""
    from scipy import ndimage

    low = u_um.min(axis=0)
    cell = (u_um - low) / reach_um
    shape = tuple(np.ceil(cell.max(axis=0)).astype(int) + 1)
    at = np.rint(cell).astype(int)
    flat = np.ravel_multi_index((at[:, 0], at[:, 1]), shape)
    count = np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape).astype(float)
    total = np.bincount(flat, values, shape[0] * shape[1]).reshape(shape)
    count, total = (ndimage.gaussian_filter(x, 1.0, mode="constant") for x in (count, total))
    mean = total / np.maximum(count, 1e-6)
    return np.asarray(ndimage.map_coordinates(mean, cell.T, order=1, mode="nearest"))
