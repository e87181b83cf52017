"""Virtual sections: a stained volume resampled on a plane or a curved surface, with the thickness of a real section."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from tomostain.deprecation import renamed
from tomostain.errors import InputError
from tomostain.geometry.sampling import Blending, sample_section
from tomostain.geometry.surfaces import Cut, curved_cut, plane_cut, plane_of
from tomostain.integers import to_integers
from tomostain.io import Volume, open_stained, write_slide
from tomostain.io.csv_files import read_csv
from tomostain.io.metadata.units import check_length_um, check_pixels
from tomostain.io.ome_zarr.reader import StainedVolume
from tomostain.io.output_folder import source_paths
from tomostain.io.outputs import check_output_file
from tomostain.paths import StrPath
from tomostain.progress import Progress, silent
from tomostain.view.section_ct import open_ct

__getattr__ = renamed(__name__, {"PathLike": "tomostain.paths:StrPath"})

COLUMNS = ("z_um", "y_um", "x_um")
_WHITE = 255.0


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
    ct: StrPath | None
    allow_missing: bool
    voxel_um: float | Sequence[float] | None


@dataclass(frozen=True)
class SectionOptions:
    """How a section is resampled.

    Attributes
    ----------
    thickness_um : float
        Thickness that is averaged, µm. 0: one layer.
    pixel_um : float, optional
        Pixel size, µm. A pixel that is larger than the voxels is the mean over its area. Default: the smallest side of
        a voxel.
    blending : str
        ``density`` or ``colour``: see `sample_section`.
    ct : path, optional
        The µCT that was stained.
    allow_missing : bool
        Fill slices of the µCT of which data are missing with zeros.
    voxel_um : float or sequence of float, optional
        Voxel size of `ct`, or (z, y, x), µm, instead of that in its file. Default: if the file states none, that of the
        volume that was stained.
    """

    thickness_um: float = 0.0
    pixel_um: float | None = None
    blending: Blending = "density"
    ct: StrPath | None = None
    allow_missing: bool = False
    voxel_um: float | Sequence[float] | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.thickness_um) and self.thickness_um >= 0):
            raise InputError(
                f"section: the thickness is {self.thickness_um:g} µm; it must be 0 or more", parameter="thickness_um"
            )
        if self.voxel_um is not None and self.ct is None:
            raise InputError("`voxel_um`: is the voxel size of `ct`; give `ct`, or omit it", parameter="voxel_um")
        if self.pixel_um is not None:
            check_length_um(self.pixel_um, "pixel_um")


def section(
    path: StrPath,
    out: StrPath,
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
        If the section does not cross the volume, is too large, or exists, or if the µCT has another shape, or another
        voxel size and is not known to be the volume that was stained.
    """
    out = Path(out)
    if not out.name.lower().endswith((".ome.tif", ".ome.tiff")):
        raise InputError(f"{out}: a section is written as OME-TIFF; name it NAME.ome.tif")
    ct_out = out.with_name(out.name[: out.name.lower().rindex(".ome.")] + ".ct.ome.tif")
    chosen = SectionOptions(**options)
    for target in (out, ct_out) if chosen.ct is not None else (out,):
        check_output_file(target, "section", source_paths(path, chosen.ct), overwrite=overwrite)
    volume = open_stained(Path(path))
    cut = cut_of(volume, np.asarray(points_um, dtype=np.float64), normal, curved=curved, pixel_um=chosen.pixel_um)
    pixel = cut.pixel_um
    thickness_um = chosen.thickness_um
    colours = sample_section(
        volume.block, volume.shape, volume.voxel_um, cut, thickness_um, chosen.blending, progress=progress
    )
    grey = None
    if chosen.ct is not None:
        scan = open_ct(chosen.ct, volume, chosen.allow_missing, chosen.voxel_um)
        grey = section_of_ct(scan, volume, cut, thickness_um, progress)
    write_slide(out, _as_rgb(colours, _WHITE), pixel, overwrite=overwrite)
    if grey is not None:
        write_slide(ct_out, _as_rgb(_windowed(grey), 0.0), pixel, overwrite=overwrite)
    return cut


def section_of_ct(
    scan: Volume, volume: StainedVolume, cut: Cut, thickness_um: float, progress: Progress = silent
) -> NDArray[np.float32]:
    """Resample a section in the µCT; NaN outside. The result has the shape (rows, columns, 1).

    Grey values are averaged directly: optical density has no meaning for X-rays.
    """
    return sample_section(scan.block, scan.shape, volume.voxel_um, cut, thickness_um, "colour", progress)


def cut_of(
    volume: StainedVolume,
    points_um: NDArray[np.float64],
    normal: Sequence[float] | None = None,
    *,
    curved: bool = False,
    pixel_um: float | None = None,
) -> Cut:
    """Return the pixels of a plane or surface in a volume; see `section`.

    Raises
    ------
    InputError
        If it does not cross the volume, or is too large.
    """
    pixel = pixel_um if pixel_um is not None else min(volume.voxel_um)
    z, y, x = ((n - 1) * step for n, step in zip(volume.shape, volume.voxel_um, strict=True))
    check_pixels(volume.path, [int(np.hypot(np.hypot(z, y), x) / pixel) + 1] * 2)
    if normal is not None:
        if len(points_um) != 1 or curved:
            raise InputError("section: `normal` needs one point and a plane; omit it, or state one point")
        return plane_cut(points_um[0], normal, (z, y, x), pixel)
    return curved_cut(points_um, (z, y, x), pixel) if curved else plane_cut(*plane_of(points_um), (z, y, x), pixel)


def _as_rgb(drawn: NDArray[np.float32], outside: float) -> NDArray[np.uint8]:
    """Return 8-bit RGB, with a fill value outside the volume."""
    inside = np.where(np.isnan(drawn), np.float32(outside), drawn)
    filled = to_integers(inside, np.uint8, "values of the section", clip=True)
    return np.broadcast_to(filled, (*filled.shape[:2], 3))


def _windowed(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Stretch grey values between the 0.5th and the 99.5th percentile to 0 to 255."""
    low, high = np.nanpercentile(grey, (0.5, 99.5)) if np.isfinite(grey).any() else (0.0, 1.0)
    return np.asarray((grey - low) / max(high - low, 1e-12) * 255, dtype=np.float32)
