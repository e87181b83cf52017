"""The verb `compare`: several runs in one table."""

from pathlib import Path

import typer

from tomostain.cli.common import bars, use_threads
from tomostain.cli.completion import model_names
from tomostain.cli.evaluate import RENAMED, EvaluationOptions
from tomostain.cli.json_output import JSON, print_json
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
    options: EvaluationOptions,
    out: Path = typer.Argument(help="Folder for the table and the box plots."),
    runs: list[Path] = typer.Argument(
        help="Runs trained on the same dataset, model folders or builtin:NAME.", autocompletion=model_names
    ),
    dataset: Path = typer.Option(..., "--dataset", help="The dataset on which they are compared."),
    as_json: bool = JSON,
) -> None:
    """Compare several runs in one table and one figure, as in Table 1 and Fig. 7 of the paper."""
    from tomostain.evaluate import compare as run_comparison

    use_threads(context)
    with bars(context) as progress:
        table = run_comparison(
            out,
            runs,
            dataset,
            **options.keywords(),
            progress=progress,
        )
    if as_json:
        print_json(table.to_dict() | {"out": out})
        return
    typer.echo(table.to_text())
    typer.echo(f"tables and figures: {out}")
