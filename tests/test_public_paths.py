"""Public functions and methods take a path as `str` or as `os.PathLike`, never as `Path` only."""

import dataclasses
import importlib
import inspect
import os
import re
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

import tomostain
from tomostain.evaluate import EvaluateConfig
from tomostain.io import write_image
from tomostain.view import Figure, Report, write_report

PAGES = Path(__file__).parents[1] / "docs" / "reference" / "api"
MODULES = sorted(
    {name for page in PAGES.glob("*.md") for name in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.MULTILINE)}
)


def public_objects(module: str) -> Iterator[tuple[str, object]]:
    """Yield the public names of a module and their objects."""
    home = importlib.import_module(module)
    own = [name for name, each in vars(home).items() if getattr(each, "__module__", None) == module]
    for name in getattr(home, "__all__", own):
        if not name.startswith("_"):
            yield f"{module}.{name}", getattr(home, name)


def functions_of(name: str, each: object) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield a function, or the methods of a class and its constructor. A dataclass states what its objects hold."""
    if inspect.isclass(each):
        has_fields = dataclasses.is_dataclass(each) or issubclass(each, BaseModel)
        for method, value in vars(each).items():
            function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
            is_constructor = method == "__init__" and not has_fields
            if inspect.isfunction(function) and (is_constructor or not method.startswith("_")):
                yield f"{name}.{method}", function
    elif inspect.isroutine(each):
        yield name, each


def parameters_of(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """Yield names and types of the parameters, and those of typed keywords."""
    for parameter in inspect.signature(function).parameters.values():
        kind = parameter.annotation
        if typing.get_origin(kind) is typing.Unpack:
            yield from typing.get_args(kind)[0].__annotations__.items()
        else:
            yield parameter.name, kind


def takes_only_path(kind: Any) -> bool:
    """Return whether a type has `Path` where it has no `str`."""
    if isinstance(kind, str | typing.ForwardRef):  # a type that is only imported for the type checker
        text = kind if isinstance(kind, str) else kind.__forward_arg__
        return re.search(r"\bPath\b", text) is not None and "str" not in re.findall(r"\w+", text)
    parts = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, UnionType) else (kind,)
    if Path in parts:
        return str not in parts
    is_callable = typing.get_origin(kind) is not None and issubclass_of_callable(typing.get_origin(kind))
    inner = [] if is_callable else [part for each in parts for part in typing.get_args(each)]
    return any(takes_only_path(part) for part in inner if not isinstance(part, list))


def issubclass_of_callable(origin: Any) -> bool:
    """Return whether a type is `Callable[…]`, whose arguments the caller does not give."""
    return origin is typing.get_origin(Callable[[], None])


@pytest.mark.parametrize("module", ["tomostain", *MODULES])
def test_no_public_parameter_is_a_path_object_only(module: str) -> None:
    found = [
        f"{place}: {parameter}"
        for name, each in public_objects(module)
        for place, function in functions_of(name, each)
        for parameter, kind in parameters_of(function)
        if takes_only_path(kind)
    ]
    assert not found, "annotate with tomostain.paths.StrPath"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Path, True),
        (Path | None, True),
        (list[Path], True),
        (dict[str, Path] | None, True),
        ("Path | None", True),
        (str | Path, False),
        (str | os.PathLike[str], False),
        ("str | Path", False),
        (Callable[[Path], bool], False),
        (int, False),
    ],
)
def test_the_rule_sees_path_objects(kind: Any, expected: bool) -> None:
    assert takes_only_path(kind) is expected


def test_many_functions_are_looked_at() -> None:
    functions = [
        place for module in MODULES for name, each in public_objects(module) for place, _ in functions_of(name, each)
    ]
    assert len(functions) > 200
    assert "tomostain.train.Trainer.end_epoch" in functions


def test_a_configuration_takes_a_path_as_text() -> None:
    config = EvaluateConfig(lpips="squeeze", lpips_weights="weights.pth", volumes=["a.ome.zarr"])  # type: ignore[arg-type]
    assert (config.lpips_weights, config.volumes) == (Path("weights.pth"), (Path("a.ome.zarr"),))


def test_the_public_names_are_those_of_the_package() -> None:
    assert {name for name, _ in public_objects("tomostain")} >= {"tomostain.stain_volume", "tomostain.export"}
    assert callable(tomostain.stain_volume)


def test_a_report_takes_the_path_of_an_image_as_text(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.full((4, 5, 3), 90, np.uint8))
    out = write_report(str(tmp_path / "page.html"), Report("t", opening=(Figure(str(tmp_path / "a.png"), "c"),)))
    assert out == tmp_path / "page.html"
    assert "data:image/png" in out.read_text(encoding="utf-8")
