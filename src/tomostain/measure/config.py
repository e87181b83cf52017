"""Options of a measurement."""

from itertools import pairwise
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from tomostain.config import Config

ClassSource = Literal["auto", "stain", "ct", "both"]


class MeasureConfig(Config):
    """How a volume or a section is measured.

    Attributes
    ----------
    specimen : str
        Name in the tables; by default that of the measured volume or pair.
    classes_from : {"auto", "stain", "ct", "both"}
        The images from which tissue is classified. "auto" takes all that are given.
    stain : str, optional
        ``toluidine-blue`` or ``h&e``; by default the stain that the stained volume states.
    gap_um : float, optional
        Bone counts as touching the implant if the gap between them is at most this wide, µm. By default the diagonal
        of a voxel, which is the resolution of the image.
    depth_um : float, optional
        Beyond the gap, at least half of this depth must be bone, µm. By default two voxels, so that a rim of wrong
        voxels at the implant, as classifiers make it, does not count. 0: bone anywhere within the gap counts.
    shell_um : tuple of float
        Edges of the shells around the implant in which BV/TV is measured, µm, rising.
    profile_um : float
        Width of the intervals of the profile of new bone over the distance from the implant, µm.
    implant : str, optional
        Material of the implant, such as ``Mg-10Gd``. It is stated in the results. The degradation rate needs `weeks`
        and the initial geometry, too. ``none``: the volume has no implant; bone and tissue of the whole volume,
        thickness and cavities are measured.
    weeks : float, optional
        Time since implantation, weeks.
    initial : path, optional
        Label volume of the implant before implantation, on the grid of the measured volume.
    initial_volume_mm3, initial_surface_mm2 : float, optional
        Volume and surface of the implant before implantation, instead of `initial`.
    geometry : str, optional
        Shape of the implant before implantation, which is fitted to the labels: ``m2-screw``, that of the paper.
    surface : {"labels", "fitted"}
        Surface of the implant for the contact, the shells and the distances: that of the labels, or that of the fitted
        `geometry`, moved outwards by the mean layer if the material degrades.
    diameter_mm : float, optional
        Nominal outer diameter of the implant, mm. If the measured one differs by more than `diameter_tolerance`, the
        voxel size is wrong, which is an error.
    diameter_tolerance : float
        Maximum relative difference of the two diameters.
    max_uncertainty : float, optional
        Voxels with a higher uncertainty (0 to 1) are refused: the measures are reported with them and without.
    members : int
        Networks of the classifier that are compared for the spread of models: each classifies and measures the volume
        (above 50 million voxels without thickness and cavities). 0 or 1: none.
    planes : int
        Of a section: planes within the error of the registration, for the spread of registration; 0 for none.
    position_sd_um, tilt_sd_deg : float, optional
        Error of the registration: standard deviation along the normal and of the two tilts. By default a quarter of a
        pixel and 0.15°, as measured on phantoms (docs/explanation/registration.md). Real tissue may have more.
    maps : bool
        Also write maps of the thickness and of the distance from the implant.
    memory_gb : float
        Maximum memory for the arrays of one step, GB.
    """

    specimen: str = ""
    classes_from: ClassSource = "auto"
    stain: str | None = None
    gap_um: float | None = Field(default=None, ge=0, le=1000)
    depth_um: float | None = Field(default=None, ge=0, le=1000)
    shell_um: tuple[float, ...] = (0.0, 100.0, 200.0, 300.0, 500.0)
    profile_um: float = Field(default=50.0, gt=0, le=1000)
    implant: str | None = None
    weeks: float | None = Field(default=None, gt=0, lt=5200)
    initial: Path | None = None
    initial_volume_mm3: float | None = Field(default=None, gt=0)
    initial_surface_mm2: float | None = Field(default=None, gt=0)
    geometry: str | None = None
    surface: Literal["labels", "fitted"] = "labels"
    diameter_mm: float | None = Field(default=None, gt=0, le=100)
    diameter_tolerance: float = Field(default=0.15, gt=0, lt=1)
    max_uncertainty: float | None = Field(default=None, ge=0, le=1)
    members: int = Field(default=0, ge=0, le=100)
    planes: int = Field(default=20, ge=0, le=1000)
    position_sd_um: float | None = Field(default=None, ge=0, le=1000)
    tilt_sd_deg: float = Field(default=0.15, ge=0, le=45)
    maps: bool = True
    memory_gb: float = Field(default=1.0, gt=0.05)

    @field_validator("shell_um")
    @classmethod
    def _edges_rise(cls, edges: tuple[float, ...]) -> tuple[float, ...]:
        if len(edges) < 2 or edges[0] < 0 or any(low >= high for low, high in pairwise(edges)):
            raise ValueError("give two or more rising distances of at least 0 µm")
        return edges

    @model_validator(mode="after")
    def _initial_geometry_once(self) -> Self:
        numbers = (self.initial_volume_mm3, self.initial_surface_mm2)
        if self.initial is not None and any(value is not None for value in numbers):
            raise ValueError("give `initial`, or `initial_volume_mm3` and `initial_surface_mm2`, not both")
        if self.initial_surface_mm2 is not None and self.initial_volume_mm3 is None:
            raise ValueError("`initial_surface_mm2` needs `initial_volume_mm3`, too")
        if self.surface == "fitted" and self.geometry is None:
            raise ValueError("`surface` 'fitted' needs `geometry`, such as m2-screw")
        if self.geometry is not None and (self.initial is not None or numbers != (None, None)):
            raise ValueError("give `geometry`, or what is known of the initial implant, not both")
        return self

    @model_validator(mode="after")
    def _nothing_about_no_implant(self) -> Self:
        names = ("initial", "initial_volume_mm3", "geometry", "weeks", "diameter_mm")
        set_names = [f"`{name}`" for name in names if getattr(self, name) is not None]
        if self.without_implant and set_names:
            raise ValueError(f"{set_names[0]} needs an implant, but `implant` is none")
        return self

    @property
    def without_implant(self) -> bool:
        """Whether the volume is measured without an implant."""
        return self.implant is not None and self.implant.lower() == "none"

    @property
    def max_bytes(self) -> int:
        """`memory_gb` in bytes."""
        return int(self.memory_gb * 1e9)

    @property
    def shells(self) -> tuple[tuple[float, float], ...]:
        """Inner and outer distance of each shell, µm."""
        return tuple(pairwise(self.shell_um))


class StudyConfig(Config):
    """How the groups of a study are compared.

    Attributes
    ----------
    by : tuple of str
        Columns of the table whose combinations are the groups; by default those of
        `GROUP_COLUMNS` that it has and that differ between specimens.
    measures : tuple of str
        Identifiers of the measures to compare, such as ``bic_surface``; by default all. Fewer measures need a smaller
        correction for their number.
    source : str, optional
        What was measured, such as ``stained``, where the folders hold several; by default the first of each.
    """

    by: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()
    source: str | None = None


GROUP_COLUMNS = ("group", "implant", "material", "treatment", "weeks")
"""Columns of a study table that are groups, unless others are stated."""
