"""The verb `stain`: a volume, or one image, with a model."""

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tomostain.cli.common import (
    ALLOW_MISSING,
    DEVICE,
    OVERWRITE,
    bars,
    existing,
    existing_model,
    file_values,
    show_volume,
    triple,
    use_threads,
)
from tomostain.cli.completion import model_names
from tomostain.cli.interruption import continues_zarr
from tomostain.cli.options import option_group, stated
from tomostain.cli.verbs import verb
from tomostain.errors import InputError

if TYPE_CHECKING:
    from tomostain.stain import StainConfig, StainRequest
    from tomostain.stain.request import Intensity


@option_group
class StainPaths:
    """Model, input and output."""

    model: Path = typer.Argument(
        help="A model folder, a run (its RUN/model is used), or builtin:NAME (see 'tomostain models').",
        autocompletion=model_names,
    )
    volume: Path = typer.Argument(
        metavar="INPUT",
        help="A µCT volume (a folder of TIFF slices, TIFF, HDF5, NRRD, MHA, NIfTI, OME-Zarr) or one image.",
    )
    out: Path = typer.Argument(help="NAME.ome.zarr for a volume; NAME.png or NAME.tif for one image.")


@option_group
class StainVolumeOptions:
    """What the file of the volume does not state: voxel size, dataset, grey values."""

    voxel_um: str | None = typer.Option(None, help="Voxel size, µm, if the file does not state it: 5 or z,y,x.")
    dataset: str | None = typer.Option(None, help="Name of the dataset in an HDF5 file.")
    allow_missing: bool = ALLOW_MISSING
    background: float | None = typer.Option(None, help="Grey value of the background (with --bone; else estimated).")
    bone: float | None = typer.Option(None, help="Grey value of bone (with --background; else estimated).")
    normalised: bool = typer.Option(False, "--normalised", help="Background is 10000 and bone 30000 already.")
    normalise: str | None = typer.Option(
        None, help="auto (bone and background), range, or none: as for 'prepare --aligned' of the training images."
    )
    allow_voxel_mismatch: bool = typer.Option(
        False, "--allow-voxel-mismatch", help="Stain although the voxel size is not the model's."
    )
    resample: bool = typer.Option(
        False, "--resample", help="Resample the volume to the voxel size of the model while it is read."
    )

    @property
    def size(self) -> tuple[float, float, float] | None:
        """Voxel size (z, y, x), µm."""
        return triple(self.voxel_um, "--voxel-um")

    @property
    def intensity(self) -> "Intensity":
        """Grey values of background and bone."""
        from tomostain.imaging.intensity import IntensityReference

        if self.normalise not in (None, "auto", "range", "none"):
            raise InputError(f"--normalise {self.normalise}: give auto, range or none")
        if self.normalise is not None and (self.normalised or self.background is not None or self.bone is not None):
            raise InputError("--normalise: give it without --normalised, --background and --bone")
        if self.normalise == "range":
            return "range"
        if self.normalised or self.normalise == "none":
            return "normalised"
        if self.background is None and self.bone is None:
            return "auto"
        if self.background is None or self.bone is None:
            raise InputError("--background and --bone: give both or neither")
        return IntensityReference(background=self.background, bone=self.bone)


@option_group
class SettingOptions:
    """Fields of `tomostain.stain.StainConfig`."""

    patch_px: int | None = typer.Option(None, help="Side of a patch, px (default: as in training; paper: 256).")
    stride_px: int | None = typer.Option(
        None, help="Step between patches, px (default: a quarter of the side; paper: 64)."
    )
    blend: str | None = typer.Option(
        None,
        help="exact: tiles without overlap (default if the model allows it, and with --statistics volume); "
        "mean (paper) or hann: overlapping patches with these weights.",
    )
    statistics: str | None = typer.Option(
        None, help="Normalise by the statistics of the tile (paper) or the volume (against seams and flicker)."
    )
    planes: str | None = typer.Option(None, help="Axis of staining: z (paper), y, x, or zyx: all three, fused.")
    fuse: str | None = typer.Option(None, help="How the three axes are fused: median, mean or weighted.")
    gaussian_sigma: float | None = typer.Option(None, help="3D Gaussian before staining, voxels (paper: 1).")
    precision: str | None = typer.Option(
        None,
        help="Precision of the network: auto (default: float16 on a GPU, float32 on a CPU; a started volume keeps its "
        "precision), float32, float16 (GPU; at most 3 grey levels away) or bfloat16 (CPU with AMX; some pixels "
        "differ by several grey levels).",
    )

    def settings(self, file: Path | None) -> "StainConfig":
        """Return the settings of a YAML file, overridden by these options."""
        from tomostain.stain import StainConfig

        return StainConfig.from_dict(file_values(file) | stated(self), source=str(file or "options"))


