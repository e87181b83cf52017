"""The measurement of a volume, in memory or on files: classify, measure, and write tables, labels and maps."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import numpy as np

from tomostain.config import check_keywords
from tomostain.deprecation import renamed, renamed_parameters
from tomostain.errors import InputError
from tomostain.io import StainedVolume, open_volume
from tomostain.io.atomic import temporary_folder
from tomostain.io.metadata.units import format_sides
from tomostain.io.ome_zarr.reader import StainedSource
from tomostain.measure.classes import MINERALISED, TissueClass
from tomostain.measure.config import MeasureConfig
from tomostain.measure.label_files import open_labels
from tomostain.measure.labelling import (
    MeasureInputs,
    MeasureSources,
    SourceKeywords,
    at_voxel_size,
    check_classifier_voxels,
    open_inputs,
    select_classifier,
)
from tomostain.measure.measurement import Measurement
from tomostain.measure.morphometry.bodies import body_named
from tomostain.measure.morphometry.shells import BV_TV
from tomostain.measure.notes import novelty_notes
from tomostain.measure.result_files import LABELS, begin_output, write_results
from tomostain.measure.results import Bars, Curve, FigureData, Histogram, MeasureResult
from tomostain.measure.tissue.classifier import TissueClassifier
from tomostain.measure.volume import VolumeMeasures
from tomostain.measure.working_grid import Colours
from tomostain.paths import StrPath
from tomostain.progress import Progress, silent


@renamed_parameters(also="ensemble")
def measure_volume(
    stained: "StainedSource | None" = None,
    out: StrPath | None = None,
    *,
    config: MeasureConfig | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
    **sources: Unpack[SourceKeywords],
) -> MeasureResult:
    """Measure a volume; write tables, labels and maps, or return them.

    Parameters
    ----------
    stained : path, StainedVolume, array-like or tuple (array, voxel_um), optional
        The stained volume; an array is uint8 (Z, Y, X, 3), and `voxel_um` may state its voxel size.
    out : path, optional
        Folder of ``measures.csv``, ``measures.json``, ``labels.ome.zarr`` and the maps ``thickness.ome.zarr`` (of bone,
        µm), ``distance.ome.zarr`` (from the implant, µm, negative inside) and ``layer.ome.zarr`` (thickness of the
        degradation layer, µm). None: nothing is written; the result holds labels and maps as arrays.
    config : MeasureConfig, optional
    overwrite : bool
        Replace an earlier measurement.
    progress : Progress
    **sources
        The other fields of `tomostain.measure.labelling.MeasureSources`: ``ct``, ``labels``, ``classifier``,
        ``ensemble``, ``uncertainty`` and ``voxel_um``. Volumes are paths, open volumes or arrays.

    Returns
    -------
    MeasureResult

    Raises
    ------
    InputError
        If an input cannot be read or does not fit, there is no implant, or `out` exists.

    Examples
    --------
    >>> labels = np.zeros((16, 24, 24), np.uint8)
    >>> labels[:, 8:16, 8:16] = TissueClass.METAL
    >>> labels[:, 16:20] = TissueClass.BONE
    >>> result = measure_volume(labels=labels, voxel_um=20, config=MeasureConfig(maps=False))
    >>> result.out is None, result.labels.shape
    (True, (16, 24, 24))
    """
    check_keywords("measure_volume", sources, SourceKeywords.__annotations__)
    volumes, config = MeasureSources(stained, **sources), config or MeasureConfig()
    if out is not None:
        return _measure_to(Path(out), volumes, config, overwrite, progress)
    with temporary_folder("measure") as folder:
        return _in_memory(_measure_to(folder / "measures", volumes, config, False, progress), volumes)


def _in_memory(result: MeasureResult, sources: MeasureSources) -> MeasureResult:
    """Return a result with the labels and maps of its folder, which will be removed, as arrays."""
    assert result.out is not None
    files = {name: result.out / f"{name}.ome.zarr" for name in ("thickness", "distance", "layer", "uncertainty")}
    maps = {name: open_volume(path)[:] for name, path in files.items() if path.is_dir()}
    labels = sources.labels if result.labels_path is None else result.labels_path
    assert labels is not None
    opened = open_labels(labels, voxel_um=result.voxel_um)
    is_kept = isinstance(sources.labels, str | os.PathLike)
    return replace(
        result,
        out=None,
        labels_path=result.labels_path if is_kept else None,
        labels=opened.read(0, opened.shape[0]),
        maps=maps,
    )


def _measure_to(
    out: Path, sources: MeasureSources, config: MeasureConfig, overwrite: bool, progress: Progress
) -> MeasureResult:
    """Measure a volume into a folder."""
    inputs = open_inputs(sources)
    paths = [*sources.paths, *([] if config.initial is None else [config.initial])]
    if config.geometry is not None:
        body_named(config.geometry)
    used = None if inputs.labels is not None else select_classifier(inputs, config, sources.classifier)
    _check_sources_used(sources, config, inputs, used)
    original, original_um = inputs.stained, inputs.grid.voxel_um
    notes = list(inputs.ct_notes)
    notes += novelty_notes(inputs.stained) if used is not None and used.spec.uses_stain else []
    if used is not None:
        inputs = at_voxel_size(inputs, used.spec.voxel_um)
        check_classifier_voxels(inputs, used)
    folder = begin_output(out, config, sources=paths, overwrite=overwrite)
    run = Measurement(folder, config, inputs, used, notes, progress)
    if inputs.grid.voxel_um != original_um:
        sizes = [format_sides(each) for each in (original_um, inputs.grid.voxel_um)]
        run.notes.append(f"measured at voxels of {sizes[1]} µm, those of the classifier; the volume has {sizes[0]} µm")
    try:
        measured = run.measure()
    except InputError as error:
        if not run.notes:
            raise
        raise InputError(f"{error}. Possible reasons: {'; '.join(run.notes)}") from error
    rows = run.rows(measured)
    provenance = run.provenance()
    definitions = {each.definition.id: each.definition for each in measured.measures}
    write_results(folder, rows, definitions.values(), notes=run.notes, provenance=provenance)
    return MeasureResult(
        out=folder,
        specimen=run.specimen,
        measures=measured.measures,
        rows=rows,
        labels_path=_labels_path(sources, folder),
        voxel_um=inputs.grid.voxel_um,
        stained=_for_pictures(sources, original),
        figures=figure_data(measured, run.source),
        notes=run.notes,
        provenance=provenance,
        config=config,
    )


def _check_sources_used(
    sources: MeasureSources, config: MeasureConfig, inputs: MeasureInputs, used: TissueClassifier | None
) -> None:
    """Raise `InputError` if an input or a limit would change nothing."""
    if sources.ensemble and (used is None or not used.spec.uses_stain):
        raise InputError(
            "`ensemble`: other stained volumes change nothing if the stain is not classified; leave it out"
        )
    if config.max_uncertainty is not None and used is None and inputs.uncertainty is None:
        raise InputError("`max_uncertainty`: labels have no uncertainty of their own; give `uncertainty`")


def _labels_path(sources: MeasureSources, folder: Path) -> Path | None:
    """Return the label volume that was measured; None if it is not on disk."""
    if sources.labels is None:
        return folder / LABELS
    return Path(sources.labels) if isinstance(sources.labels, str | os.PathLike) else None


def _for_pictures(sources: MeasureSources, opened: Colours | None) -> Path | StainedVolume | None:
    """Return the stained volume: its path, or the open volume."""
    if isinstance(sources.stained, str | os.PathLike):
        return Path(sources.stained)
    return opened if isinstance(opened, StainedVolume) else None


def figure_data(measured: VolumeMeasures, source: str) -> FigureData:
    """Return what the page draws: profile, shells and thickness."""
    profile = shells = thickness = None
    if measured.profile is not None:
        edges = measured.profile.edges_um
        profile = Curve(
            x=(edges[:-1] + edges[1:]) / 2,
            series={
                "new bone": measured.profile.share(TissueClass.NEW_BONE),
                "all bone": measured.profile.share(*MINERALISED),
            },
            x_label="distance from the implant [µm]",
            y_label="share of the tissue [%]",
        )
        rows = [each for each in measured.measures if each.definition is BV_TV]
        values = np.array([each.value for each in rows])
        shells = Bars(tuple(each.region for each in rows), {source: values}, "BV/TV [%]")
    if measured.thickness is not None and measured.thickness.counts.any():
        edges, shares = measured.thickness.shares()
        thickness = Histogram(edges, {"bone": shares}, "local thickness [µm]")
    return FigureData(new_bone_profile=profile, bone_by_shell=shells, thickness=thickness)


__getattr__ = renamed(
    __name__,
    {
        "MAPS": "tomostain.measure.measurement:MAPS",
    },
)
