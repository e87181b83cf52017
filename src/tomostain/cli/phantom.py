"""The verb `phantom`: make a synthetic specimen."""

from dataclasses import asdict
from pathlib import Path

import typer

from tomostain.cli.common import DRY_RUN, OVERWRITE, SEED, bars, file_values, merged, triple
from tomostain.cli.options import option_group
from tomostain.cli.verbs import verb
from tomostain.errors import InputError


@option_group
class PhantomOptions:
    """What the specimen is."""

    seed: int = SEED
    material: str = typer.Option("Mg-10Gd", help="Mg-5Gd, Mg-10Gd, Ti or PEEK.")
    weeks: int = typer.Option(8, help="Healing time: 4, 8 or 12 weeks.")
    stain: str = typer.Option("toluidine-blue", help="toluidine-blue or h&e.")
    size: str | None = typer.Option(None, help="Voxels of the volume: 128 along each side, or z,y,x.  [default: 256]")
    orientation: str = typer.Option("random", help="random, or with the screw along z (upright) or y (lying).")
    voxel_um: float = typer.Option(20.0, help="Voxel size of the µCT, µm.")
    pixel_um: float = typer.Option(10.0, help="Pixel size of the slide, µm.")


@verb(
    order=30,
    examples="""
    tomostain phantom specimen
    tomostain phantom specimen --material Ti --weeks 12 --seed 7
    tomostain phantom specimen --size 128 --voxel-um 40 --stain h\\&e
    tomostain phantom specimen --size 64,256,256 --orientation lying
    tomostain phantom specimen --config my-phantom.yaml
""",
)
def phantom(
    context: typer.Context,
    options: PhantomOptions,
    out: Path = typer.Argument(help="Folder to write."),
    config: Path | None = typer.Option(None, help="YAML with settings of the phantom. Options override it."),
    overwrite: bool = OVERWRITE,
    dry_run: bool = DRY_RUN,
) -> None:
    """Make a synthetic bone-implant specimen: a µCT volume, a slide, and the truth.

    OUT/volume/*.tif is the µCT volume, OUT/slide.ome.tif the slide. OUT/truth/ holds the labels, the pose of the
    section and the deformation of the slide.
    """
    from tomostain.phantom import PhantomConfig, write_specimen

    stated = asdict(options)
    size = triple(stated.pop("size"), "--size")
    values = merged(context, file_values(config), stated)
    if size is not None:
        values["shape"] = _sides(size)
    settings = PhantomConfig.from_dict(values, source=str(config or "options"))
    if dry_run:
        voxels = settings.shape[0] * settings.shape[1] * settings.shape[2]
        typer.echo(f"volume: {' x '.join(map(str, settings.shape))} voxels of {settings.voxel_um:g} µm (z, y, x)")
        typer.echo(f"on disk: up to {voxels * 3 / 1e6:.0f} MB; memory: about {0.5 + voxels * 24 / 1e9:.1f} GB")
        typer.echo(f"time: about {2 + voxels / 4e5:.0f} s on one core")
        return
    with bars(context) as progress:
        write_specimen(settings, out, overwrite=overwrite, progress=progress)
    typer.echo(f"specimen: {out}")
    typer.echo(f"next:     tomostain check {out / 'volume'}")


def _sides(size: tuple[float, float, float]) -> tuple[int, int, int]:
    """Return the sides as integers of at least 16 voxels."""
    if any(side != side // 1 or side < 16 for side in size):
        raise InputError("--size: give whole numbers of at least 16 voxels, such as 128 or 64,256,256")
    z, y, x = (round(side) for side in size)
    return z, y, x
