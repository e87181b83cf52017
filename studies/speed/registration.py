"""Time of each stage when registering one phantom without an initial pose, as `tomostain register` does.

There is no peer: no package that we know finds the section of a slide in a volume by itself. So the stages are compared
with the whole, and how much is found is the matter of `studies.registration`.
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
    """CPU-seconds between the words of a progress report; what is left after the last one is called ending."""

    def __init__(self, clock: Callable[[], float] = time.process_time) -> None:
        self.clock = clock
        self.label, self.began = "opening", clock()
        self.seconds: dict[str, float] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        """Receive progress. A stage ends when it reports its last step."""
        self._count(label)
        if done >= total:
            self._count("ending")

    def _count(self, label: str) -> None:
        now = self.clock()
        self.seconds[self.label] = self.seconds.get(self.label, 0.0) + now - self.began
        self.label, self.began = label, now

    def end(self) -> dict[str, float]:
        """Return the seconds of each stage."""
        self._count("over")
        return self.seconds


def measure(side: int = SIDE) -> dict[str, float]:
    """Register a phantom of side³ voxels of 40 µm; return CPU-seconds by stage, and the confidence."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_specimen(PhantomConfig(shape=(side, side, side), voxel_um=40.0, pixel_um=20.0, seed=3), folder / "grown")
        slide = folder / "grown" / "slide.ome.tif"
        stages = Stages()
        options: dict[str, Any] = {"config": RegisterConfig(material="dense"), "progress": stages}
        located = register_files(folder / "grown" / "volume", slide, folder / "pair", **options)
        seconds = stages.end()
    found = {f"{label} cpu_s": value for label, value in seconds.items()}
    return {
        "side_px": side,
        "all cpu_s": sum(seconds.values()),
        **found,
        "confidence": float(located.evidence.confidence),
    }
