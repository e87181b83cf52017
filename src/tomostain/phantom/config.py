"""What a phantom specimen is: material, healing time, sizes, orientation, and what the two methods do to it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tomostain.config import Config
from tomostain.phantom.histology import HistologyConfig
from tomostain.phantom.laboratory import LaboratoryConfig
from tomostain.phantom.tomography import TomographyConfig

Material = Literal["Mg-5Gd", "Mg-10Gd", "Ti", "PEEK"]
Side = Annotated[int, Field(ge=8, le=4096)]
# A slide or volume coarser than the thread's pitch shows no screw; below 0.2 µm there is nothing left to see.
Step = Annotated[float, Field(ge=0.2, le=400.0)]


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
