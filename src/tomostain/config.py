"""Base class of the configurations: one frozen, validated model per stage, read from and written to YAML."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from tomostain.errors import InputError


class Config(BaseModel):
    """Base class of all configurations. They are frozen; an unknown key is an error that suggests a known one."""

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
    def from_yaml(cls, path: str | os.PathLike[str]) -> Self:
        """Read and validate a YAML file. Errors name the file."""
        return cls.from_dict(read_yaml(path), source=str(path))

    def to_yaml(self) -> str:
        """Return the configuration as YAML, with all values."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a YAML file that contains a mapping.

    Raises
    ------
    InputError
        If the file is missing, is not YAML, or does not contain a mapping.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a YAML file ({str(error).splitlines()[0]})") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a mapping of keys to values, found {type(values).__name__}")
    return values


def suggest(word: str, known: list[str]) -> str:
    """Return "; did you mean 'x'?" for the most similar known word, or a list of the known words.

    Examples
    --------
    >>> suggest("tolouidine-blue", ["toluidine-blue", "h&e"])
    "; did you mean 'toluidine-blue'?"
    >>> suggest("zzz", ["a", "b"])
    '; known: a, b'
    """
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(sorted(known))}"


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
    # An error of the whole model has no location, and its message names the values.
    return f"{where} = {first['input']!r}: {message}" if where else message


def _known_keys(cls: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Return the keys of the nested configuration at `path`, or of the last one on the way."""
    for part in path:
        field = cls.model_fields.get(str(part))
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            break
        cls = field.annotation
    return list(cls.model_fields)
