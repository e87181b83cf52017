"""The verb `recipes`: list the training recipes."""

import typer

from tomostain.cli.completion import recipes as recipe_names
from tomostain.cli.json_output import JSON, print_json
from tomostain.cli.verbs import verb


@verb(order=60)
def recipes(
    name: str | None = typer.Argument(
        None, help="Print this recipe as YAML, with all settings.", autocompletion=recipe_names
    ),
    as_json: bool = JSON,
) -> None:
    """List the training recipes with the defaults, or print one as a start for your own."""
    from tomostain.train import describe_recipes, list_recipes, load_recipe
    from tomostain.train.default_recipe import DEFAULT_RECIPES

    if as_json and name is None:
        defaults = {recipe: kind for kind, recipe in DEFAULT_RECIPES.items()}
        print_json(
            [
                {"name": each, "description": load_recipe(each).description, "default_on": defaults.get(each)}
                for each in list_recipes()
            ]
        )
    elif as_json and name is not None:
        print_json(load_recipe(name).model_dump(mode="json"))
    elif name is None:
        for line in describe_recipes():
            typer.echo(line)
    else:
        typer.echo(load_recipe(name).to_yaml(), nl=False)
