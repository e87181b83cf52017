"""Synthetic specimens with known truth at any resolution, their µCT volumes and slides (paper sections 2.1, 2.2)."""

from tomostain.deprecation import renamed
from tomostain.phantom.anatomy import Anatomy, grow_anatomy
from tomostain.phantom.config import HistologyConfig, LaboratoryConfig, PhantomConfig, TomographyConfig
from tomostain.phantom.histology import stain_section
from tomostain.phantom.laboratory import PhantomSlide, make_slide
from tomostain.phantom.pose import Pose, section_through_screw
from tomostain.phantom.sampler import sample_tissue, sample_tissue_in_volume
from tomostain.phantom.specimen import (
    PhantomImages,
    Specimen,
    load_specimen,
    make_images,
    truth_section,
    truth_slice,
    write_specimen,
)
from tomostain.phantom.study import write_study
from tomostain.phantom.tissue import Label, Tissue
from tomostain.phantom.tomography import tomograph

__all__ = [
    "Anatomy",
    "HistologyConfig",
    "Label",
    "LaboratoryConfig",
    "PhantomConfig",
    "PhantomImages",
    "PhantomSlide",
    "Pose",
    "Specimen",
    "Tissue",
    "TomographyConfig",
    "grow_anatomy",
    "load_specimen",
    "make_images",
    "make_slide",
    "sample_tissue",
    "sample_tissue_in_volume",
    "section_through_screw",
    "stain_section",
    "tomograph",
    "truth_section",
    "truth_slice",
    "write_specimen",
    "write_study",
]

__getattr__ = renamed(__name__, {"Slide": "PhantomSlide"})
