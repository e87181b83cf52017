"""From the files of a measurement to its labels: opens them, selects the classifier, and classifies into a file."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from tomostain.deprecation import renamed
from tomostain.errors import InputError
from tomostain.imaging.intensity import IntensityReference
from tomostain.io import StainedVolume, Volume, create_ome_zarr, open_stained, open_volume
from tomostain.io.array_source import SizeUm
from tomostain.io.metadata.placement import Placement
from tomostain.io.metadata.units import check_voxel_um, format_sides
from tomostain.io.ome_zarr.reader import StainedSource
from tomostain.io.volumes.volume import VolumeSource
from tomostain.measure.classes import Labels
from tomostain.measure.config import MeasureConfig
from tomostain.measure.label_files import LabelVolume, VoxelGrid, check_grid, create_labels, open_labels
from tomostain.measure.refused import UncertaintyMap, open_uncertainty
from tomostain.measure.sequential import SequentialWriter
from tomostain.measure.stained_ct import open_stained_ct, reference_of
from tomostain.measure.tissue.classifier import TissueClassifier, Variant
from tomostain.measure.tissue.classifier_files import builtin_classifier, load_classifier
from tomostain.measure.tissue.classify import ClassifyOptions, classify_volume
from tomostain.measure.working_grid import TOLERANCE, Colours, colours_at, is_finer, scan_at, uncertainty_at
from tomostain.paths import StrPath
from tomostain.progress import Progress, silent

__getattr__ = renamed(__name__, {"PathLike": "tomostain.paths:StrPath"})

DEFAULT_STAIN = "toluidine-blue"
UncertaintySource: TypeAlias = VolumeSource | StainedVolume


@dataclass(frozen=True, eq=False)
class MeasureSources:
    """What is measured: paths, open volumes, arrays, or (array, voxel_um).

    Attributes
    ----------
    stained : path, StainedVolume or array, optional
        The stained volume; an array is uint8 (Z, Y, X, 3).
    ct : path, Volume or array, optional
        The µCT volume that was stained. With it, tissue is classified from both.
    labels : path, Volume or array, optional
        Label volume to measure instead of a classification: values of `TissueClass`.
    classifier : path, optional
        Folder of a tissue classifier, or ``builtin:NAME``. By default the built-in one for the images and the stain.
    ensemble : sequence of path, StainedVolume or array
        The same volume, stained by other models. Each is classified and measured for the spread of models.
    uncertainty : path, StainedVolume, Volume or array, optional
        Uncertainty map of the staining. The measures are repeated without the voxels above `config.max_uncertainty`. If
        that is set and there is no map, the uncertainty of the classifier is used.
    voxel_um : float or sequence of float, optional
        Voxel size, or (z, y, x), µm, of arrays, and of `ct` or `labels` instead of that in their files.
    """

    stained: StainedSource | None = None
    ct: VolumeSource | None = None
    labels: VolumeSource | None = None
    classifier: StrPath | None = None
    ensemble: Sequence[StainedSource] = ()
    uncertainty: UncertaintySource | None = None
    voxel_um: SizeUm | None = None

    @property
    def paths(self) -> list[StrPath]:
        """Those that are files or folders."""
        sources = (self.stained, self.ct, self.labels, self.uncertainty, *self.ensemble)
        return [source for source in sources if isinstance(source, str | os.PathLike)]


class SourceKeywords(TypedDict, total=False):
    """The fields of `MeasureSources`, without the stained volume, as keyword arguments."""

    ct: VolumeSource | None
    labels: VolumeSource | None
    classifier: StrPath | None
    ensemble: Sequence[StainedSource]
    uncertainty: UncertaintySource | None
    voxel_um: SizeUm | None


@dataclass(frozen=True, eq=False)
class MeasureInputs:
    """What a measurement reads, on one grid.

    Attributes
    ----------
    stained : Colours or None
        `StainedVolume`, or one at another voxel size.
    ct : Volume or None
    labels : LabelVolume or None
        Labels of the user, which replace a classification.
    ensemble : tuple of Colours
        The same volume, stained by other models.
    uncertainty : UncertaintyMap or None
    ct_notes : tuple of str
        Sentences about a µCT that is not the one that was stained, or whose file states another voxel size.
    has_stored_levels : bool
        Whether the grey values of background and bone that the stained volume states are those of `ct`.
    """

    stained: Colours | None = None
    ct: Volume | None = None
    labels: LabelVolume | None = None
    ensemble: tuple[Colours, ...] = ()
    uncertainty: UncertaintyMap | None = None
    ct_notes: tuple[str, ...] = ()
    has_stored_levels: bool = True

    @property
    def grid(self) -> VoxelGrid:
        """The grid of all volumes.

        Raises
        ------
        InputError
            If there is no volume.
        """
        for each in (self.stained, self.labels, self.ct):
            if each is not None:
                return each
        raise InputError("give the stained volume, `ct` or `labels`; there is nothing to measure")

    @property
    def placement(self) -> Placement | None:
        """Where the volume lies in the coordinates of its file."""
        for each in (self.stained, self.labels, self.ct):
            if each is not None:
                return each.placement
        return None

    @property
    def reference(self) -> IntensityReference | None:
        """Grey values of background and bone of the µCT: see `reference_of`. None without µCT."""
        if self.ct is None:
            return None
        provenance = {} if self.stained is None else self.stained.provenance
        return reference_of(self.ct, provenance, has_stored_levels=self.has_stored_levels)


def open_inputs(sources: MeasureSources) -> MeasureInputs:
    """Open what is measured, and check that it lies on one grid.

    Raises
    ------
    InputError
        If a volume cannot be opened or lies on another grid, or there is none.

    Warns
    -----
    OtherInputWarning
        If the µCT is not the one that was stained.
    """
    size = None if sources.voxel_um is None else check_voxel_um(sources.voxel_um, "voxel_um")
    drawn = None if sources.stained is None else open_stained(sources.stained, voxel_um=size)
    scan, of_stain = None, None
    if sources.ct is not None and drawn is not None:
        of_stain = open_stained_ct(sources.ct, drawn, size)
        scan = of_stain.volume
    elif sources.ct is not None:
        scan = sources.ct if isinstance(sources.ct, Volume) else open_volume(sources.ct, voxel_um=size)
    tissue = None if sources.labels is None else open_labels(sources.labels, drawn or scan, voxel_um=size)
    others = tuple(open_stained(other, voxel_um=size) for other in sources.ensemble)
    inputs = MeasureInputs(drawn, scan, tissue, others)
    grid = inputs.grid
    for volume in (scan, *others):
        if volume is not None:
            check_grid(volume.path, volume, grid)
    mapped = None if sources.uncertainty is None else open_uncertainty(sources.uncertainty, grid)
    result = MeasureInputs(drawn, scan, tissue, others, mapped)
    if of_stain is None:
        return result
    return replace(result, ct_notes=of_stain.notes, has_stored_levels=of_stain.has_stored_levels)


def select_classifier(
    inputs: MeasureInputs, config: MeasureConfig, classifier: StrPath | None = None
) -> TissueClassifier:
    """Return the classifier: the given one, or the built-in one for the images that there are and the stain.

    Raises
    ------
    InputError
        If the images that the configuration or the classifier needs are missing, or no classifier fits.
    """
    available = {"stain": inputs.stained is not None, "ct": inputs.ct is not None}
    available["both"] = all(available.values())
    loaded = None if classifier is None else load_classifier(classifier)
    variant: str = config.classes_from if loaded is None else loaded.spec.variant
    if variant == "auto":
        variant = next(each for each in ("both", "stain", "ct") if available[each])
    if not available.get(variant, False):
        needed = {"stain": "the stained volume", "ct": "`ct`", "both": "the stained volume and `ct`"}
        raise InputError(
            f"classes from '{variant}' need {needed.get(variant, 'a section, not a volume')}; give it, or set "
            "`classes_from`",
            parameter="classes_from",
        )
    return loaded or load_classifier(builtin_classifier(cast("Variant", variant), stain_of(inputs, config)))


def at_voxel_size(inputs: MeasureInputs, target_um: float) -> MeasureInputs:
    """Return the inputs at the voxel size of the classifier. Those that are not finer stay as they are.

    Parameters
    ----------
    inputs : MeasureInputs
        Without labels of the user.
    target_um : float
        Voxel size, µm.
    """
    if not is_finer(inputs.grid.voxel_um, target_um):
        return inputs
    levels = inputs.ct is None

    def at_target(volume: Colours) -> Colours:
        return colours_at(volume, target_um, levels=levels) if isinstance(volume, StainedVolume) else volume

    unsure = inputs.uncertainty
    return replace(
        inputs,
        stained=None if inputs.stained is None else at_target(inputs.stained),
        ct=None if inputs.ct is None else scan_at(inputs.ct, target_um),
        labels=None,
        ensemble=tuple(at_target(volume) for volume in inputs.ensemble),
        uncertainty=None if unsure is None else uncertainty_at(unsure, target_um, levels=levels),
    )


def check_classifier_voxels(inputs: MeasureInputs, classifier: TissueClassifier) -> None:
    """Raise unless the volumes have the voxel size of the classifier within 10 %.

    Raises
    ------
    InputError
        The message names both sizes.
    """
    expected = classifier.spec.voxel_um
    sizes = inputs.grid.voxel_um
    if max(abs(size / expected - 1) for size in sizes) > TOLERANCE:
        stated = format_sides(sizes)
        raise InputError(
            f"the volume has voxels of {stated} µm, and the tissue classifier is for {expected:g} µm; finer volumes "
            "are resampled, coarser ones need a classifier for their voxel size, or `labels`",
            parameter="classifier",
        )


def stain_of(inputs: MeasureInputs, config: MeasureConfig) -> str:
    """Return the name of the stain: of the configuration, of the stained volume, or toluidine blue."""
    if config.stain is not None:
        return config.stain
    model = {} if inputs.stained is None else inputs.stained.provenance.get("model", {})
    stated = model.get("stain") if isinstance(model, dict) else None
    return str(stated) if stated else DEFAULT_STAIN


def classify_to(
    path: Path,
    inputs: MeasureInputs,
    classifier: TissueClassifier,
    *,
    member: int | None = None,
    uncertainty: Path | None = None,
    progress: Progress = silent,
) -> tuple[LabelVolume, float]:
    """Classify the volume into a label volume on disk.

    Parameters
    ----------
    path : Path
        The label volume (OME-Zarr).
    inputs : MeasureInputs
    classifier : TissueClassifier
    member : int, optional
        One network of the ensemble. None: all of them.
    uncertainty : Path, optional
        Also write the uncertainty of the classes there, uint8.
    progress : Progress

    Returns
    -------
    labels : LabelVolume
    far_share : float
        Share of the voxels that are unlike the training data of the classifier; NaN if it is not known.
    """
    grid = inputs.grid
    facts = {"classifier": classifier.name, "member": -1 if member is None else member}
    placed = {"placement": inputs.placement, "provenance": facts}
    labels = SequentialWriter(create_labels(path, grid.shape, grid.voxel_um, **placed))  # type: ignore[arg-type]
    unsure_file = None
    if uncertainty is not None:
        unsure_file = SequentialWriter(create_ome_zarr(uncertainty, grid.shape, grid.voxel_um, **placed))  # type: ignore[arg-type]

    def write(start: int, classes: Labels, unsure: NDArray[np.uint8]) -> None:
        labels(start, classes)
        if unsure_file is not None:
            unsure_file(start, unsure)

    classified = classify_volume(
        classifier,
        stained=inputs.stained if classifier.spec.uses_stain else None,
        ct=inputs.ct if classifier.spec.uses_ct else None,
        reference=inputs.reference if classifier.spec.uses_ct else None,
        out=write,
        options=ClassifyOptions(member=member),
        progress=progress,
    )
    labels.finish()
    if unsure_file is not None:
        unsure_file.finish()
    return open_labels(path), classified.far_share
