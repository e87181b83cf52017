"""One specimen for `prepare_specimens`: volume, slide and section as open objects, arrays or files."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from numpy.typing import NDArray

from tomostain.config import Config, read_yaml
from tomostain.dataset.cut_pair import Box
from tomostain.errors import InputError
from tomostain.geometry.section import Section
from tomostain.io import Slide, Volume, open_slide, open_volume
from tomostain.io.slides import SlideSource
from tomostain.io.volumes.volume import VolumeSource
from tomostain.paths import StrPath

if TYPE_CHECKING:
    from tomostain.register.registration import Registration

SectionSource: TypeAlias = "Section | Registration | StrPath"
"""The position of a slide: a section, the result of a registration, or a YAML file."""


class Boxes(Config):
    """Two regions of interest on the grid of the pair, each (row0, row1, column0, column1), ends excluded."""

    background: tuple[int, int, int, int]
    bone: tuple[int, int, int, int]

    @property
    def pair(self) -> tuple[Box, Box]:
        """Background and bone."""
        return self.background, self.bone


class Rois(Config):
    """Regions of interest that the user chose. A missing part is estimated."""

    ct: Boxes | None = None
    histology: Boxes | None = None


@dataclass(frozen=True, eq=False)
class SpecimenInput:
    """A specimen in memory, as one line of the table of `tomostain.prepare_specimens`.

    Attributes
    ----------
    specimen : str
        Its name. Pairs of specimens that occur several times are numbered.
    volume : Volume, path, or tuple (array, voxel_um)
        The µCT; see `tomostain.open_volume`.
    slide : Slide, path, or tuple (array, pixel_um)
        See `tomostain.open_slide`.
    section : Section, Registration or path, optional
        Position of the slide in the volume: a pose, the result of `tomostain.register_slide`, or a YAML file. None: it
        is found by registration.
    subject : str
        The animal; by default the specimen.
    implant, stain : str
    weeks : int, optional
        Healing time.
    exclude : ndarray of bool, shape (Y, X), or path, optional
        True where the pair is not used, on the grid of the pair.
    rois : Rois, optional
        Regions of background and bone, on the grid of the pair.
    """

    specimen: str
    volume: VolumeSource
    slide: SlideSource
    section: "SectionSource | None" = None
    subject: str = ""
    implant: str = "unknown"
    weeks: int | None = None
    stain: str = "unknown"
    exclude: NDArray[Any] | StrPath | None = None
    rois: Rois = field(default_factory=Rois)

    @property
    def files(self) -> list[Path]:
        """The files that are read."""
        sources = (self.volume, self.slide, self.section, self.exclude)
        return [Path(each) for each in sources if isinstance(each, str | os.PathLike)]

    def open_volume(self) -> Volume:
        """Open the µCT."""
        return open_volume(self.volume)

    def open_slide(self) -> Slide:
        """Open the slide."""
        return open_slide(self.slide)

    def record(self) -> dict[str, Any]:
        """Return the record of the specimen for its pair."""
        return {
            "specimen": self.specimen,
            "subject": self.subject or self.specimen,
            "implant": self.implant,
            "weeks": self.weeks,
            "stain": self.stain,
        }


@dataclass(frozen=True, eq=False)
class NamedSpecimen:
    """A specimen with the name of its pair.

    Attributes
    ----------
    id : str
        Of the pair.
    where : str
        Its place in the table, for messages.
    specimen : SpecimenInput
    sources : mapping of str to str
        The names of volume, slide and section for `pair.yaml`.
    """

    id: str
    where: str
    specimen: SpecimenInput
    sources: Mapping[str, str]


def read_section(source: SectionSource) -> Section:
    """Return a section that is stated as a pose, a registration or a YAML file.

    Raises
    ------
    InputError
        If it is none of these, or the file cannot be read.
    """
    if isinstance(source, Section):
        return source
    if isinstance(source, str | os.PathLike):
        return Section.from_dict(read_yaml(source), source=str(source))
    keys = getattr(getattr(source, "pair", None), "section", None)
    if keys is None:
        raise InputError(
            f"`section`: expected a Section, a Registration or the path of a YAML file, found {type(source).__name__}",
            parameter="section",
        )
    return Section.from_dict(keys)
