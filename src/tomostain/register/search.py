"""Exhaustive global search over the orientation of the plane, the rotation of the slide, and all translations.

At a coarse resolution the volume is rotated so that the plane is axis-aligned. The normalised cross-correlation of the
template with all parallel planes and all shifts then takes a few FFTs (Lewis 1995, "Fast normalized
cross-correlation"). The template is rotated in steps and seen from both sides. The normals are spread evenly over half
a sphere.
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
from tomostain.register.resolution import ResolutionLevel
from tomostain.register.template import Template
from tomostain.register.template_sampling import trilinear

# Values of the correlations that a GPU computes together. A CPU computes one rotation at a time, which fits its cache.
_MAX_VALUES = 2**24


@dataclass(frozen=True)
class SearchGrid:
    """The grid of the global search.

    Attributes
    ----------
    side : int
        Voxels along the longest side of the volume.
    step_deg : float
        Angle between neighbouring normals, and between rotations in the plane, degrees.
    peaks : int
        Number of peaks that are returned for each orientation.
    scales : tuple of float
        Sizes of the slide to try, relative to its stated pixel size.
    normals : ndarray of float64, shape (N, 3), optional
        Normals (z, y, x) to try. None: half a sphere.
    """

    side: int = 32
    step_deg: float = 11.0
    peaks: int = 2
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
    """Return a rotation (N, 3, 3) for each normal, with columns row, column and normal. The angle is arbitrary."""
    helper = np.eye(3)[np.abs(normals).argmin(axis=1)]
    row = np.cross(helper, normals)
    row /= np.linalg.norm(row, axis=1, keepdims=True)
    return np.stack([row, np.cross(normals, row), normals], axis=2)


def search(
    resolution: ResolutionLevel,
    template: Template,
    grid: SearchGrid = SearchGrid(),
    progress: Progress = silent,
    device: str | torch.device = "auto",
) -> tuple[Poses, Tensor]:
    """Correlate the template with the whole volume.

    Parameters
    ----------
    resolution : ResolutionLevel
        The volume at the resolution of the search, with cubic voxels.
    template : Template
    grid : SearchGrid
    progress : Progress
        Called for every orientation of the plane.
    device : str or torch.device
        Where to compute: see `tomostain.devices.choose_device`.

    Returns
    -------
    poses : Poses
        The best `grid.peaks` positions of each orientation of plane and slide.
    scores : Tensor, shape (K,)
        Normalised cross-correlation.
    """
    h = resolution.voxel_range_um[1]
    normals = half_sphere(grid.step_deg) if grid.normals is None else grid.normals
    bases = frames(normals)
    turns = _turns(grid.step_deg)
    side = float(resolution.side_um.max()) / h + 1
    reach = float(np.linalg.norm(template.half_um)) / h
    # Even, because real FFTs of odd length take twice as long.
    n = 2 * next_fast_len(int(np.ceil(min(1.15 * side + 1.2 * reach, 2 * side + 2) / 2)), real=True)
    depth = int(np.ceil(0.62 * side))
    place = choose_device(device)
    middle_um = resolution.middle_um.cpu().numpy()
    resolution = resolution.to(place)
    banks = [_bank(template, h, n, turns, scale).to(place) for scale in grid.scales]
    poses: list[Poses] = []
    scores: list[Tensor] = []
    for i, basis in enumerate(bases):
        progress("searching", i, len(bases))
        planes, inside = _planes(resolution, torch.tensor(basis, dtype=torch.float32, device=place), n, depth, h)
        geometry = _Geometry(basis, turns, n, depth, h, middle_um)
        spectra = [torch.fft.rfft2(x) for x in (planes, planes**2, inside)]
        for bank, scale in zip(banks, grid.scales, strict=True):
            peaks = _correlate(spectra, bank, n, grid.peaks)
            poses.append(_poses(peaks, geometry, scale))
            scores.append(peaks.score)
    progress("searching", len(bases), len(bases))
    return Poses.stack(poses), torch.cat(scores)


def _turns(step_deg: float) -> NDArray[np.float64]:
    """Return the rotations of the slide in its plane, seen from the front and from behind, shape (N, 2, 2)."""
    angles = np.linspace(0, 2 * np.pi, round(360 / step_deg), endpoint=False)
    turn = np.stack(
        [np.stack([np.cos(angles), -np.sin(angles)], -1), np.stack([np.sin(angles), np.cos(angles)], -1)], 1
    )
    return np.concatenate([turn, turn * np.array([1.0, -1.0])])


@dataclass(frozen=True, eq=False)
class _Geometry:
    """The rotated volume of one orientation.

    Attributes
    ----------
    basis : ndarray, shape (3, 3)
        Columns row, column and normal in volume coordinates.
    turns : ndarray, shape (N, 2, 2)
        Rotations of the slide in the plane.
    n, depth : int
        Pixels along a side of each plane, and planes on either side of the middle one.
    voxel_um : float
    middle_um : ndarray, shape (3,)
        Centre of the volume, µm.
    """

    basis: NDArray[np.float64]
    turns: NDArray[np.float64]
    n: int
    depth: int
    voxel_um: float
    middle_um: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Peaks:
    """Peaks of the correlation: score, flat index in the rotated volume, hypothesis, rotation; each of shape (K,)."""

    score: Tensor
    place: Tensor
    hypothesis: Tensor
    turn: Tensor


@dataclass(frozen=True, eq=False)
class _Bank:
    """Spectra of the rotated templates: t̂ w for each hypothesis (N, H, …), and w (N, …). `total` is Σ w (N,)."""

    pictures: Tensor
    weights: Tensor
    total: Tensor

    def to(self, device: torch.device) -> "_Bank":
        """Return the bank on a device."""
        return _Bank(self.pictures.to(device), self.weights.to(device), self.total.to(device))


def _bank(template: Template, h: float, n: int, turns: NDArray[np.float64], scale: float) -> _Bank:
    """Render the template at every rotation on n × n pixels, with its centre at (n // 2, n // 2), and transform it."""
    base, screw, weight, step, first = template.shrunk(h)
    channels = torch.from_numpy(np.concatenate([template.values(base, screw), weight[None]]))
    at = (torch.arange(n) - n // 2) * h / scale
    v = torch.stack(torch.meshgrid(at, at, indexing="ij"), dim=-1)
    # The point v of the plane shows the slide point u with v = turn u.
    u = v.reshape(1, -1, 2) @ torch.tensor(turns, dtype=torch.float32)
    pixel = (u + torch.tensor(template.middle_um - first, dtype=torch.float32)) / step
    size = torch.tensor(weight.shape) - 1
    index = (2 * pixel / size.clamp(min=1) - 1).flip(-1).reshape(len(turns), n, n, 2)
    drawn = torch.nn.functional.grid_sample(
        channels[None].expand(len(turns), -1, -1, -1), index, align_corners=True, padding_mode="zeros"
    )
    pictures, w = drawn[:, :-1], drawn[:, -1]
    total = w.sum(dim=(1, 2))
    mean = (pictures * w[:, None]).sum(dim=(2, 3), keepdim=True) / total[:, None, None, None]
    centred = (pictures - mean) * w[:, None]
    norm = ((pictures - mean) ** 2 * w[:, None]).sum(dim=(2, 3), keepdim=True).sqrt()
    return _Bank(torch.fft.rfft2(centred / norm.clamp(min=1e-6)).conj(), torch.fft.rfft2(w).conj(), total)


def _planes(resolution: ResolutionLevel, basis: Tensor, n: int, depth: int, h: float) -> tuple[Tensor, Tensor]:
    """Return the rotated volume, whose planes are along the last two axes, and a mask of the covered part."""
    across = (torch.arange(n, device=basis.device) - n // 2) * h
    along = (torch.arange(2 * depth + 1, device=basis.device) - depth) * h
    d, r, c = torch.meshgrid(along, across, across, indexing="ij")
    points = torch.stack([r, c, d], dim=-1) @ basis.T + resolution.middle_um
    values, _, inside = trilinear(resolution, points)
    return values * inside, inside.float()


def _correlate(spectra: list[Tensor], bank: _Bank, n: int, count: int) -> _Peaks:
    """Return the highest peaks of each rotation and hypothesis."""
    count, hypotheses = min(count, len(spectra[0])), bank.pictures.shape[1]
    # On the host, where poses are made of them.
    score, place = (part.flatten().cpu() for part in _highest(spectra, bank, n, count))
    index = torch.arange(len(place))
    return _Peaks(score, place, index // count % hypotheses, index // (count * hypotheses))


def _highest(spectra: list[Tensor], bank: _Bank, n: int, count: int, together: int = 0) -> tuple[Tensor, Tensor]:
    """Return score and place of peaks (rotations, hypotheses, count), for `together` rotations at once (0: auto)."""
    planes, (rotations, hypotheses) = len(spectra[0]), bank.pictures.shape[:2]
    if not together:
        together = 1 if bank.total.device.type == "cpu" else max(1, _MAX_VALUES // (planes * n * n))
    values, places = [], []
    for first in range(0, rotations, together):
        some = slice(first, first + together)
        w, total = bank.weights[some, None], bank.total[some, None, None, None]
        mean = torch.fft.irfft2(spectra[0] * w, s=(n, n)) / total
        square = torch.fft.irfft2(spectra[1] * w, s=(n, n)) / total
        overlap = torch.fft.irfft2(spectra[2] * w, s=(n, n)) / total
        spread = (square - mean**2).clamp(min=1e-3).mul_(total).sqrt_()
        factor = (overlap / 0.7).clamp_(max=1.0) / spread
        for j in range(hypotheses):
            score = torch.fft.irfft2(spectra[0] * bank.pictures[some, j, None], s=(n, n)) * factor
            best_in_plane, pixel = score.flatten(2).max(dim=2)
            # Only local maxima along the normal, because neighbouring planes are similar.
            padded = torch.nn.functional.pad(best_in_plane, (1, 1), value=-2.0)
            is_peak = (best_in_plane >= padded[:, :-2]) & (best_in_plane >= padded[:, 2:])
            ranked = torch.where(is_peak, best_in_plane, torch.full_like(best_in_plane, -2.0))
            top, plane = ranked.topk(count)
            values.append(top)
            places.append(plane * n * n + pixel.gather(1, plane))
    return _by_rotation(values, hypotheses), _by_rotation(places, hypotheses)


def _by_rotation(parts: list[Tensor], hypotheses: int) -> Tensor:
    """Return results (rotations, hypotheses, count) of parts (K, count) for some rotations, each hypothesis in turn."""
    together = [torch.stack(parts[i : i + hypotheses], dim=1) for i in range(0, len(parts), hypotheses)]
    return torch.cat(together)


def _poses(peaks: _Peaks, geometry: _Geometry, scale: float) -> Poses:
    """Convert peaks of the correlation to poses."""
    n, h, basis = geometry.n, geometry.voxel_um, geometry.basis
    place = peaks.place.numpy()
    plane, pixel = place // (n * n), place % (n * n)
    # Shifts of a circular correlation: those beyond the middle are negative.
    rows, columns = (np.where(x >= (n + 1) // 2, x - n, x) for x in (pixel // n, pixel % n))
    shift = np.stack([rows, columns, plane - geometry.depth], axis=1) * h
    centre = shift @ basis.T + geometry.middle_um
    linear = basis[:, :2] @ geometry.turns[peaks.turn.numpy()]
    poses = Poses.from_linear(linear, centre)
    strain = torch.eye(2).expand(len(place), 2, 2) * (scale - 1)
    return Poses(poses.centre_um, poses.rotation, strain.clone(), peaks.hypothesis)
