"""The options of registration."""

from typing import Literal

from pydantic import Field

from tomostain.config import Config


class RegisterConfig(Config):
    """How the section is found.

    Attributes
    ----------
    material : {"dense", "light"} or None
        What the screw is: metal (Mg, Ti) or polymer (PEEK). None: both are tried.
    thickness_um : float
        Thickness of the section, over which the µCT is averaged at the end (paper section 2.1: 40 µm).
    strain : float
        Standard deviation of the scales and shear that sectioning leaves (paper section 2.3: below 1 % with toluidine
        blue, 3 to 4 % with H&E); twice that is hardly ever exceeded.
    side : int
        Voxels along the volume's longest side at which the global search works.
    step_deg : float
        Angle between the orientations it tries.
    candidates : int
        How many places are refined after the global search; fewer is quicker and less sure.
    most_voxels : int
        Longest side of the copy of the volume that is kept in memory.
    thorough : bool
        Where the first search is not sure, look again more finely, and for a wrong pixel size too.
    threshold : float
        Confidence below which the answer is "not sure"; checked on phantoms (`benchmarks/registration`).
    restarts : int
        Independent restarts about the pose, of which the part that comes back goes into the confidence.
    deform : bool
        Let soft tissue move by a smooth field after the affine; reported apart.
    voxel_um : float or None
        Pixel size of the pair; None: the volume's.
    margin_um : float
        How far the correspondence mask reaches beyond bone and screw.
    seed : int
        Of the restarts.
    """

    material: Literal["dense", "light"] | None = None
    thickness_um: float = Field(default=40.0, ge=0.0, le=500.0)
    strain: float = Field(default=0.03, gt=0.0, le=0.1)
    side: int = Field(default=24, ge=16, le=64)
    step_deg: float = Field(default=13.0, ge=4.0, le=30.0)
    candidates: int = Field(default=1200, ge=50, le=20000)
    most_voxels: int = Field(default=256, ge=64, le=512)
    thorough: bool = True
    threshold: float = Field(default=0.5, ge=0.0, le=1.0)
    restarts: int = Field(default=8, ge=2, le=64)
    deform: bool = False
    voxel_um: float | None = Field(default=None, gt=0)
    margin_um: float = Field(default=60.0, ge=0)
    seed: int = Field(default=0, ge=0)
