"""Datasets from specimens: volumes, slides and sections, listed in a CSV table or given as open objects."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from tomostain.dataset.cut_pair import CutConfig, cut_pair, default_pixel_um
from tomostain.dataset.dataset import Dataset
from tomostain.dataset.folds import make_folds
from tomostain.dataset.loaded import LoadedDataset
from tomostain.dataset.pair import Pair
from tomostain.dataset.writer import DatasetBuilder, check_dataset_output, new_dataset
from tomostain.errors import InputError
from tomostain.imaging.intensity import IntensityReference
from tomostain.imaging.intensity_estimation import manual_reference
from tomostain.imaging.slide_reference import slide_reference
from tomostain.io import Volume, open_slide, open_volume
from tomostain.io.atomic import temporary_folder
from tomostain.io.images import read_mask
from tomostain.paths import StrPath
from tomostain.prepare.config import PrepareConfig, registration_options
from tomostain.prepare.in_memory import named_specimens, none_registered, register_inputs, warn_of_left_out
from tomostain.prepare.specimen_input import NamedSpecimen, Rois, SpecimenInput, read_section
from tomostain.prepare.study import SpecimenTask, left_out, register_study
from tomostain.prepare.table import SpecimenRow, read_table
from tomostain.progress import Progress, silent, track

__all__ = ["PrepareConfig", "Rois", "SpecimenInput", "described_volumes", "prepare_specimens", "registration_folder"]

SpecimenTable: TypeAlias = StrPath | Sequence[SpecimenInput]
"""The CSV table of a study, or its specimens."""


@overload
def prepare_specimens(
    table: SpecimenTable,
    out: None = None,
    config: PrepareConfig | None = None,
    *,
    overwrite: bool = ...,
    device: str = ...,
    progress: Progress = ...,
) -> LoadedDataset: ...
@overload
def prepare_specimens(
    table: SpecimenTable,
    out: StrPath,
    config: PrepareConfig | None = None,
    *,
    overwrite: bool = ...,
    device: str = ...,
    progress: Progress = ...,
) -> Dataset: ...
def prepare_specimens(
    table: SpecimenTable,
    out: StrPath | None = None,
    config: PrepareConfig | None = None,
    *,
    overwrite: bool = False,
    device: str = "auto",
    progress: Progress = silent,
) -> Dataset:
    """Extract pairs from volumes and slides, normalise and mask them, and divide them into folds.

    Parameters
    ----------
    table : path or sequence of SpecimenInput
        CSV with one line per section. Required columns: specimen, volume, slide. Optional columns: section (a YAML file
        with the position of the section: `pair.yaml`, or `truth/section.yaml` of a phantom; if it is missing or empty,
        the section is found by registration, in the folder ``<out>-registration``), subject, implant, weeks, stain,
        voxel_um, pixel_um, dataset (within an HDF5 file), exclude (an image on the grid of the pair), rois (a YAML file
        with the keys of `Rois`). Paths are relative to the table. Or the specimens with open volumes and slides, or
        arrays; those without a section are registered one after the other.
    out : path, optional
        Folder of the dataset. None: the dataset is in memory. No file is written then, except that sections of a CSV
        table are registered in a temporary folder, which is removed.
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
        A `LoadedDataset` without `out`; `tomostain.save_dataset` writes it.

    Raises
    ------
    InputError
        If the table or a file that it names is wrong, or no section is found. The message names the specimen or the
        file.

    Warns
    -----
    OmittedSpecimenWarning
        If a specimen is left out because its section is not found, and there is no folder that states it.
    """
    config = config or PrepareConfig()
    if not isinstance(table, str | os.PathLike):
        specimens = named_specimens(table)
        sources = [path for each in specimens for path in each.specimen.files]
        if out is not None:  # raise before the search, not after it
            check_dataset_output(out, sources, overwrite=overwrite)
        specimens = register_inputs(specimens, config, device, progress)
        builder = new_dataset(out, [each.id for each in specimens], overwrite=overwrite, sources=sources)
        return _add_pairs(builder, specimens, len(specimens), config, progress)
    rows = read_table(Path(table))
    if out is not None:
        check_dataset_output(out, _sources(Path(table), rows), overwrite=overwrite)
    with _registrations(out) as folder:
        rows = _with_sections(rows, folder, out is None, config, device, progress)
        sources = _sources(Path(table), rows)
        builder = new_dataset(out, [row.id for row in rows], overwrite=overwrite, sources=sources)
        return _add_pairs(builder, (_of_row(row, config) for row in rows), len(rows), config, progress)


def _add_pairs(
    new: AbstractContextManager[DatasetBuilder],
    specimens: Iterable[NamedSpecimen],
    number: int,
    config: PrepareConfig,
    progress: Progress,
) -> Dataset:
    """Cut the pair of each specimen, and complete the dataset."""
    voxel_um = config.voxel_um
    with new as builder:
        for each in track(specimens, "preparing pairs", progress, number):
            pair, details = _specimen_pair(each, config, voxel_um)
            voxel_um = voxel_um or pair.voxel_um
            builder.add(pair, details, _exclusion(each, pair.mask.shape))
        test, folds = make_folds(builder.records, config)
        builder.finish(test=test, folds=folds, config=config)
    return builder.result()


@contextmanager
def _registrations(out: StrPath | None) -> Iterator[Path]:
    """Yield the folder of the registrations: next to the dataset, or a temporary one."""
    if out is not None:
        yield registration_folder(Path(out))
        return
    with temporary_folder("registration") as folder:
        yield folder


def _with_sections(
    rows: list[SpecimenRow],
    folder: Path,
    is_temporary: bool,
    config: PrepareConfig,
    device: str,
    progress: Progress,
) -> list[SpecimenRow]:
    """Register the lines without a section; warn of those that are left out, if the folder will not state them."""
    if not is_temporary:
        return find_sections(rows, folder, config, device, progress)
    try:
        found = find_sections(rows, folder, config, device, progress)
    except InputError:
        if reasons := left_out(folder):
            raise none_registered(reasons) from None
        raise
    warn_of_left_out(left_out(folder))
    return found


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
            registration_options(row.values.get("implant", ""), config),
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
        if len(reasons := left_out(folder)) == 1:
            raise none_registered(reasons)
        raise InputError(f"no specimen could be registered; {folder / 'scores.csv'} states the reason for each")
    return with_section


def _sources(table: Path, rows: Iterable[SpecimenRow]) -> list[Path]:
    """Return the files and folders that a table names, and the table."""
    columns = ("volume", "slide", "section", "exclude", "rois")
    return [table, *(row.path(column) for row in rows for column in columns if row.values.get(column))]


def _of_row(row: SpecimenRow, config: PrepareConfig) -> NamedSpecimen:
    """Open volume and slide of a line."""
    section, weeks = read_section(row.path("section")), row.number("weeks")
    specimen = SpecimenInput(
        row.values["specimen"],
        _opened(row, config.allow_missing),
        open_slide(row.path("slide"), pixel_um=row.number("pixel_um")),
        section,
        subject=row.values.get("subject") or "",
        implant=row.values.get("implant") or "unknown",
        weeks=None if weeks is None else round(weeks),
        stain=row.values.get("stain") or "unknown",
        exclude=row.path("exclude") if row.values.get("exclude") else None,
        rois=Rois.from_yaml(row.path("rois")) if row.values.get("rois") else Rois(),
    )
    sources = {column: row.values[column] for column in ("volume", "slide", "section")}
    return NamedSpecimen(row.id, row.line, specimen, sources)


def _specimen_pair(named: NamedSpecimen, config: PrepareConfig, voxel_um: float | None) -> tuple[Pair, dict[str, Any]]:
    """Extract, normalise and mask the pair of a specimen."""
    assert named.specimen.section is not None
    section = read_section(named.specimen.section)
    volume, slide, rois = named.specimen.open_volume(), named.specimen.open_slide(), named.specimen.rois
    registration = config.registration
    settings = CutConfig(
        pixel_um=voxel_um or default_pixel_um(volume),
        margin_um=config.margin_um,
        ct_slices=config.ct_slices,
        ct_reference=None if rois.ct else _ct_reference(volume, config),
        ct_boxes=rois.ct.pair if rois.ct else None,
        histology_reference=None
        if rois.histology
        else slide_reference(slide, registration.histology_background, registration.histology_bone),
        histology_boxes=rois.histology.pair if rois.histology else None,
    )
    pair, details = cut_pair(volume, slide, section, named.id, settings, named.where)
    details["source"] = dict(named.sources)
    details.update(volume.missing_record())
    return replace(pair, **named.specimen.record()), details


def _ct_reference(volume: Volume, config: PrepareConfig) -> IntensityReference:
    """Return the intensity reference: as configured, or estimated from the volume."""
    return manual_reference(volume, config.ct_background, config.ct_bone, config.level_slices, str(volume.path))


def _exclusion(named: NamedSpecimen, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """Return the exclusion that is stated for a specimen, if any."""
    exclude = named.specimen.exclude
    if exclude is None:
        return None
    is_file = isinstance(exclude, str | os.PathLike)
    drawn = read_mask(exclude) if isinstance(exclude, str | os.PathLike) else np.asarray(exclude) != 0
    if drawn.shape != shape:
        name = exclude if is_file else "`exclude`"
        raise InputError(
            f"{name}: has shape {drawn.shape}, but pair '{named.id}' has {shape}; draw it on the grid of the pair"
        )
    return drawn
