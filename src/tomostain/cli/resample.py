"""The verb `resample`: a volume of another voxel size."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from tomostain.cli.common import ALLOW_MISSING, DRY_RUN, OVERWRITE, bars, existing, triple
from tomostain.cli.interruption import continues_zarr
from tomostain.cli.options import option_group
from tomostain.cli.verbs import verb

if TYPE_CHECKING:
    from tomostain.imaging.resampling import Interpolation


@option_group
class InputOptions:
    """What the file of the volume does not state."""

    voxel_um: str | None = typer.Option(
        None, "--input-voxel-um", help="Voxel size of VOLUME, µm, if the file does not state it: 5 or z,y,x."
    )
    dataset: str | None = typer.Option(None, help="Name of the dataset in an HDF5 file.")
    allow_missing: bool = ALLOW_MISSING


@option_group
class ResultOptions:
    """The new voxel size, and how the result is written."""

    target_um: str = typer.Option(..., "--voxel-um", help="New voxel size, µm: 5 or z,y,x.")
    interpolation: str = typer.Option("linear", help="linear, or cubic: sharper where the new voxels are smaller.")
    overwrite: bool = OVERWRITE
    dry_run: bool = DRY_RUN


@verb(
    order=65,
    continues=continues_zarr,
    examples="""
    tomostain resample reco_folder reco_10um.ome.zarr --voxel-um 10
    tomostain resample scan.h5 slices --voxel-um 5 --input-voxel-um 10,5,5 --interpolation cubic
""",
)
def resample(
    context: typer.Context,
    inputs: InputOptions,
    result: ResultOptions,
    volume: Path = typer.Argument(
        help="µCT volume: a folder of TIFF slices, TIFF, HDF5, NRRD, MHA, NIfTI or OME-Zarr."
    ),
    out: Path = typer.Argument(help="NAME.ome.zarr, or a name without suffix for a folder of TIFF slices."),
) -> None:
    """Resample a volume to another voxel size.

    The volume is read and written slice by slice. Where the new voxels are larger, a Gaussian filter prevents aliasing.
    The type of the grey values stays. Run the same command again after an interruption of an OME-Zarr: it continues.
    """
    from tomostain.imaging.resampled_files import ResampleOptions, describe_doubts, planned_bytes, resample_file
    from tomostain.imaging.resampling import resampling_of
    from tomostain.interrupts import listen_for_interrupt
    from tomostain.io import open_volume
    from tomostain.io.metadata.units import format_sides

    source = open_volume(
        existing(volume, "volume"),
        voxel_um=triple(inputs.voxel_um, "--input-voxel-um"),
        dataset=inputs.dataset,
        allow_missing=inputs.allow_missing,
    )
    size = triple(result.target_um, "--voxel-um")
    assert size is not None
    options = ResampleOptions(size, cast("Interpolation", result.interpolation), result.overwrite)
    resampling = resampling_of(source, size, options.interpolation)
    shape, voxel = (format_sides(values) for values in (resampling.shape, size))
    typer.echo(f"volume: {volume}: {source.describe()}")
    typer.echo(f"result: {shape} voxels of {voxel} µm (z, y, x), {source.dtype}")
    if result.dry_run:
        for sentence in describe_doubts(resampling):
            typer.echo(f"warning: {volume}: {sentence}", err=True)
        memory, disk = planned_bytes(source, resampling)
        typer.echo(f"memory: about {memory / 1e6:.0f} MB in addition to the libraries")
        typer.echo(f"output: {disk / 1e6:.0f} MB before compression")
        return
    with bars(context) as progress, listen_for_interrupt() as stop_requested:
        resample_file(source, out, options, progress=progress, should_stop=stop_requested.is_set)
    typer.echo(f"resampled: {out}")
