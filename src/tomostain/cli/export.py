"""The verb `export`: write a stained volume for other software."""

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from tomostain.cli.common import ALLOW_MISSING, OVERWRITE, bars, existing, triple
from tomostain.cli.options import option_group
from tomostain.cli.verbs import verb
from tomostain.errors import InputError


@option_group
class ExportOptions:
    """Options of the exported part."""

    level: int = typer.Option(
        0,
        min=0,
        help="Pyramid level: 0 is full size, each next level has half the size. A film of a small volume shows the "
        "coarsest level that it has.",
    )
    alpha: str = typer.Option(
        "paper",
        help="Opacity: paper (dark stain), tissue (everything but the background) or ct (grey value of the µCT).",
    )
    ct: Path | None = typer.Option(None, help="The µCT that was stained, for --alpha ct.")
    voxel_um: str | None = typer.Option(None, help="Voxel size of the µCT, µm, where the file does not say.")
    allow_missing: bool = ALLOW_MISSING
    like: Path | None = typer.Option(None, help="Folder of TIFF slices. The exported slices get its file names.")


@verb(
    order=110,
    examples="""
    tomostain export stained.ome.zarr slices --to rgba-tiff --like reco_folder
    tomostain export stained.ome.zarr slices --to rgba-tiff --alpha ct --ct reco_folder
    tomostain export stained.ome.zarr older.ome.zarr --to ome-zarr-0.4
    tomostain export stained.ome.zarr stained.vti --to vti --level 1
    tomostain export stained.ome.zarr talk.gif --to gif --level 2
    tomostain export stained.ome.zarr talk.mp4 --to mp4 --level 2
""",
)
def export(
    context: typer.Context,
    options: ExportOptions,
    path: Path = typer.Argument(help="A stained OME-Zarr."),
    out: Path = typer.Argument(help="File or folder to write."),
    to: str = typer.Option(
        ..., "--to", help="Format: rgba-tiff, rgb-tiff, ome-zarr-0.4 (folders), vti, nrrd, or a film: gif or mp4."
    ),
    overwrite: bool = OVERWRITE,
) -> None:
    """Write a stained volume for other software.

    TIFF slices: Avizo, Dragonfly, Fiji. vti: ParaView. nrrd: 3D Slicer. ome-zarr-0.4: viewers that do not read
    OME-Zarr 0.5, the format of the stained volume. The output states the rule for the opacity.
    """
    from tomostain.view import export as run_export
    from tomostain.view.export.placed import describe_file

    values: dict[str, Any] = asdict(options) | {"voxel_um": triple(options.voxel_um, "--voxel-um")}
    with bars(context) as progress:
        existing(path, "stained volume")
        run_export(path, out, to=to, overwrite=overwrite, progress=progress, **values)
    size = ""
    with suppress(InputError, OSError):  # the export is complete, even if its input has vanished since
        size = describe_file(path, to, options.level)
    typer.echo(f"written: {out}{f', {size}' if size else ''}")
