"""The verb `models`: list, describe and copy the built-in models."""

from pathlib import Path

import typer

from tomostain.cli.common import OVERWRITE
from tomostain.cli.json_output import JSON, print_json
from tomostain.cli.verbs import verb
from tomostain.errors import InputError

_ACTIONS = ("list", "describe", "copy")


@verb(
    order=65,
    examples="""
    tomostain models
    tomostain models describe phantom-tb
    tomostain models copy phantom-tb my-model
    tomostain stain builtin:phantom-tb reco_folder stained.ome.zarr
    tomostain train dataset run --init builtin:phantom-tb
""",
)
def models(
    action: str = typer.Argument("list", metavar="[list|describe|copy]", help="What to do."),
    name: str | None = typer.Argument(None, help="For describe and copy: a built-in model, a model folder or a run."),
    out: Path | None = typer.Argument(None, help="For copy: the new model folder."),
    overwrite: bool = OVERWRITE,
    as_json: bool = JSON,
) -> None:
    """List the built-in models, show the card of a model, or copy a model into a folder.

    Every verb that takes a model also takes builtin:NAME. Other packages can add models.
    """
    from tomostain.config import suggest
    from tomostain.io import copy_model, list_models, read_model_card
    from tomostain.io.builtin_models import describe_model

    if action not in _ACTIONS:
        near = suggest(action, list(_ACTIONS))
        hint = near if near.endswith("?") else f"; give one of {', '.join(_ACTIONS)}, such as: models describe {action}"
        raise InputError(f"models {action}: unknown action{hint}")
    if action == "list":
        if name is not None:
            raise InputError(f"models list {name}: takes no name; use: models describe {name}")
        installed = list_models()
        if as_json:
            print_json([model.to_dict() for model in installed])
            return
        for model in installed:
            for line in model.describe():
                typer.echo(line)
        if not installed:
            typer.echo("no built-in models are installed")
        return
    if name is None or (action == "copy") != (out is not None):
        needed = "NAME and OUT, the new folder" if action == "copy" else "one NAME: a built-in model, a folder or a run"
        raise InputError(f"models {action}: give {needed}")
    if out is None and as_json:
        print_json(describe_model(name))
        return
    if out is None:
        typer.echo(read_model_card(name), nl=False)
        return
    if as_json:
        raise InputError("--json: is for models list and models describe; omit it")
    typer.echo(f"model: {copy_model(name, out, overwrite=overwrite)}")
