"""The verb `recipes`: list the training recipes."""

import typer

from tomostain.cli.verbs import verb


@verb(order=60)
def recipes(
    name: str | None = typer.Argument(None, help="Print this recipe as YAML, with all settings."),
) -> None:
    """List the training recipes with the defaults, or print one as a start for your own."""
    from tomostain.train import describe_recipes, load_recipe

    if name is None:
        for line in describe_recipes():
            typer.echo(line)
    else:
        typer.echo(load_recipe(name).to_yaml(), nl=False)
