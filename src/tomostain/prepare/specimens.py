"""Datasets from specimens: volumes, slides and sections that a CSV table lists."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from tomostain.config import Config, read_yaml
from tomostain.dataset.cut_pair import Box, CutConfig, cut_pair
from tomostain.dataset.dataset import Dataset, load_dataset
from tomostain.dataset.folds import SplitConfig, make_folds
from tomostain.dataset.pair import Pair
from tomostain.dataset.writer import check_dataset_output, new_dataset
from tomostain.errors import InputError
from tomostain.geometry.section import Section
from tomostain.imaging.intensity import IntensityReference, manual_reference
from tomostain.imaging.slide_reference import slide_reference
from tomostain.io import Volume, open_slide, open_volume
from tomostain.io.images import read_mask
from tomostain.prepare.study import SpecimenTask, register_study
from tomostain.prepare.table import SpecimenRow, read_table
from tomostain.progress import Progress, silent, track
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


def prepare_specimens(
    table: str | os.PathLike[str],
    out: str | os.PathLike[str],
    config: PrepareConfig | None = None,
    *,
    overwrite: bool = False,
    device: str = "auto",
    progress: Progress = silent,
) -> Dataset:
    """Extract pairs from volumes and slides, normalise and mask them, and divide them into folds.

    Parameters
    ----------
    table : path
        CSV with one line per section. Required columns: specimen, volume, slide. Optional columns: section (a YAML file
        with the position of the section: `pair.yaml`, or `truth/section.yaml` of a phantom; if it is missing or empty,
        the section is found by registration, in the folder ``<out>-registration``), subject, implant, weeks, stain,
        voxel_um, pixel_um, dataset (within an HDF5 file), exclude (an image on the grid of the pair), rois (a YAML file
        with the keys of `Rois`). Paths are relative to the table.
    out : path
        Folder of the dataset.
    config : PrepareConfig, optional
    overwrite : bool
        Replace a dataset at `out`. Its `exclude.tif` files are copied.
    device : str
        Where registration computes: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    progress : Progress
        Called for each pair.

    Returns
    -------
    Dataset

    Raises
    ------
    InputError
        If the table or a file that it names is wrong. The message names the specimen or the file.
    """
    config = config or PrepareConfig()
    # Raise before the search, not after it.
    rows = read_table(Path(table))
    check_dataset_output(out, _sources(Path(table), rows), overwrite=overwrite)
    rows = find_sections(rows, registration_folder(Path(out)), config, device, progress)
    voxel_um = config.voxel_um
    with new_dataset(out, [row.id for row in rows], overwrite=overwrite, sources=_sources(Path(table), rows)) as writer:
        for row in track(rows, "preparing pairs", progress):
            pair, details = _specimen_pair(row, config, voxel_um)
            voxel_um = voxel_um or pair.voxel_um
            exclude = _exclusion(row, pair.mask.shape)
            writer.add(pair, details, exclude)
        test, folds = make_folds(writer.records, config)
        writer.finish(test=test, folds=folds, config=config)
    return load_dataset(out)


def described_volumes(table: Path, *, allow_missing: bool = False) -> list[str]:
    """Return a line per specimen that describes its µCT, with its first and last slice, for a check by the user.

    Parameters
    ----------
    table : Path
    allow_missing : bool
        As in `PrepareConfig`.

    Raises
    ------
    InputError
        If the table or a volume cannot be read.
    """
    return [f"{row.id}: {_opened(row, allow_missing).describe()}" for row in read_table(Path(table))]


def _opened(row: SpecimenRow, allow_missing: bool) -> Volume:
    """Open the µCT of a line."""
    return open_volume(
        row.path("volume"),
        voxel_um=row.number("voxel_um"),
        dataset=row.values.get("dataset") or None,
        allow_missing=allow_missing,
    )


def registration_folder(out: Path) -> Path:
    """Return the folder for the registrations of a dataset: next to it, so that a second run finds them."""
    return Path(out).with_name(f"{Path(out).name}-registration")


def find_sections(
    rows: list[SpecimenRow], folder: Path, config: PrepareConfig, device: str = "auto", progress: Progress = silent
) -> list[SpecimenRow]:
    """Register the lines without a section. Lines whose section is not found are dropped.

    Raises
    ------
    InputError
        If no line remains.
    """
    unknown = [row for row in rows if not row.values.get("section")]
    if not unknown:
        return rows
    tasks = [
        SpecimenTask(
            row.id,
            row.path("volume"),
            row.path("slide"),
            row.number("voxel_um"),
            row.number("pixel_um"),
            row.values.get("dataset") or None,
            _options(row, config),
            device,
            config.allow_missing,
        )
        for row in unknown
    ]
    pair_files = register_study(tasks, folder, config.jobs, progress)
    with_section = []
    for row in rows:
        if row.values.get("section"):
            with_section.append(row)
        elif row.id in pair_files:
            with_section.append(replace(row, values={**row.values, "section": str(pair_files[row.id].absolute())}))
    if not with_section:
        raise InputError(f"no specimen could be registered; {folder / 'scores.csv'} states the reason for each")
    return with_section


def _sources(table: Path, rows: Iterable[SpecimenRow]) -> list[Path]:
    """Return the files and folders that a table names, and the table."""
    columns = ("volume", "slide", "section", "exclude", "rois")
    return [table, *(row.path(column) for row in rows for column in columns if row.values.get(column))]


def _options(row: SpecimenRow, config: PrepareConfig) -> dict[str, Any]:
    """Return the registration options of a line: those of the study, unless they are set for registration."""
    study = {
        "seed": config.seed,
        "ct_background": config.ct_background,
        "ct_bone": config.ct_bone,
        "material": _screw(row.values.get("implant", "")),
    }
    # Options at their default fall back to the study's, so that the resolved prepare.yaml gives the same result.
    return study | config.registration.model_dump(mode="json", exclude_defaults=True)


def _screw(implant: str) -> str | None:
    """Return how an implant of this name appears in µCT: dense, light, or None if unknown."""
    name = implant.lower()
    if name.startswith(("mg", "ti")):
        return "dense"
    return "light" if name.startswith("peek") else None


def _specimen_pair(row: SpecimenRow, config: PrepareConfig, voxel_um: float | None) -> tuple[Pair, dict[str, Any]]:
    """Extract, normalise and mask the pair of one line."""
    section_path = row.path("section")
    section = Section.from_dict(read_yaml(section_path), source=str(section_path))
    volume = _opened(row, config.allow_missing)
    slide = open_slide(row.path("slide"), pixel_um=row.number("pixel_um"))
    rois = Rois.from_yaml(row.path("rois")) if row.values.get("rois") else Rois()
    registration = config.registration
    settings = CutConfig(
        pixel_um=voxel_um or float(min(volume.voxel_um)),
        margin_um=config.margin_um,
        ct_slices=config.ct_slices,
        ct_reference=None if rois.ct else _ct_reference(volume, config, str(row.path("volume"))),
        ct_boxes=rois.ct.pair if rois.ct else None,
        histology_reference=None
        if rois.histology
        else slide_reference(slide, registration.histology_background, registration.histology_bone),
        histology_boxes=rois.histology.pair if rois.histology else None,
    )
    pair, details = cut_pair(volume, slide, section, row.id, settings, row.line)
    details["source"] = {column: row.values[column] for column in ("volume", "slide", "section")}
    details.update(volume.missing_record())
    return replace(pair, **_record(row)), details


def _record(row: SpecimenRow) -> dict[str, Any]:
    """Return the record of the specimen in the table."""
    weeks = row.number("weeks")
    return {
        "specimen": row.values["specimen"],
        "subject": row.values.get("subject") or row.values["specimen"],
        "implant": row.values.get("implant") or "unknown",
        "weeks": None if weeks is None else round(weeks),
        "stain": row.values.get("stain") or "unknown",
    }


def _ct_reference(volume: Volume, config: PrepareConfig, source: str) -> IntensityReference:
    """Return the intensity reference: as configured, or estimated from the volume."""
    return manual_reference(volume, config.ct_background, config.ct_bone, config.level_slices, source)


def _exclusion(row: SpecimenRow, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """Read the exclusion that the table names, if any."""
    if not row.values.get("exclude"):
        return None
    path = row.path("exclude")
    drawn = read_mask(path)
    if drawn.shape != shape:
        raise InputError(
            f"{path}: has shape {drawn.shape}, but pair '{row.id}' has {shape}; draw it on the grid of the pair"
        )
    return drawn
