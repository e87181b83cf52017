"""The verb `doctor`: describe the installation."""

import importlib.metadata
import os
import platform
import shutil

import typer

import tomostain
from tomostain.cli.verbs import verb

EXTRAS = {"SimpleITK": "io", "openslide-python": "io", "hdf5plugin": "io", "vtk": "render", "neuroglancer": "browser"}
CORE = ("torch", "lightning-fabric", "numpy", "scipy", "scikit-image", "tifffile", "zarr", "h5py", "pydantic", "xraydb")


@verb(order=140)
def doctor() -> None:
    """Say what this installation can do: versions, device, memory, and what is missing with the way to get it."""
    typer.echo(f"tomostain {tomostain.__version__}, Python {platform.python_version()}, {platform.platform()}")
    for name in CORE:
        typer.echo(f"  {name:<18} {_version(name) or 'MISSING: install tomostain again'}")
    for name, extra in EXTRAS.items():
        typer.echo(f"  {name:<18} {_version(name) or f'not installed: pip install tomostain[{extra}]'}")
    if _version("torchvision"):
        typer.echo(
            "  torchvision        installed, not needed; a build that does not match torch breaks other packages"
        )
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            memory = torch.cuda.get_device_properties(index).total_memory / 1e9
            typer.echo(f"device: cuda:{index}, {torch.cuda.get_device_name(index)}, {memory:.0f} GB")
    else:
        typer.echo(f"device: cpu, {os.cpu_count()} cores, {torch.get_num_threads()} threads for the networks")
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    typer.echo(f"memory: {pages / 1e9:.0f} GB; free disk here: {shutil.disk_usage('.').free / 1e9:.0f} GB")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
