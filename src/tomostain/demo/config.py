"""Settings of the demo, and its plan."""

from pathlib import Path

import numpy as np

from tomostain.config import Config

HELD_OUT = "held-out"


class DemoSpecimen(Config):
    """One specimen of the demo: its name, the implant and the weeks of healing."""

    id: str
    material: str
    weeks: int
    seed: int


def _specimens() -> tuple[DemoSpecimen, ...]:
    # No PEEK: it is as dark as marrow in the µCT and black in the histology, which needs many specimens to learn.
    kinds = [("Mg-10Gd", 8), ("Mg-5Gd", 12), ("Ti", 8), ("Mg-10Gd", 4), ("Mg-5Gd", 8)]
    grown = [
        DemoSpecimen(id=f"{material}-{weeks}w", material=material, weeks=weeks, seed=11 + number)
        for number, (material, weeks) in enumerate(kinds)
    ]
    return (*grown, DemoSpecimen(id=HELD_OUT, material="Mg-10Gd", weeks=8, seed=99))


class DemoConfig(Config):
    """Specimens and training of the demo.

    Attributes
    ----------
    shape : tuple of int
        Voxels of each µCT volume (z, y, x). The screw is along y, so that a slice shows it lengthwise.
    voxel_um, pixel_um : float
        Voxel size of the µCT and pixel size of the slides, µm.
    specimens : tuple of DemoSpecimen
        The last one is held out of training; its volume is stained.
    recipe : str
        Training recipe.
    steps : int
        Training steps.
    patch_px, stride_px : int
        Patches when staining. Larger than in training, so that few patches contain only marrow, where instance
        normalisation has no reference.
    truth_slices : int
        Number of slices of the stained volume that are compared with the truth.
    find_sections : bool
        Register the section of each slide in its volume, as `tomostain register` does, instead of using the known
        section. False only for phantoms that are too small for registration.
    seed : int
        Seed of training.
    """

    shape: tuple[int, int, int] = (64, 256, 256)
    voxel_um: float = 20.0
    pixel_um: float = 10.0
    specimens: tuple[DemoSpecimen, ...] = _specimens()
    recipe: str = "paired-cyclegan-cpu"
    steps: int = 900
    patch_px: int = 192
    stride_px: int = 64
    truth_slices: int = 9
    find_sections: bool = True
    seed: int = 0


def describe_plan(out: Path, config: DemoConfig) -> list[str]:
    """Return the plan of the demo in `out`: sizes, memory and time."""
    voxels = int(np.prod(config.shape))
    number = len(config.specimens)
    done = [
        name
        for name in ("specimens", "dataset-registration", "dataset", "run", "stained.ome.zarr", "report.html")
        if (out / name).exists()
    ]
    size = " x ".join(map(str, config.shape))
    return [
        f"generate {number} specimens of {size} voxels of {config.voxel_um:g} µm; the last is held out of training",
        "register the section of every slide in its volume" if config.find_sections else "use the known sections",
        f"train {config.recipe} for {config.steps} steps on the others",
        f"stain the volume of the last one, {voxels / 1e6:.1f} million voxels, and compare it with the truth",
        f"on disk: about {number * voxels * 2.5 / 1e6 + 60:.0f} MB in {out}; memory: below 6 GB; "
        "time: some minutes on two cores",
        f"finished already: {', '.join(done) or 'nothing'}",
    ]
