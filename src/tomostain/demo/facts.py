"""What the page states about the run: machine, versions, time, and the commands that follow."""

import os
import platform
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from tomostain import __version__
from tomostain.demo.config import DemoConfig
from tomostain.installation import available_cores, processor_name, source_commit
from tomostain.io import Model


def program() -> str:
    """Return the `tomostain` of this environment, quoted for a shell."""
    script = Path(sys.executable).parent / "tomostain"
    return shlex.quote(str(script)) if script.is_file() else f"{shlex.quote(sys.executable)} -m tomostain"


def install_command(extra: str) -> str:
    """Return the command that installs an extra of tomostain into this environment."""
    return f"{shlex.quote(sys.executable)} -m pip install 'tomostain[{extra}]'"


def next_commands(out: Path, config: DemoConfig) -> tuple[str, ...]:
    """Return commands that continue from the demo, as they work in a shell in any folder."""
    command, other = program(), config.specimens[0].id
    recipe = f" --recipe {shlex.quote(config.recipe)}" if config.recipe else ""
    init = f" --init {shlex.quote(config.init)}" if config.init else ""
    return (
        f"cd {shlex.quote(str(out.absolute()))}",
        f"{command} view stained.ome.zarr",
        f"{command} evaluate run dataset evaluation --report",
        f"{command} stain run/model specimens/{other}/volume {other}.ome.zarr",
        f"{command} export stained.ome.zarr rgba --to rgba-tiff",
        f"{command} train dataset run-longer{recipe}{init} --max-steps {config.steps * 5}",
    )


def provenance(config: DemoConfig, model: Model, seconds: Mapping[str, float]) -> dict[str, str]:
    """Return software, machine and times, for the end of the page."""
    import torch

    return {
        "tomostain": " ".join(filter(None, (__version__, _commit()))),
        "software": f"Python {platform.python_version()}, PyTorch {torch.__version__}, {platform.system()}",
        "machine": f"{processor_name()}, {available_cores()} cores, {_memory_gb():.0f} GB of memory",
        "training": f"{model.spec.recipe}, {model.spec.steps} steps from {config.init or 'random weights'}",
        "model": model.hash[:16],
        "wall time": ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items()),
    }


def _commit() -> str:
    commit = source_commit()
    return f"(commit {commit})" if commit else ""


def _memory_gb() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9 if hasattr(os, "sysconf") else 0.0
