"""Configuration of staining."""

import warnings
from typing import Literal, Self, TypedDict

from pydantic import Field, model_validator

from tomostain.config import Config
from tomostain.errors import warn_user
from tomostain.networks.precision import PrecisionChoice
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
    """Configuration of staining; the defaults are those of the paper (sections 2.9 and 2.11).

    Attributes
    ----------
    patch_px, stride_px : int or None
        Side of the square patches and the step between them. None: the side of the training patches, "for consistency
        with training and to preserve the same spatial frequency sampling" (section 2.9), and a quarter of it; 256 and
        64 for the model of the paper.
    blend : {"auto", "mean", "hann", "exact"}
        Weights of overlapping patches: equal, or decreasing towards the border of the patch. "exact": tiles with a halo
        that give the same result as the whole slice (`tomostain.tiling.exact`). This needs a model whose normalisation
        does not depend on the tile, or `statistics` "volume". Then `patch_px` is the side of a tile (default 1024), and
        `stride_px` is unused. "auto": exact if possible and no stride is given, otherwise the mean, as in the paper.
    gaussian_sigma : float
        σ in voxels of a 3D Gaussian filter before staining (1 in the paper); 0 for none.
    statistics : {"tile", "volume"}
        Source of mean and variance of instance normalisation: each tile (paper), or some tiles from all over the
        volume, once for all tiles. The result then does not depend on the tile, and exact tiles are possible
        (`tomostain.stain.volume_statistics`). A single image counts as a volume of one slice.
    planes : {"z", "y", "x", "zyx"}
        Axis of staining. "zyx": along all three, fused, against flicker between slices (`tomostain.stain.multi_axis`);
        three times the work, and 8 bytes per voxel on disk until the volume is complete.
    fuse : {"mean", "median", "weighted"}
        How the results of the three axes are fused.
    precision : {"auto", "float32", "bfloat16", "float16"}
        Precision of the network. Half precision is faster on some processors: float16 on GPUs (at most 3 grey levels
        away), bfloat16 on CPUs with AMX, by a factor of 2 to 4 (most pixels are the same, single ones many grey levels
        away); see `tomostain.networks.precision`. "auto": float16 on a GPU, where slices of which it gives no finite
        colours are stained in float32, and float32 on a CPU. A started volume keeps its precision.
    batch : int
        Number of patches that go through the network at once. On a GPU, as many as fit into its memory unless this is
        stated; the result does not depend on it up to rounding.
    z_chunk : int
        Number of slices that are read, stained and written at once; the unit of resuming. Its older name `slab` works
        with a `DeprecationWarning`.
    """

    patch_px: int | None = Field(default=None, ge=16)
    stride_px: int | None = Field(default=None, ge=1)
    blend: Blend = "auto"
    gaussian_sigma: float = Field(default=0.0, ge=0, le=20)
    statistics: Literal["tile", "volume"] = "tile"
    planes: Literal["z", "y", "x", "zyx"] = "z"
    fuse: Literal["mean", "median", "weighted"] = "median"
    precision: PrecisionChoice = "auto"
    batch: int = Field(default=4, ge=1)
    z_chunk: int = Field(default=16, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _accept_older_names(cls, values: object) -> object:
        if isinstance(values, dict) and "slab" in values and "z_chunk" not in values:
            warn_user("`slab` is now `z_chunk`", DeprecationWarning)
            values = {"z_chunk" if name == "slab" else name: value for name, value in values.items()}
        return values

    @property
    def slab(self) -> int:
        """Older name of `z_chunk`."""
        warnings.warn("StainConfig.slab is now StainConfig.z_chunk", DeprecationWarning, stacklevel=2)
        return self.z_chunk

    @model_validator(mode="after")
    def _patches_overlap(self) -> Self:
        if self.stride_px is not None and self.patch_px is not None and self.stride_px > self.patch_px:
            raise ValueError(
                f"stride_px {self.stride_px} is larger than patch_px {self.patch_px} and would leave gaps; "
                "give a stride_px of at most patch_px"
            )
        return self

    def tiling(self, trained_px: int) -> tuple[int, int]:
        """Return patch side and stride for a model that was trained on patches of side `trained_px`.

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

    def for_model(self, trained_px: int, tile_invariant: bool = False) -> "StainConfig":
        """Return the configuration with blending, patch side and stride resolved for a model.

        Parameters
        ----------
        trained_px : int
            Side of the training patches.
        tile_invariant : bool
            Its normalisation does not depend on the tile.

        Examples
        --------
        >>> StainConfig().for_model(256).blend, StainConfig().for_model(256, tile_invariant=True).blend
        ('mean', 'exact')
        """
        exact = (tile_invariant or self.statistics == "volume") and self.stride_px is None
        blend = ("exact" if exact else "mean") if self.blend == "auto" else self.blend
        resolved = self.model_copy(update={"blend": blend})
        patch, stride = resolved.tiling(trained_px)
        return resolved.model_copy(update={"patch_px": patch, "stride_px": stride})

    def blending(self, trained_px: int = PAPER_PATCH_PX) -> Blending:
        """Return the options of `blend_tiles` for a model that was trained on patches of `trained_px`."""
        patch_px, stride_px = self.tiling(trained_px)
        return {"patch_px": patch_px, "stride_px": stride_px, "blend": self.blend, "batch": self.batch}
