"""How slices and volumes are stained."""

from typing import Literal, Self, TypedDict

from pydantic import Field, model_validator

from tomostain.config import Config
from tomostain.networks.precision import Precision
from tomostain.tiling.grid import Blend

EXACT_TILE_PX = 1024
PAPER_PATCH_PX = 256


class Blending(TypedDict):
    """The options of `tomostain.tiling.blend.blend_tiles`."""

    patch_px: int
    stride_px: int
    blend: Blend
    batch: int


class StainConfig(Config):
    """How slices and volumes are stained; the defaults are the paper's (sections 2.9 and 2.11).

    Attributes
    ----------
    patch_px, stride_px : int or None
        Side of the square patches and the step between them. None: the side that the model was trained on, "for
        consistency with training and to preserve the same spatial frequency sampling" (section 2.9), and a quarter
        of it; the paper's 256 and 64 with the paper's model.
    blend : {"auto", "mean", "hann", "exact"}
        Weights of patches where they overlap: all equal, or falling towards the patch's border. "exact": no blending,
        but tiles with a halo that give what the whole slice would, where normalisation does not depend on the tile
        (`tomostain.tiling.exact`): models trained so, or any with `statistics` "volume"; `patch_px` is the side of a
        tile then (1024), and `stride_px` is unused. "auto": exact where that is possible and no stride is given, else
        the paper's mean.
    gaussian_sigma : float
        σ in voxels of a 3D Gaussian filter before staining (the paper: 1); 0 for none.
    statistics : {"tile", "volume"}
        What instance normalisation takes mean and variance from: each tile by itself, the paper's way; or some tiles
        spread over the volume, once for all, so that nothing hangs on the tile and exact tiles are possible
        (`tomostain.stain.volume_statistics`). A single image is a volume of one slice then.
    planes : {"z", "y", "x", "zyx"}
        Which planes of a volume are stained: slice by slice, across another axis, or along all three and fused,
        against flicker from slice to slice (`tomostain.stain.multi_axis`); three times the work, and 8 bytes a voxel on
        disk until it is done.
    fuse : {"mean", "median", "weighted"}
        How the three are fused.
    precision : {"float32", "bfloat16", "float16"}
        Of the network. Half precision is for processors that multiply it faster: float16 for GPUs (at most 3 grey
        levels away), bfloat16 for CPUs with AMX, 2 to 4 times as quick (most pixels the same, single ones many grey
        levels away); see `tomostain.networks.precision`.
    batch : int
        Patches that go through the network at once.
    slab : int
        Slices read, stained and written at once; the unit of resuming.
    """

    patch_px: int | None = Field(default=None, ge=16)
    stride_px: int | None = Field(default=None, ge=1)
    blend: Blend = "auto"
    gaussian_sigma: float = Field(default=0.0, ge=0, le=20)
    statistics: Literal["tile", "volume"] = "tile"
    planes: Literal["z", "y", "x", "zyx"] = "z"
    fuse: Literal["mean", "median", "weighted"] = "median"
    precision: Precision = "float32"
    batch: int = Field(default=4, ge=1)
    slab: int = Field(default=16, ge=1)

    @model_validator(mode="after")
    def _patches_overlap(self) -> Self:
        if self.stride_px is not None and self.patch_px is not None and self.stride_px > self.patch_px:
            raise ValueError(
                f"stride_px {self.stride_px} is larger than patch_px {self.patch_px} and would leave gaps; "
                "give a stride_px of at most patch_px"
            )
        return self

    def tiling(self, trained_px: int) -> tuple[int, int]:
        """Return patch side and stride for a model that was trained on patches of `trained_px`.

        Examples
        --------
        >>> StainConfig().tiling(256)
        (256, 64)
        >>> StainConfig(patch_px=96).tiling(256)
        (96, 24)
        >>> StainConfig(blend="exact").tiling(256)
        (1024, 1024)
        """
        if self.blend == "exact":
            return (self.patch_px or EXACT_TILE_PX,) * 2
        patch = self.patch_px or max(16, trained_px)
        return patch, min(self.stride_px or max(1, patch // 4), patch)

    def for_model(self, trained_px: int, tile_free: bool = False) -> "StainConfig":
        """Return the configuration with blending, patch side and stride resolved for a model; see `tiling`.

        Parameters
        ----------
        trained_px : int
            Side of the patches that it was trained on.
        tile_free : bool
            Its normalisation does not depend on the tile.

        Examples
        --------
        >>> StainConfig().for_model(256).blend, StainConfig().for_model(256, tile_free=True).blend
        ('mean', 'exact')
        """
        exact = (tile_free or self.statistics == "volume") and self.stride_px is None
        blend = ("exact" if exact else "mean") if self.blend == "auto" else self.blend
        resolved = self.model_copy(update={"blend": blend})
        patch, stride = resolved.tiling(trained_px)
        return resolved.model_copy(update={"patch_px": patch, "stride_px": stride})

    def blending(self, trained_px: int = PAPER_PATCH_PX) -> Blending:
        """Return the options of `blend_tiles` for a model that was trained on patches of `trained_px`."""
        patch_px, stride_px = self.tiling(trained_px)
        return {"patch_px": patch_px, "stride_px": stride_px, "blend": self.blend, "batch": self.batch}
