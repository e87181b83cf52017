"""The registry of networks: decorators to add one, and the check of specifications against the registered classes.

Another package adds a generator with an entry point whose name is the name of the network::

    [project.entry-points."tomostain.generators"]
    my-generator = "my_package.networks:MyGenerator"

The module is imported when a specification asks for a name that is not registered yet. Only installed packages are
searched: nothing is ever imported from a model folder.
"""

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Literal, TypeVar, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from tomostain.config import suggest
from tomostain.errors import InputError
from tomostain.networks.base import (
    Discriminator,
    DiscriminatorSpec,
    Generator,
    GeneratorSpec,
    Network,
    NetworkSpec,
)

ENTRY_POINTS = {"generator": "tomostain.generators", "discriminator": "tomostain.discriminators"}

_CLASSES: dict[str, type[Network]] = {}
_ALIASES: dict[str, str] = {}

N = TypeVar("N", bound=type[Network])


def register_generator(name: str, *aliases: str) -> Callable[[N], N]:
    """Register a subclass of `Generator` under a name; use as a class decorator.

    Parameters
    ----------
    name : str
        Value of ``name`` in specifications.
    *aliases : str
        Further names, for example older ones.

    Raises
    ------
    TypeError
        If the class is not a `Generator`, or its `Spec` is not a `GeneratorSpec`.
    ValueError
        If another class has one of the names.

    Examples
    --------
    See docs/how-to/add-a-generator.md.
    """
    return _register(Generator, name, aliases)


def register_discriminator(name: str, *aliases: str) -> Callable[[N], N]:
    """Register a subclass of `Discriminator`; as `register_generator`."""
    return _register(Discriminator, name, aliases)


def register_deformation(name: str, *aliases: str) -> Callable[[N], N]:
    """Register a network with the role "deformation"; as `register_generator`."""
    return _register(Network, name, aliases)


def _register(base: type[Network], name: str, aliases: tuple[str, ...]) -> Callable[[N], N]:
    names = (name, *aliases)

    def decorate(cls: N) -> N:
        if not issubclass(cls, base) or not issubclass(cls.Spec, base.Spec):
            raise TypeError(f"{cls.__name__} must be a {base.__name__} whose Spec is a {base.Spec.__name__}")
        for key in names:
            if key in _CLASSES or key in _ALIASES:
                raise ValueError(f"network name '{key}' is already registered for {network_class(key).__name__}")
        cls.Spec = create_model(
            cls.Spec.__name__,
            __base__=cls.Spec,
            __module__=cls.__module__,
            __doc__=cls.Spec.__doc__,
            name=(Literal[names], name),
        )
        _CLASSES[name] = cls
        _ALIASES.update(dict.fromkeys(aliases, name))
        return cls

    return decorate


def unregister(name: str) -> None:
    """Remove a network and its aliases from the registry, for tests."""
    del _CLASSES[name]
    for alias in [alias for alias, target in _ALIASES.items() if target == name]:
        del _ALIASES[alias]


def network_names(role: str | None = None) -> list[str]:
    """Return the names of the registered networks, sorted, without aliases; of one role, or of all.

    Examples
    --------
    >>> network_names("discriminator")
    ['patch']
    """
    return sorted(name for name, cls in _CLASSES.items() if role in (None, cls.role))


def network_class(name: str) -> type[Network]:
    """Return a registered class, after a look for an entry point of this name if there is none.

    Raises
    ------
    InputError
        If the name is unknown (with "did you mean").
    """
    if name not in _CLASSES and name not in _ALIASES:
        for group in ENTRY_POINTS.values():
            for entry in entry_points(group=group, name=name):
                try:
                    entry.load()
                except ImportError as error:
                    raise InputError(f"network '{name}': cannot import {entry.value} ({error})") from None
    name = _ALIASES.get(name, name)
    if name not in _CLASSES:
        raise InputError(f"network name: '{name}' is unknown{suggest(name, list(_CLASSES))}")
    return _CLASSES[name]


def parse_spec(spec: Mapping[str, Any] | NetworkSpec, role: str | None = None) -> NetworkSpec:
    """Check a specification and return it typed, without building anything.

    Parameters
    ----------
    spec : mapping or NetworkSpec
        ``name`` and the fields of the `Spec` of that class.
    role : {"generator", "discriminator", "deformation"}, optional
        What the network must be.

    Raises
    ------
    InputError
        If the name or a key is unknown (with "did you mean"), a value is not possible, or the role is another.

    Examples
    --------
    >>> parse_spec({"name": "resnet", "width": 8}).width
    8
    >>> parse_spec({"name": "resnet", "width": 0})
    Traceback (most recent call last):
    ...
    tomostain.errors.InputError: network 'resnet': width is 0; give a whole number from 1 to 4096
    """
    name = spec.name if isinstance(spec, NetworkSpec) else str(spec.get("name", ""))
    cls = network_class(name)
    if role is not None and cls.role != role:
        raise InputError(f"a {role} cannot be a '{name}'; known: {', '.join(network_names(role))}")
    if isinstance(spec, NetworkSpec):
        return spec
    try:
        return cls.Spec.model_validate(dict(spec))
    except ValidationError as error:
        raise InputError(f"network '{name}': {_explain(error.errors()[0], cls.Spec)}") from None


def parse_generator_spec(spec: Mapping[str, Any] | GeneratorSpec) -> GeneratorSpec:
    """Return a generator's specification typed; as `parse_spec` with the role "generator"."""
    parsed = parse_spec(spec, "generator")
    assert isinstance(parsed, GeneratorSpec)
    return parsed


def parse_discriminator_spec(spec: Mapping[str, Any] | DiscriminatorSpec) -> DiscriminatorSpec:
    """Return a discriminator's specification typed; as `parse_spec` with the role "discriminator"."""
    parsed = parse_spec(spec, "discriminator")
    assert isinstance(parsed, DiscriminatorSpec)
    return parsed


def _explain(error: ErrorDetails, spec: type[NetworkSpec]) -> str:
    """Turn an error of pydantic into one sentence that lists the possible values."""
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown key '{key}'{suggest(key, [name for name in spec.model_fields if name != 'name'])}"
    if error["type"] == "missing":
        return f"key '{key}' is missing"
    message = error["msg"].removeprefix("Value error, ")
    if not key:
        return message
    allowed = "" if error["type"] == "value_error" else _allowed_values(spec.model_fields.get(key))
    return f"{key} is {error['input']!r}; {f'give {allowed}' if allowed else message[:1].lower() + message[1:]}"


def _allowed_values(field: FieldInfo | None) -> str:
    """Return the values that a field takes in words; "" where its type does not say.

    Examples
    --------
    >>> _allowed_values(FieldInfo(annotation=Literal["a", "b"])), _allowed_values(FieldInfo(annotation=str))
    ('one of a, b', '')
    """
    if field is None:
        return ""
    if get_origin(field.annotation) is Literal:
        return f"one of {', '.join(map(str, get_args(field.annotation)))}"
    if field.annotation not in (int, float):
        return ""
    words = ["a whole number" if field.annotation is int else "a number"]
    for bound in field.metadata:
        if isinstance(bound, Ge):
            words.append(f"from {bound.ge}")
        elif isinstance(bound, Gt):
            words.append(f"above {bound.gt}")
        elif isinstance(bound, Le):
            words.append(f"to {bound.le}")
        elif isinstance(bound, Lt):
            words.append(f"to less than {bound.lt}")
    return " ".join(words)
