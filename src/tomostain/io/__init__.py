"""Files: volumes, slides, images, stained volumes and models."""

from tomostain.io.images import read_image, write_image, write_stack
from tomostain.io.models import Model, ModelSpec, check_state, load_model, save_model
from tomostain.io.ome_zarr.reader import StainedVolume, check_stained, open_stained
from tomostain.io.ome_zarr.writer import OmeZarrWriter, StainedWriter, create_ome_zarr, create_stained
from tomostain.io.slides import Slide, open_slide, write_slide
from tomostain.io.volumes.base import VolumeLike
from tomostain.io.volumes.volume import Volume, open_volume

__all__ = [
    "Model",
    "ModelSpec",
    "OmeZarrWriter",
    "Slide",
    "StainedVolume",
    "StainedWriter",
    "Volume",
    "VolumeLike",
    "check_stained",
    "check_state",
    "create_ome_zarr",
    "create_stained",
    "load_model",
    "open_slide",
    "open_stained",
    "open_volume",
    "read_image",
    "save_model",
    "write_image",
    "write_slide",
    "write_stack",
]
