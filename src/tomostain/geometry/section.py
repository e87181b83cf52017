"""Where a section lies: plane ↔ volume ↔ slide, everything in µm. No other code does coordinate arithmetic.

The paper's section 2.3: a plane in the µCT volume (rigid in 3D) and an affine of the histology image. The first
voxel's centre is (0, 0, 0) µm; the first slide pixel's centre is (0, 0) µm. A slide point (row_um, column_um) lies in
the volume at ``origin_um + r * row + c * column`` with ``(r, c) = slide_to_section @ (row_um, column_um, 1)``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from tomostain.errors import InputError

IDENTITY_2D = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
Float = NDArray[np.float64]


@dataclass(frozen=True)
class Section:
    """The plane of a histological section in a volume, and the affine from the slide to it.

    Attributes
    ----------
    origin_um : ndarray, shape (3,)
        Point of the plane at section coordinates (0, 0), in volume coordinates (z, y, x), µm.
    row, column : ndarray, shape (3,)
        Unit steps down the image rows and along its columns, in volume coordinates (z, y, x); orthonormal.
    slide_to_section : ndarray, shape (2, 3)
        Affine from slide (row, column) µm to section (row, column) µm.
    """

    origin_um: Float
    row: Float
    column: Float
    slide_to_section: Float = field(default_factory=lambda: np.array(IDENTITY_2D))

    def __post_init__(self) -> None:
        for name, shape in (
            ("origin_um", (3,)),
            ("row", (3,)),
            ("column", (3,)),
            ("slide_to_section", (2, 3)),
        ):
            value = np.asarray(getattr(self, name), dtype=np.float64)
            if value.shape != shape or not np.isfinite(value).all():
                raise InputError(f"section: {name} must be {shape} finite numbers, found {value.tolist()}")
            object.__setattr__(self, name, value)
        gram = np.array([[a @ b for b in (self.row, self.column)] for a in (self.row, self.column)])
        if not np.allclose(gram, np.eye(2), atol=1e-4):
            raise InputError("section: row and column must be unit vectors at right angles to each other")
        if abs(np.linalg.det(self.slide_to_section[:, :2])) < 1e-6:
            raise InputError("section: slide_to_section is not invertible")

    @property
    def normal(self) -> Float:
        """Unit normal of the plane, row × column, in (z, y, x)."""
        return np.asarray(np.cross(self.row, self.column), dtype=np.float64)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "section") -> "Section":
        """Read the keys of `pair.yaml` and `truth/section.yaml`; errors name `source`."""
        missing = [key for key in ("origin_um", "row", "column") if key not in values]
        if missing:
            raise InputError(f"{source}: key '{missing[0]}' is missing")
        try:
            arrays = [np.asarray(values[key], dtype=np.float64) for key in ("origin_um", "row", "column")]
            affine = np.asarray(values.get("slide_to_section", IDENTITY_2D), dtype=np.float64)
            return cls(arrays[0], arrays[1], arrays[2], affine)
        except (TypeError, ValueError) as error:
            raise InputError(f"{source}: not a section ({error})") from None
        except InputError as error:
            raise InputError(f"{source}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists under the keys of `pair.yaml`."""
        keys = ("origin_um", "row", "column", "slide_to_section")
        return {key: getattr(self, key).tolist() for key in keys}

    def to_volume_um(self, section_um: ArrayLike) -> Float:
        """Map section points to the volume.

        Parameters
        ----------
        section_um : array_like, shape (..., 2)
            Section (row, column), µm.

        Returns
        -------
        ndarray, shape (..., 3)
            Volume (z, y, x), µm.
        """
        points = np.asarray(section_um, dtype=np.float64)
        return np.asarray(self.origin_um + points[..., :1] * self.row + points[..., 1:] * self.column)

    def from_volume_um(self, volume_um: ArrayLike) -> Float:
        """Project volume points (..., 3) on the plane; return section (row, column), µm, shape (..., 2)."""
        offset = np.asarray(volume_um, dtype=np.float64) - self.origin_um
        return np.stack([offset @ self.row, offset @ self.column], axis=-1)

    def slide_to_section_um(self, slide_um: ArrayLike) -> Float:
        """Map slide (row, column) µm, shape (..., 2), to section (row, column) µm."""
        points = np.asarray(slide_um, dtype=np.float64)
        return points @ self.slide_to_section[:, :2].T + self.slide_to_section[:, 2]

    def section_to_slide_um(self, section_um: ArrayLike) -> Float:
        """Map section (row, column) µm, shape (..., 2), to slide (row, column) µm."""
        points = np.asarray(section_um, dtype=np.float64) - self.slide_to_section[:, 2]
        return np.asarray(points @ np.linalg.inv(self.slide_to_section[:, :2]).T, dtype=np.float64)


