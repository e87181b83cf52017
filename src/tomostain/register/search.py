"""Global search: every orientation of the plane, every turn of the slide, every offset and shift, none left out.

At a coarse resolution the volume is turned so that the plane is axis-aligned; then the normalised cross-correlation of
the template with all parallel planes and all shifts is a handful of FFTs (Lewis 1995, "Fast normalized
cross-correlation"). The template is turned, in steps, and seen from both sides; the normals are spread evenly over
half a sphere.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from torch import Tensor

from tomostain.devices import choose_device
from tomostain.progress import Progress, silent
from tomostain.register.poses import Poses
from tomostain.register.refine import trilinear
from tomostain.register.resolution import ResolutionLevel
from tomostain.register.template import Template


@dataclass(frozen=True)
class Grid:
    """How densely the search looks.

    Attributes
    ----------
    side : int
        Voxels along the volume's longest side at which it works.
    step_deg : float
        Between neighbouring normals and between turns in the plane.
    kept : int
        Best places kept of each orientation.
    scales : tuple of float
        Sizes of the slide to try, relative to what its pixel size says.
    normals : ndarray of float64, shape (N, 3), optional
        Directions (z, y, x) to try; half a sphere if None.
    """

    side: int = 32
    step_deg: float = 11.0
    kept: int = 2
    scales: tuple[float, ...] = (1.0,)
    normals: NDArray[np.float64] | None = None


def half_sphere(step_deg: float) -> NDArray[np.float64]:
    """Return unit vectors (N, 3) spread evenly over half a sphere, neighbours about `step_deg` apart.

    A Fibonacci lattice: González 2010, Math. Geosci. 42, 49.

    Examples
    --------
    >>> half_sphere(10.0).shape
    (206, 3)
    """
    n = max(1, round(2 * np.pi / np.radians(step_deg) ** 2))
    height = (np.arange(n) + 0.5) / n
    turn = np.arange(n) * np.pi * (3 - np.sqrt(5))
    radius = np.sqrt(1 - height**2)
    return np.stack([height, radius * np.sin(turn), radius * np.cos(turn)], axis=1)


def frames(normals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a rotation (N, 3, 3) for each normal: columns row, column and normal, of no particular turn."""
    helper = np.eye(3)[np.abs(normals).argmin(axis=1)]
    row = np.cross(helper, normals)
    row /= np.linalg.norm(row, axis=1, keepdims=True)
    return np.stack([row, np.cross(normals, row), normals], axis=2)


def search(
    level: ResolutionLevel, template: Template, grid: Grid = Grid(), progress: Progress = silent
) -> tuple[Poses, Tensor]:
    """Correlate the template with the whole volume.

    Parameters
    ----------
    level : ResolutionLevel
        The volume at the search's resolution: voxels of one size.
    template : Template
    grid : Grid
    progress : Progress
        Told of every orientation of the plane.

    Returns
    -------
    poses : Poses
        The best `grid.kept` places of each orientation of plane and slide.
    scores : Tensor, shape (K,)
        Normalised cross-correlation.
    """
    h = float(level.voxel_um.max())
    normals = half_sphere(grid.step_deg) if grid.normals is None else grid.normals
    bases = frames(normals)
    turns = _turns(grid.step_deg)
    side = float(level.side_um.max()) / h + 1
    reach = float(np.linalg.norm(template.half_um)) / h
    # Even: real FFTs of odd length are half as fast.
    n = 2 * next_fast_len(int(np.ceil(min(1.15 * side + 1.2 * reach, 2 * side + 2) / 2)), real=True)
    depth = int(np.ceil(0.62 * side))
    device = choose_device("auto")
    level = level.to(device)
    banks = [_bank(template, h, n, turns, scale).to(device) for scale in grid.scales]
    found: list[Poses] = []
    scores: list[Tensor] = []
    for i, basis in enumerate(bases):
        progress("searching", i, len(bases))
        planes, inside = _planes(level, torch.tensor(basis, dtype=torch.float32, device=device), n, depth, h)
        spectra = [torch.fft.rfft2(x) for x in (planes, planes**2, inside)]
        for bank, scale in zip(banks, grid.scales, strict=True):
            value, place, hypothesis, turn = (x.cpu() for x in _correlate(spectra, bank, n, grid.kept))
            found.append(_poses(level, basis, turns, place, hypothesis, turn, n, depth, h, scale))
            scores.append(value)
    progress("searching", len(bases), len(bases))
    return Poses.stack(found), torch.cat(scores)


def _turns(step_deg: float) -> NDArray[np.float64]:
    """Return the 2 × 2 turns of the slide in its plane, seen from the front and from behind, shape (N, 2, 2)."""
    angles = np.linspace(0, 2 * np.pi, round(360 / step_deg), endpoint=False)
    turn = np.stack(
        [np.stack([np.cos(angles), -np.sin(angles)], -1), np.stack([np.sin(angles), np.cos(angles)], -1)], 1
    )
    return np.concatenate([turn, turn * np.array([1.0, -1.0])])


