"""The measurement of a volume, in memory or on files: classify, measure, and write tables, labels and maps."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import numpy as np

from tomostain import __version__
from tomostain.config import check_keywords
from tomostain.deprecation import renamed_parameters
from tomostain.errors import InputError
from tomostain.io import StainedVolume, create_ome_zarr, open_volume
from tomostain.io.atomic import temporary_folder
from tomostain.io.ome_zarr.reader import StainedSource
from tomostain.io.output_folder import base_name
from tomostain.measure.classes import MINERALISED, TissueClass
from tomostain.measure.config import MeasureConfig
from tomostain.measure.initial import known_implant
from tomostain.measure.label_files import LabelVolume, open_labels
from tomostain.measure.label_source import LabelSource
from tomostain.measure.labelling import (
    MeasureInputs,
    MeasureSources,
    PathLike,
    SourceKeywords,
    at_voxel_size,
    check_classifier_voxels,
    classify_to,
    open_inputs,
    select_classifier,
)
from tomostain.measure.measures import Measure
from tomostain.measure.morphometry.bodies import body_named
from tomostain.measure.morphometry.shells import BV_TV
from tomostain.measure.notes import novelty_notes, refused_share, saturation_notes, view_notes
from tomostain.measure.refused import RefusedLabels, open_uncertainty
from tomostain.measure.result_files import DISTANCE, LABELS, LAYER, THICKNESS, UNCERTAINTY, begin_output, write_results
from tomostain.measure.results import Bars, Curve, FigureData, Histogram, MeasureResult
from tomostain.measure.rows import MeasureRow, measure_rows
from tomostain.measure.sequential import SequentialWriter
from tomostain.measure.spread import with_model_spread
from tomostain.measure.tissue.classifier import TissueClassifier
from tomostain.measure.volume import QUICK, MapWriters, VolumeMeasures, measure_labels, parts_of_members
from tomostain.measure.working_grid import Colours
from tomostain.progress import Progress, silent

MAPS = {
    THICKNESS: "local thickness of bone, µm; 0 elsewhere",
    DISTANCE: "distance from the implant, µm, negative inside; cut off beyond the shells",
    LAYER: "thickness of the degradation layer, µm; 0 elsewhere",
}
"""What the maps hold, by file."""


@renamed_parameters(also="ensemble")
def measure_volume(
    stained: StainedSource | None = None,
    out: PathLike | None = None,
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
    if sources.ensemble and (used is None or not used.spec.uses_stain):
        raise InputError(
            "`ensemble`: other stained volumes change nothing if the stain is not classified; leave it out"
        )
    if config.max_uncertainty is not None and used is None and inputs.uncertainty is None:
        raise InputError("`max_uncertainty`: labels have no uncertainty of their own; give `uncertainty`")
    original, original_um = inputs.stained, inputs.grid.voxel_um
    notes = novelty_notes(inputs.stained) if used is not None and used.spec.uses_stain else []
    if used is not None:
        inputs = at_voxel_size(inputs, used.spec.voxel_um)
        check_classifier_voxels(inputs, used)
    folder = begin_output(out, config, sources=paths, overwrite=overwrite)
    run = _Run(folder, config, inputs, used, notes, progress)
    if inputs.grid.voxel_um != original_um:
        sizes = [" x ".join(f"{size:g}" for size in each) for each in (original_um, inputs.grid.voxel_um)]
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


@dataclass
class _Run:
    """One measurement on its way."""

    folder: Path
    config: MeasureConfig
    inputs: MeasureInputs
    classifier: TissueClassifier | None
    notes: list[str]
    progress: Progress

    def __post_init__(self) -> None:
        self.labels: LabelSource = self.inputs.labels or self._classified()

    @property
    def source(self) -> str:
        """The name of the source in the table."""
        if self.classifier is None:
            return "labels"
        return {"stain": "stained"}.get(self.classifier.spec.variant, self.classifier.spec.variant)

    @property
    def specimen(self) -> str:
        """The name of the specimen in the table."""
        volume = self.inputs.stained or self.inputs.labels or self.inputs.ct
        assert volume is not None
        return self.config.specimen or base_name(volume.path)

    def _classified(self) -> LabelVolume:
        assert self.classifier is not None
        writes_uncertainty = self.config.max_uncertainty is not None and self.inputs.uncertainty is None
        path = self.folder / UNCERTAINTY if writes_uncertainty else None
        labels, share = classify_to(
            self.folder / LABELS, self.inputs, self.classifier, uncertainty=path, progress=self.progress
        )
        familiarity = self.classifier.familiarity
        if familiarity is not None and share > familiarity.max_share:
            self.notes.append(
                f"{share:.0%} of the voxels are unlike the training data of the classifier (usual up to "
                f"{familiarity.max_share:.0%}): the classes, and all measures, are unreliable"
            )
        return labels

    def measure(self) -> VolumeMeasures:
        """Measure all, write the maps, and add the spread of the ensembles."""
        initial_implant = known_implant(self.config, self.labels)
        names = (THICKNESS,) if self.config.without_implant else MAPS
        files = {} if not self.config.maps else {name: self._map(name) for name in names}
        maps = MapWriters(files.get(THICKNESS), files.get(DISTANCE), files.get(LAYER))
        measured = measure_labels(self.labels, self.config, known=initial_implant, maps=maps, progress=self.progress)
        for file in files.values():
            file.finish()
        self.notes += view_notes(measured)
        if self.inputs.ct is not None and measured.implant is not None:
            self.notes += saturation_notes(self.inputs.ct, measured.implant)
        return replace(measured, measures=with_model_spread(measured.measures, *self._ensembles(measured)))

    def _map(self, name: str) -> SequentialWriter:
        """Begin the file of a map."""
        grid = self.inputs.grid
        facts = {"map": MAPS[name], "tomostain_version": __version__}
        writer = create_ome_zarr(
            self.folder / name,
            grid.shape,
            grid.voxel_um,
            dtype="float32",
            reduction="mean" if name == DISTANCE else "mean_nonzero",
            placement=self.inputs.placement,
            provenance=facts,
        )
        return SequentialWriter(writer)

    def _ensembles(self, measured: VolumeMeasures) -> Iterator[list[list[Measure]]]:
        """Yield the measures of each member: of the models that stained, and of the classifier."""
        if self.classifier is None:
            return
        if self.inputs.ensemble:
            others = [replace(self.inputs, stained=volume) for volume in self.inputs.ensemble]
            yield [measured.measures, *self._members((inputs, None) for inputs in others)]
        members = min(self.config.members, self.classifier.spec.members)
        if members > 1:
            yield self._members((self.inputs, member) for member in range(members))

    def _members(self, members: Iterable[tuple[MeasureInputs, int | None]]) -> list[list[Measure]]:
        """Classify with each member, and measure again. A member that sees no implant is left out."""
        assert self.classifier is not None
        result, parts = [], parts_of_members(self.labels.shape)
        if (
            parts == QUICK
            and (note := "thickness and cavities of a volume of this size have no sd_model") not in self.notes
        ):
            self.notes.append(note)
        for inputs, member in members:
            with _scratch(self.folder) as scratch:
                labels, _ = classify_to(
                    scratch / LABELS, inputs, self.classifier, member=member, progress=self.progress
                )
                try:
                    initial_implant = known_implant(self.config, labels)
                    measured = measure_labels(
                        labels, self.config, parts=parts, known=initial_implant, progress=self.progress
                    )
                except InputError as error:
                    self.notes.append(f"one member of an ensemble is left out of the spread: {error}")
                else:
                    result.append(measured.measures)
        return result

    def rows(self, measured: VolumeMeasures) -> list[MeasureRow]:
        """Return the rows of the table: with all voxels, and without those that are refused."""
        result = measure_rows(measured.measures, specimen=self.specimen, source=self.source)
        if self.config.max_uncertainty is None:
            return result
        path = self.folder / UNCERTAINTY
        mapped = self.inputs.uncertainty or open_uncertainty(path)
        refused = RefusedLabels(self.labels, mapped, self.config.max_uncertainty)
        share = refused_share(self.labels, refused)
        self.notes.append(
            f"{share:.1%} of the voxels were refused, because their uncertainty is above "
            f"{self.config.max_uncertainty:g}; rows 'without refused' leave them out"
        )
        self.notes.append("volume loss and degradation rate are reported for all voxels only")
        try:
            accepted = measure_labels(refused, self.config, reuse=measured, progress=self.progress)
        except InputError as error:
            self.notes.append(f"without the refused voxels nothing can be measured: {error}")
            return result
        return result + measure_rows(
            accepted.measures, specimen=self.specimen, source=self.source, voxels="without refused"
        )

    def provenance(self) -> dict[str, str]:
        """Return what was measured, and with what."""
        facts = {"tomostain": __version__}
        for name in ("stained", "ct", "labels"):
            volume = getattr(self.inputs, name)
            if volume is not None:
                facts[name] = str(volume.path)
        facts["voxel_um"] = " x ".join(f"{size:g}" for size in self.inputs.grid.voxel_um)
        if self.inputs.ensemble:
            facts["also"] = ", ".join(str(volume.path) for volume in self.inputs.ensemble)
        if self.inputs.uncertainty is not None:
            facts["uncertainty"] = str(self.inputs.uncertainty.path)
        if self.classifier is not None:
            facts["classifier"] = self.classifier.name
        if self.config.implant is not None:
            facts["implant"] = self.config.implant
        if self.config.weeks is not None:
            facts["weeks"] = f"{self.config.weeks:g}"
        return facts


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Yield a folder for the labels of one member, which is removed afterwards."""
    path = Path(tempfile.mkdtemp(prefix=".member-", dir=folder))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


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
