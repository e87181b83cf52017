"""The verb `register`: search for the section of a slide in a volume."""

from pathlib import Path

import typer

from tomostain.cli.common import (
    DEVICE,
    DRY_RUN,
    OVERWRITE,
    SEED,
    bars,
    existing,
    file_values,
    merged,
    show_volume,
    triple,
    use_threads,
)
from tomostain.cli.options import option_group
from tomostain.cli.verbs import verb
from tomostain.errors import InputError


@option_group
class SearchOptions:
    """How the section is searched."""

    material: str | None = typer.Option(
        None, help="Implant in the µCT: dense (Mg, Ti) or light (PEEK). Default: try both."
    )
    init: Path | None = typer.Option(
        None, "--init", help="YAML with an initial pose. Only its neighbourhood is searched."
    )
    landmarks: Path | None = typer.Option(
        None, help="CSV of three or more matching points, µm: slide_row_um, slide_column_um, z_um, y_um, x_um."
    )
    axis: str | None = typer.Option(None, help="A direction z,y,x within the section, such as the axis of the screw.")
    accept: bool = typer.Option(
        False, "--accept", help="Write the pair even if the registration is uncertain; pair.yaml states that."
    )
    deform: bool = typer.Option(False, "--deform", help="Add a smooth deformation of the soft tissue after the affine.")
    seed: int = SEED
    device: str = DEVICE


@option_group
class InputOptions:
    """Sizes that the files do not state."""

    voxel_um: str | None = typer.Option(None, help="Voxel size, µm, where the files do not say: 5 or z,y,x.")
    pixel_um: float | None = typer.Option(None, help="Pixel size of the slide, µm, where the file does not say.")
    dataset: str | None = typer.Option(None, help="Path of the volume in an HDF5 file with several datasets.")


@verb(
    order=20,
    examples="""
    tomostain register specimen/volume specimen/slide.ome.tif pair
    tomostain register scan slide.svs pair --voxel-um 5 --material dense
    tomostain register scan slide.svs pair --init pair/candidate-2.yaml --accept
    tomostain register scan slide.svs pair --landmarks points.csv
""",
)
def register(
    context: typer.Context,
    search: SearchOptions,
    inputs: InputOptions,
    volume: Path = typer.Argument(
        help="µCT volume: a folder of TIFF slices, TIFF, HDF5, NRRD, MHA, NIfTI or OME-Zarr."
    ),
    slide: Path = typer.Argument(help="Whole-slide image of the section."),
    pair: Path = typer.Argument(help="Folder to write: ct.tif, histology.tif, mask.tif, pair.yaml, qc.png."),
    config: Path | None = typer.Option(None, help="YAML with settings of this stage. Options override it."),
    overwrite: bool = OVERWRITE,
    dry_run: bool = DRY_RUN,
) -> None:
    """Find the section of a slide in a volume, and write the pair.

    No alignment is needed: any orientation of the volume works, and the slide may be rotated, mirrored or partial.
    Check qc.png afterwards: the edges of the histology must lie on those of the µCT. If the pose is uncertain, the
    command exits with code 3 and writes candidates (PAIR/candidate-1.png …) to choose from.
    """
    from tomostain.register.config import RegisterConfig
    from tomostain.register.files import register_files
    from tomostain.register.hints import Hint, read_axis, read_landmarks, read_section

    if search.init is not None and search.landmarks is not None:
        raise InputError("--init and --landmarks: give only one of them")
    if search.axis is not None and (search.init is not None or search.landmarks is not None):
        raise InputError(
            "--axis: cannot be combined with --init or --landmarks, which skip the search over all orientations"
        )
    values = file_values(config)
    values = merged(context, values, {"seed": search.seed})
    values |= ({"material": search.material} if search.material else {}) | ({"deform": True} if search.deform else {})
    settings = RegisterConfig.from_dict(values, source=str(config or "options"))
    size = triple(inputs.voxel_um, "--voxel-um")
    existing(volume, "volume"), existing(slide, "slide")
    start = read_section(search.init) if search.init else read_landmarks(search.landmarks) if search.landmarks else None
    hint = Hint(start, read_axis(search.axis) if search.axis else None, search.accept)
    if dry_run:
        for line in _plan(volume, slide, size, inputs.pixel_um, inputs.dataset, settings.max_voxels):
            typer.echo(line)
        return
    use_threads(context)
    show_volume(volume, size, inputs.dataset)
    with bars(context) as progress:
        registration = register_files(
            volume,
            slide,
            pair,
            settings,
            hint=hint,
            voxel_um=size,
            pixel_um=inputs.pixel_um,
            dataset=inputs.dataset,
            overwrite=overwrite,
            device=search.device,
            progress=progress,
        )
    evidence = registration.evidence
    typer.echo(f"confidence: {evidence.confidence:.2f} (detail {evidence.detail:.2f}, margin {evidence.margin:.2f})")
    typer.echo(f"pair:       {pair}")
    typer.echo(f"check:      {pair / 'qc.png'}, {pair / 'volume.png'}")


def _plan(
    volume: Path,
    slide: Path,
    voxel_um: tuple[float, float, float] | None,
    pixel_um: float | None,
    dataset: str | None,
    max_voxels: int,
) -> list[str]:
    """Return the sizes, the memory and the time that the registration would take."""
    from tomostain.io import open_slide, open_volume

    scan = open_volume(volume, voxel_um=voxel_um, dataset=dataset)
    slide_image = open_slide(slide, pixel_um=pixel_um)
    voxels = scan.shape[0] * scan.shape[1] * scan.shape[2]
    factor = max(1, round(max(scan.shape) / max_voxels))
    passes = 1 if factor == 1 else 2
    return [
        f"volume: {scan.describe()}; searched at {factor} times the voxel size",
        f"slide: {slide_image.shape[0]} x {slide_image.shape[1]} px of {slide_image.pixel_um:g} µm",
        f"memory: below {1.5 + min(2.0, voxels / 2e9):.1f} GB",
        f"time: about {40 + passes * voxels / 4e7:.0f} s on two cores; up to three times that if the first search is "
        "uncertain",
    ]
