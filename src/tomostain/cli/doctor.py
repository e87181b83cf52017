"""The verb `doctor`: describe the installation."""

import typer

from tomostain.cli.common import use_threads
from tomostain.cli.verbs import verb


@verb(order=140)
def doctor(context: typer.Context) -> None:
    """Show the versions, devices and memory of this installation, and how to install missing packages."""
    from tomostain.installation import describe_installation
    from tomostain.models import PREFIX, builtin_names

    use_threads(context)
    for line in describe_installation().describe():
        typer.echo(line)
    typer.echo(f"built-in models: {', '.join(PREFIX + name for name in builtin_names()) or 'none'}")
