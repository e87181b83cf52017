"""Time of each stage when registering one phantom without an initial pose, as `tomostain register` does.

No other known package finds the section of a slide in a volume automatically, so the stages are compared with the
whole. `studies.registration` measures the success rate.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tomostain.phantom import PhantomConfig, write_specimen
from tomostain.register.config import RegisterConfig
from tomostain.register.files import register_files

SIDE = 96


class Stages:
    """CPU-seconds per label of the progress reports; the time after the last report is called "ending"."""

    def __init__(self, clock: Callable[[], float] = time.process_time) -> None:
        self.clock = clock
        self.label, self.began = "opening", clock()
        self.seconds: dict[str, float] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        """Receive a progress report. A stage ends with its last step."""
        self._count(label)
        if done >= total:
            self._count("ending")

    def _count(self, label: str) -> None:
        current = self.clock()
        self.seconds[self.label] = self.seconds.get(self.label, 0.0) + current - self.began
        self.label, self.began = label, current

    def end(self) -> dict[str, float]:
        """Return the seconds of each stage."""
        self._count("over")
        return self.seconds


def measure(side: int = SIDE) -> dict[str, float]:
    """Register a phantom of side³ voxels of 40 µm; return CPU-seconds by stage, and the confidence."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_specimen(PhantomConfig(shape=(side, side, side), voxel_um=40.0, pixel_um=20.0, seed=3), folder / "grown")
        slide = folder / "grown" / "slide.ome.tif"
        stages = Stages()
        options: dict[str, Any] = {"config": RegisterConfig(material="dense"), "progress": stages}
        registration = register_files(folder / "grown" / "volume", slide, folder / "pair", **options)
        seconds = stages.end()
    by_stage = {f"{label} cpu_s": value for label, value in seconds.items()}
    return {
        "side_px": side,
        "all cpu_s": sum(seconds.values()),
        **by_stage,
        "confidence": float(registration.evidence.confidence),
    }
