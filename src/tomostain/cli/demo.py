"""The verb `demo`: all steps on synthetic specimens."""

from pathlib import Path

import typer

from tomostain.cli.common import DRY_RUN, bars, use_threads
from tomostain.cli.verbs import verb


@verb(
    order=10,
    examples="""
    tomostain demo
    tomostain demo my-demo --steps 2000
""",
)
def demo(
    context: typer.Context,
    out: Path = typer.Argument(Path("demo"), help="Folder to write. An unfinished demo in it continues."),
    steps: int | None = typer.Option(None, min=1, help="Training steps. More steps look better and take longer."),
    dry_run: bool = DRY_RUN,
) -> None:
    """Run all steps on synthetic specimens: prepare, train, stain and evaluate, and write a report.

    Takes some minutes on two cores. The report is OUT/report.html. After an interruption, run the command again: it
    continues.
    """
    from tomostain.demo import DemoConfig, describe_plan, run_demo
    from tomostain.interrupts import listen_for_interrupt

    config = DemoConfig() if steps is None else DemoConfig(steps=steps)
    if dry_run:
        for line in describe_plan(out, config):
            typer.echo(line)
        return
    use_threads(context)
    with bars(context) as progress, listen_for_interrupt() as stop_requested:
        result = run_demo(out, config, progress=progress, should_stop=stop_requested.is_set)
    typer.echo(f"\n{result.table.to_text()}")
    for name, path in (
        ("specimens", result.folder / "specimens"),
        ("dataset", result.dataset),
        ("run", result.run),
        ("model", result.model),
        ("stained volume", result.stained),
        ("report", result.report),
    ):
        typer.echo(f"{name + ':':<16}{path}")
    typer.echo("\nNext:")
    typer.echo(f"  open {result.report} in a browser")
    typer.echo(f"  tomostain export {result.stained} {result.folder / 'rgba'} --to rgba-tiff")
    typer.echo(f"  tomostain stain {result.model} YOUR_VOLUME stained.ome.zarr --dry-run")
