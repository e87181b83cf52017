"""The verb `compare`: several runs in one table."""

from pathlib import Path

import typer

from tomostain.cli.common import DEVICE, OVERWRITE, bars, use_threads
from tomostain.cli.evaluate import EXCLUDE_IMPLANT, METRICS, PROTOCOLS, RENAMED, SPLIT, UNCERTAINTY, VOLUMES
from tomostain.cli.verbs import verb


@verb(
    order=90,
    renamed=RENAMED,
    examples="""
    tomostain compare comparison run-paired run-pix2pix run-cyclegan --dataset dataset
    tomostain compare comparison run-a run-b --dataset dataset --metric stripe_index --volume reco_folder
""",
)
def compare(
    context: typer.Context,
    out: Path = typer.Argument(help="Folder for the table and the box plots."),
    runs: list[Path] = typer.Argument(help="Runs trained on the same dataset."),
    dataset: Path = typer.Option(..., "--dataset", help="The dataset on which they are compared."),
    split: str = SPLIT,
    metrics: list[str] | None = METRICS,
    protocols: list[str] | None = PROTOCOLS,
    volumes: list[Path] | None = VOLUMES,
    uncertainty: bool = UNCERTAINTY,
    exclude_implant: bool = EXCLUDE_IMPLANT,
    device: str = DEVICE,
    overwrite: bool = OVERWRITE,
) -> None:
    """Compare several runs in one table and one figure, as in Table 1 and Fig. 7 of the paper."""
    from tomostain.evaluate import compare as run_comparison
    from tomostain.evaluate.config import PROTOCOLS as ALL

    use_threads(context)
    with bars(context) as progress:
        table = run_comparison(
            out,
            runs,
            dataset,
            split=split,
            metrics=metrics or (),
            protocols=protocols or ALL,
            volumes=volumes or (),
            uncertainty=uncertainty,
            exclude_implant=exclude_implant,
            device=device,
            overwrite=overwrite,
            progress=progress,
        )
    typer.echo(table.to_text())
    typer.echo(f"tables and figures: {out}")
