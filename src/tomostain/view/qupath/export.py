"""Export of sections of a stained volume for QuPath and Fiji: a folder of OME-TIFF and GeoJSON files."""

import importlib.resources
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import yaml
from numpy.typing import NDArray

from tomostain import __version__
from tomostain.dataset.pair import load_pair
from tomostain.deprecation import renamed
from tomostain.errors import InputError
from tomostain.geometry.surfaces import Cut
from tomostain.io import open_stained
from tomostain.io.atomic import atomic_folder, write_text
from tomostain.io.ome_tiff import OmeImage, write_ome_tiff
from tomostain.io.output_folder import source_paths
from tomostain.io.outputs import FolderKind, check_output
from tomostain.measure.classes import TITLES, TissueClass
from tomostain.measure.label_files import open_labels
from tomostain.paths import StrPath
from tomostain.progress import Progress, silent
from tomostain.view.label_input import label_volume
from tomostain.view.qupath.geojson import class_annotations, mask_annotation, write_geojson
from tomostain.view.qupath.planes import Plane
from tomostain.view.qupath.sections import SectionImages, Sources, pair_images, plane_images
from tomostain.view.section_ct import open_ct
from tomostain.view.sections import SectionKeywords, SectionOptions

__getattr__ = renamed(__name__, {"PathLike": "tomostain.paths:StrPath"})

FORMAT = "qupath"
DESCRIPTION = "sections.yaml"
_HELP = ("README.txt", "import.groovy")
_KIND = "export to qupath"


@dataclass(frozen=True)
class ExportedSection:
    """One section of an export.

    Attributes
    ----------
    name : str
    files : dict of str to str
        Names of its files by content: ``virtual``, ``ct``, ``slide``, ``labels``, ``classes``, ``mask``.
    geometry : dict
        Shape, pixel size, position of the first pixel, and directions of rows and columns in the volume (z, y, x), µm.
    classes : dict
        Pixels and area of each tissue class in the volume.
    about : dict
        Thickness; for a pair its name and stain.
    """

    name: str
    files: dict[str, str]
    geometry: dict[str, object]
    classes: dict[str, dict[str, float]]
    about: dict[str, object]

    def to_dict(self) -> dict[str, object]:
        """Return what `sections.yaml` holds."""
        return {"name": self.name, "files": self.files, **self.geometry, **self.about, "classes": self.classes}


@dataclass(frozen=True)
class SectionsExport:
    """An exported folder.

    Attributes
    ----------
    out : Path
    stained : Path
    sections : tuple of ExportedSection
    provenance : dict
        Of the stained volume.
    """

    out: Path
    stained: Path
    sections: tuple[ExportedSection, ...]
    provenance: dict[str, Any]

    def describe(self) -> str:
        """Return number and kinds of the images, for example "2 sections: virtual, ct, classes"."""
        kinds = dict.fromkeys(kind for section in self.sections for kind in section.files)
        count = len(self.sections)
        return f"{count} {'section' if count == 1 else 'sections'}: {', '.join(kinds)}"

    def to_dict(self) -> dict[str, object]:
        """Return what `sections.yaml` holds."""
        return {
            "to": FORMAT,
            "tomostain": __version__,
            "stained": str(self.stained),
            "sections": [section.to_dict() for section in self.sections],
            "provenance": self.provenance,
        }


