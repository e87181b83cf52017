"""Option groups: options of a verb as the fields of a dataclass.

A verb with many options takes them as one object. A new option is one field. Typer sees each field as an option.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform, get_type_hints

from typer.models import OptionInfo

T = TypeVar("T")
_MARK = "__option_group__"


@dataclass_transform(kw_only_default=True, frozen_default=True)
def option_group(cls: type[T]) -> type[T]:
    """Make a class an option group: a frozen dataclass whose defaults are ``typer.Option(...)``.

    Examples
    --------
    >>> import typer
    >>> @option_group
    ... class Size:
    ...     width: int = typer.Option(3, help="Width, px.")
    >>> def draw(size: Size) -> int:
    ...     return size.width
    >>> inspect.signature(expanded(draw)).parameters["width"].annotation
    <class 'int'>
    >>> expanded(draw)(width=5)
    5
    """
    options_class = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    setattr(options_class, _MARK, True)
    return options_class


def expanded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a verb with the fields of its option groups as parameters.

    Parameters
    ----------
    function : callable
        A verb. Parameters annotated with an option group are replaced by its fields.

    Returns
    -------
    callable
        `function` itself if it has no option group.
    """
    hints = get_type_hints(function)
    groups = {name: kind for name, kind in hints.items() if getattr(kind, _MARK, False)}
    if not groups:
        return function
    parameters: list[inspect.Parameter] = []
    from_groups: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in groups:
            from_groups += _fields_as_parameters(groups[name])
        else:
            annotation = hints.get(name, parameter.annotation)
            parameters.append(parameter.replace(annotation=annotation, kind=inspect.Parameter.KEYWORD_ONLY))
    # The help lists arguments first, then the options of the groups, then the options of the function.
    first = next((n for n, p in enumerate(parameters) if isinstance(p.default, OptionInfo)), len(parameters))
    parameters[first:first] = from_groups

    @functools.wraps(function)
    def verb(**values: Any) -> Any:
        built = {
            name: kind(**{field.name: values.pop(field.name) for field in dataclasses.fields(kind)})
            for name, kind in groups.items()
        }
        return function(**values, **built)

    verb.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    verb.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del verb.__wrapped__  # Typer reads the annotations of the wrapped function otherwise.
    return verb


def _fields_as_parameters(group: type) -> list[inspect.Parameter]:
    hints = get_type_hints(group)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in dataclasses.fields(group)
    ]


def stated(options: object) -> dict[str, Any]:
    """Return the options of a group that are not None.

    Examples
    --------
    >>> import typer
    >>> @option_group
    ... class Size:
    ...     width: int | None = typer.Option(None)
    ...     height: int | None = typer.Option(None)
    >>> stated(Size(width=5, height=None))
    {'width': 5}
    """
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}  # type: ignore[arg-type]
    return {name: value for name, value in values.items() if value is not None}
