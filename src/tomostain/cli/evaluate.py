"""The verb `evaluate`: compare the images of a model with real histology."""

from pathlib import Path

import typer

from tomostain.cli.common import DEVICE, OVERWRITE, bars, existing, use_threads
from tomostain.cli.verbs import verb

SPLIT = typer.Option("test", help="test, validation, training or all.")
METRICS = typer.Option(
    None,
    "--metric",
    metavar="NAME",
    help="A metric in addition to SSIM, LPIPS and PSNR; repeatable. See docs/reference/metrics.md.",
)
PROTOCOLS = typer.Option(
    None,
    "--protocol",
    metavar="NAME",
    help="implant-excluded or shift-tolerant, in addition to the paper's protocol; repeatable. Default: both.",
)
VOLUMES = typer.Option(
    None, "--volume", metavar="VOLUME", help="A µCT volume to stain, for metrics of volumes; repeatable."
)
UNCERTAINTY = typer.Option(
    False, "--uncertainty", help="Also write uncertainty maps (OUT/doubt), and how well they predict the error."
)
EXCLUDE_IMPLANT = typer.Option(
    False, "--exclude-implant", help="With --uncertainty: report the prediction also without the implant."
)
LPIPS = typer.Option("alex", help="Network of LPIPS: alex (shipped), squeeze (the paper's) or none.")
LPIPS_WEIGHTS = typer.Option(None, help="squeezenet1_1-b8a52dc0.pth, for --lpips squeeze.")
LPIPS_FETCH = typer.Option(False, "--lpips-fetch", help="Download the weights of SqueezeNet (checked by SHA-256).")
RENAMED = {"--doubt": "--uncertainty"}


@verb(
    order=80,
    renamed=RENAMED,
    examples="""
    tomostain evaluate run dataset evaluation
    tomostain evaluate run/model dataset evaluation --split validation --report
    tomostain evaluate run dataset evaluation --metric lacunae --metric frc --protocol shift-tolerant
    tomostain evaluate run dataset evaluation --lpips squeeze --lpips-weights squeezenet1_1-b8a52dc0.pth
""",
)
def evaluate(
    context: typer.Context,
    model: Path = typer.Argument(metavar="RUN|MODEL", help="A run or a model folder."),
    dataset: Path = typer.Argument(help="The dataset."),
    out: Path = typer.Argument(help="Folder for tables and figures."),
    split: str = SPLIT,
    metrics: list[str] | None = METRICS,
    protocols: list[str] | None = PROTOCOLS,
    volumes: list[Path] | None = VOLUMES,
    baselines: bool = typer.Option(True, help="Add baselines: raw µCT, mean image, colour look-up."),
    lpips: str = LPIPS,
    lpips_weights: Path | None = LPIPS_WEIGHTS,
    lpips_fetch: bool = LPIPS_FETCH,
    patch_px: int = typer.Option(256, min=16, help="Side of the patches, px."),
    uncertainty: bool = UNCERTAINTY,
    exclude_implant: bool = EXCLUDE_IMPLANT,
    device: str = DEVICE,
    report: bool = typer.Option(False, "--report", help="Also write OUT/report.html."),
    overwrite: bool = OVERWRITE,
) -> None:
    """Compare stained images with real histology: SSIM, PSNR and LPIPS on patches, with baselines."""
    from tomostain.evaluate import evaluate as run_evaluation
    from tomostain.evaluate.config import PROTOCOLS as ALL

    use_threads(context)
    with bars(context) as progress:
        table = run_evaluation(
            existing(model, "run or model"),
            existing(dataset, "dataset"),
            out,
            split=split,
            metrics=metrics or (),
            protocols=protocols or ALL,
            volumes=volumes or (),
            baselines=baselines,
            lpips=lpips,
            lpips_weights=lpips_weights,
            lpips_fetch=lpips_fetch,
            patch_px=patch_px,
            uncertainty=uncertainty,
            exclude_implant=exclude_implant,
            device=device,
            overwrite=overwrite,
            progress=progress,
        )
    typer.echo(table.to_text())
    if report:
        from tomostain.view.report.evaluation import evaluation_page

        typer.echo(f"report: {evaluation_page(out, table, model)}")
    typer.echo(f"tables and figures: {out}")