@dataclass(frozen=True, eq=False)
class _Bank:
    """Spectra of the turned templates: of t̂ w for each hypothesis (N, H, …) and of w (N, …); Σ w (N,)."""

    pictures: Tensor
    weights: Tensor
    total: Tensor

    def to(self, device: torch.device) -> "_Bank":
        """Return the bank in the memory of a device."""
        return _Bank(self.pictures.to(device), self.weights.to(device), self.total.to(device))


def _bank(template: Template, h: float, n: int, turns: NDArray[np.float64], scale: float) -> _Bank:
    """Draw the template at every turn on n × n pixels, its middle at pixel (n // 2, n // 2), and transform."""
    base, screw, weight, step, first = template.shrunk(h)
    levels = torch.from_numpy(np.concatenate([template.values(base, screw), weight[None]]))
    at = (torch.arange(n) - n // 2) * h / scale
    v = torch.stack(torch.meshgrid(at, at, indexing="ij"), dim=-1)
    # A place v of the plane shows the slide at u with v = turn u.
    u = v.reshape(1, -1, 2) @ torch.tensor(turns, dtype=torch.float32)
    pixel = (u + torch.tensor(template.middle_um - first, dtype=torch.float32)) / step
    size = torch.tensor(weight.shape) - 1
    where = (2 * pixel / size.clamp(min=1) - 1).flip(-1).reshape(len(turns), n, n, 2)
    drawn = torch.nn.functional.grid_sample(
        levels[None].expand(len(turns), -1, -1, -1), where, align_corners=True, padding_mode="zeros"
    )
    pictures, w = drawn[:, :-1], drawn[:, -1]
    total = w.sum(dim=(1, 2))
    mean = (pictures * w[:, None]).sum(dim=(2, 3), keepdim=True) / total[:, None, None, None]
    centred = (pictures - mean) * w[:, None]
    size_ = ((pictures - mean) ** 2 * w[:, None]).sum(dim=(2, 3), keepdim=True).sqrt()
    return _Bank(torch.fft.rfft2(centred / size_.clamp(min=1e-6)).conj(), torch.fft.rfft2(w).conj(), total)


def _planes(level: ResolutionLevel, basis: Tensor, n: int, depth: int, h: float) -> tuple[Tensor, Tensor]:
    """Return the volume turned such that its planes lie along the last two axes, and where it is inside."""
    across = (torch.arange(n, device=basis.device) - n // 2) * h
    along = (torch.arange(2 * depth + 1, device=basis.device) - depth) * h
    d, r, c = torch.meshgrid(along, across, across, indexing="ij")
    points = torch.stack([r, c, d], dim=-1) @ basis.T + level.middle_um
    values, _, inside = trilinear(level, points)
    return values * inside, inside.float()


def _correlate(spectra: list[Tensor], bank: _Bank, n: int, kept: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the best scores of each turn, with place (flat), hypothesis and turn."""
    values, places, hypotheses, turns = [], [], [], []
    for k in range(len(bank.total)):
        w = bank.weights[k]
        mean = torch.fft.irfft2(spectra[0] * w, s=(n, n)) / bank.total[k]
        square = torch.fft.irfft2(spectra[1] * w, s=(n, n)) / bank.total[k]
        overlap = torch.fft.irfft2(spectra[2] * w, s=(n, n)) / bank.total[k]
        spread = (square - mean**2).clamp(min=1e-3).mul_(bank.total[k]).sqrt_()
        factor = (overlap / 0.7).clamp_(max=1.0) / spread
        for j in range(bank.pictures.shape[1]):
            score = torch.fft.irfft2(spectra[0] * bank.pictures[k, j], s=(n, n)) * factor
            best_in_plane, where = score.flatten(1).max(dim=1)
            # Local maxima along the normal only: neighbouring planes look alike.
            before = torch.nn.functional.pad(best_in_plane, (1, 1), value=-2.0)
            peak = (best_in_plane >= before[:-2]) & (best_in_plane >= before[2:])
            ranked = torch.where(peak, best_in_plane, torch.full_like(best_in_plane, -2.0))
            top, plane = ranked.topk(min(kept, len(ranked)))
            values.append(top)
            places.append(plane * n * n + where[plane])
            hypotheses.append(torch.full_like(plane, j))
            turns.append(torch.full_like(plane, k))
    return torch.cat(values), torch.cat(places), torch.cat(hypotheses), torch.cat(turns)


def _poses(
    level: ResolutionLevel,
    basis: NDArray[np.float64],
    turns: NDArray[np.float64],
    place: Tensor,
    hypothesis: Tensor,
    turn: Tensor,
    n: int,
    depth: int,
    h: float,
    scale: float,
) -> Poses:
    """Turn places in the turned volume into poses."""
    plane, rest = place.numpy() // (n * n), place.numpy() % (n * n)
    # A shift of the circular correlation: past the middle it is negative.
    rows, columns = rest // n, rest % n
    rows, columns = (np.where(x >= (n + 1) // 2, x - n, x) for x in (rows, columns))
    shift = np.stack([rows, columns, plane - depth], axis=1) * h
    centre = shift @ basis.T + level.middle_um.cpu().numpy()
    linear = basis[:, :2] @ turns[turn.numpy()]
    poses = Poses.from_linear(linear, centre)
    strain = torch.eye(2).expand(len(place), 2, 2) * (scale - 1)
    return Poses(poses.centre_um, poses.rotation, strain.clone(), hypothesis)
