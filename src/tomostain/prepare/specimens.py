"""Datasets from specimens: volume, slide and the place of the section, as a CSV table lists them."""

import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from tomostain.config import Config, read_yaml, suggest
from tomostain.dataset.cut_pair import Box, CutConfig, cut_pair
from tomostain.dataset.dataset import Dataset, load_dataset
from tomostain.dataset.folds import SplitConfig, make_folds
from tomostain.dataset.pair import Pair, check_id
from tomostain.dataset.writer import new_dataset
from tomostain.errors import InputError
from tomostain.geometry.section import Section
from tomostain.imaging.intensity import IntensityReference, manual_reference
from tomostain.imaging.slide_levels import slide_levels
from tomostain.io import Volume, open_slide, open_volume, read_image
from tomostain.io.atomic import refuse_existing
from tomostain.prepare.study import Task, register_study
from tomostain.progress import Progress, silent, track
from tomostain.register.config import RegisterConfig
from tomostain.tiling.slice_context import SliceCount

_NEEDED = ("specimen", "volume", "slide")
_OPTIONAL = ("section", "subject", "implant", "weeks", "stain", "voxel_um", "pixel_um", "dataset", "exclude", "rois")

_TOP_LEVEL = "give it without 'registration', where it holds for the pairs too"
_NOT_OF_REGISTRATION = {
    "ct_background": _TOP_LEVEL,
    "ct_bone": _TOP_LEVEL,
    "margin_um": _TOP_LEVEL,
    "voxel_um": _TOP_LEVEL,
    "deform": "is of 'tomostain register' alone; the pairs of a study are not deformed",
}


class PrepareConfig(SplitConfig):
    """How specimens become pairs. The keys of `SplitConfig` say how the pairs are divided.

    Attributes
    ----------
    voxel_um : float or None
        Pixel size of every pair, µm. None: the voxel size of the first volume.
    ct_background, ct_bone : float or None
        Grey levels of every scan, in its own scale; None: found in each volume (paper section 2.5).
    level_slices : int
        Slices of each volume that are read to find them.
    margin_um : float
        How far the correspondence mask reaches beyond bone and screw (paper section 2.8).
    ct_slices : int
        Slices of µCT that each pair holds, one pixel apart, for recipes whose generator sees several at once: odd.
    jobs : int
        Registrations at once; 0: one for every two cores.
    registration : RegisterConfig
        How sections are found. Grey levels and margin are those above; so are the seed and, by the table's implant, the
        material, unless they are given here.
    """

    voxel_um: float | None = Field(default=None, gt=0)
    ct_background: float | None = None
    ct_bone: float | None = None
    level_slices: int = Field(default=12, ge=1)
    margin_um: float = Field(default=60.0, ge=0)
    ct_slices: SliceCount = 1
    jobs: int = Field(default=0, ge=0)
    registration: RegisterConfig = Field(default_factory=RegisterConfig)

    @model_validator(mode="after")
    def _nothing_twice(self) -> Self:
        for key in _NOT_OF_REGISTRATION:
            if getattr(self.registration, key) != RegisterConfig.model_fields[key].default:
                raise ValueError(f"registration.{key}: {_NOT_OF_REGISTRATION[key]}")
        return self


class Boxes(Config):
    """Two regions of interest on the pair's grid, each (row0, row1, column0, column1), ends not included."""

    background: tuple[int, int, int, int]
    bone: tuple[int, int, int, int]

    @property
    def pair(self) -> tuple[Box, Box]:
        """Background and bone."""
        return self.background, self.bone


class Rois(Config):
    """Regions of interest chosen by hand; a part left out is found automatically."""

    ct: Boxes | None = None
    histology: Boxes | None = None


@dataclass(frozen=True)
class _Row:
    """One line of the table."""

    id: str
    values: Mapping[str, str]
    folder: Path
    line: str

    def path(self, column: str) -> Path:
        """Return a file named in the table, relative to the table."""
        return self.folder / self.values[column]

    def number(self, column: str) -> float | None:
        """Return a number above 0, or None where the cell is empty."""
        text = self.values.get(column, "")
        try:
            value = float(text) if text else None
        except ValueError:
            value = -1.0
        if value is not None and not 0 < value < 1e6:
            raise InputError(f"{self.line}: {column} is '{text}'; give a number above 0 or leave it empty")
        return value


