"""What a phantom specimen is: material, healing time, sizes, orientation, and what the two methods do to it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tomostain.config import Config

Material = Literal["Mg-5Gd", "Mg-10Gd", "Ti", "PEEK"]
Side = Annotated[int, Field(ge=8, le=4096)]
# A slide or volume coarser than the thread's pitch shows no screw; below 0.2 µm there is nothing left to see.
Step = Annotated[float, Field(ge=0.2, le=400.0)]


class TomographyConfig(Config):
    """What the instrument does.

    Attributes
    ----------
    energy_kev : float
        Of the beam; the paper's were 25 to 45 keV.
    samples : int
        Points a voxel's side at which the specimen is looked at; their mean is the partial volume.
    blur : float
        σ of the point spread, voxels.
    fringe : float
        Strength of the phase fringe at edges, in units of the Laplacian.
    noise : float
        σ of the noise behind an empty specimen, as a fraction of the attenuation of dense bone.
    rings, streaks : float
        Size of rings and of metal streaks, as a fraction of the attenuation of dense bone.
    bone_grey, background_grey : float or None
        Where dense bone and air lie in the 16-bit grey scale; drawn for every scan if None.
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
    """What the stained section is.

    Attributes
    ----------
    thickness_um : float
        Thickness of the ground section, µm (paper section 2.1: about 40).
    samples : int
        Points through the thickness, spread over the pixel's area too, whose absorbances are added.
    """

    thickness_um: float = Field(default=40.0, gt=0.0, le=500.0)
    samples: int = Field(default=5, ge=1, le=64)


class LaboratoryConfig(Config):
    """What the laboratory does.

    Attributes
    ----------
    strain : float or None
        Largest non-uniform scale and shear; by the stain if None (0.8 %, H&E 3.5 %).
    soft_shift_um : float
        How far soft tissue has shifted, µm (largest).
    cracks, spills, missing : int
        Cracks, drops of stain and pieces of bone lost.
    saw_marks, illumination, white_balance, grain : float
        Relative size of one-directional striations, of uneven light, of a colour cast and of the camera's noise.
    field_of_view : float
        Part of the slide's sides that was imaged, 0.2 to 1.
    turn_deg : float
        How far the section is turned on the glass, degrees.
    mirrored : bool
        The section lies face down: rows run the other way along the columns.
    lost, misstained : float
        Part of the section's tissue that broke off, and part whose stain failed, each on one side of it.
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
        """Return a laboratory that does nothing to the section."""
        off = dict.fromkeys(("soft_shift_um", "cracks", "spills", "missing", "saw_marks", "illumination"), 0)
        return cls.from_dict({"strain": 0.0, "white_balance": 0.0, "grain": 0.0, **off})


class PhantomConfig(Config):
    """One bone-implant specimen, its µCT volume and its slide (paper sections 2.1 and 2.2).

    Attributes
    ----------
    seed : int
        The specimen: the same seed grows the same bits.
    material : {"Mg-5Gd", "Mg-10Gd", "Ti", "PEEK"}
        Of the screw. Only magnesium degrades.
    weeks : {4, 8, 12}
        Healing time.
    stain : {"toluidine-blue", "h&e"}
        Of the slide.
    shape : tuple of int
        Voxels of the µCT volume (z, y, x), 8 to 4096 a side.
    voxel_um : float
        Voxel size of the µCT, µm.
    pixel_um : float
        Pixel size of the slide, µm.
    orientation : {"random", "upright", "lying"}
        How the specimen stands: anyhow (as in the paper, by the seed), with the screw along z, or along y.
    section_tilt_deg : float, optional
        Angle between the saw cut and the screw's axis, degrees; by the seed (at most 3) if None.
    section_offset_um : float, optional
        Distance of the saw cut from the screw's centre, µm; by the seed (at most 150) if None.
    tomography : TomographyConfig
        What the instrument does.
    histology : HistologyConfig
        What the stained section is.
    laboratory : LaboratoryConfig
        What the laboratory does to the section.
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
                "a phantom is grown in memory, take at most 2.1 billion (1290 a side)"
            )
        return self

    @property
    def field_um(self) -> tuple[float, float, float]:
        """Length of the volume's sides (z, y, x), µm, from the first voxel's centre to the last one's."""
        z, y, x = ((side - 1) * self.voxel_um for side in self.shape)
        return z, y, x
