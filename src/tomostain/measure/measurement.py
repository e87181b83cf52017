"""One measurement of a volume: labels, maps, spread of the ensembles, and rows of the table."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tomostain import __version__
from tomostain.errors import InputError
from tomostain.io import create_ome_zarr
from tomostain.io.metadata.units import format_sides
from tomostain.io.output_folder import base_name
from tomostain.measure.config import MeasureConfig
from tomostain.measure.initial import known_implant
from tomostain.measure.label_files import LabelVolume
from tomostain.measure.label_source import LabelSource
from tomostain.measure.labelling import MeasureInputs, classify_to
from tomostain.measure.measures import Measure
from tomostain.measure.notes import refused_share, saturation_notes, view_notes
from tomostain.measure.refused import RefusedLabels, open_uncertainty
from tomostain.measure.result_files import DISTANCE, LABELS, LAYER, THICKNESS, UNCERTAINTY
from tomostain.measure.rows import MeasureRow, measure_rows
from tomostain.measure.sequential import SequentialWriter
from tomostain.measure.spread import with_model_spread
from tomostain.measure.tissue.classifier import TissueClassifier
from tomostain.measure.volume import QUICK, MapWriters, VolumeMeasures, measure_labels, parts_of_members
from tomostain.progress import Progress

MAPS = {
    THICKNESS: "local thickness of bone, µm; 0 elsewhere",
    DISTANCE: "distance from the implant, µm, negative inside; cut off beyond the shells",
    LAYER: "thickness of the degradation layer, µm; 0 elsewhere",
}
"""What the maps hold, by file."""


@dataclass
class Measurement:
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
        facts["voxel_um"] = format_sides(self.inputs.grid.voxel_um)
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
