"""Staining a volume from TIFF to OME-Zarr in memory-backed storage, and the share of each stage.

The volume is a phantom, repeated. Weights are random, with a factor that gives colours which compress as those of a
trained model do (to 0.85 to 0.90 of their size). A second network does nearly nothing: it shows how fast reading and
writing are.
"""

import os
import shutil
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import tifffile
import torch

from benchmarks.gpu_items import Row
from benchmarks.gpu_size import Size
from benchmarks.gpu_training import recipe_of
from tomostain import __version__
from tomostain.installation import available_cores
from tomostain.io import ModelSpec, load_model, save_model
from tomostain.io.ome_zarr.writer import OmeZarrWriter
from tomostain.memory import keep_freed_memory
from tomostain.models import builtin_folder
from tomostain.networks.build import build_network
from tomostain.phantom import PhantomConfig, grow_anatomy, tomograph
from tomostain.stain import stain_volume
from tomostain.stain.chunk import PendingChunk
from tomostain.stain.request import StainRequest

OURS = "tomostain"
CEILING: dict[str, Any] = {"name": "unet", "width": 2, "downs": 2, "norm": "channel", "in_channels": 1}
FACTOR = 2.0
TARGET_VOXELS = 1500**3
VOXEL_UM = 20.0
_PHANTOM = (16, 192, 192)

# What is timed, by column. Stages that run in several threads add up to more than the time of the whole.
BEFORE = {
    "model_s": (StainRequest, "load_model"),
    "grey_values_s": ("tomostain.stain.job", "find_reference"),
    "check_s": ("tomostain.stain.job", "check_volume"),
    "create_s": ("tomostain.stain.volume", "create_stained"),
}
DURING = {
    "read_s": ("tomostain.stain.volume", "read_chunk"),
    "begin_s": ("tomostain.stain.volume", "begin_chunk"),
    "wait_s": (PendingChunk, "result"),
    "write_s": (OmeZarrWriter, "write"),
    "finish_s": (OmeZarrWriter, "finish"),
}


def measure(size: Size) -> Iterator[Row]:
    """Yield a row for each staining of a volume: the first with a network includes its compilation."""
    keep_freed_memory()
    with TemporaryDirectory(prefix="tomostain-", dir=memory_folder(size.volume)) as name:
        folder = Path(name)
        volume = folder / "volume.tif"
        write_phantom(volume, size)
        models = {
            "nearly no network": write_model(folder / "ceiling", CEILING, size),
            f"`{OURS}`": write_model(folder / "model", recipe_of(OURS, size, 1).generator_spec(), size),
        }
        for network, model in models.items():
            for run in ("first", "again"):
                yield {"name": network, "run": run, **timed(model, volume, folder / "out.ome.zarr", size)}


def memory_folder(shape: tuple[int, int, int]) -> str | None:
    """Return a folder in memory-backed storage that holds the input and output of a volume; None if there is none."""
    folder, needed = Path("/dev/shm"), 8 * int(np.prod(shape))
    return str(folder) if folder.is_dir() and shutil.disk_usage(folder).free > needed else None


def write_phantom(path: Path, size: Size) -> None:
    """Write a TIFF of uint16 with a page for each slice: a phantom, repeated."""
    depth, rows, columns = size.volume
    shape = (max(8, min(depth, _PHANTOM[0])), min(rows, _PHANTOM[1]), min(columns, _PHANTOM[2]))
    part, _ = tomograph(grow_anatomy(PhantomConfig(shape=shape, voxel_um=VOXEL_UM, seed=3)))
    times = (1, -(-rows // shape[1]), -(-columns // shape[2]))
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for z in range(depth):
            image = np.tile(part[z % len(part)][None], times)[0, :rows, :columns]
            file.write(image, contiguous=False, metadata=None)


def write_model(folder: Path, generator: Mapping[str, Any], size: Size) -> Path:
    """Write a model with random weights, and with the training reference of a built-in model for the check before."""
    network = build_network(generator, torch.Generator().manual_seed(0)).requires_grad_(False)
    for parameter in network.parameters():
        parameter.mul_(FACTOR)
    shipped = load_model(builtin_folder("phantom-tb"))
    spec = ModelSpec(
        generator=dict(generator),
        in_channels=int(generator["in_channels"]),
        voxel_um=VOXEL_UM,
        patch_px=size.patch_px,
        stain="",
        recipe=OURS,
        tomostain_version=__version__,
        greys=shipped.spec.greys,
    )
    save_model(folder, spec, network.state_dict(), training_reference=shipped.training_reference)
    return folder


class Clock:
    """Adds up the time in functions that are called in several threads."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.first: dict[str, float] = {}
        self._lock = threading.Lock()

    def timing(self, column: str, place: object, name: str) -> AbstractContextManager[object]:
        """Return a context in which a function, or a method of a class, is timed."""
        owner = import_module(place) if isinstance(place, str) else place
        function: Callable[..., Any] = getattr(owner, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            with self._lock:
                self.first.setdefault(column, began)
            try:
                return function(*arguments, **options)
            finally:
                with self._lock:
                    self.seconds[column] += time.perf_counter() - began

        return patch.object(owner, name, timed)


@contextmanager
def clocks(clock: Clock) -> Iterator[None]:
    """Time all stages of staining."""
    with ExitStack() as stack:
        for column, (place, name) in (BEFORE | DURING).items():
            stack.enter_context(clock.timing(column, place, name))
        yield


def timed(model: Path, volume: Path, out: Path, size: Size) -> Row:
    """Stain a volume once and return the row of the table."""
    clock, began = Clock(), time.perf_counter()
    with clocks(clock), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # random weights are not trained on anything
        stain_volume(model, volume, out, voxel_um=VOXEL_UM, device=size.device)
    ended = time.perf_counter()
    staining = ended - clock.first["read_s"]
    mvoxel = float(np.prod(size.volume)) / 1e6
    row = {
        "mvoxel_s": mvoxel / staining,
        "whole_s": ended - began,
        "whole_mvoxel_s": mvoxel / (ended - began),
        "before_s": ended - began - staining,
        **{column: clock.seconds[column] for column in BEFORE},
        "staining_s": staining,
        **{column: clock.seconds[column] for column in DURING},
        "compressed": _size_of(out / "0") / (3e6 * mvoxel),
        "side_1500_s": ended - began - staining + TARGET_VOXELS / 1e6 * staining / mvoxel,
        "cores": available_cores(),
        "storage": "memory" if str(out).startswith("/dev/shm") else "disk",
    }
    shutil.rmtree(out)
    return row


def _size_of(folder: Path) -> int:
    return sum(Path(parent, name).stat().st_size for parent, _, names in os.walk(folder) for name in names)
