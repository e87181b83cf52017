"""Messages of the library as the command line shows them: Python parameters become options."""

import re

from typer.core import TyperCommand

from tomostain.errors import InputError

_NAME = re.compile(r"(\bset )?`([a-z][a-z0-9_]*)(?:=([^`\s]+))?`")


def as_options(message: str, command: TyperCommand | None) -> str:
    """Replace the names of Python parameters, in backticks, by the options of a command.

    Parameters
    ----------
    message : str
        A message of the library, such as "give `voxel_um`", or "set `statistics=volume`".
    command : click command or None
        The verb that runs. A name that is none of its parameters stays as it is, without backticks.

    Returns
    -------
    str

    Examples
    --------
    >>> import typer
    >>> app = typer.Typer()
    >>> @app.command()
    ... def stain(voxel_um: str = "", overwrite: bool = False, baselines: bool = True): ...
    >>> command = typer.main.get_command(app)
    >>> as_options("scan: no voxel size is stated; give `voxel_um`", command)
    'scan: no voxel size is stated; give --voxel-um'
    >>> as_options("set `voxel_um=5`, or the key `other`", command)
    'set --voxel-um 5, or the key other'
    >>> as_options("set `overwrite=True`, or `baselines=False`", command)
    'add --overwrite, or --no-baselines'
    >>> @app.command()
    ... def grey(background: float = 0, bone: float = 0): ...
    >>> as_options("check `intensity`", typer.main.get_command(app).commands["grey"])
    'check --background and --bone'
    """
    options = _options(command)

    def replace(match: re.Match[str]) -> str:
        before, name, value = match[1] or "", match[2], match[3]
        if name not in options:
            return before + name + (f"={value}" if value else "")
        on, off = options[name]
        if value == "True" or (value == "False" and off):  # an option without a value is added, not set
            return before.replace("set", "add") + (on if value == "True" else off)
        return before + on + (f" {value}" if value else "")

    return _NAME.sub(replace, message)


def error_line(error: InputError, command: TyperCommand | None) -> str:
    """Return the message of an error as the command line shows it.

    Where the error names a parameter of the verb that its message does not mention, the option is put first.

    Examples
    --------
    >>> import typer
    >>> app = typer.Typer()
    >>> @app.command()
    ... def stain(patch_px: int = 0): ...
    >>> command = typer.main.get_command(app)
    >>> error_line(InputError("expected a multiple of 4", parameter="patch_px"), command)
    '--patch-px: expected a multiple of 4'
    """
    message = as_options(str(error), command)
    on, off = _options(command).get(error.parameter or "", ("", ""))
    if not on or on in message or (off and off in message):
        return message
    return f"{on}: {message}"


def _options(command: TyperCommand | None) -> dict[str, tuple[str, str]]:
    """Return the options of a command by parameter: the option that sets it, and the one that sets it to False."""
    options: dict[str, tuple[str, str]] = {}
    for parameter in command.params if command is not None else ():
        if parameter.param_type_name == "option":
            off = parameter.secondary_opts
            options[parameter.name] = max(parameter.opts, key=len), max(off, key=len) if off else ""
        else:
            options[parameter.name] = getattr(parameter, "metavar", None) or (parameter.name or "").upper(), ""
    if "background" in options and "bone" in options:  # the library takes both grey values as one parameter
        options.setdefault("intensity", ("--background and --bone", ""))
    return options
