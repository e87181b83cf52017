"""What this installation can do: versions of packages, devices, memory and free disk space."""

import functools
import importlib.metadata
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass, fields
from pathlib import Path

from tomostain import __version__
from tomostain.memory import free_memory

_CONTROL_GROUP = Path("/sys/fs/cgroup")
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
# Packages that are always installed, and optional packages with the extra that installs them.
REQUIRED = (
    "torch",
    "lightning-fabric",
    "numpy",
    "scipy",
    "scikit-image",
    "tifffile",
    "zarr",
    "h5py",
    "pydantic",
    "xraydb",
)
OPTIONAL = {
    "SimpleITK": "io",
    "openslide-python": "io",
    "openslide-bin": "io",
    "hdf5plugin": "io",
    "pynrrd": "io",
    "dask": "io",
    "pylibCZIrw": "czi",
    "vtk": "render",
    "av": "film",
    "distributed": "cluster",
    "dask-jobqueue": "cluster",
    "neuroglancer": "browser",
    "statsmodels": "measure",
    "napari": "napari",
    "qtpy": "napari",
    "onnx": "exchange",
    "onnxscript": "exchange",
    "onnxruntime": "exchange",
    "stlpips-pytorch": "metrics",
    "DISTS-pytorch": "metrics",
}


@dataclass(frozen=True)
class Installation:
    """A description of the installation.

    Parameters
    ----------
    tomostain, python, system : str
        Versions.
    required : dict of str to str or None
        Version of each required package; None if it is missing.
    optional : dict of str to str or None
        The same for the optional packages.
    devices : tuple of str
        Names of the devices that PyTorch can use: the GPUs, then the CPU.
    memory_bytes, free_disk_bytes : int
        Size of the main memory (0 if unknown), free space on the disk of the working directory.
    notes : tuple of str
        Problems that do not prevent the use.
    free_memory_bytes : int
        What this process can still allocate, bytes: less than the machine has, in a container or a batch job; 0 if
        unknown.
    cores : int
        Processor cores that this process may use.
    """

    tomostain: str
    python: str
    system: str
    required: dict[str, str | None]
    optional: dict[str, str | None]
    devices: tuple[str, ...]
    memory_bytes: int
    free_disk_bytes: int
    notes: tuple[str, ...] = ()
    free_memory_bytes: int = 0
    cores: int = 0

    @property
    def extras(self) -> dict[str, tuple[str, ...]]:
        """The extras by name, each with those of its packages that are not installed."""
        names = dict.fromkeys(OPTIONAL.values())
        return {
            extra: tuple(name for name, version in self.optional.items() if OPTIONAL[name] == extra and not version)
            for extra in names
        }

    def to_dict(self) -> dict[str, object]:
        """Return the description by name, each extra with what is missing and the line that installs it."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        extras = {
            extra: {"installed": not missing, "missing": list(missing), "install": install_line(extra)}
            for extra, missing in self.extras.items()
        }
        return values | {"devices": list(self.devices), "notes": list(self.notes), "extras": extras}

    def describe(self) -> list[str]:
        """Return the description as lines, each incomplete extra with the line that installs it."""
        lines = [f"tomostain {self.tomostain}, Python {self.python}, {self.system}"]
        for name, version in self.required.items():
            lines.append(f"  {name:<18} {version or 'MISSING: install tomostain again'}")
        for name, version in self.optional.items():
            lines.append(f"  {name:<18} {version or f'not installed (extra {OPTIONAL[name]})'}")
        lines += [f"  {note}" for note in self.notes]
        lines.append("extras:")
        for extra, missing in self.extras.items():
            lines.append(f"  {extra:<18} {f'missing: {install_line(extra)}' if missing else 'installed'}")
        lines += [f"device: {device}" for device in self.devices]
        memory, free, disk = self.memory_bytes / 1e9, self.free_memory_bytes / 1e9, self.free_disk_bytes / 1e9
        return [*lines, f"memory: {memory:.0f} GB, {free:.0f} GB free; free disk here: {disk:.0f} GB"]


def install_line(extra: str) -> str:
    """Return the command that installs an extra. The quotes are for shells that expand brackets.

    Examples
    --------
    >>> install_line("io")
    "pip install 'tomostain[io]'"
    """
    return f"pip install 'tomostain[{extra}]'"


def describe_installation() -> Installation:
    """Return what this installation can do. Imports PyTorch.

    Examples
    --------
    >>> describe_installation().required["numpy"] is None
    False
    """
    notes = []
    if _version("torchvision"):
        notes.append(
            "torchvision        installed, not needed; a build that does not match torch breaks other packages"
        )
    if _lacks_cuda():
        notes.append(
            "torch              has no CUDA, but this machine has an NVIDIA GPU: install a build of torch for CUDA"
        )
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return Installation(
        tomostain=__version__,
        python=platform.python_version(),
        system=platform.platform(),
        required={name: _version(name) for name in REQUIRED},
        optional={name: _version(name) for name in OPTIONAL},
        devices=_devices(),
        memory_bytes=pages,
        free_disk_bytes=shutil.disk_usage(".").free,
        notes=tuple(notes),
        free_memory_bytes=free_memory() or 0,
        cores=available_cores(),
    )


def _devices() -> tuple[str, ...]:
    import torch

    cpu = f"cpu, {processor_name()}, {available_cores()} cores, {torch.get_num_threads()} threads for the networks"
    if not torch.cuda.is_available():
        return (cpu,)
    cards = (
        f"cuda:{index}, {torch.cuda.get_device_name(index)}, "
        f"{torch.cuda.get_device_properties(index).total_memory / 1e9:.0f} GB"
        for index in range(torch.cuda.device_count())
    )
    return (*cards, cpu)


def _lacks_cuda() -> bool:
    """Return whether the driver of an NVIDIA GPU is loaded, and torch was built without CUDA."""
    import torch

    return _NVIDIA_DRIVER.exists() and torch.version.cuda is None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def source_commit() -> str | None:
    """Return the Git commit of the source that runs, or None if it does not run from a clone.

    Returns
    -------
    str or None
        The abbreviated hash, followed by `` with changes`` if tracked files of the package differ from it.
    """
    folder = Path(__file__).parent
    if not _git(folder, "ls-files", Path(__file__).name):
        return None  # no repository, or one that does not contain this file
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    # Untracked files do not count.
    return f"{commit[:10]} with changes" if _git(folder, "status", "-s", "-uno", ".") else commit[:10]


def _git(folder: Path, *arguments: str) -> str | None:
    """Return the output of a Git command; None if it fails or there is no Git."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        completed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return completed.stdout.strip()


def processor_name() -> str:
    """Return the name of the processor, as far as the system states it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def available_cores() -> int:
    """Return the number of processor cores that this process may use, also in a container or a batch job."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _core_quota() or cores)


@functools.cache
def _core_quota() -> int | None:
    """Return the cores that a control group of Linux (version 2 or 1) allows, rounded up; None without a limit."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = " ".join((_CONTROL_GROUP / name).read_text(encoding="ascii") for name in names).split()
            quota, period = (int(word) for word in words)
        except (OSError, ValueError):  # no such group, or "max"
            continue
        if quota > 0 and period > 0:
            return -(-quota // period)
    return None
