"""Settings of the demo."""

from typing import Self

from tomostain.config import Config

HELD_OUT = "held-out"
SHIPPED_MODEL = "builtin:phantom-tb"
"""The model that the demo fine-tunes."""


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
    stain : str
        The stain of the slides, see `tomostain.phantom.PhantomConfig`.
    specimens : tuple of DemoSpecimen
        The last one is held out of training; its volume is stained. All others train.
    init : str or None
        Model that training starts from. None: training starts from random weights.
    recipe : str or None
        Training recipe. None: that of the initial model, or the best one for the device.
    steps : int
        Training steps.
    patch_px, stride_px : int or None
        Patches when staining. None: exact tiles if the model allows them (`tomostain.stain.StainConfig`).
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
    stain: str = "toluidine-blue"
    specimens: tuple[DemoSpecimen, ...] = _specimens()
    init: str | None = None
    recipe: str | None = "tomostain-cpu"
    steps: int = 2400
    patch_px: int | None = None
    stride_px: int | None = None
    truth_slices: int = 9
    find_sections: bool = True
    seed: int = 0

    @classmethod
    def fine_tuning(cls, steps: int = 1000) -> Self:
        """Return the settings of the demo that starts from the model that comes with tomostain."""
        return cls(init=SHIPPED_MODEL, recipe=None, steps=steps)

    @classmethod
    def default(cls) -> Self:
        """Return `fine_tuning` if the model is installed, else the settings of a training from random weights."""
        from tomostain.models import builtin_names

        return cls.fine_tuning() if SHIPPED_MODEL.split(":")[1] in builtin_names() else cls()
