"""Whether the training data of a model cover µCT volumes."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict, Unpack, cast

from tomostain.errors import InputError
from tomostain.paths import StrPath

if TYPE_CHECKING:
    from tomostain.io.models import Model
    from tomostain.io.volumes.volume import VolumeSource
    from tomostain.ood import VolumeReport


@dataclass(frozen=True)
class TrainingComparison:
    """A volume that was compared with the training data of a model.

    Attributes
    ----------
    volume : str
    report : VolumeReport or None
        None: the volume could not be compared.
    reason : str
        Why not.
    """

    volume: str
    report: "VolumeReport | None"
    reason: str = ""

    @property
    def summary(self) -> str:
        """One line: both measures with their limits and the verdict, or the reason."""
        return f"{self.reason}; not compared" if self.report is None else self.report.summary

    def to_dict(self) -> dict[str, object]:
        """Return verdict and measures by name; None where there is none. An infinite distance is None, too."""
        report = self.report
        return {
            "volume": self.volume,
            "in_distribution": None if report is None else report.in_distribution,
            **(dict.fromkeys(("grey_distance", "new_share")) if report is None else report.to_dict()),
            "grey_limit": None if report is None else report.grey_limit,
            "novel_limit": None if report is None else report.novel_limit,
            "summary": self.summary,
        }


def compare_with_training(
    model: "StrPath | Model",
    volumes: "VolumeSource | Iterable[VolumeSource]",
    *,
    voxel_um: float | Sequence[float] | None = None,
    dataset: str | None = None,
    resample: bool = False,
    allow_missing: bool = False,
) -> Iterator[TrainingComparison]:
    """Compare µCT volumes with the training data of a model. No network is run.

    Parameters
    ----------
    model : path or Model
        A model folder, a run that has one, ``builtin:NAME``, or a model in memory, such as a `TrainedModel`.
    volumes : path, Volume, array-like or tuple (array, voxel_um), or a list or iterator of them
        µCT volumes. Their grey values of background and bone are estimated, as before staining.
    voxel_um : float or sequence of float, optional
        Voxel size (z, y, x), µm, of arrays, and where the files do not say.
    dataset : str, optional
        Path of the volume in HDF5 files.
    resample : bool
        Compare the volumes as they are stained with `resample=True`: with the voxel size of the model.
    allow_missing : bool
        Fill slices of which data are missing with zeros.

    Yields
    ------
    TrainingComparison
        One for each volume.

    Raises
    ------
    InputError
        If `model` is not a model, has no training reference, or a volume cannot be read. A volume without
        visible bone is not compared, and its result says so.
    """
    from tomostain.imaging.intensity_estimation import estimate_reference, reference_samples
    from tomostain.imaging.resampling import resample_volume
    from tomostain.io import open_volume
    from tomostain.io.models import SEEN, Model, load_model
    from tomostain.ood import ModelReference, TrainingReference, check_volume

    loaded = model if isinstance(model, Model) else load_model(model)
    stored = loaded.training_reference
    training = None if stored is None else TrainingReference.from_arrays(stored, str(loaded.path / SEEN))
    reference = ModelReference(loaded.spec.greys, training)
    if training is None and not reference.grey_values:
        raise InputError(
            f"{loaded.path}: the model has no training reference (exported by an older version); export it again"
        )
    for volume in _one_by_one(volumes):
        opened = open_volume(volume, voxel_um=voxel_um, dataset=dataset, allow_missing=allow_missing)
        name = str(volume if isinstance(volume, str | os.PathLike) else opened.path)
        samples = reference_samples(opened, source=name)
        compared = resample_volume(opened, loaded.spec.voxel_um) if resample else opened
        try:
            intensity = estimate_reference(
                samples, name, way_out="stain it with both grey values, of background and bone"
            )
        except InputError as error:
            yield TrainingComparison(name, None, str(error))
            continue
        yield TrainingComparison(name, check_volume(reference, compared, intensity, name))


def _one_by_one(volumes: "VolumeSource | Iterable[VolumeSource]") -> "Iterable[VolumeSource]":
    """Return one volume or several as several. A tuple of an array and a voxel size is one."""
    from tomostain.io import Volume

    named = (str, os.PathLike, Volume)
    is_sized_array = isinstance(volumes, tuple) and len(volumes) == 2 and not isinstance(volumes[0], named)
    if isinstance(volumes, named) or hasattr(volumes, "shape") or is_sized_array:
        return [cast("VolumeSource", volumes)]
    return cast("Iterable[VolumeSource]", volumes)


class OpenKeywords(TypedDict, total=False):
    """Keywords of `compare_with_training`."""

    voxel_um: float | Sequence[float] | None
    dataset: str | None
    resample: bool
    allow_missing: bool


def check_against(
    model: "StrPath | Model", volumes: "VolumeSource | Iterable[VolumeSource]", **options: Unpack[OpenKeywords]
) -> Iterator[str]:
    """Yield the summaries of `compare_with_training`, one line for each volume."""
    for comparison in compare_with_training(model, volumes, **options):
        yield comparison.summary
