"""A specimen whose truth is known, at any resolution; its µCT volume and its slide (paper sections 2.1, 2.2)."""

from tomostain.phantom.anatomy import Anatomy, grow_anatomy
from tomostain.phantom.config import PhantomConfig
from tomostain.phantom.histology import HistologyConfig, stain_section
from tomostain.phantom.laboratory import LaboratoryConfig, Slide, make_slide
from tomostain.phantom.pose import Pose, section_through_screw
from tomostain.phantom.specimen import Specimen, load_specimen, truth_section, truth_slice, write_specimen
from tomostain.phantom.study import write_study
from tomostain.phantom.tissue import Label, Tissue
from tomostain.phantom.tomography import TomographyConfig, tomograph

__all__ = [
    "Anatomy",
    "HistologyConfig",
    "Label",
    "LaboratoryConfig",
    "PhantomConfig",
    "Pose",
    "Slide",
    "Specimen",
    "Tissue",
    "TomographyConfig",
    "grow_anatomy",
    "load_specimen",
    "make_slide",
    "section_through_screw",
    "stain_section",
    "tomograph",
    "truth_section",
    "truth_slice",
    "write_specimen",
    "write_study",
]
