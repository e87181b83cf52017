"""The search for a section in a phantom: its time on a card and on the CPU, and the distance between the poses."""

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.gpu_items import Row
from benchmarks.gpu_size import Size
from tomostain.geometry.section import Section
from tomostain.io import Slide, open_slide
from tomostain.phantom import PhantomConfig, write_specimen
from tomostain.register import register_slide
from tomostain.register.config import RegisterConfig

_VOXEL_UM = 46.0


def measure(size: Size) -> Iterator[Row]:
    """Yield the time on each device, and the largest distance between the poses within the slide."""
    side = 48 if size.toy else 96
    settings = {"seed": 21, "material": "Mg-10Gd", "laboratory": {"turn_deg": 200.0, "mirrored": True}}
    um = {"voxel_um": _VOXEL_UM * 96 / side, "pixel_um": _VOXEL_UM * 48 / side}
    search = RegisterConfig(candidates=50, step_deg=30.0, side=16, restarts=2) if size.toy else RegisterConfig()
    search = search.model_copy(update={"thorough": False, "threshold": 0.0})
    with TemporaryDirectory() as folder:
        specimen = write_specimen(PhantomConfig.from_dict(settings | um | {"shape": (side,) * 3}), Path(folder) / "one")
        slide = open_slide(specimen / "slide.ome.tif")
        sections: list[Section] = []
        # The first run on a card also loads its libraries.
        for device in dict.fromkeys((size.device, "cpu")):
            for run in ("first", "again") if device == "cuda" else ("first",):
                began = time.perf_counter()
                result = register_slide(specimen / "volume", slide, search, device=device)
                seconds = time.perf_counter() - began
                row = {"device": device, "run": run, "seconds": seconds, "confidence": result.confidence}
                yield row | {
                    "voxels_apart": _apart(sections[0], result.section, slide) / um["voxel_um"] if sections else None
                }
                sections.append(result.section)


def _apart(one: Section, other: Section, slide: Slide) -> float:
    """Return the largest distance between the positions of the corners of a slide, µm."""
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]) * np.array(slide.shape[:2]) * slide.pixel_um
    places = [section.to_volume_um(section.slide_to_section_um(corners)) for section in (one, other)]
    return float(np.linalg.norm(places[0] - places[1], axis=1).max())
