"""Results as JSON, for programs: the option `--json` of the verbs that report."""

import json
import math
from collections.abc import Mapping
from pathlib import PurePath

import typer

JSON = typer.Option(False, "--json", help="Print the result as JSON, for programs. Progress and errors go to stderr.")


def print_json(value: object) -> None:
    """Print a result as one JSON document. Numbers that are not finite become null."""
    typer.echo(json.dumps(plain(value), ensure_ascii=False, indent=2, allow_nan=False))


def plain(value: object) -> object:
    """Return a value with the types of JSON: dictionaries, lists, text, numbers, booleans and None.

    Examples
    --------
    >>> plain({"a": (1, float("nan")), "b": PurePath("x/y")})
    {'a': [1, None], 'b': 'x/y'}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value.as_posix() if isinstance(value, PurePath) else str(value)
