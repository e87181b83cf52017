"""The verb `evaluate`: compare a model with real histology."""

from pathlib import Path
from typing import Any

import typer

from tomostain.cli.common import DEVICE, DOUBT, OVERWRITE, bars, existing, use_threads
from tomostain.cli.verbs import verb
from tomostain.errors import InputError


@verb(
    order=80,
    examples="""
    tomostain evaluate run dataset evaluation
    tomostain evaluate run/model dataset evaluation --split validation --report
    tomostain evaluate run dataset evaluation --lpips squeeze --lpips-weights squeezenet1_1-b8a52dc0.pth
""",
)
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
        from tomostain.view.report.evaluation import evaluation_page

        typer.echo(f"report: {evaluation_page(out, table, model)}")
    typer.echo(f"tables and pictures: {out}")


def _lpips(network: str, weights: Path | None, fetch: bool) -> Any:
    """Return the LPIPS network asked for, or None."""
    from tomostain.evaluate import Lpips

    if network == "none":
        return None
    if network not in ("alex", "squeeze"):
        raise InputError(f"--lpips {network}: expected alex, squeeze or none")
    return Lpips(network, weights=weights, fetch=fetch)
