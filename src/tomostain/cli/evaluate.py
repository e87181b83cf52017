"""The verb `evaluate`: compare the images of a model with real histology."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from tomostain.cli.common import DEVICE, OVERWRITE, bars, existing, existing_model, use_threads
from tomostain.cli.completion import model_names
from tomostain.cli.json_output import JSON, print_json
from tomostain.cli.options import option_group
from tomostain.cli.verbs import verb


@option_group
class EvaluationOptions:
    """Options of `evaluate` and `compare`."""

    split: str = typer.Option("test", help="test, validation, training or all.")
    metrics: list[str] | None = typer.Option(
        None,
        "--metric",
        metavar="NAME",
        help="A metric in addition to SSIM, LPIPS and PSNR; repeatable. See docs/reference/metrics.md.",
    )
    protocols: list[str] | None = typer.Option(
        None,
        "--protocol",
        metavar="NAME",
        help="implant-excluded or shift-tolerant, in addition to the paper's protocol; repeatable. Default: both.",
    )
    volumes: list[Path] | None = typer.Option(
        None, "--volume", metavar="VOLUME", help="A µCT volume to stain, for metrics of volumes; repeatable."
    )
    uncertainty: bool = typer.Option(
        False, "--uncertainty", help="Also write uncertainty maps (OUT/doubt), and how well they predict the error."
    )
    exclude_implant: bool = typer.Option(
        False, "--exclude-implant", help="With --uncertainty: report the prediction also without the implant."
    )
    device: str = DEVICE
    overwrite: bool = OVERWRITE

    def keywords(self) -> dict[str, Any]:
        """Return the options as the keywords of `tomostain.evaluate.evaluate`."""
        from tomostain.evaluate.config import PROTOCOLS

        lists = {"metrics": self.metrics or (), "protocols": self.protocols or PROTOCOLS, "volumes": self.volumes or ()}
        return asdict(self) | lists


@option_group
class PatchOptions:
    """Options of the metrics of patches."""

    baselines: bool = typer.Option(True, help="Add baselines: raw µCT, mean image, colour look-up.")
    lpips: str = typer.Option("alex", help="Network of LPIPS: alex (shipped), squeeze (the paper's) or none.")
    lpips_weights: Path | None = typer.Option(None, help="squeezenet1_1-b8a52dc0.pth, for --lpips squeeze.")
    lpips_fetch: bool = typer.Option(
        False, "--lpips-fetch", help="Download the weights of SqueezeNet (checked by SHA-256)."
    )
    patch_px: int = typer.Option(256, min=16, help="Side of the patches, px.")


@option_group
class ResultOptions:
    """What is written or printed in addition to the tables."""

    report: bool = typer.Option(False, "--report", help="Also write OUT/report.html.")
    as_json: bool = JSON


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
    options: EvaluationOptions,
    patches: PatchOptions,
    result: ResultOptions,
    model: Path = typer.Argument(
        metavar="RUN|MODEL", help="A run, a model folder or builtin:NAME.", autocompletion=model_names
    ),
    dataset: Path = typer.Argument(help="The dataset."),
    out: Path = typer.Argument(help="Folder for tables and figures."),
) -> None:
    """Compare stained images with real histology: SSIM, PSNR and LPIPS on patches, with baselines."""
    from tomostain.evaluate import evaluate as run_evaluation

    use_threads(context)
    existing_model(model)
    with bars(context) as progress:
        table = run_evaluation(
            model,
            existing(dataset, "dataset"),
            out,
            **options.keywords(),
            **asdict(patches),
            progress=progress,
        )
    page = None
    if result.report:
        from tomostain.view.report.evaluation import evaluation_page

        page = evaluation_page(out, table, model)
    if result.as_json:
        print_json(table.to_dict() | {"out": out, "report": page})
        return
    typer.echo(table.to_text())
    if page is not None:
        typer.echo(f"report: {page}")
    typer.echo(f"tables and figures: {out}")
