"""Definitions of the study: its sizes, its difficulties, the rows of the table.

The paper's data are private: 7 : 1 : 2 specimens with Mg, Ti and PEEK screws (section 2.1), sections of 40 µm against
one µCT slice, registered to within a few pixels (section 2.3). The phantoms here are like that, and their truth is
known. Three difficulties share the specimens and differ in the imperfections of histology and registration.
"""

from dataclasses import dataclass, field
from typing import Any

from tomostain.phantom.laboratory import LaboratoryConfig

ROWS = ("paired-cyclegan", "pix2pix", "cyclegan-inverted", "cyclegan", "tomostain")
MAGNESIUM = ("Mg-5Gd", "Mg-10Gd")
WEEKS = (4, 8, 12)


@dataclass(frozen=True)
class Difficulty:
    """Remaining differences between a µCT slice and its histology.

    Attributes
    ----------
    name : str
    laboratory : dict
        Keys of `LaboratoryConfig` that differ from its defaults.
    shift_px : tuple of float
        Minimum and maximum in-plane shift that remains after registration, pixels of the pair.
    plane_px : float
        Maximum distance of the plane from the true one, pixels of the pair.
    turn_deg : float
        Maximum remaining rotation, in the plane and of the plane.
    strain : float
        Maximum remaining scale and shear.
    """

    name: str
    laboratory: dict[str, Any] = field(default_factory=dict)
    shift_px: tuple[float, float] = (0.0, 0.0)
    plane_px: float = 0.0
    turn_deg: float = 0.0
    strain: float = 0.0


DIFFICULTIES = (
    # Thickness, damage, uneven light and noise remain. The position is exact.
    Difficulty("aligned", {"strain": 0.0, "soft_shift_um": 0.0}),
    Difficulty("paper", {}, (1.0, 3.0), 1.0, 0.3, 0.003),
    Difficulty("badly", {"soft_shift_um": 60.0, "cracks": 5, "spills": 2}, (3.0, 8.0), 2.0, 0.8, 0.01),
)


@dataclass(frozen=True)
class Edition:
    """The study at one size.

    Attributes
    ----------
    name : str
    specimens, test : int
        Number of specimens, and number of test specimens: the last ones, which include every material.
    shape : tuple of int
        Voxels of a volume (z, y, x); the screw lies along y, so that few slices hold the section.
    voxel_um, pixel_um : float
        Of µCT and slide.
    suffix : str
        End of the names of the recipes.
    patch_px, stride_px : int
        Patches of evaluation and staining.
    seconds, samples : int
        The two budgets of training: time, and number of patches.
    """

    name: str
    specimens: int
    test: int
    shape: tuple[int, int, int]
    voxel_um: float
    pixel_um: float
    suffix: str
    patch_px: int
    stride_px: int
    seconds: int
    samples: int


EDITIONS = {
    "tiny": Edition("tiny", 7, 2, (24, 96, 96), 46.0, 23.0, "-cpu", 64, 32, 3, 4),
    "cpu": Edition("cpu", 30, 8, (64, 256, 256), 20.0, 10.0, "-cpu", 128, 64, 300, 1200),
    # The paper's networks and patches: for a GPU.
    "gpu": Edition("gpu", 50, 10, (160, 1024, 1024), 5.0, 2.5, "", 256, 64, 4 * 3600, 400_000),
}


def materials(number: int) -> list[str]:
    """Return the materials of a number of specimens, 7 : 1 : 2 Mg : Ti : PEEK, distributed evenly.

    Examples
    --------
    >>> from collections import Counter
    >>> Counter(name[:2] for name in materials(20)) == {"Mg": 14, "Ti": 2, "PE": 4}
    True
    """
    pattern = ("Mg", "Mg", "PEEK", "Mg", "Mg", "Ti", "Mg", "Mg", "PEEK", "Mg")
    names = [pattern[i % len(pattern)] for i in range(number)]
    magnesium = 0
    for i, name in enumerate(names):
        if name == "Mg":
            names[i] = MAGNESIUM[magnesium % 2]
            magnesium += 1
    return names


def specimen_values(edition: Edition, number: int, first_seed: int) -> dict[str, Any]:
    """Return the phantom configuration of one specimen, without that of the laboratory."""
    return {
        "seed": first_seed + number,
        "material": materials(edition.specimens)[number],
        "weeks": WEEKS[number % 3],
        "shape": edition.shape,
        "voxel_um": edition.voxel_um,
        "pixel_um": edition.pixel_um,
        "orientation": "lying",
    }


def laboratory(difficulty: Difficulty) -> dict[str, Any]:
    """Return the validated laboratory settings."""
    return LaboratoryConfig.from_dict(difficulty.laboratory, f"difficulty {difficulty.name}").model_dump(mode="json")
