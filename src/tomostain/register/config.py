"""The options of registration."""

from typing import Literal, Self

from pydantic import Field, model_validator

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
    most_strain : float
        Bound of the shear, and of half the difference of the scales along two directions; the scale as a whole may be
        off by twice as much, since a pixel size may be wrong. Where the strain is more than the stain's preparation
        explains, `pair.yaml` warns.
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
        Confidence below which the answer is "not sure"; checked on phantoms (`studies/registration`).
    restarts : int
        Independent restarts about the pose, of which the part that comes back goes into the confidence.
    deform : bool
        Let soft tissue move by a smooth field after the affine; reported apart.
    ct_background, ct_bone : float or None
        Grey levels of the scan, in its own scale; None: found in the volume (paper section 2.5).
    histology_background, histology_bone : four int or None
        Regions of empty glass and of bone on the slide, where they are not found: row, row after the last, column,
        column after the last, in pixels of the finest level. Both or none.
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
    most_strain: float = Field(default=0.06, gt=0.0, le=0.2)
    side: int = Field(default=24, ge=16, le=64)
    step_deg: float = Field(default=13.0, ge=4.0, le=30.0)
    candidates: int = Field(default=1200, ge=50, le=20000)
    most_voxels: int = Field(default=256, ge=64, le=512)
    thorough: bool = True
    threshold: float = Field(default=0.5, ge=0.0, le=1.0)
    restarts: int = Field(default=8, ge=2, le=64)
    deform: bool = False
    ct_background: float | None = None
    ct_bone: float | None = None
    histology_background: tuple[int, int, int, int] | None = None
    histology_bone: tuple[int, int, int, int] | None = None
    voxel_um: float | None = Field(default=None, gt=0)
    margin_um: float = Field(default=60.0, ge=0)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _both_regions(self) -> Self:
        if (self.histology_background is None) != (self.histology_bone is None):
            raise ValueError("histology_background and histology_bone: give both or none")
        return self
