"""Options of a phantom: specimen, tomography, histology and laboratory."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tomostain.config import Config

Material = Literal["Mg-5Gd", "Mg-10Gd", "Ti", "PEEK"]
Side = Annotated[int, Field(ge=8, le=4096)]
# Pixels larger than the pitch of the thread show no screw. Below 0.2 µm there is no further structure.
Step = Annotated[float, Field(ge=0.2, le=400.0)]
Factor = Annotated[float, Field(ge=0.1, le=10.0)]


class TomographyConfig(Config):
    """Options of the simulated tomography.

    Attributes
    ----------
    energy_kev : float
        Photon energy, keV. The paper used 25 to 45 keV.
    samples : int
        Sampling points per side of a voxel. Their mean is the partial volume.
    blur : float
        Standard deviation of the point spread function, voxels.
    fringe : float
        Strength of the phase fringes at edges, in units of the Laplacian.
    noise : float
        Standard deviation of the noise without a specimen, as a fraction of the attenuation of dense bone.
    rings, streaks : float
        Strength of rings and of metal streaks, as a fraction of the attenuation of dense bone.
    bone_grey, background_grey : float or None
        Grey values of dense bone and air in the 16-bit scale. None: drawn from the seed.
    """

    energy_kev: float = Field(default=35.0, ge=10.0, le=100.0)
    samples: int = Field(default=1, ge=1, le=4)
    blur: float = Field(default=0.7, ge=0.0, le=10.0)
    fringe: float = Field(default=0.06, ge=0.0, le=1.0)
    noise: float = Field(default=0.03, ge=0.0, le=1.0)
    rings: float = Field(default=0.012, ge=0.0, le=1.0)
    streaks: float = Field(default=0.03, ge=0.0, le=1.0)
    bone_grey: float | None = Field(default=None, ge=1000.0, le=60000.0)
    background_grey: float | None = Field(default=None, ge=0.0, le=60000.0)


class HistologyConfig(Config):
    """Options of the stained section.

    Attributes
    ----------
    thickness_um : float
        Thickness of the ground section, µm (paper section 2.1: about 40).
    samples : int
        Sampling points through the thickness, spread over the area of the pixel. Their absorbances are added.
    absorbance : tuple of float
        Factors on the absorbance of all tissues in red, green and blue, for another batch of the stain.
    """

    thickness_um: float = Field(default=40.0, gt=0.0, le=500.0)
    samples: int = Field(default=5, ge=1, le=64)
    absorbance: tuple[Factor, Factor, Factor] = (1.0, 1.0, 1.0)


class LaboratoryConfig(Config):
    """Imperfections that preparation and imaging add to a section.

    Attributes
    ----------
    strain : float or None
        Largest non-uniform scale and shear. None: by the stain (0.8 %, H&E 3.5 %).
    soft_shift_um : float
        Largest displacement of soft tissue, µm.
    cracks, spills, missing : int
        Number of cracks, of drops of stain, and of missing pieces of bone.
    saw_marks, illumination, white_balance, grain : float
        Relative strength of striations in one direction, of uneven light, of a colour cast, and of camera noise.
    field_of_view : float
        Fraction of the sides of the slide that was imaged, 0.2 to 1.
    turn_deg : float
        Rotation of the section on the glass, degrees.
    mirrored : bool
        The section lies face down: the columns are reversed.
    lost, misstained : float
        Fraction of the tissue that broke off, and fraction that was stained wrongly, each on one side.
    """

    strain: float | None = Field(default=None, ge=0.0, le=0.1)
    soft_shift_um: float = Field(default=25.0, ge=0.0, le=500.0)
    cracks: int = Field(default=3, ge=0, le=100)
    spills: int = Field(default=1, ge=0, le=100)
    missing: int = Field(default=1, ge=0, le=100)
    saw_marks: float = Field(default=0.025, ge=0.0, le=1.0)
    illumination: float = Field(default=0.05, ge=0.0, le=1.0)
    white_balance: float = Field(default=0.04, ge=0.0, le=1.0)
    grain: float = Field(default=0.008, ge=0.0, le=1.0)
    field_of_view: float = Field(default=1.0, ge=0.2, le=1.0)
    turn_deg: float = Field(default=0.0, ge=-360.0, le=360.0)
    mirrored: bool = False
    lost: float = Field(default=0.0, ge=0.0, le=0.8)
    misstained: float = Field(default=0.0, ge=0.0, le=0.8)

    @classmethod
    def perfect(cls) -> "LaboratoryConfig":
        """Return options without any imperfection."""
        off = dict.fromkeys(("soft_shift_um", "cracks", "spills", "missing", "saw_marks", "illumination"), 0)
        return cls.from_dict({"strain": 0.0, "white_balance": 0.0, "grain": 0.0, **off})


class PhantomConfig(Config):
    """One bone-implant specimen, its µCT volume and its slide (paper sections 2.1 and 2.2).

    Attributes
    ----------
    seed : int
        Seed of the specimen. The same seed gives the same bits.
    material : {"Mg-5Gd", "Mg-10Gd", "Ti", "PEEK"}
        Material of the screw. Only magnesium degrades.
    weeks : {4, 8, 12}
        Healing time, weeks.
    stain : {"toluidine-blue", "h&e"}
        Stain of the slide.
    shape : tuple of int
        Voxels of the µCT volume (z, y, x), 8 to 4096 per side.
    voxel_um : float
        Voxel size of the µCT, µm.
    pixel_um : float
        Pixel size of the slide, µm.
    orientation : {"random", "upright", "lying"}
        Orientation of the specimen: random (as in the paper, by the seed), with the screw along z, or along y.
    section_tilt_deg : float, optional
        Angle between the section and the axis of the screw, degrees. None: by the seed (at most 3).
    section_offset_um : float, optional
        Distance of the section from the centre of the screw, µm. None: by the seed (at most 150).
    tomography : TomographyConfig
    histology : HistologyConfig
    laboratory : LaboratoryConfig
    """

    seed: int = Field(default=0, ge=0)
    material: Material = "Mg-10Gd"
    weeks: Literal[4, 8, 12] = 8
    stain: Literal["toluidine-blue", "h&e"] = "toluidine-blue"
    shape: tuple[Side, Side, Side] = (256, 256, 256)
    voxel_um: Step = 20.0
    pixel_um: Step = 10.0
    orientation: Literal["random", "upright", "lying"] = "random"
    section_tilt_deg: float | None = Field(default=None, ge=-30.0, le=30.0)
    section_offset_um: float | None = Field(default=None, ge=-1000.0, le=1000.0)
    tomography: TomographyConfig = TomographyConfig()
    histology: HistologyConfig = HistologyConfig()
    laboratory: LaboratoryConfig = LaboratoryConfig()

    @model_validator(mode="after")
    def _fits_in_memory(self) -> Self:
        voxels = self.shape[0] * self.shape[1] * self.shape[2]
        if voxels > 2**31:
            raise ValueError(
                f"shape {'x'.join(map(str, self.shape))} is {voxels / 1e9:.1f} billion voxels; "
                "a phantom is made in memory; set `shape` to at most 2.1 billion voxels (1290 per side)"
            )
        return self

    @property
    def field_um(self) -> tuple[float, float, float]:
        """Lengths of the sides of the volume (z, y, x), µm, between the centres of the first and the last voxel."""
        z, y, x = ((side - 1) * self.voxel_um for side in self.shape)
        return z, y, x
