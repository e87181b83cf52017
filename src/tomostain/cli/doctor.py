"""The verb `doctor`: describe the installation."""

import typer

from tomostain.cli.common import use_threads
from tomostain.cli.json_output import JSON, print_json
from tomostain.cli.verbs import verb


@verb(
    order=140,
    examples="""
    tomostain doctor
    tomostain doctor --json
""",
)
def doctor(context: typer.Context, as_json: bool = JSON) -> None:
    """Show the versions, devices and memory of this installation, and how to install missing packages."""
    from tomostain.installation import describe_installation
    from tomostain.models import PREFIX, builtin_names

    use_threads(context)
    installation, models = describe_installation(), [PREFIX + name for name in builtin_names()]
    if as_json:
        print_json(installation.to_dict() | {"builtin_models": models})
        return
    for line in installation.describe():
        typer.echo(line)
    typer.echo(f"built-in models: {', '.join(models) or 'none'}")
