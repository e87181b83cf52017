"""Base class of the configurations: one frozen, validated model per stage, read from and written to YAML."""

import difflib
import re
import stat
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from tomostain.errors import InputError
from tomostain.paths import StrPath

MAX_BYTES = 16 * 2**20
"""Maximum size of a YAML file. A dataset with 10,000 pairs has about 3 MB."""
MAX_DEPTH = 50
"""Maximum nesting of mappings and sequences."""
MAX_REPEATED = 100_000
"""Maximum number of nodes that aliases repeat. A short file can repeat billions."""
MAX_INTEGER = 2**63 - 1
_MAX_DIGITS = 100


if TYPE_CHECKING:
    _ConfigType = type
else:

    class _ConfigType(type(BaseModel)):
        """The type of the configurations. An error of a call names the configuration, as `Config.from_dict` does."""

        def __call__(cls, *args: Any, **values: Any) -> Any:
            """Make a configuration; an `InputError` names the first wrong field."""
            try:
                return super().__call__(*args, **values)
            except ValidationError as error:
                raise InputError(f"{cls.__name__}: {_explain(error, cls)}") from None


class Config(BaseModel, metaclass=_ConfigType):
    """Base class of all configurations. They are frozen; an unknown key is an error that suggests a known one.

    Raises
    ------
    InputError
        If a field is unknown or missing, or a value is wrong.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "options") -> Self:
        """Validate a mapping.

        Parameters
        ----------
        values : mapping
            Keys and values; nested configurations as nested mappings.
        source : str
            Origin of the values, for the error message.

        Raises
        ------
        InputError
            If a key is unknown or missing, or a value is wrong.

        Examples
        --------
        >>> class Patch(Config):
        ...     size_px: int = 256
        >>> Patch.from_dict({"sise_px": 64})
        Traceback (most recent call last):
        ...
        tomostain.errors.InputError: options: unknown key 'sise_px'; did you mean 'size_px'?
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise InputError(f"{source}: {_explain(error, cls)}") from None

    @classmethod
    def from_yaml(cls, path: StrPath) -> Self:
        """Read and validate a YAML file. Errors name the file."""
        return cls.from_dict(read_yaml(path), source=str(path))

    def to_yaml(self) -> str:
        """Return the configuration as YAML, with all values."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def read_yaml(path: StrPath) -> dict[str, Any]:
    """Read a YAML file that contains a mapping.

    Raises
    ------
    InputError
        If the file is missing, is not a regular file, is not YAML, or does not contain a mapping; also where
        `parse_yaml` refuses its content.
    """
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path}: is not a regular file; give a YAML file")
        if status.st_size > MAX_BYTES:
            raise InputError(f"{path}: has {status.st_size} bytes; a YAML file has at most {MAX_BYTES}")
        text = Path(path).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); restore the file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a YAML file ({error.reason})") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str) -> dict[str, Any]:
    r"""Return the mapping in a YAML text: plain values only, in bounded time and memory.

    Parameters
    ----------
    text : str
    source : str
        Origin of the text, for the error message.

    Raises
    ------
    InputError
        If it is not YAML or not a mapping; if a key is not text or occurs twice, a number or a date is not possible, or
        the nesting or the repetition by aliases exceeds `MAX_DEPTH` or `MAX_REPEATED`.

    Examples
    --------
    >>> parse_yaml("a: 1", "text")
    {'a': 1}
    >>> parse_yaml("a: 1\na: 2", "text")
    Traceback (most recent call last):
    ...
    tomostain.errors.InputError: text: not a YAML file (key 'a' occurs twice, line 2)
    """
    try:
        _check_structure(text)
        values = _Loader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f", line {mark.line + 1}"
        raise InputError(f"{source}: not a YAML file ({error.problem or error.context}{where})") from None
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{source}: not a YAML file ({str(error).splitlines()[0]})") from None
    except (AttributeError, KeyError, TypeError):  # PyYAML, for "!!bool maybe" and the like
        raise InputError(f"{source}: not a YAML file (a value does not have the type of its tag)") from None
    if not isinstance(values, dict):
        raise InputError(f"{source}: expected a mapping of keys to values, found {type(values).__name__}")
    for key in values:
        if not isinstance(key, str):
            raise InputError(f"{source}: the key {str(key)[:40]!r} is {type(key).__name__}, not text; correct it")
    return values


# The loader of libyaml is ten times as fast. Not every PyYAML has it.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):
    """A `yaml.SafeLoader`: plain values only. It refuses what PyYAML accepts silently or fails at with other errors."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return a mapping; a key that occurs twice is an error."""
        keys = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name is not None and name in keys:
                raise _refusal(f"key '{key.value:.40}' occurs twice", key)
            keys.add(name)
        result: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return result

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        """Return a scalar; a number or date that is not possible is an error with its line."""
        value = super().construct_scalar(node)
        kind = {"tag:yaml.org,2002:int": "number", "tag:yaml.org,2002:timestamp": "date"}.get(node.tag)
        if kind is None or not isinstance(node, yaml.ScalarNode):
            return value
        try:
            if len(value) > _MAX_DIGITS:
                raise ValueError
            if kind == "date":
                yaml.SafeLoader.construct_yaml_timestamp(_Scalar(value), node)
            elif abs(yaml.SafeLoader.construct_yaml_int(_Scalar(value), node)) > MAX_INTEGER:
                raise ValueError
        except (ValueError, OverflowError, AttributeError):
            raise _refusal(f"'{value[:40]}' is not a possible {kind}", node) from None
        return value


