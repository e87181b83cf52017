"""One frozen, validated configuration a stage, read from and written to YAML."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from tomostain.errors import InputError


class Config(BaseModel):
    """Base of all configurations: frozen; an unknown key is an error that suggests the key that was meant."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "options") -> Self:
        """Validate a mapping.

        Parameters
        ----------
        values : mapping
            Keys and values; nested configurations as nested mappings.
        source : str
            Where the values come from, named in the error message.

        Raises
        ------
        InputError
            If a key is unknown (with "did you mean"), missing, or has a wrong value.

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
    def from_yaml(cls, path: Path) -> Self:
        """Read and validate a YAML file; errors name the file."""
        return cls.from_dict(read_yaml(path), source=str(path))

    def to_yaml(self) -> str:
        """Return the configuration as YAML with every value resolved."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Raises
    ------
    InputError
        If the file is missing, is not YAML, or holds something other than a mapping.
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
    """Return "; did you mean 'x'?" for the nearest known word, else a list of what is known.

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
    """Turn the first of pydantic's complaints into one sentence."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _known_keys(cls, first["loc"][:-1])
        return f"unknown key '{where}'{suggest(str(first['loc'][-1]), known)}"
    if first["type"] == "missing":
        return f"key '{where}' is missing"
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    # What is wrong with the whole names its values itself.
    return f"{where} = {first['input']!r}: {message}" if where else message


def _known_keys(cls: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Return the keys of the nested configuration at `path` (or of `cls` where the path leaves the models)."""
    for part in path:
        field = cls.model_fields.get(str(part))
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            break
        cls = field.annotation
    return list(cls.model_fields)
