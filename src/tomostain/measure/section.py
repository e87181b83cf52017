"""The measures in the plane of a histological section, on the real and on the virtual one, by the same classifier.

This is the comparison that a study needs before it reports numbers of stained volumes: the same detector is used on the
slide and on the generated image, in the same pixels.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from tomostain import __version__
from tomostain.config import check_keywords
from tomostain.dataset.pair import Pair, load_pair
from tomostain.errors import InputError
from tomostain.geometry.section import Section
from tomostain.io import StainedVolume, open_stained
from tomostain.io.models import Model as StoredModel
from tomostain.io.ome_zarr.reader import StainedSource
from tomostain.measure.classes import Labels, TissueClass
from tomostain.measure.config import MeasureConfig
from tomostain.measure.measures import Measure
from tomostain.measure.morphometry.contact import ContactRule
from tomostain.measure.morphometry.plane import find_plane_implant, plane_measures
from tomostain.measure.morphometry.thickness import plane_thickness_measures
from tomostain.measure.registration_error import POSITION_SD_VOXELS, planes_within_error
from tomostain.measure.result_files import begin_output, write_results
from tomostain.measure.results import SectionImage, SectionResult
from tomostain.measure.rows import measure_rows
from tomostain.measure.section_classifier import select_section_classifier
from tomostain.measure.spread import with_model_spread, with_registration_spread
from tomostain.measure.tissue.classifier import TissueClassifier
from tomostain.measure.tissue.classify import classify_image
from tomostain.measure.virtual_section import RGB, Mask, cut_volume, section_of, stain_pair
from tomostain.paths import StrPath
from tomostain.progress import Progress, silent, track
from tomostain.stain.request import LoadedModel
from tomostain.stain.stainer import Stainer, load_stainer

REAL, VIRTUAL = "real section", "virtual section"


def measure_plane(
    labels: Labels, pixel_um: float, config: MeasureConfig | None = None, *, mask: NDArray[np.bool_] | None = None
) -> list[Measure]:
    """Return all measures of tissue classes in a plane.

    Parameters
    ----------
    labels : ndarray of uint8, shape (Y, X)
        Values of `TissueClass`.
    pixel_um : float
    config : MeasureConfig, optional
    mask : ndarray of bool, shape (Y, X), optional
        The pixels that count.

    Returns
    -------
    list of Measure
        All of dimension 2.

    Raises
    ------
    InputError
        If there is no implant.
    """
    config = config or MeasureConfig()
    implant = find_plane_implant(labels, pixel_um, mask=mask)
    rule = ContactRule.default(implant.pixel_um, gap_um=config.gap_um, depth_um=config.depth_um)
    measures = plane_measures(implant, rule=rule, edges_um=config.shell_um)
    return measures + plane_thickness_measures(implant.labels, pixel_um)


class SectionKeywords(TypedDict, total=False):
    """The fields of `SectionSources` as keyword arguments."""

    model: StrPath | LoadedModel | StoredModel | None
    volume: StainedSource | None
    classifier: StrPath | None
    device: str


@dataclass(frozen=True, eq=False)
class SectionSources:
    """Where the virtual section of a pair is from, and how tissue is classified.

    Attributes
    ----------
    model : path, Stainer or TrainedModel, optional
        Model that stains the µCT of the pair: the virtual section.
    volume : path, StainedVolume or (array, voxel_um), optional
        The stained volume in which the section lies. The spread over planes within the error of the registration is
        measured in it. Without `model`, the virtual section is cut from it.
    classifier : path, optional
        Folder of a classifier of sections, or ``builtin:NAME``. By default the built-in one for the stain of the pair.
    device : str
        For the model.
    """

    model: StrPath | LoadedModel | StoredModel | None = None
    volume: StainedSource | None = None
    classifier: StrPath | None = None
    device: str = "auto"

    def stainer(self) -> Stainer | None:
        """Load the model, if there is one."""
        if self.model is None or isinstance(self.model, Stainer):
            return self.model
        if isinstance(self.model, str | os.PathLike | StoredModel):
            return load_stainer(self.model, device=self.device)
        return Stainer(self.model.translator)

    def _model_name(self) -> str:
        """Return the path of the model, or its recipe."""
        if isinstance(self.model, StoredModel):
            return self.model.spec.recipe
        return str(self.model) if isinstance(self.model, str | os.PathLike) else self.model.translator.spec.recipe  # type: ignore[union-attr]

    def describe(self) -> dict[str, str]:
        """Return the names of model and volume, for the provenance."""
        facts = {}
        if self.model is not None:
            facts["model"] = self._model_name()
        if self.volume is not None:
            is_path = isinstance(self.volume, str | os.PathLike)
            facts["volume"] = str(self.volume if is_path else open_stained(self.volume).path)
        return facts


def measure_section(
    pair: StrPath | Pair,
    out: StrPath | None = None,
    *,
    config: MeasureConfig | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
    **sources: Unpack[SectionKeywords],
) -> SectionResult:
    """Measure the real and the virtual section of a pair with the same classifier.

    Parameters
    ----------
    pair : path or Pair
        Folder of a pair, as `register` and `prepare` write it, or a pair in memory.
    out : path, optional
        Folder of ``measures.csv`` and ``measures.json``. None: nothing is written.
    config : MeasureConfig, optional
    overwrite : bool
        Replace an earlier measurement.
    progress : Progress
    **sources
        The fields of `SectionSources`: ``model`` or ``volume``, or both; ``classifier`` and ``device``.

    Returns
    -------
    SectionResult

    Raises
    ------
    InputError
        If the pair, the model or the volume cannot be read or do not fit each other, a section shows no implant, or
        `out` exists.
    """
    check_keywords("measure_section", sources, SectionKeywords.__annotations__)
    chosen = SectionSources(**sources)
    config = config or MeasureConfig()
    _check_request(config, chosen)
    stainer = chosen.stainer()
    slices = 1 if stainer is None else stainer.translator.spec.ct_slices
    loaded = pair if isinstance(pair, Pair) else load_pair(pair, slices)
    stained = None if chosen.volume is None else open_stained(chosen.volume)
    used = select_section_classifier(loaded, config, chosen.classifier)
    folder = None
    if out is not None:
        given = (pair, chosen.model, chosen.volume)
        paths = [path for path in given if isinstance(path, str | os.PathLike) and Path(path).exists()]
        folder = begin_output(out, config, sources=paths, overwrite=overwrite)
    run = _SectionRun(loaded, config, used, stained)
    images, measures, notes = run.measure_both(stainer, progress)
    specimen = config.specimen or loaded.id
    rows = [row for source, each in measures.items() for row in measure_rows(each, specimen=specimen, source=source)]
    definitions = {each.definition.id: each.definition for listed in measures.values() for each in listed}
    facts = {"tomostain": __version__, "pair": loaded.id, "stain": loaded.stain, "classifier": used.name}
    provenance = facts | chosen.describe()
    if folder is not None:
        write_results(folder, rows, definitions.values(), notes=notes, provenance=provenance)
    return SectionResult(
        out=folder,
        specimen=specimen,
        measures=measures,
        rows=rows,
        images=images,
        pixel_um=loaded.voxel_um,
        notes=notes,
        provenance=provenance,
        config=config,
    )


def _check_request(config: MeasureConfig, sources: SectionSources) -> None:
    """Raise `InputError` if a section cannot be measured with these settings from these sources."""
    if config.without_implant:
        raise InputError("a section is measured at its implant; leave out `implant` none", parameter="implant")
    if sources.model is None and sources.volume is None:
        raise InputError("give `model` or `volume`, from which the virtual section is made", parameter="model")


@dataclass(frozen=True)
class _SectionRun:
    """One pair with what it is measured by."""

    pair: Pair
    config: MeasureConfig
    classifier: TissueClassifier
    stained: StainedVolume | None

    def measure_both(
        self, stainer: Stainer | None, progress: Progress
    ) -> tuple[dict[str, SectionImage], dict[str, list[Measure]], list[str]]:
        """Return images, measures and notes of the real and the virtual section."""
        rgb, inside = self.virtual(stainer)
        images = {
            REAL: self.classify(self.pair.histology, inside=inside),
            VIRTUAL: self.classify(rgb, inside=inside),
        }
        measures = {source: self.measure(image) for source, image in images.items()}
        notes = self.notes(images)
        if self.stained is not None and self.config.planes > 1:
            planes = list(self.planes(progress))
            measures[VIRTUAL] = with_registration_spread(measures[VIRTUAL], planes)
            notes.append(self.registration_note(len(planes)))
        if (share := float(inside[self.pair.mask].mean())) < 1:
            notes.append(f"both sections are measured in the {share:.0%} of the mask that lies in the stained volume")
        return images, measures, notes

    def classify(self, rgb: RGB, *, inside: Mask | None = None, member: int | None = None) -> SectionImage:
        """Return an image with its labels, which are `NOT_MEASURED` outside the mask of the pair."""
        name = f"pair '{self.pair.id}'"
        labels = classify_image(self.classifier, rgb, self.pair.voxel_um, member=member, source=name).labels
        assert labels is not None
        valid = self.pair.mask if inside is None else self.pair.mask & inside
        return SectionImage(rgb, np.where(valid, labels, TissueClass.NOT_MEASURED).astype(np.uint8))

    def virtual(self, stainer: Stainer | None) -> tuple[RGB, Mask]:
        """Return the virtual section, stained by the model or cut from the volume, and where it is known."""
        if stainer is not None:
            return stain_pair(self.pair, stainer), np.ones(self.pair.ct.shape, bool)
        assert self.stained is not None
        return cut_volume(self.stained, self._section(), self.pair.ct.shape, self.pair.voxel_um)

    def measure(self, image: SectionImage) -> list[Measure]:
        """Measure an image, with the spread between the networks of the classifier."""
        measures = measure_plane(image.labels, self.pair.voxel_um, self.config)
        inside = image.labels != TissueClass.NOT_MEASURED
        members = []
        for member in range(self.classifier.spec.members):
            labels = self.classify(image.colours, inside=inside, member=member).labels
            try:
                members.append(measure_plane(labels, self.pair.voxel_um, self.config))
            except InputError:  # this network sees no implant
                continue
        return with_model_spread(measures, members)

    def planes(self, progress: Progress) -> Iterator[list[Measure]]:
        """Yield the measures of planes within the error of the registration, cut from the stained volume."""
        assert self.stained is not None
        shape = self.pair.ct.shape
        centre = ((shape[0] - 1) / 2 * self.pair.voxel_um, (shape[1] - 1) / 2 * self.pair.voxel_um)
        near = planes_within_error(
            self._section(),
            centre,
            position_sd_um=self._position_sd_um,
            tilt_sd_deg=self.config.tilt_sd_deg,
            number=self.config.planes,
        )
        for plane in track(near, "planes within the error of the registration", progress):
            try:
                rgb, inside = cut_volume(self.stained, plane, shape, self.pair.voxel_um)
            except InputError:  # a plane that misses the volume
                continue
            labels = self.classify(rgb, inside=inside).labels
            try:
                yield measure_plane(labels, self.pair.voxel_um, self.config)
            except InputError:  # a plane that misses the implant
                continue

    @property
    def _position_sd_um(self) -> float:
        stated = self.config.position_sd_um
        return POSITION_SD_VOXELS * self.pair.voxel_um if stated is None else stated

    def _section(self) -> Section:
        section = section_of(self.pair)
        if section is None:
            raise InputError(
                f"pair '{self.pair.id}': does not state where its section lies in a volume; give `model` without "
                "`volume`, or register the slide to the volume",
                parameter="volume",
            )
        return section

    def registration_note(self, number: int) -> str:
        """Return the sentence on the spread of the registration."""
        return (
            f"sd_registration of the virtual section: {number} of {self.config.planes} planes, "
            f"displaced by {self._position_sd_um:g} µm and tilted by {self.config.tilt_sd_deg:g}° (standard deviations)"
        )

    def notes(self, images: dict[str, SectionImage]) -> list[str]:
        """Return how well the classes of the two sections agree."""
        real, virtual = (images[source].labels for source in (REAL, VIRTUAL))
        both = (real != TissueClass.NOT_MEASURED) & (virtual != TissueClass.NOT_MEASURED)
        share = float((real[both] == virtual[both]).mean()) if both.any() else float("nan")
        return [f"real and virtual section have the same class in {share:.1%} of {int(both.sum())} pixels"]