class _Scalar(yaml.SafeLoader):
    """The value of a scalar, as a loader that PyYAML's constructors of scalars can ask."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        return self.value


def _refusal(problem: str, place: Any) -> yaml.MarkedYAMLError:
    """Return an error at the start of a node or event."""
    return yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)


def _check_structure(text: str) -> None:
    """Raise if a YAML text is nested too deeply, or repeats too much by aliases; nothing is built."""
    open_nodes: list[tuple[str | None, int]] = []  # anchor and number of nodes of each open collection
    sizes: dict[str, int] = {}
    total = repeated = 0
    for event in yaml.parse(text, Loader=_Base):
        count = 0
        if isinstance(event, yaml.ScalarEvent):
            count = 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise _refusal(f"alias '{event.anchor:.40}' has no complete anchor before it", event)
            count = sizes[event.anchor]
            repeated += count
            if repeated > MAX_REPEATED:
                raise _refusal(f"aliases repeat more than {MAX_REPEATED} values", event)
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, total))
            count = 1
            if len(open_nodes) > MAX_DEPTH:
                raise _refusal(f"nested more than {MAX_DEPTH} times", event)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = total - before
        total += count


def suggest(word: str, known: list[str]) -> str:
    """Return "; did you mean 'x'?" for the most similar known word, or a list of the known words.

    Examples
    --------
    >>> suggest("tolouidine-blue", ["toluidine-blue", "h&e"])
    "; did you mean 'toluidine-blue'?"
    >>> suggest("zzz", ["a", "b"])
    '; known: a, b'
    >>> suggest("tif", ["vti", "rgb-tiff"])
    "; did you mean 'rgb-tiff'?"
    """
    near = [each for each in sorted(known) if len(word) > 2 and word.lower() in each.lower()]
    near = near or difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(sorted(known))}"


def check_keywords(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise, as Python does, if a keyword argument of a function is unknown; the message suggests a known one.

    Parameters
    ----------
    function : str
        Its name.
    given, known : iterable of str
        The keywords of the call, and those of the function.

    Raises
    ------
    TypeError

    Examples
    --------
    >>> check_keywords("train_model", ["max_step"], ["max_steps", "seed"])
    Traceback (most recent call last):
    ...
    TypeError: train_model() got an unexpected keyword argument 'max_step'; did you mean 'max_steps'?
    """
    names = list(known)
    for name in given:
        if name not in names:
            raise TypeError(f"{function}() got an unexpected keyword argument '{name}'{suggest(name, names)}")


def _explain(error: ValidationError, cls: type[BaseModel]) -> str:
    """Return the first error of pydantic as one sentence."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _known_keys(cls, first["loc"][:-1])
        return f"unknown key '{where}'{suggest(str(first['loc'][-1]), known)}"
    if first["type"] == "missing":
        return f"key '{where}' is missing"
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if first["type"] == "literal_error":
        known = re.findall(r"'([^']*)'", message)
        near = difflib.get_close_matches(str(first["input"]), known, n=1, cutoff=0.6)
        message += f"; did you mean '{near[0]}'?" if near else ""
    # An error of the whole model has no location, and its message names the values.
    return f"{where} = {_short(first['input'])}: {message}" if where else message


def _short(value: object, limit: int = 200) -> str:
    """Return the representation of a value, cut to a readable length."""
    text = " ".join(repr(value).split())
    return text if len(text) <= limit else f"{text[:limit]} …"


def _known_keys(cls: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Return the keys of the nested configuration at `path`, or of the last one on the way."""
    for part in path:
        field = cls.model_fields.get(str(part))
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            break
        cls = field.annotation
    return list(cls.model_fields)
