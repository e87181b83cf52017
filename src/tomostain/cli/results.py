"""Verbs that look at results: `evaluate`, `compare`, `view` and `export`."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import typer

from tomostain.cli.common import DEVICE, OVERWRITE, bars, examples, existing, show_volume, triple, use_threads
from tomostain.errors import InputError

DOUBT = typer.Option(False, "--doubt", help="Write maps of doubt too (OUT/doubt), and whether they are right.")


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
    from tomostain.view.browser.view import client_folder, prepared_site, serve

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
    for verb in (evaluate, compare, view, export):
        app.command()(verb)
