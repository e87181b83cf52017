"""Tissue classes of a stained volume, of a µCT volume, of both together, or of a section."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.imaging.intensity import IntensityReference, check_finite, normalise_ct
from tomostain.integers import to_integers
from tomostain.io.metadata.units import format_sides
from tomostain.io.parallel import in_parallel
from tomostain.io.volumes.base import VolumeLike
from tomostain.measure.classes import Labels
from tomostain.measure.tissue.channels import ct_channel, stain_channels
from tomostain.measure.tissue.classifier import TissueClassifier
from tomostain.measure.tissue.features import FeatureReader, image_features
from tomostain.measure.tissue.stain_vectors import StainVectors
from tomostain.progress import Progress, silent

Float = NDArray[np.float32]
WriteSlices = Callable[[int, Labels, NDArray[np.uint8]], None]
"""Function that takes the first slice, labels and uncertainties, both uint8 of shape (n, Y, X)."""
TOLERANCE = 0.1
"""Largest relative difference of the voxel size from that of the classifier, as for the models of stains."""
_SLICES = 8
# Voxels that are compared with the training data, about.
_COMPARED = 100_000


@dataclass(frozen=True)
class ClassifyOptions:
    """Options of `classify_volume`.

    Attributes
    ----------
    member : int or None
        One network of the ensemble. None: the mean of the probabilities of all.
    vectors : StainVectors or None
        Colours of the stains of another batch. None: those of the classifier's stain.
    """

    member: int | None = None
    vectors: StainVectors | None = None


@dataclass(frozen=True, eq=False)
class Classified:
    """A classified volume.

    Attributes
    ----------
    labels : ndarray of uint8, shape (Z, Y, X), or None
        Values of `TissueClass`. None if they were given to a function.
    uncertainty : ndarray of uint8, shape (Z, Y, X), or None
        1 minus the largest probability, times 255.
    far_share : float
        Share of the voxels that are unlike the training data, from a regular sample; NaN if it is not known.
    """

    labels: Labels | None
    uncertainty: NDArray[np.uint8] | None
    far_share: float


def classify_volume(
    classifier: TissueClassifier,
    *,
    stained: VolumeLike | None = None,
    ct: VolumeLike | None = None,
    reference: IntensityReference | None = None,
    out: WriteSlices | None = None,
    options: ClassifyOptions | None = None,
    progress: Progress = silent,
) -> Classified:
    """Classify a volume, some slices at a time.

    Parameters
    ----------
    classifier : TissueClassifier
        Of the variant `stain`, `ct` or `both`.
    stained : VolumeLike, optional
        Stained volume, uint8 of shape (Z, Y, X, 3).
    ct : VolumeLike, optional
        µCT volume of the same shape.
    reference : IntensityReference, optional
        Grey values of background and bone of the µCT, as for staining
        (`tomostain.imaging.intensity_estimation.volume_reference`). None: the µCT is normalised already
        (background 10000, bone 30000).
    out : callable, optional
        Called with the first slice, labels and uncertainties of each part, in order. By default they are collected in
        two arrays.
    options : ClassifyOptions, optional
    progress : Progress
        Called for every part.

    Returns
    -------
    Classified
        The labels do not depend on the parts.

    Raises
    ------
    InputError
        If a volume that the classifier needs is not given, the shapes differ, or the voxel size is not that of the
        classifier.

    Warns
    -----
    OutOfDistributionWarning
        If the volume is unlike the training data.

    Notes
    -----
    Memory: about 4 bytes per channel for each voxel of the slices within the largest scale of the features, and 4 bytes
    per feature for each voxel of one slice per core: 1 GB for slices of 600 x 600 voxels.
    """
    options = options or ClassifyOptions()
    source = _check_volumes(classifier, stained, ct)
    spec = classifier.spec
    shape = source.shape

    def read(start: int, stop: int) -> Float:
        parts = []
        if spec.uses_stain and stained is not None:
            parts.append(stain_channels(stained.read(start, stop), options.vectors or spec.stain or ""))
        if spec.uses_ct and ct is not None:
            parts.append(ct_channel(_normalised(ct.read(start, stop), reference)))
        return np.moveaxis(np.concatenate(parts), 1, 0)

    reader = FeatureReader(read, shape, spec.features)
    collected = None if out is not None else (np.empty(shape, np.uint8), np.empty(shape, np.uint8))
    every = max(1, shape[0] * shape[1] * shape[2] // _COMPARED)
    far = total = 0
    for start in range(0, shape[0], _SLICES):
        progress("classifying", start, shape[0])
        stop = min(start + _SLICES, shape[0])
        reader.prepare(start, stop)
        results = in_parallel(
            lambda z: _classify_slice(classifier, reader, z, options.member, every), range(start, stop)
        )
        labels, uncertainty = (np.stack([each[i] for each in results]) for i in (0, 1))
        far += sum(each[2] for each in results)
        total += sum(each[3] for each in results)
        if out is not None:
            out(start, labels, uncertainty)
        elif collected is not None:
            collected[0][start:stop], collected[1][start:stop] = labels, uncertainty
    progress("classifying", shape[0], shape[0])
    share = far / total if total else float("nan")
    if classifier.familiarity is not None:
        classifier.familiarity.warn(share, _name(source))
    return Classified(None, None, share) if collected is None else Classified(*collected, share)


def classify_image(
    classifier: TissueClassifier,
    rgb: NDArray[np.uint8],
    pixel_um: float,
    *,
    member: int | None = None,
    vectors: StainVectors | None = None,
    source: str = "section",
) -> Classified:
    """Classify the pixels of a section, real or virtual.

    Parameters
    ----------
    classifier : TissueClassifier
        Of the variant `section`.
    rgb : ndarray of uint8, shape (Y, X, 3)
        Colours on a white background of 255, as `tomostain.imaging.colour.normalise_histology` makes them.
    pixel_um : float
        Pixel size, µm.
    member : int, optional
        One network of the ensemble.
    vectors : StainVectors, optional
        Colours of the stains of another batch.
    source : str
        Named in messages.

    Returns
    -------
    Classified
        With arrays of shape (Y, X).

    Raises
    ------
    InputError
        If the classifier is not for sections, the image is not uint8 RGB, or the pixel size is not that of the
        classifier.
    """
    spec = classifier.spec
    if spec.variant != "section":
        raise InputError(f"{classifier.name}: classifies volumes ({spec.variant}); give a classifier of sections")
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise InputError(f"{source}: {rgb.dtype} of shape {rgb.shape}; give uint8 of shape (Y, X, 3)")
    check_pixel_size(classifier, pixel_um, source)
    features = image_features(stain_channels(rgb, vectors or spec.stain or ""), spec.features)
    labels, uncertainty = classifier.decide(classifier.probabilities(features, member))
    share = float("nan")
    if classifier.familiarity is not None:
        far, total = classifier.familiarity.far(features.reshape(len(features), -1)[:, ::7])
        share = far / total
        classifier.familiarity.warn(share, source)
    return Classified(labels, uncertainty, share)


def check_pixel_size(classifier: TissueClassifier, pixel_um: float, source: str) -> None:
    """Raise unless the pixels of a section have the size that the classifier was trained at, within 10 %.

    Raises
    ------
    InputError
        Naming `source`, and what the caller can do.
    """
    expected = classifier.spec.voxel_um
    if abs(pixel_um / expected - 1) > TOLERANCE:
        raise InputError(
            f"{source}: has pixels of {pixel_um:g} µm, but the tissue classifier was trained at {expected:g} µm; "
            f"resample the volume to {expected:g} µm ('tomostain resample') and register the slide with it, or train a "
            "classifier at this size and give `classifier`",
            parameter="pixel_um",
        )


def _classify_slice(
    classifier: TissueClassifier, reader: FeatureReader, z: int, member: int | None, every: int
) -> tuple[Labels, NDArray[np.uint8], int, int]:
    """Return labels and uncertainties of a slice, and the numbers of far voxels and of all of a sample."""
    features = reader.features(z)
    labels, uncertainty = classifier.decide(classifier.probabilities(features, member))
    far = total = 0
    if classifier.familiarity is not None:
        sample = np.ascontiguousarray(features.reshape(len(features), -1)[:, z % every :: every])
        far, total = classifier.familiarity.far(sample)
    return labels, uncertainty, far, total


def _normalised(ct: NDArray[Any], reference: IntensityReference | None) -> NDArray[np.uint16]:
    check_finite(ct, "µCT")
    if reference is not None:
        return normalise_ct(ct, reference)
    return np.asarray(ct, np.uint16) if ct.dtype == np.uint16 else to_integers(ct, np.uint16, "µCT", clip=True)


def _check_volumes(classifier: TissueClassifier, stained: VolumeLike | None, ct: VolumeLike | None) -> VolumeLike:
    """Return a volume that is classified, after checks of all."""
    spec = classifier.spec
    if spec.variant == "section":
        raise InputError(f"{classifier.name}: classifies sections; give a classifier of volumes")
    if spec.uses_stain and stained is None:
        raise InputError(f"{classifier.name}: classifies the stained volume; give `stained`", parameter="stained")
    if spec.uses_ct and ct is None:
        raise InputError(f"{classifier.name}: classifies the µCT; give `ct`", parameter="ct")
    used = [each for each, needed in ((stained, spec.uses_stain), (ct, spec.uses_ct)) if needed and each is not None]
    for each in used:
        _check_size(each.voxel_um, classifier, _name(each))
    if len({tuple(each.shape) for each in used}) > 1:
        sizes = " and ".join(format_sides(each.shape) for each in used)
        raise InputError(
            f"{_name(used[1])}: stained volume and µCT have {sizes} voxels; give the µCT that was stained, at its "
            "resolution",
            parameter="ct",
        )
    return used[0]


def _check_size(sizes: tuple[float, ...], classifier: TissueClassifier, source: str) -> None:
    expected = classifier.spec.voxel_um
    if max(abs(size / expected - 1) for size in sizes) > TOLERANCE:
        stated = format_sides(sizes)
        raise InputError(
            f"{source}: `voxel_um` is {stated} µm, but the tissue classifier was trained at {expected:g} µm; "
            "resample it, train a classifier at this size, or give `labels`",
            parameter="voxel_um",
        )


def _name(volume: VolumeLike) -> str:
    return str(getattr(volume, "path", "volume"))
