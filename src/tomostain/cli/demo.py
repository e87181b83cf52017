"""The verb `demo`: all steps on synthetic specimens."""

from pathlib import Path

import typer

from tomostain.cli.common import DEVICE, DRY_RUN, bars, use_threads
from tomostain.cli.verbs import verb


@verb(
    order=10,
    continues=lambda values: True,
    examples="""
    tomostain demo
    tomostain demo my-demo --from-scratch --steps 2000
""",
)
def demo(
    context: typer.Context,
    out: Path = typer.Argument(Path("demo"), help="Folder to write. An unfinished demo in it continues."),
    steps: int | None = typer.Option(None, min=1, help="Training steps. More steps look better and take longer."),
    from_scratch: bool = typer.Option(
        False, "--from-scratch", help="Train from random weights, without the model that comes with tomostain."
    ),
    device: str = DEVICE,
    dry_run: bool = DRY_RUN,
) -> None:
    """Run all steps on synthetic specimens: register, prepare, train, stain and evaluate, and write a report.

    Fine-tunes the model that comes with tomostain. Takes some minutes on two cores. The report is OUT/report.html.
    After an interruption, run the command again: it continues.
    """
    from tomostain.demo import DemoConfig, describe_plan, run_demo
    from tomostain.devices import name_device
    from tomostain.interrupts import listen_for_interrupt

    config = DemoConfig() if from_scratch else DemoConfig.default()
    if steps is not None:
        config = DemoConfig.from_dict(config.model_dump() | {"steps": steps})
    if dry_run:
        for line in describe_plan(out, config):
            typer.echo(line)
        return
    use_threads(context)
    typer.echo(f"device: {name_device(device)}")
    with bars(context) as progress, listen_for_interrupt() as stop_requested:
        result = run_demo(
            out,
            config,
            device=device,
            progress=progress,
            announce=lambda notice: progress.say(str(notice)),
            should_stop=stop_requested.is_set,
        )
    typer.echo(f"\n{result.table.to_text()}")
    typer.echo(f"{result.verdict}\n")
    for name, path in (
        ("specimens", result.folder / "specimens"),
        ("dataset", result.dataset),
        ("run", result.run),
        ("model", result.model),
        ("stained volume", result.stained),
        ("report", result.report),
    ):
        typer.echo(f"{name + ':':<16}{path}")
    typer.echo(f"\nOpen {result.report} in a browser. Next:")
    for command in result.next_commands:
        typer.echo(f"  {command}")
