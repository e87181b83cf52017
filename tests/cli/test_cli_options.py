"""Option groups: the fields of a dataclass become options, and reach the verb as one object."""

import inspect

import pytest
import typer

from tomostain.cli.options import expanded, option_group, stated


@option_group
class Size:
    """Test options."""

    width: int = typer.Option(3, min=1, help="Width.")
    name: str | None = typer.Option(None)


def draw(context: str, size: Size, out: str = typer.Argument(), dark: bool = typer.Option(False)) -> tuple:
    """Draw."""
    return context, size, out, dark


def test_the_fields_are_parameters_between_arguments_and_options():
    assert list(inspect.signature(expanded(draw)).parameters) == ["context", "out", "width", "name", "dark"]


def test_the_verb_receives_one_object():
    result = expanded(draw)(context="c", out="o", width=5, name=None, dark=True)
    assert result == ("c", Size(width=5, name=None), "o", True)
    assert stated(result[1]) == {"width": 5}


def test_a_function_without_groups_is_returned_unchanged():
    def plain(context: str) -> None: ...

    assert expanded(plain) is plain


def test_a_group_is_frozen():
    with pytest.raises(AttributeError):
        Size(width=1, name=None).width = 2
