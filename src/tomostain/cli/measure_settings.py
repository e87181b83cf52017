"""Settings of the verb `measure` from a YAML file and options, and its output."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tomostain.cli.common import existing, file_values
from tomostain.cli.measure_options import InputOptions
from tomostain.cli.options import stated
from tomostain.errors import InputError

if TYPE_CHECKING:
    from tomostain.measure.config import MeasureConfig
    from tomostain.measure.rows import MeasureRow


MAX_UNCERTAINTY = 0.5
"""Voxels with a higher uncertainty are refused, if a map is given without a limit."""


@dataclass(frozen=True)
class MeasureRun:
    """Settings and output of a measurement."""

    config: "MeasureConfig"
    out: Path
    classifier: str | None
    device: str
    json: bool
    dry_run: bool
    overwrite: bool


def measure_config(
    file: Path | None, options: Mapping[str, object], inputs: InputOptions, shell_um: str | None
) -> "MeasureConfig":
    """Return the settings of a YAML file, overridden by options."""
    from tomostain.measure.config import MeasureConfig

    values = file_values(file) | dict(options)
    if inputs.max_uncertainty is not None or inputs.uncertainty is not None:
        default = values.get("max_uncertainty", MAX_UNCERTAINTY)
        values["max_uncertainty"] = default if inputs.max_uncertainty is None else inputs.max_uncertainty
    values |= {name: value for name, value in stated(inputs).items() if name in ("members", "memory_gb")}
    if not inputs.maps:
        values["maps"] = False
    if shell_um is not None:
        values["shell_um"] = _edges(shell_um)
    config = MeasureConfig.from_dict(values, source=str(file or "options"))
    if config.initial is not None:
        existing(config.initial, "label volume")
    return config


def _edges(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--shell-um {text}: give distances in µm, separated by commas") from None


def show_measures(rows: "Sequence[MeasureRow]", notes: Sequence[str], page: Path, run: MeasureRun) -> None:
    """Print the measures, and where the results are."""
    from tomostain.measure.result_files import CSV, JSON
    from tomostain.measure.text import measures_text

    if run.json:
        typer.echo((run.out / JSON).read_text(encoding="utf-8").rstrip())
        return
    typer.echo(measures_text(rows))
    for note in notes:
        typer.echo(f"note:    {note}")
    typer.echo(f"tables:  {run.out / CSV}, {run.out / JSON}\npage:    {page}")
