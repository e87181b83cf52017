"""How specimens become pairs."""

from typing import Any, Self

from pydantic import Field, model_validator

from tomostain.dataset.folds import SplitConfig
from tomostain.register.config import RegisterConfig
from tomostain.tiling.slice_context import SliceCount

_TOP_LEVEL = "set it outside 'registration', where it also holds for the pairs"
_NOT_OF_REGISTRATION = {
    "ct_background": _TOP_LEVEL,
    "ct_bone": _TOP_LEVEL,
    "margin_um": _TOP_LEVEL,
    "voxel_um": _TOP_LEVEL,
    "deform": "is an option of 'tomostain register' only; the pairs of a study are not deformed",
}


class PrepareConfig(SplitConfig):
    """How specimens become pairs. The keys of `SplitConfig` say how the pairs are divided.

    Attributes
    ----------
    voxel_um : float or None
        Pixel size of every pair, µm. None: the voxel size of the first volume.
    ct_background, ct_bone : float or None
        Grey values of every scan, in its own scale. None: estimated from each volume (paper section 2.5).
    level_slices : int
        Slices of each volume that are read to estimate them.
    margin_um : float
        Margin of the correspondence mask around bone and screw, µm (paper section 2.8).
    ct_slices : int
        Slices of µCT in each pair, one pixel apart, for recipes whose generator sees a slice context: odd.
    jobs : int
        Registrations that run in parallel. 0: one for every two cores.
    allow_missing : bool
        Fill slices of which data are missing with zeros; `pair.yaml` lists them.
    registration : RegisterConfig
        How sections are found. Grey values and margin are those above. So are the seed and, from the implant in the
        table, the material, unless they are set here.
    """

    voxel_um: float | None = Field(default=None, gt=0)
    ct_background: float | None = None
    ct_bone: float | None = None
    level_slices: int = Field(default=12, ge=1)
    margin_um: float = Field(default=60.0, ge=0)
    ct_slices: SliceCount = 1
    jobs: int = Field(default=0, ge=0)
    allow_missing: bool = False
    registration: RegisterConfig = Field(default_factory=RegisterConfig)

    @model_validator(mode="after")
    def _nothing_twice(self) -> Self:
        for key in _NOT_OF_REGISTRATION:
            if getattr(self.registration, key) != RegisterConfig.model_fields[key].default:
                raise ValueError(f"registration.{key}: {_NOT_OF_REGISTRATION[key]}")
        return self


def registration_options(implant: str, config: PrepareConfig) -> dict[str, Any]:
    """Return the options of `RegisterConfig` for a specimen: those of the study, unless they are set for registration.

    Parameters
    ----------
    implant : str
        Its material, or an empty string.
    config : PrepareConfig
    """
    study = {
        "seed": config.seed,
        "ct_background": config.ct_background,
        "ct_bone": config.ct_bone,
        "material": _screw(implant),
    }
    # Options at their default fall back to the study's, so that the resolved prepare.yaml gives the same result.
    return study | config.registration.model_dump(mode="json", exclude_defaults=True)


def _screw(implant: str) -> str | None:
    """Return how an implant of this name appears in µCT: dense, light, or None if unknown."""
    name = implant.lower()
    if name.startswith(("mg", "ti")):
        return "dense"
    return "light" if name.startswith("peek") else None
