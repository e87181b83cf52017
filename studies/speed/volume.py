"""A volume end to end: time of reading, model and writing, and a prediction for 1500³ voxels.

The prediction for a CPU uses the measured CPU-seconds per million voxels. The prediction for an H100 divides the
operations of the layers by an assumed share of the peak; it is not a measurement.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import torch

from benchmarks.staining import translator
from studies.speed.staining import slice_flop
from tests.support.models import LEVELS, grey_volume, random_model
from tomostain.imaging.intensity import IntensityReference
from tomostain.io.ome_zarr.writer import StainedWriter
from tomostain.stain import StainConfig, stain_volume
from tomostain.stain import chunk as stage

SHAPE = (48, 512, 512)
PREDICTED_SIDE = 1500
H100_BF16_FLOP_S = 989e12  # dense, from the data sheet
ASSUMED_SHARE = 0.4


class Clock:
    """Sums the wall and CPU seconds of the threads that call a function."""

    def __init__(self) -> None:
        self.wall, self.cpu, self.first, self.last = 0.0, 0.0, float("inf"), 0.0

    def watch(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed."""

        def timed(*arguments: Any, **keywords: Any) -> Any:
            began, cpu_began = time.perf_counter(), time.thread_time()
            try:
                return function(*arguments, **keywords)
            finally:
                self.last = time.perf_counter()
                self.first = min(self.first, began)
                self.wall += self.last - began
                self.cpu += time.thread_time() - cpu_began

        return timed


def predict(seconds_a_mvoxel: dict[str, float], side: int = PREDICTED_SIDE) -> dict[str, float]:
    """Return hours for side³ voxels: the longest stage if each has its own core, and the sum on one core.

    Examples
    --------
    >>> predict({"reading": 1.0, "model": 3.6, "writing": 2.0}, 1000)
    {'hours_overlapped': 1.0, 'hours_one_core': 1.8333333333333333}
    """
    hours = {stage: seconds * side**3 / 1e6 / 3600 for stage, seconds in seconds_a_mvoxel.items()}
    return {"hours_overlapped": max(hours.values()), "hours_one_core": sum(hours.values())}


def h100_seconds(recipe: str, norm: str, config: StainConfig, side: int = PREDICTED_SIDE) -> float:
    """Return the seconds of `side` slices of side² px at the assumed share of the peak of an H100."""
    flop = slice_flop(translator(recipe, fast=False, norm=norm), side, config)
    return side * flop / (ASSUMED_SHARE * H100_BF16_FLOP_S)


def measure(recipe: str = "tomostain-cpu") -> dict[str, Any]:
    """Stain a volume once, from disk to disk, and predict."""
    reading, model, writing = Clock(), Clock(), Clock()
    config = StainConfig(blend="exact")
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        weights, volume = (
            random_model(folder / "model", recipe, norm="channel", gain=3),
            grey_volume(folder / "volume", SHAPE),
        )
        with (
            mock.patch.object(stage, "normalised_chunk", reading.watch(stage.normalised_chunk)),
            mock.patch.object(stage, "stain_slice", model.watch(stage.stain_slice)),
            mock.patch.object(StainedWriter, "write", writing.watch(StainedWriter.write)),
            mock.patch.object(StainedWriter, "finish", (pyramid := Clock()).watch(StainedWriter.finish)),
        ):
            began, cpu = time.perf_counter(), time.process_time()
            stain_volume(
                weights,
                volume,
                folder / "out.ome.zarr",
                config=config,
                intensity=IntensityReference(LEVELS["background"], LEVELS["bone"]),
                device="cpu",
            )
            wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    mvoxels = SHAPE[0] * SHAPE[1] * SHAPE[2] / 1e6
    clocks = {"reading": reading, "model": model, "writing": writing, "pyramid": pyramid}
    cpu_s_per_mvoxel = {name: clock.cpu / mvoxels for name, clock in clocks.items() if name in ("reading", "model")}
    # Compressors have their own threads. The remaining time counts as writing, including opening and pyramid.
    cpu_s_per_mvoxel["writing"] = cpu / mvoxels - sum(cpu_s_per_mvoxel.values())
    chunks_s = writing.last - reading.first
    return {
        "mvoxels": mvoxels,
        "wall_s": wall,
        "cpu_s": cpu,
        "slabs_wall_s": chunks_s,
        "model_busy_share": model.wall / chunks_s,
        "load_of_the_machine": os.getloadavg()[0],
        **{f"{name}_cpu_s_a_mvoxel": value for name, value in cpu_s_per_mvoxel.items()},
        **{f"{name}_wall_s": clock.wall for name, clock in clocks.items()},
        **{f"cpu_1500_{name}": value for name, value in predict(cpu_s_per_mvoxel).items()},
        "h100_predicted_not_measured_s_tomostain_exact": h100_seconds("tomostain", "channel", config),
        "h100_predicted_not_measured_s_papers_way": h100_seconds("paired-cyclegan", "instance", StainConfig()),
        "h100_assumed_share_of_989_tflop_s": ASSUMED_SHARE,
        "torch_threads": torch.get_num_threads(),
    }