def export_sections(
    stained: StrPath,
    out: StrPath,
    planes: Sequence[Plane] = (),
    *,
    pairs: Sequence[StrPath] = (),
    labels: StrPath | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
    **options: Unpack[SectionKeywords],
) -> SectionsExport:
    """Write sections of a stained volume as pyramidal OME-TIFF, with the tissue classes as GeoJSON, for QuPath.

    All images of a section are on one pixel grid: the virtual section (``NAME.virtual.ome.tif``, RGB), the µCT
    (``NAME.ct.ome.tif``, grey values) and, of a pair, the registered slide (``NAME.slide.ome.tif``, RGB). They state
    the pixel size, the name of the channel, and the position of the first pixel. ``NAME.geojson`` has one annotation
    for each tissue class, with the area of its pixels, and ``NAME.labels.ome.tif`` has their values.

    Parameters
    ----------
    stained : path
        The stained volume.
    out : path
        Folder. It appears when it is complete.
    planes : sequence of Plane
        See `planes_across`.
    pairs : sequence of path
        Folders of pairs that were registered to the volume. Their sections are exported with the slide and the µCT of
        the pair, on its pixel grid.
    labels : path, optional
        Label volume of the tissue classes, or the folder that `measure` wrote.
    overwrite : bool
        Replace an earlier export. A folder with other files, such as a QuPath project, is not replaced.
    progress : Progress
        Called for every tile of each section.
    **options
        The fields of `tomostain.view.sections.SectionOptions`. ``pixel_um``, ``ct`` and ``voxel_um`` are for
        planes.

    Returns
    -------
    SectionsExport

    Raises
    ------
    InputError
        If there is no section, two have the same name, one does not cross the volume, the label volume or the µCT is on
        another grid, or `out` exists.
    """
    chosen = SectionOptions(**options)
    out = Path(out)
    if not planes and not pairs:
        raise InputError("no section is chosen; give `planes` or `pair`", parameter="planes")
    _check_output(out, source_paths(stained, chosen.ct, labels, *pairs), overwrite)
    volume = open_stained(Path(stained))
    loaded = [load_pair(pair) for pair in pairs]
    _check_names([plane.name for plane in planes] + [pair.id for pair in loaded])
    sources = Sources(
        volume,
        None if chosen.ct is None else open_ct(chosen.ct, volume, chosen.allow_missing, chosen.voxel_um),
        None if labels is None else open_labels(label_volume(Path(labels)), volume, same_grid=False),
        chosen.thickness_um,
        chosen.pixel_um,
        chosen.blending,
    )

    def images() -> Iterator[SectionImages]:
        yield from (plane_images(plane, sources, progress) for plane in planes)
        yield from (pair_images(pair, sources, progress) for pair in loaded)

    with atomic_folder(out, overwrite) as temporary:
        sections = tuple(_write_section(temporary, each) for each in images())
        result = SectionsExport(out, volume.path, sections, dict(volume.provenance))
        text = yaml.safe_dump(result.to_dict(), sort_keys=False, allow_unicode=True)
        write_text(temporary / DESCRIPTION, text)
        for name in _HELP:
            content = importlib.resources.files("tomostain.view.qupath").joinpath(name).read_text(encoding="utf-8")
            write_text(temporary / name, content)
    return result


def _check_output(out: Path, sources: Sequence[StrPath], overwrite: bool) -> None:
    """Raise if the folder exists and may not be replaced."""
    own = "|".join(map(re.escape, (*_HELP, DESCRIPTION)))
    kind = FolderKind(_KIND, rf"[^/]+\.(ome\.tif|geojson)|{own}", DESCRIPTION)
    check_output(out, kind, sources, overwrite=overwrite)


def _check_names(names: Sequence[str]) -> None:
    """Raise if two sections have the same name, also where upper and lower case are the same."""
    folded = [name.casefold() for name in names]
    twice = next((name for name, each in zip(names, folded, strict=True) if folded.count(each) > 1), None)
    if twice is not None:
        raise InputError(f"two sections have the name '{twice}'; leave one out, or rename its pair")


def _write_section(folder: Path, images: SectionImages) -> ExportedSection:
    """Write the files of a section."""
    name, cut = images.name, images.cut
    z, y, x = _lengths(cut.places_um[0, 0])
    files = {}
    listed = (
        ("virtual", "virtual section", "virtual histology", images.virtual),
        ("ct", "µCT", "µCT", images.ct),
        ("slide", "registered slide", "histology", images.slide),
        ("labels", "tissue classes", "tissue class", images.labels_inside),
    )
    for kind, title, channel, image in listed:
        if image is None:
            continue
        files[kind] = f"{name}.{kind}.ome.tif"
        described = f"tomostain {__version__}: {title} '{name}'. Position: centre of the first pixel in the volume."
        about = OmeImage(f"{name}, {title}", channel, (z, y, x), described)
        write_ome_tiff(folder / files[kind], image, cut.pixel_um, about, has_labels=kind == "labels")
    classes: dict[str, dict[str, float]] = {}
    labels = images.labels
    if labels is not None:
        files["classes"] = f"{name}.geojson"
        write_geojson(folder / files["classes"], class_annotations(labels, images.inside, name))
        counts = np.bincount(labels[images.inside], minlength=256)
        for each in TissueClass:
            if counts[each]:
                area = float(counts[each]) * cut.pixel_um**2
                classes[TITLES[each]] = {"pixels": int(counts[each]), "area_um2": round(area, 3)}
    if images.mask is not None:
        files["mask"] = f"{name}.mask.geojson"
        write_geojson(folder / files["mask"], [mask_annotation(images.mask, name)])
    return ExportedSection(name, files, _geometry(cut), classes, images.about)


def _geometry(cut: Cut) -> dict[str, object]:
    """Return where the pixels of a section lie. On a curved surface, the directions are those at the first pixel."""
    rows, columns = cut.places_um.shape[:2]
    first = cut.places_um[0, 0]
    steps = {
        name: _lengths(cut.places_um[index] - first)
        for name, index, count in (("row", (1, 0), rows), ("column", (0, 1), columns))
        if count > 1
    }
    return {
        "shape": [rows, columns],
        "pixel_um": float(cut.pixel_um),
        "origin_um": _lengths(first),
        **{f"{name}_step_um": step for name, step in steps.items()},
    }


def _lengths(values_um: NDArray[np.float64]) -> list[float]:
    """Return lengths without the rounding errors of the last digits."""
    return [round(value, 6) + 0.0 for value in values_um.tolist()]
