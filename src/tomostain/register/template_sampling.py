"""The values of a volume at the points of a template."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from tomostain.register.resolution import ResolutionLevel

# The score decreases in proportion if less than this fraction of the template is inside the volume.
OVERLAP = 0.7
# Points of all poses that are computed together.
MAX_POINTS = 600_000


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
    index = (points_um - resolution.origin_um).div_(resolution.voxel_um)
    on_axis = (index >= -0.5) & (index <= size - 0.5)
    inside = on_axis[..., 0] & on_axis[..., 1] & on_axis[..., 2]
    index = torch.minimum(index.clamp(min=0), (size - 1).to(index.dtype))
    low = torch.minimum(index.floor().long(), (size - 2).clamp(min=0))
    part = index - low
    # On an axis with one voxel, the neighbour is the voxel itself.
    dz, dy, dx = (stride * (n > 1) for stride, n in zip(resolution.strides, resolution.values.shape, strict=True))
    base = (low * resolution.stride).sum(dim=-1)
    flat = resolution.values.reshape(-1)
    z, y, x = part.unbind(-1)
    c000, c001 = _at(flat, base), _at(flat, base + dx)
    c010, c011 = _at(flat, base + dy), _at(flat, base + (dy + dx))
    base = base + dz
    c100, c101 = _at(flat, base), _at(flat, base + dx)
    c110, c111 = _at(flat, base + dy), _at(flat, base + (dy + dx))
    c00, c01 = torch.lerp(c000, c001, x), torch.lerp(c010, c011, x)
    c10, c11 = torch.lerp(c100, c101, x), torch.lerp(c110, c111, x)
    c0, c1 = torch.lerp(c00, c01, y), torch.lerp(c10, c11, y)
    across_x = torch.lerp(torch.lerp(c001 - c000, c011 - c010, y), torch.lerp(c101 - c100, c111 - c110, y), z)
    gradient = torch.stack([c1 - c0, torch.lerp(c01 - c00, c11 - c10, z), across_x], dim=-1)
    values, gradient = torch.lerp(c0, c1, z), gradient.div_(resolution.voxel_um)
    if resolution.holes:
        has_value = ~values.isnan()
        return values.nan_to_num(), torch.where(has_value[..., None], gradient, 0.0), inside & has_value
    return values, gradient, inside


def _at(flat: Tensor, place: Tensor) -> Tensor:
    """Return the values at places of any shape. `flat[place]` takes three times as long on a CPU."""
    return torch.index_select(flat, 0, place.reshape(-1)).reshape(place.shape)


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
