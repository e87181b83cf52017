"""Compare a volume with the training data of a model: by its grey values and by novelty."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import OutOfDistributionWarning, warn_user
from tomostain.imaging.intensity import IntensityReference
from tomostain.io.volumes.base import VolumeLike
from tomostain.ood.grey_values import distance_limit, grey_distance, sample_slices
from tomostain.ood.novelty import NOVEL_SHARE_LIMIT, TrainingReference, novel_share

_GREY_ADVICE = (
    "Possible reasons: wrong grey values of background and bone, another instrument, or a material that was not in the "
    "training data. The colours are unreliable there. Check the grey values of background and bone (`intensity`)"
)
# Where the texture differs too, the grey values are seldom the reason.
_NOVEL_ADVICE = (
    "Its texture differs too: check that tissue, implant material and voxel size are those of the training data, then "
    "the grey values of background and bone (`intensity`)"
)


@dataclass(frozen=True, eq=False)
class ModelReference:
    """What a model stores of its training data.

    Attributes
    ----------
    grey_values : sequence of five float
        `tomostain.ood.grey_values.solid_quantiles` of each training pair; empty for older models.
    training : TrainingReference or None
        For the novelty; None for older models.
    """

    grey_values: Sequence[Sequence[float]] = ()
    training: TrainingReference | None = None


@dataclass(frozen=True)
class VolumeReport:
    """How far a volume is from the training data of a model.

    Attributes
    ----------
    source : str
        Name of the volume.
    grey_distance : float or None
        Distance of the grey values from the nearest training pair, as a fraction of the step from background to bone;
        infinite if nothing in the volume is solid; None if the model stores no grey values.
    grey_limit : float or None
        A larger distance is out of distribution.
    novel_share : float or None
        Fraction of the volume that is unlike all training data; None if the model stores no training reference.
    novel_limit : float
        A larger fraction is out of distribution.
    """

    source: str
    grey_distance: float | None = None
    grey_limit: float | None = None
    novel_share: float | None = None
    novel_limit: float = NOVEL_SHARE_LIMIT

    @property
    def summary(self) -> str:
        """One line: both measures with their limits, and the verdict.

        Examples
        --------
        >>> VolumeReport("scan", novel_share=0.02).summary
        'scan: 2 % of this volume is unlike the training data (limit 5 %): covered by the training data'
        """
        measures = []
        if self.grey_distance is not None and self.grey_limit is not None:
            measures.append(f"grey-value distance {self.grey_distance:.2f} (limit {self.grey_limit:.2f})")
        if self.novel_share is not None:
            measures.append(f"{share_sentence(self.novel_share)} (limit {100 * self.novel_limit:.0f} %)")
        verdict = "out of distribution" if self.messages else "covered by the training data"
        return f"{self.source}: {', '.join(measures)}: {verdict}"

    @property
    def messages(self) -> tuple[str, ...]:
        """One sentence for each measure that is out of distribution."""
        messages = []
        is_novel = self.novel_share is not None and self.novel_share > self.novel_limit
        if self.grey_distance is not None and self.grey_limit is not None and self.grey_distance > self.grey_limit:
            measured = (
                f"distance {self.grey_distance:.3f} of the step from background to bone, usual up to "
                f"{self.grey_limit:.3f}"
                if np.isfinite(self.grey_distance)
                else "nothing is as bright as solid matter"
            )
            messages.append(
                f"{self.source}: its grey values are unlike all training data of the model ({measured}). "
                f"{_NOVEL_ADVICE if is_novel else _GREY_ADVICE}"
            )
        if is_novel and self.novel_share is not None:
            messages.append(
                f"{self.source}: {share_sentence(self.novel_share)} (usual up to {100 * self.novel_limit:.0f} %). "
                "Possible reasons: another tissue or implant material, another voxel size, noise, blur or artefacts. "
                "The colours are unreliable there. Staining with `uncertainty` writes a map of it"
            )
        return tuple(messages)

    @property
    def in_distribution(self) -> bool:
        """Whether no measure is above its limit."""
        return not self.messages

    def warn(self, stacklevel: int | None = None) -> None:
        """Issue each message as an `OutOfDistributionWarning`."""
        for message in self.messages:
            warn_user(message, OutOfDistributionWarning, None if stacklevel is None else stacklevel + 1)

    def to_dict(self) -> dict[str, float | None]:
        """Return both measures, rounded to 0.001, as they are stored with a stained volume; infinite becomes None."""
        finite = self.grey_distance is not None and np.isfinite(self.grey_distance)
        return {
            "grey_distance": round(self.grey_distance, 3) if self.grey_distance is not None and finite else None,
            "new_share": None if self.novel_share is None else round(self.novel_share, 3),
        }


def share_sentence(share: float) -> str:
    """Return the sentence that states the novel share of a volume.

    Examples
    --------
    >>> share_sentence(0.312)
    '31 % of this volume is unlike the training data'
    >>> share_sentence(0.004)
    'less than 1 % of this volume is unlike the training data'
    """
    amount = "less than 1 %" if round(100 * share) < 1 else f"{100 * share:.0f} %"
    return f"{amount} of this volume is unlike the training data"


def check_slices(reference: ModelReference, slices: NDArray[np.generic], source: str = "µCT") -> VolumeReport:
    """Compare normalised slices with the training data of a model.

    Parameters
    ----------
    reference : ModelReference
    slices : ndarray, shape (N, Y, X)
        Normalised µCT: background 10000, bone 30000.
    source : str
        Named in the messages.

    Returns
    -------
    VolumeReport
    """
    grey_values = reference.grey_values
    return VolumeReport(
        source,
        grey_distance=grey_distance(slices, grey_values) if grey_values else None,
        grey_limit=distance_limit(grey_values) if grey_values else None,
        novel_share=None if reference.training is None else novel_share(slices, reference.training),
        novel_limit=NOVEL_SHARE_LIMIT if reference.training is None else reference.training.share_limit,
    )


def check_volume(
    reference: ModelReference, volume: VolumeLike, intensity: IntensityReference | None, source: str = "µCT"
) -> VolumeReport:
    """Compare a volume with the training data of a model, by eight slices.

    Parameters
    ----------
    reference : ModelReference
        `tomostain.stain.Translator.reference` of a loaded model.
    volume : VolumeLike
        Such as `tomostain.io.Volume`.
    intensity : IntensityReference or None
        Grey values of background and bone; None if the volume is normalised.
    source : str
        Named in the messages.

    Returns
    -------
    VolumeReport
    """
    return check_slices(reference, sample_slices(volume, intensity), source)
