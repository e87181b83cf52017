"""Batches of poses of a slide in a volume: centre, rotation, strain, and their conversion to a `Section`.

A pose maps the slide point with offset u (µm) from the centre of the template to ``p = c + R[:, :2] (I + E) u``. c is a
point of the volume, the columns of R are row, column and normal of the plane, and E is the symmetric 2 × 2 strain of
the histology. Together they contain the rotations, scales and shear of the paper's affine (polar decomposition). A
slide that was mounted face down is the same plane seen from behind.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomostain.deprecation import renamed
from tomostain.geometry.section import Section


@dataclass(frozen=True, eq=False)
class Poses:
    """A batch of K poses.

    Attributes
    ----------
    centre_um : Tensor, shape (K, 3)
        Position of the centre of the template in the volume (z, y, x), µm.
    rotation : Tensor, shape (K, 3, 3)
        Columns: row, column and normal of the plane, in volume coordinates.
    strain : Tensor, shape (K, 2, 2)
        E, symmetric. 0.01 is 1 %.
    hypothesis : Tensor of int64, shape (K,)
        Index of the hypothesis of the template that is compared.
    """

    centre_um: Tensor
    rotation: Tensor
    strain: Tensor
    hypothesis: Tensor

    def __len__(self) -> int:
        return len(self.centre_um)

    def __getitem__(self, index: Tensor | slice) -> "Poses":
        return Poses(self.centre_um[index], self.rotation[index], self.strain[index], self.hypothesis[index])

    @property
    def linear(self) -> Tensor:
        """The 3 × 2 matrices R[:, :2] (I + E), shape (K, 3, 2)."""
        return self.rotation[:, :, :2] @ (torch.eye(2, device=self.strain.device) + self.strain)

    def points_um(self, u_um: Tensor) -> Tensor:
        """Return the positions of the template points u (N, 2) in the volume, shape (K, N, 3), µm."""
        return self.centre_um[:, None] + u_um @ self.linear.transpose(1, 2)

    def moved(self, step: Tensor) -> "Poses":
        """Return the poses after a step (K, 9): translation (µm), rotation vector (rad), strain (rr, cc, rc)."""
        rotation = _rotation(step[:, 3:6]) @ self.rotation
        strain = self.strain + _symmetric(step[:, 6:9])
        return replace(self, centre_um=self.centre_um + step[:, :3], rotation=rotation, strain=strain)

    def to(self, device: torch.device) -> "Poses":
        """Return the poses on a device."""
        parts = (self.centre_um, self.rotation, self.strain, self.hypothesis)
        return Poses(*(part.to(device) for part in parts))

    def bounded(self, shape: float, size: float) -> "Poses":
        """Return the poses with their strain limited to bounds.

        Parameters
        ----------
        shape : float
            Largest deviatoric strain: half the difference of the principal strains.
        size : float
            Largest mean strain: the isotropic scale minus 1.
        """
        rr, cc, rc = self.strain[:, 0, 0], self.strain[:, 1, 1], self.strain[:, 0, 1]
        mean, half = (rr + cc) / 2, (rr - cc) / 2
        part = (shape / torch.hypot(half, rc).clamp(min=1e-12)).clamp(max=1.0)
        mean, half, rc = mean.clamp(-size, size), half * part, rc * part
        return replace(self, strain=_symmetric(torch.stack([mean + half, mean - half, rc], dim=1)))

    @classmethod
    def stack(cls, poses: Sequence["Poses"]) -> "Poses":
        """Concatenate several batches of poses."""
        parts = [
            torch.cat([getattr(p, name) for p in poses]) for name in ("centre_um", "rotation", "strain", "hypothesis")
        ]
        return cls(*parts)

    def to_section(self, index: int, middle_um: NDArray[np.float64]) -> Section:
        """Return pose `index` as a `Section`, given the centre of the template on the slide (row, column), µm.

        The origin of the section is the position of the slide point (0, 0) without strain.
        """
        frame = _orthonormal(self.rotation[index].double().cpu().numpy())
        centre = self.centre_um[index].double().cpu().numpy()
        linear = np.eye(2) + self.strain[index].double().cpu().numpy()
        origin = centre - frame[:, :2] @ middle_um
        affine = np.hstack([linear, (middle_um - linear @ middle_um)[:, None]])
        return Section(origin, frame[:, 0], frame[:, 1], affine)

    @classmethod
    def from_section(cls, section: Section, middle_um: NDArray[np.float64], hypothesis: int = 0) -> "Poses":
        """Return the pose that a `Section` describes. Its affine may rotate and mirror."""
        linear = np.column_stack([section.row, section.column]) @ section.slide_to_section[:, :2]
        centre = section.to_volume_um(section.slide_to_section_um(middle_um))
        return cls.from_linear(linear[None], centre[None], hypothesis)

    @classmethod
    def from_linear(cls, linear: NDArray[np.float64], centre_um: NDArray[np.float64], hypothesis: int = 0) -> "Poses":
        """Split 3 × 2 matrices (K, 3, 2) into rotation and strain (polar decomposition)."""
        u, sizes, v = np.linalg.svd(linear, full_matrices=False)
        plane = u @ v
        stretch = np.swapaxes(v, 1, 2) @ (sizes[..., None] * v)
        frame = np.concatenate([plane, np.cross(plane[..., 0], plane[..., 1])[..., None]], axis=2)
        return cls(
            torch.tensor(centre_um, dtype=torch.float32),
            torch.tensor(frame, dtype=torch.float32),
            torch.tensor(stretch - np.eye(2), dtype=torch.float32),
            torch.full((len(centre_um),), hypothesis, dtype=torch.int64),
        )


def distance_um(poses: Poses, reference: Poses, corners_um: Tensor) -> Tensor:
    """Return the mean distance between template points under two poses, shape (K, len(reference)), µm.

    Parameters
    ----------
    poses, reference : Poses
    corners_um : Tensor, shape (N, 2)
        Template points.
    """
    a, b = poses.points_um(corners_um), reference.points_um(corners_um)
    return (a[:, None] - b[None]).norm(dim=-1).mean(dim=-1)


def select_distinct(poses: Poses, scores: Tensor, corners_um: Tensor, apart_um: float, max_count: int) -> Tensor:
    """Return the indices of the best poses, best first, at most `max_count`, with no two closer than `apart_um`."""
    order = torch.argsort(scores, descending=True)
    points = poses.points_um(corners_um)[order]
    free = torch.ones(len(order), dtype=torch.bool, device=points.device)
    selected: list[int] = []
    for i in range(len(order)):
        if not free[i]:
            continue
        selected.append(i)
        if len(selected) == max_count:
            break
        free &= (points - points[i]).norm(dim=-1).mean(dim=-1) > apart_um
    return order[torch.tensor(selected, dtype=torch.int64, device=order.device)]


def _cross_matrix(vectors: Tensor) -> Tensor:
    """Return the matrices (K, 3, 3) whose product with q is vectors × q."""
    x, y, z = vectors.unbind(1)
    zero = torch.zeros_like(x)
    rows = [zero, -z, y, z, zero, -x, -y, x, zero]
    return torch.stack(rows, dim=1).reshape(-1, 3, 3)


def _rotation(vectors: Tensor) -> Tensor:
    """Return the rotations (K, 3, 3) by rotation vectors (K, 3), rad."""
    # `matrix_exp` makes the host wait for a GPU.
    return torch.linalg.matrix_exp(_cross_matrix(vectors)) if vectors.device.type == "cpu" else _rodrigues(vectors)


def _rodrigues(vectors: Tensor) -> Tensor:
    """Return the same by the formula of Rodrigues."""
    cross = _cross_matrix(vectors)
    angle = vectors.norm(dim=1).clamp(min=1e-6)[:, None, None]
    first, second = torch.sin(angle) / angle, 0.5 * (torch.sin(angle / 2) / (angle / 2)) ** 2
    return torch.eye(3, device=vectors.device) + first * cross + second * (cross @ cross)


def _symmetric(parts: Tensor) -> Tensor:
    """Return the matrices [[rr, rc], [rc, cc]] of (K, 3)."""
    rr, cc, rc = parts.unbind(1)
    return torch.stack([rr, rc, rc, cc], dim=1).reshape(-1, 2, 2)


def _orthonormal(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nearest rotation. In single precision the deviation is about 1e-6."""
    u, _, v = np.linalg.svd(matrix)
    return np.asarray(u @ v)


__getattr__ = renamed(__name__, {"distinct": "select_distinct"})
