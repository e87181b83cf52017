"""The plan of the demo."""

from pathlib import Path

import numpy as np

from tomostain.demo.config import DemoConfig
from tomostain.demo.stages import plan_stages
from tomostain.errors import InputError
from tomostain.io.metadata.units import format_sides
from tomostain.io.output_folder import output_folder
from tomostain.paths import StrPath

SETTINGS = "demo.yaml"


def check_folder(out: Path, config: DemoConfig) -> bool:
    """Return whether a folder contains a demo with these settings, which continues. Nothing is changed.

    Raises
    ------
    InputError
        If it contains other files, or a demo with other settings.
    """
    if not output_folder(out, "demo", SETTINGS, resume=True):
        return False
    if (out / SETTINGS).read_text(encoding="utf-8", errors="replace") != config.to_yaml():
        raise InputError(f"{out}: contains a demo with other settings; choose another folder, or remove this one")
    return True


def describe_plan(out: StrPath, config: DemoConfig) -> list[str]:
    """Return the plan of the demo in `out`: stages, sizes, memory and time.

    Raises
    ------
    InputError
        If the demo cannot run in `out`; see `check_folder`.
    """
    out = Path(out)
    check_folder(out, config)
    stages = plan_stages(config)
    voxels = int(np.prod(config.shape))
    size = format_sides(config.shape)
    names = ("specimens", "dataset-registration", "dataset", "run/model", "stained.ome.zarr", "report.html")
    done = [name for name in names if (out / name).exists()]
    lines = [f"stage {number} of {len(stages)}, {stage.name}: {stage.doing}" for number, stage in enumerate(stages, 1)]
    return [
        *lines,
        f"{len(config.specimens)} specimens of {size} voxels of {config.voxel_um:g} µm; the last is not trained on",
        f"training starts from {config.init or 'random weights'}, {config.steps} steps",
        f"on disk: about {len(config.specimens) * voxels * 2.5 / 1e6 + 60:.0f} MB in {out}; memory: below 2 GB; "
        f"time: about {sum(stage.seconds for stage in stages) / 60:.0f} min on two idle cores",
        f"finished already: {', '.join(done) or 'nothing'}",
    ]
