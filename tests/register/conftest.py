"""One small phantom with a rotated and mirrored slide, and the slide of another specimen."""

from pathlib import Path

import pytest

from tests.support.phantom_slides import phantom_slide
from tomostain.io import write_slide
from tomostain.phantom import PhantomConfig, write_specimen

SMALL = {"shape": (96, 96, 96), "voxel_um": 46.0, "pixel_um": 23.0}


@pytest.fixture(scope="session")
def specimen(tmp_path_factory) -> Path:
    laboratory = {"turn_deg": 200.0, "mirrored": True}
    config = PhantomConfig.from_dict({"seed": 21, "material": "Mg-10Gd", "laboratory": laboratory} | SMALL)
    return write_specimen(config, tmp_path_factory.mktemp("register") / "specimen")


@pytest.fixture(scope="session")
def other_slide(tmp_path_factory) -> Path:
    config = PhantomConfig.from_dict({"seed": 22, "material": "Mg-10Gd"} | SMALL)
    path = tmp_path_factory.mktemp("register") / "slide.ome.tif"
    write_slide(path, phantom_slide(config).rgb, config.pixel_um)
    return path
