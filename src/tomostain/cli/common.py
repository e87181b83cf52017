"""What the verbs share: common options and the parsing of small values."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tomostain.errors import InputError

# Imported where it is used: half of what `tomostain --help` takes would be rich, pydantic and YAML.
if TYPE_CHECKING:
    from tomostain.cli.progress import Bars

OVERWRITE = typer.Option(False, "--overwrite", help="Replace existing output.")
DRY_RUN = typer.Option(False, "--dry-run", help="Say what would be done, its size and time; write nothing.")
DEVICE = typer.Option("auto", "--device", help="auto, cpu, cuda or cuda:N.")
DOUBT = typer.Option(False, "--doubt", help="Write maps of doubt too (OUT/doubt), and whether they are right.")
SEED = typer.Option(0, "--seed", help="Everything random comes from it; the same seed gives the same bits.")


def merged(context: typer.Context, values: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a file with the options: what was typed goes before the file, the file before a default."""
    result = dict(values)
    for name, value in options.items():
        source = context.get_parameter_source(name)
        if name not in values or (source is not None and source.name == "COMMANDLINE"):
            result[name] = value
    return result


def file_values(config: Path | None) -> dict[str, Any]:
    """Return what a YAML file holds; nothing where none was given."""
    if config is None:
        return {}
    from tomostain.config import read_yaml

    return read_yaml(config)


def bars(context: typer.Context) -> "Bars":
    """Return the progress bars, silent under `--quiet`; the threads asked for are set on the way."""
    from tomostain.cli.progress import Bars

    options = context.obj or {}
    return Bars(quiet=options.get("quiet", False))


def use_threads(context: typer.Context) -> None:
    """Give torch the number of CPU threads that `--threads` names (imports torch)."""
    wanted = (context.obj or {}).get("threads", 0)
    if wanted:
        import torch

        torch.set_num_threads(wanted)


def numbers(text: str | None, option: str, counts: tuple[int, ...] = (1, 3)) -> tuple[float, ...] | None:
    """Read "5" or "5,5,10" as numbers.

    Raises
    ------
    InputError
        If it is not one of the allowed counts of numbers above 0.

    Examples
    --------
    >>> numbers("5, 5,10", "--voxel-um")
    (5.0, 5.0, 10.0)
    """
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        values = ()
    if len(values) not in counts or not all(0 < value < float("inf") for value in values):
        wanted = " or ".join(str(count) for count in counts)
        raise InputError(f"{option} {text}: expected {wanted} number(s) above 0, separated by commas (order z,y,x)")
    return values


def triple(text: str | None, option: str) -> tuple[float, float, float] | None:
    """Read "5" or "5,5,10" as three numbers in (z, y, x)."""
    values = numbers(text, option)
    if values is None:
        return None
    z, y, x = values if len(values) == 3 else values * 3
    return z, y, x


def show_volume(path: Path, voxel_um: tuple[float, float, float] | None, dataset: str | None = None) -> None:
    """Print what a volume is before long work on it: a person sees by the slices' names whether it is the right one."""
    from tomostain.io import open_volume

    typer.echo(f"volume: {path}: {open_volume(path, voxel_um=voxel_um, dataset=dataset).describe()}")


def existing(path: Path, what: str) -> Path:
    """Return `path` if it exists, else raise `InputError` naming it."""
    if not path.exists():
        raise InputError(f"{path}: no such {what}")
    return path