@option_group
class UncertaintyOptions:
    """The second volume, of the uncertainty, and the noise input of models that have one."""

    uncertainty: Path | None = typer.Option(
        None, help="NAME.ome.zarr for a second volume: the uncertainty, from black (certain) to white (unreliable)."
    )
    ensemble: list[Path] | None = typer.Option(
        None,
        help="For --uncertainty: a model of another fold, whose disagreement is included; may be repeated.",
        autocompletion=model_names,
    )
    noise_seed: int = typer.Option(
        0,
        help="For a model with a noise input: another seed gives another texture where the µCT does not determine it.",
    )
    noise_samples: int = typer.Option(
        1,
        help="For --uncertainty and a model with a noise input: compare so many seeds; changes between them do "
        "not follow from the µCT.",
    )


@option_group
class ProcessOptions:
    """How several processes share the work."""

    part: str | None = typer.Option(
        None, help="K/N: stain the K-th of N parts, for N jobs; the last job completes the volume."
    )
    workers: int | None = typer.Option(
        None, min=1, help="Processes on this machine that share the work (extra cluster)."
    )
    scheduler: str | None = typer.Option(
        None, help="Address of a Dask scheduler (tcp://host:8786), or its file, whose workers share the work."
    )
    device: str = DEVICE


@option_group
class RunOptions:
    """Settings file, and what is written."""

    config: Path | None = typer.Option(None, help="YAML with any of the settings of this stage.")
    intensity_figure: Path | None = typer.Option(
        None, help="PNG of the histogram with the grey values of background and bone (default: OUT-levels.png)."
    )
    overwrite: bool = OVERWRITE
    dry_run: bool = typer.Option(
        False, "--dry-run", help="Print the memory, disk and time needed; write only the intensity figure."
    )

    def figure_of(self, out: Path) -> Path:
        """Return the file of the intensity figure."""
        from tomostain.io.output_folder import base_name

        return self.intensity_figure or out.with_name(f"{base_name(out)}-levels.png")


@verb(
    order=70,
    continues=continues_zarr,
    renamed={"--doubt": "--uncertainty", "--also": "--ensemble", "--levels-picture": "--intensity-figure"},
    examples="""
    tomostain stain run/model reco_folder stained.ome.zarr
    tomostain stain builtin:phantom-tb reco_folder stained.ome.zarr
    tomostain stain run/model scan.h5 stained.ome.zarr --dataset /entry/data --voxel-um 5 --gaussian-sigma 1
    tomostain stain run/model slice.png stained.png --voxel-um 5
    tomostain stain run/model reco_of_10_um stained.ome.zarr --resample
    tomostain stain run/model reco_folder stained.ome.zarr --dry-run
    tomostain stain run/model reco_folder stained.ome.zarr --workers 4
    tomostain stain run/model reco_folder stained.ome.zarr --part 3/16      # one job of sixteen
    tomostain stain run/model reco_folder stained.ome.zarr --scheduler tcp://node7:8786
    tomostain stain fold0 reco_folder stained.ome.zarr --uncertainty uncertainty.ome.zarr --ensemble fold1
    tomostain stain run/model reco_folder stained.ome.zarr --uncertainty uncertainty.ome.zarr --noise-samples 4
""",
)
def stain(
    context: typer.Context,
    paths: StainPaths,
    inputs: StainVolumeOptions,
    settings: SettingOptions,
    second: UncertaintyOptions,
    processes: ProcessOptions,
    run: RunOptions,
) -> None:
    """Stain a volume, or a single slice, with a trained model.

    A volume is stained from disk to disk, a few slices at a time. Run the same command again after an interruption, and
    it continues. Run it several times at once, and the processes share the work. Damaged shards are stained again.
    """
    from tomostain.memory import keep_freed_memory
    from tomostain.stain import stain_image_request
    from tomostain.stain.image import is_one_image

    use_threads(context)
    keep_freed_memory()
    is_image = is_one_image(paths.volume, paths.out)
    if is_image:
        _refuse_for_image({"dry_run": run.dry_run} | stated(processes))
    request = replace(
        _request(paths, inputs, second),
        config=settings.settings(run.config),
        device=processes.device,
        intensity_figure=run.intensity_figure if is_image else run.figure_of(paths.out),
        overwrite=run.overwrite,
    )
    if is_image:
        stain_image_request(request)
        typer.echo(f"stained: {paths.out}")
    else:
        _stain_volume(context, request, processes, dry_run=run.dry_run)


