"""The verb `stain`: a volume, or one image, with a model."""

import re
from pathlib import Path
from typing import Any

import typer

from tomostain.cli.common import (
    DEVICE,
    OVERWRITE,
    bars,
    existing,
    file_values,
    show_volume,
    triple,
    use_threads,
)
from tomostain.cli.verbs import verb
from tomostain.errors import InputError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg"}


@verb(
    order=70,
    examples="""
    tomostain stain run/model reco_folder stained.ome.zarr
    tomostain stain run/model scan.h5 stained.ome.zarr --dataset /entry/data --voxel-um 5 --gaussian-sigma 1
    tomostain stain run/model slice.png stained.png --voxel-um 5
    tomostain stain run/model reco_folder stained.ome.zarr --dry-run
    tomostain stain run/model reco_folder stained.ome.zarr --workers 4
    tomostain stain run/model reco_folder stained.ome.zarr --part 3/16      # one job of sixteen
    tomostain stain run/model reco_folder stained.ome.zarr --scheduler tcp://node7:8786
    tomostain stain fold0 reco_folder stained.ome.zarr --doubt doubt.ome.zarr --also fold1 --also fold2
""",
)
def stain(
    context: typer.Context,
    model: Path = typer.Argument(help="A model folder, or a run (its RUN/model is used)."),
    source: Path = typer.Argument(
        metavar="INPUT",
        help="A µCT volume (a folder of TIFF slices, TIFF, HDF5, NRRD, MHA, NIfTI, OME-Zarr) or one image.",
    ),
    out: Path = typer.Argument(help="NAME.ome.zarr for a volume; NAME.png or NAME.tif for one image."),
    config: Path | None = typer.Option(None, help="YAML with any of the settings of this stage."),
    voxel_um: str | None = typer.Option(None, help="Voxel size, µm, where the file does not say: 5 or z,y,x."),
    dataset: str | None = typer.Option(None, help="Name of the dataset in an HDF5 file."),
    background: float | None = typer.Option(None, help="Grey value of the background (with --bone; else estimated)."),
    bone: float | None = typer.Option(None, help="Grey value of bone (with --background; else estimated)."),
    normalised: bool = typer.Option(False, "--normalised", help="Grey values are 10000 and 30000 already."),
    patch_px: int | None = typer.Option(None, help="Side of a patch, px (default: as in training; paper: 256)."),
    stride_px: int | None = typer.Option(
        None, help="Step between patches, px (default: a quarter of the side; paper: 64)."
    ),
    blend: str | None = typer.Option(
        None,
        help="exact: tiles without overlap (default where the model's normalisation allows; --statistics volume); "
        "overlapping patches weighted by mean (paper) or hann.",
    ),
    statistics: str | None = typer.Option(
        None, help="What normalises: tile (paper), or volume: the same for every tile, against seams and flicker."
    ),
    planes: str | None = typer.Option(None, help="z (slice by slice, paper), y, x, or zyx: all three, fused."),
    fuse: str | None = typer.Option(None, help="How the three are fused: median, mean or weighted."),
    gaussian_sigma: float | None = typer.Option(None, help="3D Gaussian before staining, voxels (paper: 1)."),
    precision: str | None = typer.Option(
        None,
        help="Of the network: float32, or half for speed: float16 (GPU), bfloat16 (CPU with AMX; some pixels several "
        "grey levels away).",
    ),
    allow_voxel_mismatch: bool = typer.Option(
        False, "--allow-voxel-mismatch", help="Stain although the voxel size is not the model's."
    ),
    doubt: Path | None = typer.Option(
        None, help="NAME.ome.zarr for a second volume: where the picture is a guess (white) and where not (black)."
    ),
    also: list[Path] | None = typer.Option(
        None, help="For --doubt: a model of another fold, so that disagreement counts too; may be given more than once."
    ),
    levels_picture: Path | None = typer.Option(
        None, help="PNG of the grey values with the levels of background and bone (default: OUT-levels.png beside it)."
    ),
    part: str | None = typer.Option(
        None, help="K/N: the K-th of N parts of a volume, for N jobs; the last one to end completes it."
    ),
    workers: int | None = typer.Option(
        None, min=1, help="Processes on this machine that share the work (extra cluster)."
    ),
    scheduler: str | None = typer.Option(
        None, help="Address of a Dask scheduler (tcp://host:8786) or its file: its workers share the work."
    ),
    device: str = DEVICE,
    overwrite: bool = OVERWRITE,
    dry_run: bool = typer.Option(
        False, "--dry-run", help="Say what it would take, from a timed slab; write only the picture of the levels."
    ),
) -> None:
    """Stain a volume, or a single slice, with a trained model.

    A volume goes from disk to disk in slabs; run the same command again after an interruption and it continues, or
    several times at once and the processes share the work. Shards that were damaged since are stained again.
    """
    from tomostain.io.ome_zarr.writer import slabs_left
    from tomostain.memory import keep_freed_memory
    from tomostain.stain import StainConfig, plan_volume, stain_image, stain_on_workers, stain_volume

    use_threads(context)
    keep_freed_memory()
    values = file_values(config)
    given = {"patch_px": patch_px, "stride_px": stride_px, "blend": blend, "gaussian_sigma": gaussian_sigma}
    given |= {"statistics": statistics, "planes": planes, "fuse": fuse, "precision": precision}
    values |= {name: value for name, value in given.items() if value is not None}
    settings = StainConfig.from_dict(values, source=str(config or "options"))
    model = _model_of(model)
    existing(source, "file or folder")
    options: dict[str, Any] = {
        "config": settings,
        "levels": _levels(background, bone, normalised),
        "voxel_um": triple(voxel_um, "--voxel-um"),
        "device": device,
        "allow_voxel_mismatch": allow_voxel_mismatch,
    }
    if source.suffix.lower() in IMAGE_SUFFIXES or out.suffix.lower() in IMAGE_SUFFIXES:
        if part or workers or scheduler:
            raise InputError("--part, --workers, --scheduler: are for volumes; a single image is stained as a whole")
        if doubt or also:
            raise InputError("--doubt and --also: are for volumes; a single image has its maps in 'evaluate --doubt'")
        if levels_picture or dry_run:
            raise InputError("--levels-picture and --dry-run: are for volumes; a single image is stained in no time")
        stain_image(model, source, out, overwrite=overwrite, **options)
        typer.echo(f"stained: {out}")
        return
    options |= {"dataset": dataset, "doubt": doubt, "also": [_model_of(folder) for folder in also or ()]}
    picture = levels_picture or out.with_name(f"{out.name.split('.')[0]}-levels.png")
    options["levels_picture"] = picture
    show_volume(source, options["voxel_um"], dataset)
    if dry_run:
        typer.echo(f"{plan_volume(model, source, out, **options)}\nhistogram:   {picture}")
        return
    with bars(context) as progress:
        options |= {"overwrite": overwrite, "progress": progress}
        if workers or scheduler:
            if part:
                raise InputError("--part: is for jobs without a scheduler; leave it out, or --workers and --scheduler")
            stain_on_workers(model, source, out, workers=workers or 1, scheduler=scheduler, **options)
        else:
            stain_volume(model, source, out, part=_part(part), **options)
    if left := slabs_left(out):
        typer.echo(
            f"stained: this job's part of {out}; {left} slabs are left to others, the last of which completes it"
        )
        return
    typer.echo(f"stained: {out}")
    typer.echo(f"levels:  {picture}")
    if doubt:
        typer.echo(f"doubt:   {doubt}")
    typer.echo(f"next:    tomostain view {out}")
    typer.echo(f"         tomostain export {out} FOLDER --to rgba-tiff")


def _part(text: str | None) -> tuple[int, int]:
    """Return K and N of K/N, or the whole."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text or "1/1")
    if not found:
        raise InputError(f"--part {text}: give K/N, such as 3/16")
    return int(found[1]), int(found[2])


def _model_of(folder: Path) -> Path:
    """Return the model of a run, or the folder itself."""
    return folder / "model" if (folder / "model").is_dir() else existing(folder, "model folder")


def _levels(background: float | None, bone: float | None, normalised: bool) -> Any:
    """Return the grey levels the user gave: None to have them estimated."""
    from tomostain.imaging.intensity import IntensityReference

    if normalised:
        return "none"
    if background is None and bone is None:
        return None
    if background is None or bone is None:
        raise InputError("--background and --bone: give both or neither")
    return IntensityReference(background=background, bone=bone)
