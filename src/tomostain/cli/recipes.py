"""The verb `recipes`: list the training recipes."""

import typer

from tomostain.cli.verbs import verb


@verb(order=60)
def recipes(
    name: str | None = typer.Argument(None, help="Print this recipe as YAML, with all settings."),
) -> None:
    """List the training recipes, or print one as a start for your own."""
    from tomostain.train import list_recipes, load_recipe

    if name is None:
        for known in list_recipes():
            typer.echo(known)
    else:
        typer.echo(load_recipe(name).to_yaml(), nl=False)
