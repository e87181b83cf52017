"""Defaults and help texts of the command line, and error messages, as the widgets show them."""

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping

from tomostain.cli.options import expanded

_PARAMETER = re.compile(r"`([a-z][a-z0-9_]*)(?:=([^`\s]+))?`")
_OPTION = re.compile(r"--([a-z][a-z-]+)")


def option_help(options: type | Callable[..., object], name: str) -> str:
    """Return the help text of an option of the command line, for a tooltip.

    Parameters
    ----------
    options : class or function
        An option group (`tomostain.cli.options.option_group`) or the function of a verb.
    name : str
        Name of the field or the parameter.

    Examples
    --------
    >>> from tomostain.cli.stain import StainVolumeOptions
    >>> option_help(StainVolumeOptions, "bone")
    'Grey value of bone (with Background; else estimated).'
    """
    text = str(getattr(_option(options, name), "help", None) or "")
    return _OPTION.sub(lambda match: _as_label(match[1].replace("-", "_")), text)


def option_default(options: type | Callable[..., object], name: str) -> object:
    """Return the default of an option of the command line; parameters as `option_help`.

    Examples
    --------
    >>> from tomostain.cli.section import SectionOptions
    >>> option_default(SectionOptions, "thickness_um")
    0.0
    """
    option = _option(options, name)
    return getattr(option, "default", option)


def _option(options: type | Callable[..., object], name: str) -> object:
    if dataclasses.is_dataclass(options):
        return {field.name: field.default for field in dataclasses.fields(options)}[name]
    return inspect.signature(expanded(options)).parameters[name].default


def _as_label(name: str) -> str:
    words = name.replace("_um", "").replace("_px", "").replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def as_labels(message: str, labels: Mapping[str, str]) -> str:
    """Replace the names of Python parameters, in backticks, by the labels of a form.

    Parameters
    ----------
    message : str
        A message of the library, such as "give `voxel_um`".
    labels : mapping of str to str
        Label of each parameter that the form has. Other names stay as they are, without backticks.

    Examples
    --------
    >>> as_labels("scan: give `voxel_um`, or add `overwrite=True`", {"voxel_um": "Voxel size"})
    'scan: give “Voxel size”, or add overwrite=True'
    """

    def replace(match: re.Match[str]) -> str:
        name, value = match[1], match[2]
        label = f"“{labels[name]}”" if name in labels else name
        return f"{label}={value}" if value and name not in labels else f"{label} {value}" if value else label

    return _PARAMETER.sub(replace, message)
