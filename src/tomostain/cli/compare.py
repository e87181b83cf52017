"""The verb `compare`: several runs in one table."""

from pathlib import Path
from typing import Any

import typer

from tomostain.cli.common import DEVICE, DOUBT, OVERWRITE, bars, use_threads
from tomostain.cli.verbs import verb


@verb(
    order=90,
    examples="""
    tomostain compare comparison run-paired run-pix2pix run-cyclegan
""",
)
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
