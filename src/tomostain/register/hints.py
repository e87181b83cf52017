"""Hints for registration: a start pose, matching points, or an axis."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomostain.config import read_yaml
from tomostain.dataset.section_position import section_in_volume
from tomostain.errors import InputError
from tomostain.geometry.section import Section, plane_in_box
from tomostain.io import Volume
from tomostain.io.atomic import refuse_existing
from tomostain.io.csv_files import read_csv, write_csv
from tomostain.paths import StrPath

COLUMNS = ("slide_row_um", "slide_column_um", "z_um", "y_um", "x_um")


@dataclass(frozen=True)
class Hint:
    """What the user knows of the pose.

    Attributes
    ----------
    start : Section, optional
        A start pose: only its neighbourhood is searched. It may state another copy of the volume, such as a region.
    axis : ndarray of float64, shape (3,), optional
        A direction (z, y, x) in the volume that lies in the section within 12°, such as the axis of the screw.
    accept : bool
        Accept the result even if the confidence is low. `pair.yaml` states it.
    refine : bool
        Refine the start pose. False takes it as it is; its confidence is computed nevertheless.
    source : str
        Origin of the start pose, such as "manual" or "landmarks", for `pair.yaml`. Empty states none.
    """

    start: Section | None = None
    axis: NDArray[np.float64] | None = None
    accept: bool = False
    refine: bool = True
    source: str = ""

    def __post_init__(self) -> None:
        if not self.refine and self.start is None:
            raise InputError("`hint`: without refinement a start pose is needed; give `start`")

    @property
    def given(self) -> bool:
        """Whether there is any hint."""
        return self.start is not None or self.axis is not None or self.accept

    def in_volume(self, volume: Volume) -> "Hint":
        """Return the hint with its start pose in the coordinates of a volume; see `section_in_volume`."""
        return self if self.start is None else replace(self, start=section_in_volume(self.start, volume))

    def record(self) -> dict[str, dict[str, str | bool]]:
        """Return what `pair.yaml` states of the start pose; {} if neither its origin nor a refinement was chosen."""
        if not self.source and self.refine:
            return {}
        return {"pose": {"from": self.source or "start", "refined": self.refine}}


def read_section(path: StrPath) -> Section:
    """Read a pose from a `pair.yaml`, the YAML of a candidate, or the `section.yaml` of a phantom."""
    path = Path(path)
    return Section.from_dict(read_yaml(path), source=str(path))


def check_start(start: Section, shape: Sequence[int], voxel_um: Sequence[float]) -> None:
    """Raise if the plane of a start pose misses the volume.

    Parameters
    ----------
    start : Section
    shape, voxel_um : sequence
        Of the volume (z, y, x); voxel size in µm.

    Raises
    ------
    InputError
    """
    size = [side * length for side, length in zip(shape, voxel_um, strict=True)]
    if len(plane_in_box(start.origin_um, start.normal, size)) == 0:
        place, extent = (", ".join(f"{value:.4g}" for value in values) for values in (start.origin_um, size))
        raise InputError(
            f"`hint`: the plane of the start pose through ({place}) µm misses the volume of ({extent}) µm; correct it"
        )


def read_landmarks(path: StrPath) -> Section:
    """Fit a section to matching points.

    Parameters
    ----------
    path : str or os.PathLike
        CSV with the columns slide_row_um, slide_column_um (on the slide, µm) and z_um, y_um, x_um (in the volume, µm),
        and at least three points that are not on one line.

    Returns
    -------
    Section

    Raises
    ------
    InputError
        If a column or a number is missing, or the points do not define a plane.
    """
    return fit_section(*read_landmark_points(path), str(path))


def read_landmark_points(path: StrPath) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read the points of a table; see `read_landmarks`.

    Returns
    -------
    slide_um : ndarray, shape (N, 2)
    volume_um : ndarray, shape (N, 3)
    """
    path = Path(path)
    table = read_csv(path)
    if not table.rows or any(name not in table.columns for name in COLUMNS):
        raise InputError(f"{path}: needs the columns {', '.join(COLUMNS)}, and one line per point")
    try:
        points = np.array([[float(table.number_text(row[name])) for name in COLUMNS] for row in table.rows])
    except ValueError:
        raise InputError(f"{path}: contains a value that is not a number; give all points as numbers in µm") from None
    return points[:, :2], points[:, 2:]


