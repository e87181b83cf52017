"""Staining: a slice by overlapping patches (paper section 2.9), a volume in z chunks from disk to disk (2.11)."""

from tomostain.deprecation import renamed
from tomostain.stain.chunk import stain_to_array
from tomostain.stain.cluster import stain_on_workers
from tomostain.stain.config import StainConfig
from tomostain.stain.image import stain_image, stain_image_request
from tomostain.stain.job import StainJob
from tomostain.stain.request import StainOptions, StainRequest
from tomostain.stain.resources import StainPlan, plan, plan_volume
from tomostain.stain.slices import stain_slice
from tomostain.stain.stainer import Stainer, load_stainer
from tomostain.stain.translator import Translator, load_translator
from tomostain.stain.volume import stain, stain_volume
from tomostain.tiling.blend import blend_tiles
from tomostain.tiling.grid import tile_starts, tile_weights

__all__ = [
    "StainConfig",
    "StainJob",
    "StainOptions",
    "StainPlan",
    "StainRequest",
    "Stainer",
    "Translator",
    "blend_tiles",
    "load_stainer",
    "load_translator",
    "plan",
    "plan_volume",
    "stain",
    "stain_image",
    "stain_image_request",
    "stain_on_workers",
    "stain_slice",
    "stain_to_array",
    "stain_volume",
    "tile_starts",
    "tile_weights",
]

__getattr__ = renamed(__name__, {"Plan": "StainPlan"})
