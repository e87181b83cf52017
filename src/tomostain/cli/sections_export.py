"""`export --to qupath`: the options that choose the sections, and the export."""

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from tomostain.cli.common import bars, existing
from tomostain.cli.options import option_group
from tomostain.cli.section import direction, position
from tomostain.errors import InputError

if TYPE_CHECKING:
    from tomostain.view.qupath.export import SectionsExport
    from tomostain.view.qupath.planes import Plane


@option_group
class SectionChoice:
    """The sections of `export --to qupath`."""

    axis: str | None = typer.Option(
        None, help="With qupath: z, y or x; export slices across this axis (default: z, if there is no --pair)."
    )
    planes: int | None = typer.Option(
        None, min=1, help="With qupath: number of slices across --axis, evenly spaced (default: 1, the middle one)."
    )
    through: list[str] | None = typer.Option(
        None,
        metavar="Z,Y,X",
        help="With qupath: a point of a plane, µm; with --normal or --axis; repeatable for parallel planes.",
    )
    normal: str | None = typer.Option(
        None, metavar="Z,Y,X", help="With qupath: normal direction of the planes of --through."
    )
    points: list[Path] | None = typer.Option(
        None,
        help="With qupath: CSV of three or more points of a plane, with the columns z_um,y_um,x_um; repeatable.",
    )
    curved: bool = typer.Option(
        False, "--curved", help="With qupath: a smooth surface through all --points instead of the nearest plane."
    )
    pair: list[Path] | None = typer.Option(
        None,
        metavar="PAIR",
        help="With qupath: a pair that was registered to the volume; its slide, µCT and section on its pixel grid; "
        "repeatable.",
    )
    labels: Path | None = typer.Option(
        None,
        metavar="VOLUME",
        help="With qupath: label volume of the tissue classes, or a folder of 'tomostain measure', for annotations.",
    )
    thickness_um: float = typer.Option(0.0, help="With qupath: thickness of the sections, µm (0: one layer).")
    pixel_um: float | None = typer.Option(
        None,
        help="With qupath: pixel size of planes, µm (default: the smallest voxel side). A pixel that is larger than "
        "the voxels is the mean over its area.",
    )
    blending: str = typer.Option(
        "density", help="With qupath: mean over the thickness of the optical density, or of the colour."
    )


NAMES = tuple(field.name for field in fields(SectionChoice))


def export_for_qupath(
    context: typer.Context,
    choice: SectionChoice,
    stained: Path,
    out: Path,
    *,
    ct: Path | None,
    voxel_um: tuple[float, float, float] | None,
    allow_missing: bool,
    overwrite: bool,
) -> "SectionsExport":
    """Write the chosen sections of a stained volume."""
    from tomostain.geometry.sampling import Blending
    from tomostain.view.qupath.export import export_sections

    existing(stained, "stained volume")
    if choice.blending not in ("density", "colour"):
        raise InputError(f"--blending {choice.blending}: give density or colour")
    pairs = [existing(pair, "pair") for pair in choice.pair or ()]
    if choice.labels is not None:
        existing(choice.labels, "label volume")
    with bars(context) as progress:
        return export_sections(
            stained,
            out,
            _planes(choice, stained),
            pairs=pairs,
            labels=choice.labels,
            overwrite=overwrite,
            progress=progress,
            thickness_um=choice.thickness_um,
            pixel_um=choice.pixel_um,
            blending=cast(Blending, choice.blending),
            ct=ct,
            voxel_um=voxel_um,
            allow_missing=allow_missing,
        )


def _planes(choice: SectionChoice, stained: Path) -> "list[Plane]":
    """Return the planes that the options choose; by default the middle slice if there is no pair."""
    from tomostain.io import open_stained
    from tomostain.view.qupath.planes import Plane, planes_across
    from tomostain.view.sections import read_points

    if choice.curved and not choice.points:
        raise InputError("--curved: is for --points; give them, too")
    planes = [
        Plane(path.stem, tuple(map(tuple, read_points(existing(path, "table")).tolist())), curved=choice.curved)
        for path in choice.points or ()
    ]
    if choice.through:
        across = direction(choice.normal, choice.axis)
        if across is None or choice.planes is not None:
            raise InputError("--through: give --normal or --axis with it, and no --planes")
        points = [position(text, "--through") for text in choice.through]
        return [Plane(f"plane-{n}", (point,), across) for n, point in enumerate(points, start=1)] + planes
    if choice.normal is not None:
        raise InputError("--normal: give --through z,y,x with it")
    if choice.axis is None and choice.planes is None and (planes or choice.pair):
        return planes
    volume = open_stained(stained)
    return [*planes_across(volume.shape, volume.voxel_um, choice.axis or "z", choice.planes or 1), *planes]
