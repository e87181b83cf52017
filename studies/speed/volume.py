"""A volume end to end: what reading, the model and writing take, and what follows from that for one of 1500³.

The prediction is a model with measured constants, as CPU-seconds a million voxels, for a CPU; and, for an H100, with
the arithmetic of the layers at an assumed share of the peak: predicted, not measured.
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
from tomostain.stain import volume as stage

SHAPE = (48, 512, 512)
WANTED = 1500
H100_BF16_FLOP_S = 989e12  # dense, of the data sheet
ASSUMED_SHARE = 0.4


class Clock:
    """Adds up the wall and CPU seconds of the thread that calls a function."""

    def __init__(self) -> None:
        self.wall, self.cpu, self.first, self.last = 0.0, 0.0, float("inf"), 0.0

    def watch(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed."""

        def timed(*arguments: Any, **keywords: Any) -> Any:
            began, spent = time.perf_counter(), time.thread_time()
            try:
                return function(*arguments, **keywords)
            finally:
                self.last = time.perf_counter()
                self.first = min(self.first, began)
                self.wall += self.last - began
                self.cpu += time.thread_time() - spent

        return timed


def predict(seconds_a_mvoxel: dict[str, float], side: int = WANTED) -> dict[str, float]:
    """Return hours for a volume of side³: the longest stage where each has a core of its own, the sum on one core.

    Examples
    --------
    >>> predict({"reading": 1.0, "model": 3.6, "writing": 2.0}, 1000)
    {'hours_overlapped': 1.0, 'hours_one_core': 1.8333333333333333}
    """
    hours = {stage: seconds * side**3 / 1e6 / 3600 for stage, seconds in seconds_a_mvoxel.items()}
    return {"hours_overlapped": max(hours.values()), "hours_one_core": sum(hours.values())}


def h100_seconds(recipe: str, norm: str, config: StainConfig, side: int = WANTED) -> float:
    """Return the arithmetic of side slices of side² px, at the assumed share of an H100's peak, s."""
    flop = slice_flop(translator(recipe, fast=False, norm=norm), side, config)
    return side * flop / (ASSUMED_SHARE * H100_BF16_FLOP_S)


def measure(recipe: str = "tomostain-cpu") -> dict[str, Any]:
    """Stain a volume once, from disk to disk, and predict."""
    reading, model, writing = Clock(), Clock(), Clock()
    config = StainConfig(blend="exact")
    with TemporaryDirectory() as place:
        folder = Path(place)
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
    each = {name: clock.cpu / mvoxels for name, clock in clocks.items() if name in ("reading", "model")}
    # Compressors have their own threads. The remaining time counts as writing, including opening and pyramid.
    each["writing"] = cpu / mvoxels - sum(each.values())
    slabs = writing.last - reading.first
    return {
        "mvoxels": mvoxels,
        "wall_s": wall,
        "cpu_s": cpu,
        "slabs_wall_s": slabs,
        "model_busy_share": model.wall / slabs,
        "load_of_the_machine": os.getloadavg()[0],
        **{f"{name}_cpu_s_a_mvoxel": value for name, value in each.items()},
        **{f"{name}_wall_s": clock.wall for name, clock in clocks.items()},
        **{f"cpu_1500_{name}": value for name, value in predict(each).items()},
        "h100_predicted_not_measured_s_tomostain_exact": h100_seconds("tomostain", "channel", config),
        "h100_predicted_not_measured_s_papers_way": h100_seconds("paired-cyclegan", "instance", StainConfig()),
        "h100_assumed_share_of_989_tflop_s": ASSUMED_SHARE,
        "torch_threads": torch.get_num_threads(),
    }
