"""Virtual sections: a stained volume resampled on a plane or a curved surface, with the thickness of a real section."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from os import PathLike as OsPathLike
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.geometry.section import interpolate
from tomostain.geometry.surfaces import Cut, curved_cut, plane_cut, plane_of
from tomostain.integers import to_integers
from tomostain.io import Volume, open_stained, open_volume, write_slide
from tomostain.io.atomic import refuse_existing
from tomostain.io.csv_files import read_csv
from tomostain.io.metadata.units import check_length_um, check_pixels
from tomostain.io.ome_zarr.reader import StainedVolume
from tomostain.progress import Progress, silent, track
from tomostain.view.stained_input import warn_of_other_input

Block = Callable[[Sequence[int], Sequence[int]], NDArray[Any]]
Blending = Literal["density", "colour"]
PathLike = str | OsPathLike[str]
COLUMNS = ("z_um", "y_um", "x_um")
TILE_PX = 128
_WHITE = 255.0


def depths(thickness_um: float, step_um: float) -> NDArray[np.float64]:
    """Return the sampling depths across a section: the centres of equal layers, each at most one voxel thick.

    Examples
    --------
    >>> depths(40, 10).tolist(), depths(0, 10).tolist()
    ([-15.0, -5.0, 5.0, 15.0], [0.0])
    """
    layers = max(1, int(np.ceil(thickness_um / step_um - 1e-9)))
    return np.asarray((np.arange(layers) - (layers - 1) / 2) * thickness_um / layers)


def sample_section(
    block: Block,
    shape: Sequence[int],
    voxel_um: Sequence[float],
    cut: Cut,
    thickness_um: float = 0.0,
    blending: Blending = "density",
    progress: Progress = silent,
) -> NDArray[np.float32]:
    """Resample a section tile by tile, so that memory depends on the section and not on the volume.

    Parameters
    ----------
    block : callable
        Takes the first and the end index (z, y, x) and returns these voxels, shape (Z, Y, X) or (Z, Y, X, C).
    shape : sequence of int
        Shape of the whole volume (z, y, x).
    voxel_um : sequence of float
    cut : Cut
    thickness_um : float
        0: a single layer.
    blending : str
        ``density``: the mean of the optical densities -log((v + 1) / 256) over the thickness: each layer of a section
        absorbs light (Beer-Lambert). The mean and not the sum is used, because the colour of each voxel already
        represents a whole section. ``colour``: the mean of the values.
    progress : Progress
        Called for every tile.

    Returns
    -------
    ndarray of float32, shape (rows, columns, C)
        Trilinear interpolation, averaged over the part of the thickness that is inside the volume. NaN outside.
    """
    rows, columns = cut.places_um.shape[:2]
    layers = depths(thickness_um, min(voxel_um))
    corners = product(range(0, rows, TILE_PX), range(0, columns, TILE_PX))
    tiles = [np.s_[row : row + TILE_PX, column : column + TILE_PX] for row, column in corners]
    sampled = []
    for tile in track(tiles, "cutting", progress):
        across = layers[:, None, None, None] * cut.normals[tile]
        sampled.append(_sample(block, shape, (cut.places_um[tile] + across) / np.asarray(voxel_um), blending))
    # A tile outside the volume has one channel of NaN.
    result = np.full((rows, columns, max(values.shape[-1] for values in sampled)), np.nan, np.float32)
    for tile, values in zip(tiles, sampled, strict=True):
        result[tile] = values
    return result


def _sample(block: Block, shape: Sequence[int], index: NDArray[np.float64], blending: Blending) -> NDArray[np.float32]:
    """Return the mean over the first axis of positions in voxels, shape (layers, rows, columns, 3)."""
    last = np.asarray(shape) - 1
    inside = ((index > -1e-6) & (index < last + 1e-6)).all(axis=-1)
    if not inside.any():
        return np.full((*index.shape[1:3], 1), np.nan, np.float32)
    index = np.clip(index, 0, last)
    first = to_integers(np.floor(index[inside].min(axis=0)), np.int64, "positions")
    end = np.minimum(to_integers(np.floor(index[inside].max(axis=0)), np.int64, "positions") + 2, shape)
    values = block(first.tolist(), end.tolist())
    values = values.reshape(*values.shape[:3], -1)
    # Positions outside were moved to the border, possibly beyond the block. They are not counted.
    counted, means = inside.sum(axis=0), []
    for channel in range(values.shape[3]):
        sampled = interpolate(values[..., channel].astype(np.float32), index - first)
        if blending == "density":
            sampled = np.log(sampled + 1)
        total = np.where(inside, sampled, 0).sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = total / counted
        means.append(np.exp(mean) - 1 if blending == "density" else mean)
    return np.stack(means, axis=-1).astype(np.float32)


def read_points(path: Path) -> NDArray[np.float64]:
    """Read a table of points: columns z_um, y_um and x_um, µm from the centre of the first voxel.

    Raises
    ------
    InputError
        If a column is missing or a value is not a number. The message names the line.
    """
    table = read_csv(path)
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise InputError(f"{path}: has no column {', '.join(missing)}; the first line must name z_um,y_um,x_um")
    points = []
    for line, row in zip(table.lines, table.rows, strict=True):
        try:
            points.append([float(row[name]) for name in COLUMNS])
        except ValueError:
            raise InputError(f"{path}: line {line}: z_um, y_um and x_um must be numbers") from None
    return np.array(points, dtype=np.float64).reshape(-1, 3)


class SectionKeywords(TypedDict, total=False):
    """The fields of `SectionOptions` as keyword arguments."""

    thickness_um: float
    pixel_um: float | None
    blending: Blending
    ct: PathLike | None
    allow_missing: bool


@dataclass(frozen=True)
class SectionOptions:
    """How a section is resampled.

    Attributes
    ----------
    thickness_um : float
        Thickness that is averaged, µm. 0: one layer.
    pixel_um : float, optional
        Pixel size, µm. Default: the smallest side of a voxel.
    blending : str
        ``density`` or ``colour``: see `sample_section`.
    ct : path, optional
        The µCT that was stained.
    allow_missing : bool
        Fill slices of the µCT of which data are missing with zeros.
    """

    thickness_um: float = 0.0
    pixel_um: float | None = None
    blending: Blending = "density"
    ct: PathLike | None = None
    allow_missing: bool = False

    def __post_init__(self) -> None:
        if not (np.isfinite(self.thickness_um) and self.thickness_um >= 0):
            raise InputError(
                f"section: the thickness is {self.thickness_um:g} µm; it must be 0 or more", parameter="thickness_um"
            )
        if self.pixel_um is not None:
            check_length_um(self.pixel_um, "pixel_um")


def section(
    path: PathLike,
    out: PathLike,
    *,
    points_um: Sequence[Sequence[float]] | NDArray[np.float64],
    normal: Sequence[float] | None = None,
    curved: bool = False,
    overwrite: bool = False,
    progress: Progress = silent,
    **options: Unpack[SectionKeywords],
) -> Cut:
    """Resample a section of a stained volume and write it as RGB OME-TIFF with its pixel size, for example for QuPath.

    Parameters
    ----------
    path : path
        A stained volume.
    out : path
        ``NAME.ome.tif``. With `ct`, the same section of the µCT is written as ``NAME.ct.ome.tif``.
    points_um : sequence of (z, y, x)
        Three or more points, or one point with `normal`.
    normal : sequence of float, optional
        Normal of the plane (z, y, x).
    curved : bool
        Use a smooth surface through all points instead of the plane that fits them best.
    overwrite : bool
        Replace existing files.
    progress : Progress
        Listener.
    **options
        The fields of `SectionOptions`.

    Returns
    -------
    Cut
        Position of the section.

    Raises
    ------
    InputError
        If the section does not cross the volume, is too large, or exists, or if the µCT has another shape.
    """
    out = Path(out)
    if not out.name.lower().endswith((".ome.tif", ".ome.tiff")):
        raise InputError(f"{out}: a section is written as OME-TIFF; name it NAME.ome.tif")
    ct_out = out.with_name(out.name[: out.name.lower().rindex(".ome.")] + ".ct.ome.tif")
    chosen = SectionOptions(**options)
    for target in (out, ct_out) if chosen.ct is not None else (out,):
        refuse_existing(target, overwrite)
    volume = open_stained(Path(path))
    pixel = chosen.pixel_um if chosen.pixel_um is not None else min(volume.voxel_um)
    z, y, x = ((n - 1) * step for n, step in zip(volume.shape, volume.voxel_um, strict=True))
    check_pixels(out, [int(np.hypot(np.hypot(z, y), x) / pixel) + 1] * 2)
    cut = _cut(np.asarray(points_um, dtype=np.float64), normal, curved, (z, y, x), pixel)
    thickness_um = chosen.thickness_um
    colours = sample_section(
        volume.block, volume.shape, volume.voxel_um, cut, thickness_um, chosen.blending, progress=progress
    )
    grey = None if chosen.ct is None else _section_of_ct(_open_ct(chosen, volume), volume, cut, thickness_um, progress)
    write_slide(out, _as_rgb(colours, _WHITE), pixel, overwrite=overwrite)
    if grey is not None:
        write_slide(ct_out, _as_rgb(_windowed(grey), 0.0), pixel, overwrite=overwrite)
    return cut


def _open_ct(options: SectionOptions, volume: StainedVolume) -> Volume:
    assert options.ct is not None
    return open_volume(Path(options.ct), voxel_um=volume.voxel_um, allow_missing=options.allow_missing)


def _section_of_ct(
    scan: Volume, volume: StainedVolume, cut: Cut, thickness_um: float, progress: Progress
) -> NDArray[np.float32]:
    """Resample the section in the µCT. Grey values are averaged directly: optical density has no meaning for X-rays."""
    if scan.shape != volume.shape:
        raise InputError(
            f"{scan.path}: has the shape {scan.shape}, but the stained volume has {volume.shape}; "
            "state the volume that was stained"
        )
    warn_of_other_input(scan, volume)
    return sample_section(scan.block, scan.shape, volume.voxel_um, cut, thickness_um, "colour", progress)


def _cut(
    points: NDArray[np.float64],
    normal: Sequence[float] | None,
    curved: bool,
    size_um: tuple[float, float, float],
    pixel_um: float,
) -> Cut:
    """Return the surface that the options describe."""
    if normal is not None:
        if len(points) != 1 or curved:
            raise InputError("section: `normal` needs one point and a plane; omit it, or state one point")
        return plane_cut(points[0], normal, size_um, pixel_um)
    return curved_cut(points, size_um, pixel_um) if curved else plane_cut(*plane_of(points), size_um, pixel_um)


def _as_rgb(drawn: NDArray[np.float32], outside: float) -> NDArray[np.uint8]:
    """Return 8-bit RGB, with a fill value outside the volume."""
    inside = np.where(np.isnan(drawn), np.float32(outside), drawn)
    filled = to_integers(inside, np.uint8, "values of the section", clip=True)
    return np.broadcast_to(filled, (*filled.shape[:2], 3))


def _windowed(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Stretch grey values between the 0.5th and the 99.5th percentile to 0 to 255."""
    low, high = np.nanpercentile(grey, (0.5, 99.5)) if np.isfinite(grey).any() else (0.0, 1.0)
    return np.asarray((grey - low) / max(high - low, 1e-12) * 255, dtype=np.float32)