def prepare_specimens(
    table: Path,
    out: Path,
    config: PrepareConfig | None = None,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Dataset:
    """Cut the pairs out of volumes and slides, normalise and mask them, and divide them into folds.

    Parameters
    ----------
    table : Path
        CSV with a line for each section. Columns: specimen, volume, slide and, where wanted, section (a YAML file
        that says where the section lies: `pair.yaml`, or the phantom's `truth/section.yaml`; where it is missing or
        empty the section is found by registration, into the folder ``<out>-registration``), subject, implant, weeks,
        stain, voxel_um, pixel_um, dataset (within an HDF5 file), exclude (an image on the pair's grid), rois (a YAML
        file with the keys of `Rois`). Paths are relative to the table.
    out : Path
        The dataset's folder.
    config : PrepareConfig, optional
    overwrite : bool
        Replace a dataset at `out`, carrying its hand-drawn `exclude.tif` files over.
    progress : Progress
        Told of each pair.

    Returns
    -------
    Dataset

    Raises
    ------
    InputError
        If the table or a file it names is wrong. The message names the specimen or the file.
    """
    config = config or PrepareConfig()
    # Said before the search, not after it.
    refuse_existing(Path(out), overwrite, "dataset")
    rows = find_sections(read_table(Path(table)), registration_folder(out), config, progress)
    sources = [table, *(row.path(column) for row in rows for column in ("volume", "slide", "section"))]
    voxel_um = config.voxel_um
    with new_dataset(out, [row.id for row in rows], overwrite=overwrite, sources=sources) as writer:
        for row in track(rows, "preparing pairs", progress):
            pair, details = _specimen_pair(row, config, voxel_um)
            voxel_um = voxel_um or pair.voxel_um
            exclude = _exclusion(row, pair.mask.shape)
            writer.add(pair, details, exclude)
        test, folds = make_folds(writer.records, config)
        writer.finish(test=test, folds=folds, config=config)
    return load_dataset(out)


def read_table(table: Path) -> list[_Row]:
    """Read and check the CSV table of `prepare_specimens`.

    Raises
    ------
    InputError
        If it is missing or empty, a column or a cell that is needed is missing, or a column is unknown.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = [str(name).strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            lines = [{key: (value or "").strip() for key, value in line.items() if key} for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table}: cannot be read as a CSV table ({error})") from None
    known = [*_NEEDED, *_OPTIONAL]
    for name in columns:
        if name not in known:
            raise InputError(f"{table}: unknown column '{name}'{suggest(name, known)}")
    if not lines:
        raise InputError(f"{table}: holds no specimens; write a line for each, under the columns {', '.join(_NEEDED)}")
    twice = Counter(line.get("specimen", "") for line in lines)
    seen: Counter[str] = Counter()
    rows = []
    for number, line in enumerate(lines, start=2):
        name = line.get("specimen", "")
        where = f"{table}, line {number}" + (f", specimen '{name}'" if name else "")
        for column in _NEEDED:
            if not line.get(column):
                raise InputError(f"{where}: '{column}' is empty; fill it in")
        seen[name] += 1
        pair_id = f"{name}-{seen[name]}" if twice[name] > 1 else name
        rows.append(_Row(check_id(pair_id), line, table.parent, where))
    return rows


def described_volumes(table: Path) -> list[str]:
    """Return a line for each specimen's µCT, with its first and last slice: is it the one that was meant?

    Raises
    ------
    InputError
        If the table or a volume cannot be read.
    """
    return [f"{row.id}: {_opened(row).describe()}" for row in read_table(Path(table))]


def _opened(row: _Row) -> Volume:
    """Open the µCT of a line."""
    return open_volume(row.path("volume"), voxel_um=row.number("voxel_um"), dataset=row.values.get("dataset") or None)


def registration_folder(out: Path) -> Path:
    """Return where the registrations of a dataset are kept: beside it, so that a repeat finds them."""
    return Path(out).with_name(f"{Path(out).name}-registration")


def find_sections(rows: list[_Row], folder: Path, config: PrepareConfig, progress: Progress = silent) -> list[_Row]:
    """Register the lines that name no section; leave out those that are not found.

    Raises
    ------
    InputError
        If none is left.
    """
    unknown = [row for row in rows if not row.values.get("section")]
    if not unknown:
        return rows
    tasks = [
        Task(
            row.id,
            row.path("volume"),
            row.path("slide"),
            row.number("voxel_um"),
            row.number("pixel_um"),
            row.values.get("dataset") or None,
            _options(row, config),
        )
        for row in unknown
    ]
    found = register_study(tasks, folder, config.jobs, progress)
    kept = []
    for row in rows:
        if row.values.get("section"):
            kept.append(row)
        elif row.id in found:
            kept.append(replace(row, values={**row.values, "section": str(found[row.id].absolute())}))
    if not kept:
        raise InputError(f"no specimen could be registered; {folder / 'scores.csv'} says why, one by one")
    return kept


def _options(row: _Row, config: PrepareConfig) -> dict[str, Any]:
    """Return the options of a line's registration: those of the study, unless they are given for registration."""
    study = {
        "seed": config.seed,
        "ct_background": config.ct_background,
        "ct_bone": config.ct_bone,
        "material": _screw(row.values.get("implant", "")),
    }
    # What is at its default falls back to the study's: the resolved prepare.yaml must mean the same again.
    return study | config.registration.model_dump(mode="json", exclude_defaults=True)


def _screw(implant: str) -> str | None:
    """Return what an implant of this name is in µCT, if that is known."""
    name = implant.lower()
    if name.startswith(("mg", "ti")):
        return "dense"
    return "light" if name.startswith("peek") else None


def _specimen_pair(row: _Row, config: PrepareConfig, voxel_um: float | None) -> tuple[Pair, dict[str, Any]]:
    """Cut, normalise and mask the pair of one line."""
    section_path = row.path("section")
    section = Section.from_dict(read_yaml(section_path), source=str(section_path))
    volume = _opened(row)
    slide = open_slide(row.path("slide"), pixel_um=row.number("pixel_um"))
    rois = Rois.from_yaml(row.path("rois")) if row.values.get("rois") else Rois()
    found = config.registration
    settings = CutConfig(
        pixel_um=voxel_um or float(min(volume.voxel_um)),
        margin_um=config.margin_um,
        ct_slices=config.ct_slices,
        ct_levels=None if rois.ct else _ct_levels(volume, config, str(row.path("volume"))),
        ct_boxes=rois.ct.pair if rois.ct else None,
        histology_levels=None
        if rois.histology
        else slide_levels(slide, found.histology_background, found.histology_bone),
        histology_boxes=rois.histology.pair if rois.histology else None,
    )
    pair, details = cut_pair(volume, slide, section, row.id, settings, row.line)
    details["source"] = {column: row.values[column] for column in ("volume", "slide", "section")}
    return replace(pair, **_about(row)), details


def _about(row: _Row) -> dict[str, Any]:
    """Return what the table says of the specimen."""
    weeks = row.number("weeks")
    return {
        "specimen": row.values["specimen"],
        "subject": row.values.get("subject") or row.values["specimen"],
        "implant": row.values.get("implant") or "unknown",
        "weeks": None if weeks is None else round(weeks),
        "stain": row.values.get("stain") or "unknown",
    }


def _ct_levels(volume: Volume, config: PrepareConfig, source: str) -> IntensityReference:
    """Return the grey levels: as given, or found in the volume."""
    return manual_reference(volume, config.ct_background, config.ct_bone, config.level_slices, source)


def _exclusion(row: _Row, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """Read the exclusion that the table names, if it names one."""
    if not row.values.get("exclude"):
        return None
    path = row.path("exclude")
    image = read_image(path)
    drawn = np.asarray((image if image.ndim == 2 else image.max(axis=2)) != 0)
    if drawn.shape != shape:
        raise InputError(f"{path}: has shape {drawn.shape}, pair '{row.id}' {shape}; draw it on the pair's own grid")
    return drawn
