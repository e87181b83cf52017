"""The verb `check`: describe a file or folder and verify it."""

from pathlib import Path

import typer

from tomostain.cli.common import bars, existing, triple
from tomostain.cli.verbs import verb


@verb(
    order=130,
    examples="""
    tomostain check reco_folder
    tomostain check slide.svs
    tomostain check dataset
    tomostain check run/model
    tomostain check stained.ome.zarr
""",
)
def check(
    context: typer.Context,
    path: Path = typer.Argument(help="A volume, slide, dataset, run, model or stained volume."),
    voxel_um: str | None = typer.Option(None, help="Voxel or pixel size, µm, where the file does not say."),
) -> None:
    """Describe a file or folder, and check that it is complete and undamaged."""
    from tomostain.inspection import check_path

    existing(path, "file or folder")
    size = triple(voxel_um, "--voxel-um")
    with bars(context) as progress:
        inspection = check_path(path, voxel_um=size, progress=progress)
    for line in inspection.describe():
        typer.echo(line)
