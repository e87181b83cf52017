"""What the verbs share: common options and the parsing of small values."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tomostain.cli.completion import devices
from tomostain.errors import InputError

# Imported where it is used: rich, pydantic and YAML would take half the time of `tomostain --help`.
if TYPE_CHECKING:
    from tomostain.cli.progress import Bars
    from tomostain.io import Volume

OVERWRITE = typer.Option(False, "--overwrite", help="Replace existing output.")
DRY_RUN = typer.Option(False, "--dry-run", help="Print what would be done, its size and time; write nothing.")
DEVICE = typer.Option("auto", "--device", help="auto, cpu, cuda or cuda:N.", autocompletion=devices)
ALLOW_MISSING = typer.Option(
    False, "--allow-missing", help="Fill µCT slices of which data are missing with zeros, and record them."
)
SEED = typer.Option(0, "--seed", help="Seed of all random numbers; the same seed gives the same bits.")


def merged(context: typer.Context, values: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Merge the values of a file with options. The command line overrides the file, the file overrides a default."""
    result = dict(values)
    for name, value in options.items():
        source = context.get_parameter_source(name)
        if name not in values or (source is not None and source.name == "COMMANDLINE"):
            result[name] = value
    return result


def file_values(config: Path | None) -> dict[str, Any]:
    """Return the content of a YAML file; an empty dict without a file."""
    if config is None:
        return {}
    from tomostain.config import read_yaml

    return read_yaml(config)


def bars(context: typer.Context) -> "Bars":
    """Return the progress bars, which are silent with `--quiet`."""
    from tomostain.cli.progress import Bars

    options = context.obj or {}
    return Bars(quiet=options.get("quiet", False))


def use_threads(context: typer.Context) -> None:
    """Set the number of CPU threads of PyTorch to `--threads`, if it was given."""
    threads = (context.obj or {}).get("threads", 0)
    if threads:
        import torch

        torch.set_num_threads(threads)


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
    >>> numbers("16,5", "--voxel-um")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    tomostain.errors.InputError: ... (order z,y,x); for a decimal number, write 16.5
    """
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        values = ()
    if len(values) not in counts or not all(0 < value < float("inf") for value in values):
        expected = " or ".join(str(count) for count in counts)
        point = f"; for a decimal number, write {text.replace(',', '.')}" if _has_decimal_comma(text) else ""
        raise InputError(
            f"{option} {text}: expected {expected} number(s) above 0, separated by commas (order z,y,x){point}"
        )
    return values


def _has_decimal_comma(text: str) -> bool:
    """Return whether a text is two whole numbers with a comma, such as "16,5"."""
    parts = [part.strip() for part in text.split(",")]
    return len(parts) == 2 and all(part.isdigit() for part in parts)


def triple(text: str | None, option: str) -> tuple[float, float, float] | None:
    """Read "5" or "5,5,10" as three numbers in (z, y, x)."""
    values = numbers(text, option)
    if values is None:
        return None
    z, y, x = values if len(values) == 3 else values * 3
    return z, y, x


def show_volume(
    path: Path,
    voxel_um: float | tuple[float, float, float] | None,
    dataset: str | None = None,
    *,
    allow_missing: bool = False,
) -> "Volume":
    """Open a volume and print its description. The names of the slices show whether it is the right one."""
    from tomostain.io import open_volume

    volume = open_volume(path, voxel_um=voxel_um, dataset=dataset, allow_missing=allow_missing)
    typer.echo(f"volume: {path}: {volume.describe()}")
    return volume


def existing_model(model: Path) -> Path:
    """Return the folder of a model that is given as a model folder, a run or ``builtin:NAME``.

    Raises
    ------
    InputError
        If there is no such model.
    """
    from tomostain.models import find_model, suggest_builtin

    folder = find_model(model)
    if not folder.exists():
        raise InputError(f"{model}: no such model folder{suggest_builtin(model)}")
    return folder


def existing(path: Path, what: str) -> Path:
    """Return `path` if it exists, else raise `InputError` naming it."""
    if not path.exists():
        from tomostain.input_files import refuse_url, suggest_path

        refuse_url(path)
        raise InputError(f"{path}: no such {what}{suggest_path(path)}")
    return path
