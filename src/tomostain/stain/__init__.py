"""Staining: a slice by overlapping patches (paper section 2.9), a volume slice by slice, from disk to disk (2.11)."""

from tomostain.stain.cluster import stain_on_workers
from tomostain.stain.config import StainConfig
from tomostain.stain.image import stain_image
from tomostain.stain.plan import Plan, plan_volume
from tomostain.stain.slices import stain_slice
from tomostain.stain.translator import Translator, load_translator
from tomostain.stain.volume import stain_volume
from tomostain.tiling.blend import blend_tiles
from tomostain.tiling.grid import tile_starts, tile_weights

__all__ = [
    "Plan",
    "StainConfig",
    "Translator",
    "blend_tiles",
    "load_translator",
    "plan_volume",
    "stain_image",
    "stain_on_workers",
    "stain_slice",
    "stain_volume",
    "tile_starts",
    "tile_weights",
]
