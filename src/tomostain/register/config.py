"""Options of registration."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tomostain.config import Config
from tomostain.errors import warn_user

# Older names of options. `pair.yaml` has them on disk.
_OLDER_NAMES = {"max_strain": "most_strain", "max_voxels": "most_voxels"}
_RENAMED = {older: name for name, older in _OLDER_NAMES.items()}


class RegisterConfig(Config):
    """How the section is searched.

    Attributes
    ----------
    material : {"dense", "light"} or None
        Material of the screw: metal (Mg, Ti) or polymer (PEEK). None: both are tried.
    thickness_um : float
        Thickness of the section, µm. The µCT is averaged over it in the last refinement (paper section 2.1: 40 µm).
    strain : float
        Standard deviation of the scales and shear that sectioning leaves (paper section 2.3: below 1 % with toluidine
        blue, 3 to 4 % with H&E). Twice this value is rarely exceeded.
    max_strain : float
        Bound of the shear, and of half the difference of the scales along two directions. The mean scale may deviate
        twice as much, because a pixel size may be wrong. `pair.yaml` contains a warning if the strain is larger than
        the preparation of the stain explains.
    planar_strain : float or None
        Standard deviation of each component of the strain of a slide on a single µCT image: the prior of planar
        registration. None: 0.6 % for toluidine blue (embedded in resin, ground), 1.5 % for other stains (paraffin).
    side : int
        Voxels along the longest side of the volume in the global search.
    step_deg : float
        Angle between neighbouring orientations in the global search, degrees.
    candidates : int
        Number of poses that are refined after the global search. Fewer is faster and less certain.
    max_voxels : int
        Longest side of the copy of the volume in memory, voxels.
    thorough : bool
        If the first search is uncertain, search again on a finer grid, and for a wrong pixel size too.
    threshold : float
        Confidence below which the result is "not sure"; calibrated on phantoms (`studies/registration`).
    restarts : int
        Independent restarts around the pose. The fraction that returns to it enters the confidence.
    deform : bool
        Deform soft tissue smoothly after the affine. The effect is reported separately.
    ct_background, ct_bone : float or None
        Grey values of background and bone in the scale of the scan. None: estimated (paper section 2.5).
    histology_background, histology_bone : four int or None
        Regions of empty glass and of bone on the slide: (first row, row after the last, first column, column after the
        last), pixels of the finest level. State both or neither. None: estimated.
    voxel_um : float or None
        Pixel size of the pair, µm. None: that of the volume.
    margin_um : float
        Margin of the correspondence mask around bone and screw, µm.
    seed : int
        Seed of the restarts.
    """

    material: Literal["dense", "light"] | None = None
    thickness_um: float = Field(default=40.0, ge=0.0, le=500.0)
    strain: float = Field(default=0.03, gt=0.0, le=0.1)
    max_strain: float = Field(default=0.06, gt=0.0, le=0.2)
    planar_strain: float | None = Field(default=None, gt=0.0, le=0.1)
    side: int = Field(default=24, ge=16, le=64)
    step_deg: float = Field(default=13.0, ge=4.0, le=30.0)
    candidates: int = Field(default=1200, ge=50, le=20000)
    max_voxels: int = Field(default=256, ge=64, le=512)
    thorough: bool = True
    threshold: float = Field(default=0.5, ge=0.0, le=1.0)
    restarts: int = Field(default=8, ge=2, le=64)
    deform: bool = False
    ct_background: float | None = None
    ct_bone: float | None = None
    histology_background: tuple[int, int, int, int] | None = None
    histology_bone: tuple[int, int, int, int] | None = None
    voxel_um: float | None = Field(default=None, gt=0)
    margin_um: float = Field(default=60.0, ge=0)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _accept_older_names(cls, values: dict[str, Any]) -> dict[str, Any]:
        for older, name in _RENAMED.items():
            if older in values:
                warn_user(f"the registration option {older} is now {name}", DeprecationWarning)
        return _renamed(values, _RENAMED)

    @model_validator(mode="after")
    def _both_regions(self) -> Self:
        if (self.histology_background is None) != (self.histology_bone is None):
            raise ValueError("histology_background and histology_bone: give both or none")
        return self

    @classmethod
    def from_pair(cls, options: Mapping[str, Any]) -> Self:
        """Read the options in a `pair.yaml`."""
        return cls.from_dict(_renamed(options, _RENAMED), source="pair.yaml")

    def to_pair(self) -> dict[str, Any]:
        """Return the options as `pair.yaml` contains them."""
        return _renamed(self.model_dump(mode="json"), _OLDER_NAMES)


def _renamed(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return a mapping with some keys renamed, in the same order."""
    return {names.get(key, key): value for key, value in values.items()}
