"""Verbs that make results: `stain`, `evaluate`, `compare`, `view` and `export`."""

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import typer

from tomostain.cli.common import (
    DEVICE,
    OVERWRITE,
    bars,
    examples,
    existing,
    file_values,
    show_volume,
    triple,
    use_threads,
)
from tomostain.errors import InputError

DOUBT = typer.Option(False, "--doubt", help="Write maps of doubt too (OUT/doubt), and whether they are right.")
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg"}


@examples("""
    tomostain stain run/model reco_folder stained.ome.zarr
    tomostain stain run/model scan.h5 stained.ome.zarr --dataset /entry/data --voxel-um 5 --gaussian-sigma 1
    tomostain stain run/model slice.png stained.png --voxel-um 5
    tomostain stain run/model reco_folder stained.ome.zarr --dry-run
    tomostain stain run/model reco_folder stained.ome.zarr --workers 4
    tomostain stain run/model reco_folder stained.ome.zarr --part 3/16      # one job of sixteen
    tomostain stain run/model reco_folder stained.ome.zarr --scheduler tcp://node7:8786
    tomostain stain fold0 reco_folder stained.ome.zarr --doubt doubt.ome.zarr --also fold1 --also fold2
""")
def stain(
    context: typer.Context,
    model: Path = typer.Argument(help="A model folder, or a run (its RUN/model is used)."),
    source: Path = typer.Argument(metavar="INPUT", help="A µCT volume (folder of TIFFs, TIFF, HDF5, …) or one image."),
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
    from tomostain.io.stained_writer import slabs_left
    from tomostain.stain import StainConfig, plan_volume, stain_image, stain_on_workers, stain_volume

    use_threads(context)
    values = file_values(config)
    given = {"patch_px": patch_px, "stride_px": stride_px, "blend": blend, "gaussian_sigma": gaussian_sigma}
    given |= {"statistics": statistics, "planes": planes, "fuse": fuse}
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
    from tomostain.errors import InputError
    from tomostain.prepare import Levels

    if normalised:
        return "none"
    if background is None and bone is None:
        return None
    if background is None or bone is None:
        raise InputError("--background and --bone: give both or neither")
    return Levels(background=background, bone=bone)


@examples("""
    tomostain evaluate run dataset evaluation
    tomostain evaluate run/model dataset evaluation --split validation --report
    tomostain evaluate run dataset evaluation --lpips squeeze --lpips-weights squeezenet1_1-b8a52dc0.pth
""")
def evaluate(
    context: typer.Context,
    model: Path = typer.Argument(metavar="RUN|MODEL", help="A run or a model folder."),
    dataset: Path = typer.Argument(help="The dataset."),
    out: Path = typer.Argument(help="Folder for tables and pictures."),
    split: str = typer.Option("test", help="test, validation, train or all."),
    baselines: bool = typer.Option(True, help="Floors beside the model: raw µCT, mean image, colour look-up."),
    lpips: str = typer.Option("alex", help="Network of LPIPS: alex (shipped), squeeze (the paper's) or none."),
    lpips_weights: Path | None = typer.Option(None, help="squeezenet1_1-b8a52dc0.pth, for --lpips squeeze."),
    lpips_fetch: bool = typer.Option(False, "--lpips-fetch", help="Download SqueezeNet's weights (checked)."),
    patch_px: int = typer.Option(256, min=16, help="Side of the patches that are compared."),
    doubt: bool = DOUBT,
    device: str = DEVICE,
    report: bool = typer.Option(False, "--report", help="Write OUT/report.html too."),
    overwrite: bool = OVERWRITE,
) -> None:
    """Compare what a model draws with real histology: SSIM, PSNR and LPIPS on patches, beside the floors."""
    from tomostain.evaluate import evaluate as run_evaluation

    use_threads(context)
    network = _lpips(lpips, lpips_weights, lpips_fetch)
    with bars(context) as progress:
        table = run_evaluation(
            existing(model, "run or model"),
            existing(dataset, "dataset"),
            out,
            split=split,
            baselines=baselines,
            lpips=network,
            patch_px=patch_px,
            doubt=doubt,
            device=device,
            overwrite=overwrite,
            progress=progress,
        )
    typer.echo(table.to_text())
    if report:
        from tomostain.pages import evaluation_page

        typer.echo(f"report: {evaluation_page(out, table, model)}")
    typer.echo(f"tables and pictures: {out}")


def _lpips(network: str, weights: Path | None, fetch: bool) -> Any:
    """Return the LPIPS network asked for, or None."""
    from tomostain.errors import InputError
    from tomostain.evaluate import Lpips

    if network == "none":
        return None
    if network not in ("alex", "squeeze"):
        raise InputError(f"--lpips {network}: expected alex, squeeze or none")
    return Lpips(network, weights=weights, fetch=fetch)


@examples("""
    tomostain compare comparison run-paired run-pix2pix run-cyclegan
""")
def compare(
    context: typer.Context,
    out: Path = typer.Argument(help="Folder for the table and the box plots."),
    runs: list[Path] = typer.Argument(help="Runs trained on the same dataset."),
    dataset: Path = typer.Option(..., "--dataset", help="The dataset they are compared on."),
    split: str = typer.Option("test", help="test, validation, train or all."),
    doubt: bool = DOUBT,
    device: str = DEVICE,
    overwrite: bool = OVERWRITE,
) -> None:
    """Set several runs side by side in one table and one figure, as Table 1 and Fig. 7 of the paper."""
    from tomostain.evaluate import compare as run_comparison

    use_threads(context)
    with bars(context) as progress:
        options: dict[str, Any] = {"split": split, "doubt": doubt, "device": device, "overwrite": overwrite}
        table = run_comparison(out, runs, dataset, progress=progress, **options)
    typer.echo(table.to_text())
    typer.echo(f"tables and pictures: {out}")


@examples("""
    tomostain view stained.ome.zarr
    tomostain view specimen/volume --out planes
    tomostain view stained.ome.zarr --browser
    tomostain view stained.ome.zarr --browser --ct reco_folder --voxel-um 5
""")
def view(
    context: typer.Context,
    path: Path = typer.Argument(help="A stained OME-Zarr, or a µCT volume."),
    out: Path | None = typer.Option(None, help="Folder for the pictures (default: PATH with '-view' behind its name)."),
    voxel_um: str | None = typer.Option(None, help="Voxel size, µm, where the file does not say: 5 or z,y,x."),
    browser: bool = typer.Option(False, "--browser", help="Show it in the web browser instead, until Ctrl-C."),
    ct: Path | None = typer.Option(None, help="With --browser: the µCT that was stained, to swipe against the stain."),
    port: int = typer.Option(0, min=0, max=65535, help="With --browser: port on 127.0.0.1 (0: a free one)."),
    no_open: bool = typer.Option(False, "--no-open", help="With --browser: only tell the address."),
    overwrite: bool = OVERWRITE,
) -> None:
    """Make pictures of a volume: three orthogonal planes and, of a stained one, a volume rendering.

    With --browser, nothing is written: the same planes and rendering can be turned and moved through in the web
    browser. It is served on this machine only (127.0.0.1) and needs no internet.
    """
    existing(path, "file or folder")
    size = triple(voxel_um, "--voxel-um")
    if browser:
        if out is not None:
            raise InputError(f"--out {out}: --browser writes no pictures; leave one of them out")
        _browse(context, path, ct, size, port, not no_open)
        return
    if ct is not None or port or no_open:
        raise InputError("--ct, --port and --no-open: are for --browser; give it too, or leave them out")
    from tomostain.view import view_path
    from tomostain.view.folder import is_stained

    if not is_stained(path):
        show_volume(path, size)
    folder = out or path.with_name(path.name.split(".")[0] + "-view")
    for picture in view_path(path, folder, size, overwrite):
        typer.echo(f"picture: {picture}")


def _browse(context: typer.Context, path: Path, ct: Path | None, size: Any, port: int, open_page: bool) -> None:
    """Serve a view until Ctrl-C; the progress bars end before it begins."""
    from tomostain.view.browser import client_folder, prepared_site, serve

    if ct is not None:
        existing(ct, "µCT volume")
    with ExitStack() as stack:
        with bars(context) as progress:
            site = stack.enter_context(prepared_site(client_folder(), path, ct, size, progress))
        serve(site, port=port, open_page=open_page, tell=typer.echo)


@examples("""
    tomostain export stained.ome.zarr slices --to rgba-tiff --like reco_folder
    tomostain export stained.ome.zarr slices --to rgba-tiff --alpha ct --ct reco_folder
    tomostain export stained.ome.zarr older.ome.zarr --to ome-zarr-0.4
    tomostain export stained.ome.zarr stained.vti --to vti --level 1
    tomostain export stained.ome.zarr talk.gif --to gif --level 2
    tomostain export stained.ome.zarr talk.mp4 --to mp4 --level 2
""")
def export(
    context: typer.Context,
    path: Path = typer.Argument(help="A stained OME-Zarr."),
    out: Path = typer.Argument(help="File or folder to write."),
    to: str = typer.Option(
        ..., "--to", help="rgba-tiff, rgb-tiff, ome-zarr-0.4 (folders), vti, nrrd, or a fly-through: gif or mp4."
    ),
    level: int = typer.Option(0, min=0, help="Level of the pyramid: 0 is full size, each next one half of it."),
    alpha: str = typer.Option(
        "paper", help="What is solid: paper (dark stain), tissue (all but glass) or ct (the µCT's grey value)."
    ),
    ct: Path | None = typer.Option(None, help="The µCT that was stained, for --alpha ct."),
    voxel_um: str | None = typer.Option(None, help="Voxel size of the µCT, µm, where the file does not say."),
    like: Path | None = typer.Option(None, help="Folder of TIFF slices whose file names the exported slices take."),
    overwrite: bool = OVERWRITE,
) -> None:
    """Write a stained volume for other software.

    TIFF slices: Avizo, Dragonfly, Fiji. vti: ParaView. nrrd: 3D Slicer. ome-zarr-0.4: viewers that do not read the
    stained volume itself, which is OME-Zarr 0.5. The rule for alpha is named in what is written.
    """
    from tomostain.view import export as run_export

    options: dict[str, Any] = {"alpha": alpha, "ct": ct, "like": like, "voxel_um": triple(voxel_um, "--voxel-um")}
    with bars(context) as progress:
        existing(path, "stained volume")
        run_export(path, out, to=to, level=level, overwrite=overwrite, progress=progress, **options)
    typer.echo(f"written: {out}")


def register(app: typer.Typer) -> None:
    """Add the verbs to the application."""
    for verb in (stain, evaluate, compare, view, export):
        app.command()(verb)
