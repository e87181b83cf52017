"""Messages of the library as the command line shows them: Python parameters become options."""

import re
from typing import Any

_NAME = re.compile(r"`([a-z][a-z0-9_]*)(?:=([^`\s]+))?`")


def as_options(message: str, command: Any) -> str:
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
    ... def stain(voxel_um: str = ""): ...
    >>> command = typer.main.get_command(app)
    >>> as_options("scan: no voxel size is stated; give `voxel_um`", command)
    'scan: no voxel size is stated; give --voxel-um'
    >>> as_options("set `voxel_um=5`, or the key `other`", command)
    'set --voxel-um 5, or the key other'
    """
    options: dict[str, str] = {}
    for parameter in command.params if command is not None else ():
        is_option = parameter.param_type_name == "option"
        argument = getattr(parameter, "metavar", None) or (parameter.name or "").upper()
        options[parameter.name] = max(parameter.opts, key=len) if is_option else argument

    def replace(match: re.Match[str]) -> str:
        name, value = match[1], match[2]
        if name in options:
            is_flag = value == "True"
            return options[name] + (f" {value}" if value and not is_flag else "")
        return name + (f"={value}" if value else "")

    return _NAME.sub(replace, message)
