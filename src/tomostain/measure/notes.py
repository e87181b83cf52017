"""Sentences about a whole measurement, which its tables and its page state."""

import numpy as np

from tomostain.integers import to_integers
from tomostain.io import StainedVolume, Volume
from tomostain.measure.classes import MINERALISED, TissueClass
from tomostain.measure.label_source import LabelSource
from tomostain.measure.morphometry.implant import Implant
from tomostain.measure.morphometry.shells import METAL_IN_TISSUE
from tomostain.measure.volume import VolumeMeasures
from tomostain.ood.novelty import NOVEL_SHARE_LIMIT

MAX_SATURATED = 0.05
"""Largest share of the implant at the top of the grey scale without a note."""


def view_notes(measured: VolumeMeasures) -> list[str]:
    """Return the notes that several measures share, such as a partial field of view."""
    implant = measured.implant
    if implant is None:
        notes = ["measured without an implant: the measures are those of the whole volume"]
        if any(METAL_IN_TISSUE in each.note for each in measured.measures):
            notes.append(f"{METAL_IN_TISSUE}; if the volume has an implant, state its material as `implant`")
        return notes
    notes = []
    if implant.touches:
        faces = ", ".join(implant.touches)
        notes.append(
            f"partial field of view: the implant reaches the faces {faces} of the volume; values hold for what is seen"
        )
    if implant.ignored_voxels:
        notes.append(
            f"{implant.ignored_voxels} voxels of metal or degradation layer apart from the implant are ignored"
        )
    if not any(count > 0 for count in _bone_voxels(measured)):
        notes.append("no bone occurs within the shells around the implant; bone measures are 0 or empty")
    return notes


def novelty_notes(stained: object) -> list[str]:
    """Return a sentence if `stain` found much of the volume unlike the training data of its model.

    Parameters
    ----------
    stained : StainedVolume or other
        Volumes of another kind state nothing.
    """
    share = stained.provenance.get("new_share") if isinstance(stained, StainedVolume) else None
    if not isinstance(share, int | float) or not share > NOVEL_SHARE_LIMIT:
        return []
    return [
        f"{share:.0%} of the volume is unlike the training data of the model that stained it (usual up to "
        f"{NOVEL_SHARE_LIMIT:.0%}): its colours, and the measures from them, are unreliable"
    ]


def saturation_notes(ct: Volume, implant: Implant) -> list[str]:
    """Return a sentence if the implant is brighter than the grey scale of the µCT.

    Parameters
    ----------
    ct : Volume
        The µCT as it was recorded. The top of its grey scale is that of its significant bits (`Volume.bits`).
    implant : Implant
    """
    if ct.dtype.kind not in "iu":
        return []
    top = np.iinfo(ct.dtype).max if ct.bits is None else 2**ct.bits - 1
    inside = cut_off = 0
    rows = np.linspace(implant.box[0].start, implant.box[0].stop - 1, 12)
    for z in to_integers(rows, np.int64, "slices"):
        mask = implant.read(int(z), int(z) + 1)
        inside += int(mask.sum())
        cut_off += int((ct.read(int(z), int(z) + 1)[mask] >= top).sum())
    share = cut_off / max(inside, 1)
    if share < MAX_SATURATED:
        return []
    return [
        f"{share:.0%} of the implant has the largest grey value of the µCT ({top}): where it is cut off, metal and "
        "degradation layer cannot be distinguished"
    ]


def _bone_voxels(measured: VolumeMeasures) -> list[int]:
    return [] if measured.profile is None else [int(n) for n in measured.profile.voxels(*MINERALISED)]


def refused_share(labels: LabelSource, refused: LabelSource) -> float:
    """Return the share of the measured voxels that are refused."""
    total = lost = 0
    for start in range(0, labels.shape[0], 16):
        stop = min(start + 16, labels.shape[0])
        before = labels.read(start, stop) != TissueClass.NOT_MEASURED
        total += int(before.sum())
        lost += int((before & (refused.read(start, stop) == TissueClass.NOT_MEASURED)).sum())
    return lost / max(total, 1)
