"""Stage: phantom. A bone-implant specimen whose truth is known, at any resolution."""

from tomostain.phantom.anatomy import Anatomy, grow_anatomy
from tomostain.phantom.config import PhantomConfig
from tomostain.phantom.pose import Pose, section_through_screw
from tomostain.phantom.tissue import Label, Tissue

__all__ = ["Anatomy", "Label", "PhantomConfig", "Pose", "Tissue", "grow_anatomy", "section_through_screw"]
