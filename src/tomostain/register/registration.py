"""The result of a registration: the pose, its evidence, and the pair that is cut there."""

from dataclasses import dataclass, replace
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from tomostain import __version__
from tomostain.dataset.cut_pair import CutConfig, cut_pair, default_pixel_um
from tomostain.dataset.pair import Pair
from tomostain.geometry.section import Section
from tomostain.imaging.slide_reference import slide_reference
from tomostain.integers import to_integers
from tomostain.io import Slide, Volume
from tomostain.register.config import RegisterConfig
from tomostain.register.deformation import deform, warp
from tomostain.register.locate import SectionLocation
from tomostain.register.planar_judge import PlanarEvidence
from tomostain.register.planar_location import PlanarLocation
from tomostain.register.pose_confidence import Evidence
from tomostain.register.similarity import mutual_information, normalised_mutual_information

# A mean strain above this suggests a wrong pixel size.
_MAX_SIZE_ERROR = 0.045


Location = SectionLocation | PlanarLocation


class DeformationScores(TypedDict):
    """Effect of the deformation of soft tissue."""

    mutual_information_before_bits: float
    mutual_information_after_bits: float
    edges_before_um: float | None
    edges_after_um: float | None
    blocks: int
    largest_shift_um: float


class Similarity(TypedDict):
    """Similarity of µCT and histology in the mask, as `pair.yaml` contains it."""

    mutual_information_bits: float
    normalised_mutual_information: float
    deformation: NotRequired[DeformationScores]


@dataclass(frozen=True, eq=False)
class Registration:
    """Result of a registration.

    Attributes
    ----------
    location : SectionLocation or PlanarLocation
        The pose, other candidates, and the evidence.
    pair : Pair
        µCT (uint16) and histology (uint8) of the section on one grid, normalised, with the correspondence mask.
    similarity : Similarity
        Mutual information of µCT and histology in the mask.
    details : dict
        The references of the intensity and colour normalisation, as `pair.yaml` contains them.
    shift_um : ndarray of float32, shape (Y, X, 2), or None
        Displacement (row, column) of the histology, µm, with ``deform=True``.
    """

    location: Location
    pair: Pair
    similarity: Similarity
    details: dict[str, object]
    shift_um: NDArray[np.float32] | None = None

    @property
    def section(self) -> Section:
        """The pose: the plane of the section in the volume, and the affine of the slide."""
        return self.location.section

    @property
    def candidates(self) -> tuple[Section, ...]:
        """The best pose and up to two others, best first."""
        return self.location.candidates

    @property
    def evidence(self) -> Evidence | PlanarEvidence:
        """Scores and confidence."""
        return self.location.evidence

    @property
    def confidence(self) -> float:
        """Probability that the pose is right, 0 to 1."""
        return self.location.evidence.confidence

    @property
    def strain(self) -> NDArray[np.float64]:
        """Scale along rows, scale along columns, and shear of the histology, as strains; shape (3,)."""
        return self.location.strain

    @property
    def warnings(self) -> list[str]:
        """Warnings of an unusual size or strain of the slide."""
        return strain_warnings(self.location)


def make_registration(
    volume: Volume, slide: Slide, location: Location, config: RegisterConfig, name: str = "pair"
) -> Registration:
    """Cut the pair at the pose, normalise it, and compute its similarity.

    Parameters
    ----------
    volume : Volume
    slide : Slide
    location : SectionLocation or PlanarLocation
    config : RegisterConfig
    name : str
        Id of the pair.

    Raises
    ------
    InputError
        If volume and slide do not overlap at the pose, or a reference cannot be estimated.
    """
    pixel_um = config.voxel_um or default_pixel_um(volume)
    white = slide_reference(slide, config.histology_background, config.histology_bone)
    settings = CutConfig(pixel_um, config.margin_um, location.intensity, white)
    pair, details = cut_pair(volume, slide, location.section, name, settings, str(slide.path))
    grey = pair.histology.mean(axis=2)
    similarity: Similarity = {
        "mutual_information_bits": round(mutual_information(pair.ct, grey, pair.mask), 4),
        "normalised_mutual_information": round(normalised_mutual_information(pair.ct, grey, pair.mask), 4),
    }
    if not config.deform:
        return Registration(location, pair, similarity, details)
    deformation = deform(pair.ct, pair.histology, pair.mask, pair.voxel_um)
    warped = warp(pair.histology, deformation.shift_um / np.float32(pair.voxel_um))
    similarity["deformation"] = {
        "mutual_information_before_bits": round(deformation.before, 4),
        "mutual_information_after_bits": round(deformation.after, 4),
        "edges_before_um": _rounded(deformation.edges_before_um),
        "edges_after_um": _rounded(deformation.edges_after_um),
        "blocks": deformation.blocks,
        "largest_shift_um": round(deformation.largest_um, 2),
    }
    pair = replace(pair, histology=to_integers(warped, np.uint8, "deformed histology", clip=True))
    return Registration(location, pair, similarity, details, deformation.shift_um)


def _rounded(value_um: float) -> float | None:
    return None if np.isnan(value_um) else round(value_um, 2)


def strain_warnings(location: Location) -> list[str]:
    """Return warnings if the size or the strain of the slide is unusual."""
    rows, columns, shear = (round(float(x), 5) for x in location.strain)
    size, shape = (rows + columns) / 2, float(np.hypot((rows - columns) / 2, shear))
    warnings = []
    if abs(size) > _MAX_SIZE_ERROR:
        warnings.append(f"the size of the slide deviates by {size:+.1%}: check its pixel size")
    usual = location.usual_strain
    if shape > usual:
        warnings.append(f"the section is strained by {shape:.1%}; with this stain it is rarely more than {usual:.1%}")
    return warnings


def describe(location: Location, config: RegisterConfig) -> dict[str, object]:
    """Return the part of `pair.yaml` on the registration: confidence, strain, hypothesis, software and options."""
    rows, columns, shear = (round(float(x), 5) + 0.0 for x in location.strain)
    assumed = {"implant_taken_for": location.hypothesis} if isinstance(location, SectionLocation) else {}
    return {
        "registration": {
            **location.evidence.to_dict(),
            **assumed,
            "strain": {"rows": rows, "columns": columns, "shear": shear},
            "warnings": strain_warnings(location),
            "software": f"tomostain {__version__}",
            "options": config.to_pair(),
        }
    }
