"""The verb `section`: cut a stained volume along a plane or a curved surface."""

import re
from pathlib import Path
from typing import cast

import typer

from tomostain.cli.common import ALLOW_MISSING, OVERWRITE, bars, existing, triple
from tomostain.cli.options import option_group
from tomostain.cli.verbs import verb
from tomostain.errors import InputError

AXES = {"z": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "x": (0.0, 0.0, 1.0)}
# Above this ratio of areas, lengths along the surface are noticeably distorted, and the verb prints a note.
MAX_STRETCH = 1.1


def position(text: str, option: str) -> tuple[float, float, float]:
    """Read "100,-2.5,30" as (z, y, x).

    Raises
    ------
    InputError
        If it is not three numbers.

    Examples
    --------
    >>> position("100, -2.5,30", "--through")
    (100.0, -2.5, 30.0)
    """
    try:
        z, y, x = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{option} {text}: expected three numbers z,y,x separated by commas") from None
    return z, y, x


@option_group
class PlaneOptions:
    """The plane or surface."""

    through: str | None = typer.Option(None, help="A point of the plane, z,y,x in µm; with --normal or --axis.")
    normal: str | None = typer.Option(None, help="Normal direction of the plane, z,y,x.")
    axis: str | None = typer.Option(
        None, help="z, y or x: the plane is perpendicular to this axis; without --through, in the middle."
    )
    points: Path | None = typer.Option(None, help="CSV of three or more points, with the columns z_um,y_um,x_um.")
    curved: bool = typer.Option(
        False, "--curved", help="Use a smooth surface through all points instead of the nearest plane."
    )


@option_group
class SectionOptions:
    """How the section is resampled."""

    thickness_um: float = typer.Option(0.0, help="Thickness of the section, µm (0: one layer).")
    pixel_um: float | None = typer.Option(
        None,
        help="Pixel size, µm (default: the smallest voxel side). A pixel that is larger than the voxels is the mean "
        "over its area.",
    )
    blending: str = typer.Option("density", help="Mean over the thickness: of the optical density, or of the colour.")
    ct: Path | None = typer.Option(None, help="The µCT volume that was stained: write the same section of it, too.")
    voxel_um: str | None = typer.Option(None, help="Voxel size of --ct, µm, instead of that in its file: 5 or z,y,x.")
    allow_missing: bool = ALLOW_MISSING


@verb(
    order=120,
    examples="""
    tomostain section stained.ome.zarr middle.ome.tif --axis y
    tomostain section stained.ome.zarr plane-y.ome.tif --axis y --through 0,1500,0
    tomostain section stained.ome.zarr oblique.ome.tif --through 800,900,900 --normal 1,0.5,0 --thickness-um 40
    tomostain section stained.ome.zarr plane.ome.tif --points three-or-more.csv
    tomostain section stained.ome.zarr bent.ome.tif --points points.csv --curved --ct reco_folder
""",
)
def section(
    context: typer.Context,
    plane: PlaneOptions,
    options: SectionOptions,
    path: Path = typer.Argument(help="A stained OME-Zarr."),
    out: Path = typer.Argument(help="NAME.ome.tif to write."),
    overwrite: bool = OVERWRITE,
) -> None:
    """Cut a stained volume along any plane or curved surface and write it for QuPath: RGB OME-TIFF with pixel size.

    Positions are z,y,x in µm from the centre of the first voxel, as viewers of the stained volume show them. Outside
    the volume the section is white. The slides of the paper were 40 µm thick.
    """
    from tomostain.geometry.sampling import Blending
    from tomostain.view.sections import read_points
    from tomostain.view.sections import section as cut_section

    if options.blending not in ("density", "colour"):
        raise InputError(f"--blending {options.blending}: give density or colour")
    across = direction(plane.normal, plane.axis)
    through = None if plane.through is None else position(plane.through, "--through")
    in_middle = plane.axis is not None and through is None and plane.points is None
    if not in_middle and (plane.points is None) == (through is None):
        raise InputError("section: give --through z,y,x with --normal or --axis, --axis alone, or --points FILE.csv")
    if not in_middle and (through is None) != (across is None):
        raise InputError("section: give --through together with --normal or --axis")
    existing(path, "stained volume")
    if through is not None:
        note_of_position(through, path)
    elif in_middle:
        through = middle_of(path)
    points_um = [through] if through is not None else read_points(cast(Path, plane.points))
    with bars(context) as progress:
        cut = cut_section(
            path,
            out,
            points_um=points_um,
            normal=across,
            curved=plane.curved,
            thickness_um=options.thickness_um,
            pixel_um=options.pixel_um,
            blending=cast(Blending, options.blending),
            ct=options.ct,
            voxel_um=triple(options.voxel_um, "--voxel-um"),
            allow_missing=options.allow_missing,
            overwrite=overwrite,
            progress=progress,
        )
    rows, columns = cut.places_um.shape[:2]
    typer.echo(f"section: {out}: {columns} x {rows} pixels of {cut.pixel_um:g} µm")
    if cut.stretch > MAX_STRETCH:
        typer.echo(f"note: where the surface is steepest, a pixel covers {cut.stretch:.2f} times its area")


def middle_of(path: Path) -> tuple[float, float, float]:
    """Return the middle (z, y, x) of a stained volume, µm from the centre of the first voxel."""
    from tomostain.io import open_stained

    volume = open_stained(path)
    z, y, x = ((n - 1) * size / 2 for n, size in zip(volume.shape, volume.voxel_um, strict=True))
    return z, y, x


def note_of_position(point_um: tuple[float, float, float], path: Path) -> None:
    """Print a note if a point is within the first voxel of a stained volume, as if it was given in mm."""
    from tomostain.io import open_stained

    volume = open_stained(path)
    if all(0 < at < size for at, size in zip(point_um, volume.voxel_um, strict=True)):
        extent = " x ".join(f"{(n - 1) * size:g}" for n, size in zip(volume.shape, volume.voxel_um, strict=True))
        shown = ",".join(f"{at:g}" for at in point_um)
        typer.echo(f"note: --through {shown} is in the first voxel of {extent} µm; positions are in µm, not in mm")


def direction(normal: str | None, axis: str | None) -> tuple[float, float, float] | None:
    """Return the normal direction from the two options, or None."""
    if normal is not None and axis is not None:
        raise InputError("give either --normal or --axis")
    if axis is not None and not re.fullmatch("[zyx]", axis):
        raise InputError(f"--axis {axis}: give z, y or x")
    if axis is not None:
        return AXES[axis]
    return None if normal is None else position(normal, "--normal")
