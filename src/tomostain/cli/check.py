"""The verb `check`: describe a file or folder and verify it."""

from pathlib import Path

import typer

from tomostain.cli.common import ALLOW_MISSING, bars, existing, triple
from tomostain.cli.completion import model_names
from tomostain.cli.json_output import JSON, print_json
from tomostain.cli.options import option_group
from tomostain.cli.verbs import verb
from tomostain.errors import InputError


@option_group
class CheckOptions:
    """Volumes to compare a model with, and properties that the file does not state."""

    against: list[Path] | None = typer.Option(
        None, "--against", metavar="VOLUME", help="Compare a model with µCT volumes: does the training data cover them?"
    )
    voxel_um: str | None = typer.Option(None, help="Voxel or pixel size, µm, if the file does not state it.")
    allow_missing: bool = ALLOW_MISSING
    pixel_um: float | None = typer.Option(None, help="Pixel size of a slide, µm, if the file does not state it.")
    dataset: str | None = typer.Option(None, help="Name of the dataset in an HDF5 file.")
    resample: bool = typer.Option(
        False, "--resample", help="With --against: compare at the voxel size of the model, as 'stain --resample' does."
    )


@verb(
    order=130,
    examples="""
    tomostain check reco_folder
    tomostain check slide.svs
    tomostain check scan.h5 --dataset /entry/data --voxel-um 5
    tomostain check slide.png --pixel-um 0.5
    tomostain check dataset
    tomostain check run/model
    tomostain check builtin:phantom-tb
    tomostain check stained.ome.zarr
    tomostain check run/model --against reco_a reco_b
    tomostain check stained.ome.zarr --json
""",
)
def check(
    context: typer.Context,
    options: CheckOptions,
    path: Path = typer.Argument(
        help="A volume, a slide, anything that tomostain writes (pair, dataset, run, model, evaluation, stained "
        "volume, export, phantom, demo), or builtin:NAME.",
        autocompletion=model_names,
    ),
    others: list[Path] | None = typer.Argument(None, metavar="[VOLUME]...", help="More volumes for --against."),
    as_json: bool = JSON,
) -> None:
    """Describe a file or folder, and check that it is complete and undamaged.

    It is read completely: all slices of a volume, all shards of a stained volume with their checksums, all pairs of a
    dataset. Of a slide above 500 MB a coarser level is read, and the output says so.
    """
    from tomostain.inspection import check_path, compare_with_training
    from tomostain.models import is_builtin

    if not is_builtin(path):
        existing(path, "file or folder")
    size = triple(options.voxel_um, "--voxel-um")
    if others and not options.against:
        raise InputError(f"{others[0]}: check takes one path; name volumes for a model after --against")
    if options.resample and not options.against:
        raise InputError("--resample: is for --against, with a model and volumes; leave it out")
    if options.against:
        comparisons = compare_with_training(
            path,
            [*options.against, *(others or [])],
            voxel_um=size,
            dataset=options.dataset,
            resample=options.resample,
            allow_missing=options.allow_missing,
        )
        if as_json:
            print_json({"model": str(path), "volumes": [comparison.to_dict() for comparison in comparisons]})
        else:
            for comparison in comparisons:
                typer.echo(comparison.summary)
        return
    with bars(context) as progress:
        inspection = check_path(
            path,
            voxel_um=size,
            pixel_um=options.pixel_um,
            dataset=options.dataset,
            allow_missing=options.allow_missing,
            progress=progress,
        )
    if as_json:
        print_json(inspection.to_dict())
        return
    for line in inspection.describe():
        typer.echo(line)
