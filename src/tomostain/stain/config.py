"""How slices and volumes are stained."""

from typing import Literal, Self

from pydantic import Field, model_validator

from tomostain.config import Config


class StainConfig(Config):
    """How slices and volumes are stained; the defaults are the paper's (sections 2.9 and 2.11).

    Attributes
    ----------
    patch_px, stride_px : int
        Side of the square patches and the step between them.
    blend : {"mean", "hann"}
        Weights of patches where they overlap: all equal, or falling towards the patch's border.
    gaussian_sigma : float
        σ in voxels of a 3D Gaussian filter before staining (the paper: 1); 0 for none.
    batch : int
        Patches that go through the network at once.
    slab : int
        Slices read, stained and written at once; the unit of resuming.
    """

    patch_px: int = Field(default=256, ge=16)
    stride_px: int = Field(default=64, ge=1)
    blend: Literal["mean", "hann"] = "mean"
    gaussian_sigma: float = Field(default=0.0, ge=0, le=20)
    batch: int = Field(default=4, ge=1)
    slab: int = Field(default=16, ge=1)

    @model_validator(mode="after")
    def _patches_overlap(self) -> Self:
        if self.stride_px > self.patch_px:
            raise ValueError(
                f"stride_px {self.stride_px} is larger than patch_px {self.patch_px} and would leave gaps; "
                "give a stride_px of at most patch_px"
            )
        return self
