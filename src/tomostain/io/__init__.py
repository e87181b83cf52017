"""Files: volumes, slides, images, stained volumes and models."""

from tomostain.io.builtin_models import BuiltinModel, copy_model, list_models, read_model_card
from tomostain.io.images import read_image, write_image, write_stack
from tomostain.io.models import Model, ModelExtras, ModelSpec, TrainingRecord, check_state, load_model, save_model
from tomostain.io.ome_zarr.create import create_ome_zarr, create_stained
from tomostain.io.ome_zarr.reader import StainedVolume, check_stained, open_stained
from tomostain.io.ome_zarr.writer import OmeZarrWriter, StainedWriter
from tomostain.io.slides import Slide, open_slide, write_slide
from tomostain.io.volumes.base import VolumeLike
from tomostain.io.volumes.opening import open_volume
from tomostain.io.volumes.volume import Volume

__all__ = [
    "BuiltinModel",
    "Model",
    "ModelExtras",
    "ModelSpec",
    "OmeZarrWriter",
    "Slide",
    "StainedVolume",
    "StainedWriter",
    "TrainingRecord",
    "Volume",
    "VolumeLike",
    "check_stained",
    "check_state",
    "copy_model",
    "create_ome_zarr",
    "create_stained",
    "list_models",
    "load_model",
    "open_slide",
    "open_stained",
    "open_volume",
    "read_image",
    "read_model_card",
    "save_model",
    "write_image",
    "write_slide",
    "write_stack",
]