def grid_um(shape: tuple[int, int], pixel_um: float) -> Float:
    """Return the (row, column) µm of each pixel centre, shape (rows, columns, 2), the first pixel at (0, 0).

    Examples
    --------
    >>> grid_um((1, 2), 5.0).tolist()
    [[[0.0, 0.0], [0.0, 5.0]]]
    """
    rows, columns = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    return np.asarray(np.stack([rows, columns], axis=-1) * float(pixel_um), dtype=np.float64)


def sample_volume(
    volume: NDArray[Any],
    voxel_um: tuple[float, float, float],
    section: Section,
    shape: tuple[int, int],
    pixel_um: float,
    order: int = 1,
    fill: float = 0.0,
    first_slice: int = 0,
) -> NDArray[np.float32]:
    """Cut the section plane out of a volume.

    Parameters
    ----------
    volume : ndarray, shape (Z, Y, X)
        Grey values (or labels, with ``order=0``). May be the slab of the volume that begins at `first_slice`.
    voxel_um : tuple of float
        Voxel size (z, y, x), µm.
    section : Section
        The plane.
    shape : tuple of int
        (rows, columns) of the result.
    pixel_um : float
        Its pixel size, µm.
    order : int
        Order of the spline, 0 to 5.
    fill : float
        Value outside the volume.
    first_slice : int
        Index in the whole volume of the first slice of `volume`.

    Returns
    -------
    ndarray of float32, shape (rows, columns)
    """
    points = section.to_volume_um(grid_um(shape, pixel_um)) / np.asarray(voxel_um)
    points[..., 0] -= first_slice
    values = ndimage.map_coordinates(
        np.asarray(volume),
        np.moveaxis(points, -1, 0),
        output=np.float32,
        order=order,
        mode="constant",
        cval=fill,
    )
    return np.asarray(values, dtype=np.float32)


def slices_needed(
    section: Section, shape: tuple[int, int], pixel_um: float, z_um: float, n_slices: int
) -> tuple[int, int]:
    """Return the half-open range of volume slices that the section plane touches, so that only they are read."""
    corners = grid_um((2, 2), 1.0) * (np.array(shape) - 1) * pixel_um
    z = section.to_volume_um(corners)[..., 0] / z_um
    first, last = int(np.floor(z.min())) - 1, int(np.ceil(z.max())) + 2
    return max(0, min(first, n_slices)), max(0, min(last, n_slices))


def resample_slide(
    slide: NDArray[np.uint8],
    slide_pixel_um: float,
    section: Section,
    shape: tuple[int, int],
    pixel_um: float,
    fill: int = 255,
) -> NDArray[np.uint8]:
    """Bring a slide on the grid of the section (paper section 2.3), once, with area averaging.

    Parameters
    ----------
    slide : ndarray of uint8, shape (rows, columns, 3)
        The slide, or the pyramid level of it that suits.
    slide_pixel_um : float
        Its pixel size, µm.
    section : Section
        Gives the affine from the slide to the section.
    shape : tuple of int
        (rows, columns) of the result.
    pixel_um : float
        Its pixel size, µm: the µCT's voxel size.
    fill : int
        Value outside the slide.

    Returns
    -------
    ndarray of uint8, shape (rows, columns, 3)

    Notes
    -----
    Where a result pixel covers n × n slide pixels (n > 1), it is the mean of n × n bilinear samples spread evenly
    over its area, so that fine detail is averaged and not aliased.
    """
    n = max(1, round(pixel_um / slide_pixel_um))
    offsets = ((np.arange(n) + 0.5) / n - 0.5) * pixel_um
    centres = grid_um(shape, pixel_um)
    total = np.zeros((*shape, 3), dtype=np.float32)
    for row_um in offsets:
        for column_um in offsets:
            points = section.section_to_slide_um(centres + np.array([row_um, column_um])) / slide_pixel_um
            coordinates = np.moveaxis(points, -1, 0)
            for channel in range(3):
                total[..., channel] += ndimage.map_coordinates(
                    slide[..., channel], coordinates, output=np.float32, order=1, mode="constant", cval=fill
                )
    return np.clip(np.rint(total / n**2), 0, 255).astype(np.uint8)
