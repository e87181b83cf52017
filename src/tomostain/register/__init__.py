"""2D–3D registration (paper section 2.3): the section of a slide in a volume.

Names are imported when they are first used, because the search needs torch and `import tomostain.prepare` must not.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from tomostain.geometry.section import Section, grid_um, resample_slide, sample_volume, slices_needed

if TYPE_CHECKING:
    from tomostain.register.api import register_slide
    from tomostain.register.config import RegisterConfig
    from tomostain.register.files import register_files
    from tomostain.register.hints import Hint, fit_section, read_landmarks, read_section
    from tomostain.register.locate import SectionLocation, locate_section
    from tomostain.register.pose_confidence import Evidence
    from tomostain.register.registration import Registration

_MODULES = {
    "Evidence": "pose_confidence",
    "Hint": "hints",
    "RegisterConfig": "config",
    "Registration": "registration",
    "SectionLocation": "locate",
    "fit_section": "hints",
    "locate_section": "locate",
    "read_landmarks": "hints",
    "read_section": "hints",
    "register_files": "files",
    "register_slide": "api",
}

__all__ = [
    "Evidence",
    "Hint",
    "RegisterConfig",
    "Registration",
    "Section",
    "SectionLocation",
    "fit_section",
    "grid_um",
    "locate_section",
    "read_landmarks",
    "read_section",
    "register_files",
    "register_slide",
    "resample_slide",
    "sample_volume",
    "slices_needed",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(import_module(f"tomostain.register.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'tomostain.register' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