def _request(paths: StainPaths, inputs: StainVolumeOptions, second: UncertaintyOptions) -> "StainRequest":
    """Return what is stained, with which models, and where it is written."""
    from tomostain.stain import StainRequest

    return StainRequest(
        model=existing_model(paths.model),
        volume=existing(paths.volume, "file or folder"),
        out=paths.out,
        intensity=inputs.intensity,
        voxel_um=inputs.size,
        dataset=inputs.dataset,
        allow_missing=inputs.allow_missing,
        allow_voxel_mismatch=inputs.allow_voxel_mismatch,
        resample=inputs.resample,
        uncertainty=second.uncertainty,
        ensemble=[existing_model(folder) for folder in second.ensemble or ()],
        noise_seed=second.noise_seed,
        noise_samples=second.noise_samples,
    )


def _stain_volume(context: typer.Context, request: "StainRequest", processes: ProcessOptions, *, dry_run: bool) -> None:
    """Stain a volume in this process or in workers, and print where the results are."""
    from tomostain.interrupts import listen_for_interrupt
    from tomostain.stain import plan, stain_on_workers
    from tomostain.stain import stain as stain_request

    opened = show_volume(Path(request.source), request.voxel_um, request.dataset, allow_missing=request.allow_missing)
    workers, scheduler = processes.workers, processes.scheduler
    if not (workers or scheduler):  # workers open the file themselves
        request = replace(request, volume=opened, voxel_um=None, dataset=None)
    if dry_run:
        typer.echo(f"{plan(request)}\nhistogram:   {request.intensity_figure}")
        return
    with bars(context) as progress, listen_for_interrupt() as stop_requested:
        should_stop = stop_requested.is_set
        if workers or scheduler:
            if processes.part:
                raise InputError("--part: is for jobs without a scheduler; leave it out, or --workers and --scheduler")
            stain_on_workers(
                request, workers=workers or 1, scheduler=scheduler, progress=progress, should_stop=should_stop
            )
        else:
            stain_request(request, part=_part(processes.part), progress=progress, should_stop=should_stop)
    _show_results(request)


def _show_results(request: "StainRequest") -> None:
    """Print where the results are, and the next commands."""
    from tomostain.io import ModelSpec, open_stained
    from tomostain.io.models import SPEC
    from tomostain.io.ome_zarr.create import chunks_left
    from tomostain.io.ome_zarr.plan import unfinished
    from tomostain.ood import share_sentence
    from tomostain.ood.grey_values import is_covered

    out = request.out
    if pending := chunks_left(request.out_path):
        typer.echo(f"stained: the part of this job of {out}; {pending} z chunks are left to the other jobs")
        return
    typer.echo(f"stained:     {out}")
    typer.echo(f"histogram:   {request.intensity_figure}")
    if request.uncertainty:
        typer.echo(f"uncertainty: {request.uncertainty}")
    if unfinished(request.out_path):
        typer.echo("another job is still completing it")
        return
    provenance = open_stained(request.out_path).provenance
    if isinstance(grey := provenance.get("levels"), dict) and {"background", "bone"} <= set(grey):
        typer.echo(f"levels:      background {grey['background']:.6g}, bone {grey['bone']:.6g}")
    share = provenance.get("new_share")
    if share is not None:
        known = ModelSpec.from_yaml(Path(str(request.model)) / SPEC).greys
        fits = not known or is_covered(provenance.get("grey_distance"), known)
        greys = "" if fits else ", and so are its grey values"
        typer.echo(f"novelty:     {share_sentence(share)}{greys}")
    typer.echo(f"next:        tomostain view {out}")
    typer.echo(f"             tomostain export {out} FOLDER --to rgba-tiff")


def _refuse_for_image(options: dict[str, object]) -> None:
    """Raise if an option is given that has no effect on a single image."""
    for name, value in options.items():
        if value and name != "device":
            raise InputError(f"`{name}`: is for volumes, and this is a single image; leave it out", parameter=name)


def _part(text: str | None) -> tuple[int, int]:
    """Return K and N of K/N; the whole by default."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text or "1/1")
    if not match:
        raise InputError(f"--part {text}: give K/N, such as 3/16")
    return int(match[1]), int(match[2])