def fit_section(
    slide_um: NDArray[np.float64], volume_um: NDArray[np.float64], source: str = "landmarks", *, strain: bool = True
) -> Section:
    """Fit a plane and an affine to matching points by least squares.

    Parameters
    ----------
    slide_um : ndarray, shape (N, 2)
        On the slide (row, column), µm.
    volume_um : ndarray, shape (N, 3)
        In the volume (z, y, x), µm.
    source : str
        Named in error messages.
    strain : bool
        False fits a rotation and a shift only (Kabsch 1976, Acta Cryst. A 32, 922): with few points, their errors would
        be taken for a strain.

    Raises
    ------
    InputError
        If there are fewer than three points, they lie on one line, or they stretch the slide more than twofold.
    """
    if not (np.isfinite(slide_um).all() and np.isfinite(volume_um).all()):
        line = int(np.argmin(np.isfinite(slide_um).all(axis=1) & np.isfinite(volume_um).all(axis=1)))
        raise InputError(f"{source}: point {line + 1} is not finite; give numbers in µm")
    if len(slide_um) < 3:
        raise InputError(f"{source}: {len(slide_um)} points; at least three are needed")
    design = np.column_stack([slide_um, np.ones(len(slide_um))])
    if np.linalg.svd(slide_um - slide_um.mean(axis=0), compute_uv=False)[-1] < 1e-3 * np.ptp(slide_um):
        raise InputError(f"{source}: the points lie on one line of the slide; add a point that does not")
    solution = np.linalg.lstsq(design, volume_um, rcond=None)[0]
    linear, origin = solution[:2].T, solution[2]
    u, sizes, v = np.linalg.svd(linear, full_matrices=False)
    if not (sizes > 0.5).all() or not (sizes < 2.0).all():
        raise InputError(
            f"{source}: the points stretch the slide {sizes.min():.2g} to {sizes.max():.2g} times; use µm on both sides"
        )
    if not strain:
        middle, centre = slide_um.mean(axis=0), volume_um.mean(axis=0)
        left, _, right = np.linalg.svd((volume_um - centre).T @ (slide_um - middle), full_matrices=False)
        frame = left @ right
        return Section(centre - frame @ middle, frame[:, 0], frame[:, 1])
    frame = u @ v
    stretch = v.T @ np.diag(sizes) @ v
    return Section(origin, frame[:, 0], frame[:, 1], np.hstack([stretch, np.zeros((2, 1))]))


def landmark_errors_um(
    section: Section, slide_um: NDArray[np.float64], volume_um: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the distance (N,) of each point in the volume from the place where the section puts its slide point, µm.

    Examples
    --------
    >>> section = Section(np.zeros(3), np.array([0.0, 1, 0]), np.array([0.0, 0, 1]))
    >>> landmark_errors_um(section, np.array([[0.0, 3.0]]), np.array([[4.0, 0.0, 3.0]])).tolist()
    [4.0]
    """
    placed = section.to_volume_um(section.slide_to_section_um(slide_um))
    return np.asarray(np.linalg.norm(placed - volume_um, axis=1))


def write_landmarks(
    path: StrPath,
    slide_um: NDArray[np.float64],
    volume_um: NDArray[np.float64],
    *,
    overwrite: bool = False,
) -> None:
    """Write matching points as a table that `read_landmarks` reads.

    Parameters
    ----------
    path : str or os.PathLike
        CSV.
    slide_um : ndarray, shape (N, 2)
        On the slide (row, column), µm.
    volume_um : ndarray, shape (N, 3)
        In the volume (z, y, x), µm.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    InputError
        If the file exists and `overwrite` is False.
    """
    numbers = np.column_stack([slide_um, volume_um]).tolist()
    refuse_existing(Path(path), overwrite, "table of points")
    write_csv(Path(path), COLUMNS, [dict(zip(COLUMNS, (f"{x:.3f}" for x in row), strict=True)) for row in numbers])


def read_axis(text: str) -> NDArray[np.float64]:
    """Read a direction "z,y,x" as a unit vector (z, y, x).

    Examples
    --------
    >>> read_axis("0,3,4").tolist()
    [0.0, 0.6, 0.8]
    """
    try:
        axis = np.array([float(part) for part in text.split(",")])
    except ValueError:
        axis = np.zeros(0)
    if axis.shape != (3,) or not np.isfinite(axis).all() or not axis.any():
        raise InputError(f"`axis` {text}: give a direction in the volume as three numbers z,y,x, for example 0,1,0.2")
    return np.asarray(axis / np.linalg.norm(axis))
