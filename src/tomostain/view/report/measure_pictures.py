"""Pictures of the labels of a volume or section on the page of its measures."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tomostain.figures.drawing import RGB
from tomostain.figures.planes import orthogonal_planes, side_by_side
from tomostain.integers import to_integers
from tomostain.io import StainedVolume, open_stained
from tomostain.measure.classes import COLOURS, IMPLANT, TITLES, Labels, TissueClass
from tomostain.measure.label_files import open_labels
from tomostain.measure.label_source import LabelSource
from tomostain.measure.results import MeasureResult, SectionResult
from tomostain.view.report.blocks import Figure, Legend, Panels, ReportSection

_MAX_SIDE = 320
_SHARE_OF_LABELS = 0.6


def labels_over(colours: RGB | None, labels: Labels) -> RGB:
    """Return labels in the colours of their classes, over an image where there is one.

    Parameters
    ----------
    colours : ndarray of uint8, shape (..., 3), or None
    labels : ndarray of uint8, shape (...)

    Returns
    -------
    ndarray of uint8, shape (..., 3)
    """
    table = np.zeros((256, 3), np.uint8)
    for tissue in TissueClass:
        table[tissue] = COLOURS[tissue]
    painted = table[labels]
    if colours is None:
        return painted
    mixed = _SHARE_OF_LABELS * painted + (1 - _SHARE_OF_LABELS) * colours.astype(np.float32)
    return to_integers(mixed, np.uint8, "colours")


def pictures(result: MeasureResult) -> ReportSection | None:
    """Return three planes of the labels, over the stain where there is one."""
    if result.labels_path is None:
        return None
    labels = open_labels(result.labels_path, voxel_um=result.voxel_um)
    step = 1
    while max(labels.shape) > _MAX_SIDE * step:
        step *= 2
    small = reduced_labels(labels, step)
    size_um = tuple(um * step for um in labels.voxel_um)
    point = _point_in_implant(small)
    painted = orthogonal_planes(labels_over(None, small), size_um, point=point, marks=False)
    text = "Three planes through the implant."
    legend = _legend(np.unique(small))
    stain = None if result.stained is None else _reduced_stain(open_stained(result.stained), labels, small.shape, step)
    if stain is None:
        return ReportSection("Labels", (), (Figure(painted, text), legend))
    before = orthogonal_planes(stain, size_um, point=point, marks=False)
    after = orthogonal_planes(labels_over(stain, small), size_um, point=point, marks=False)
    return ReportSection("Labels", (), (Panels((before, after), ("stain", "labels"), text), legend))


def reduced_labels(source: LabelSource, step: int) -> Labels:
    """Return every `step`-th voxel of a label source, read block by block.

    Returns
    -------
    ndarray of uint8, shape (ceil(Z / step), ceil(Y / step), ceil(X / step))
    """
    depth, chunk = source.shape[0], 32 * step
    parts = [source.read(z, min(z + chunk, depth))[::step, ::step, ::step] for z in range(0, depth, chunk)]
    return np.concatenate(parts)


def _reduced_stain(stained: StainedVolume, labels: LabelSource, shape: Sequence[int], step: int) -> RGB | None:
    """Return a stained volume with the shape of the reduced labels: a coarser level, or every `step`-th voxel.

    None if it was measured on a grid that its pyramid does not have.
    """
    for level, (size, voxel_um) in enumerate(stained.levels):
        if tuple(size) == tuple(shape) and np.allclose(voxel_um, np.multiply(labels.voxel_um, step), rtol=0.1):
            return stained.read(0, size[0], level)
    for level, (size, _) in enumerate(stained.levels):
        if tuple(size) == tuple(labels.shape):
            depth, chunk = size[0], 8 * step
            starts = range(0, depth, chunk)
            parts = [stained.read(z, min(z + chunk, depth), level)[::step, ::step, ::step] for z in starts]
            return np.concatenate(parts)
    return None


def _point_in_implant(labels: Labels) -> tuple[int, int, int]:
    """Return the voxel in the middle of the implant, or of the volume if it has none."""
    counts = [np.zeros(side) for side in labels.shape]
    for z, image in enumerate(labels):
        inside = np.isin(image, [int(each) for each in IMPLANT])
        counts[0][z] = inside.sum()
        counts[1] += inside.sum(axis=1)
        counts[2] += inside.sum(axis=0)
    if not counts[0].any():
        z, y, x = (side // 2 for side in labels.shape)
    else:
        z, y, x = (int(np.searchsorted(np.cumsum(each), each.sum() / 2)) for each in counts)
    return z, y, x


def _legend(values: NDArray[np.uint8]) -> Legend:
    present = [each for each in TissueClass if int(each) in set(values.tolist())]
    return Legend(tuple((COLOURS[each], TITLES[each]) for each in present))


def section_pictures(result: SectionResult) -> ReportSection:
    """Return the sections, and below each its labels."""
    names = list(result.images)
    stains = [side_by_side([each.colours], [""], result.pixel_um, width_px=760) for name, each in result.images.items()]
    labels = [
        side_by_side([labels_over(each.colours, each.labels)], [""], result.pixel_um, width_px=760)
        for name, each in result.images.items()
    ]
    present = np.unique(np.concatenate([np.unique(each.labels) for each in result.images.values()]))
    return ReportSection(
        "Sections",
        ("Both sections are classified by the same detector and measured in the same way, within one mask.",),
        (
            Panels(tuple(stains), tuple(names), "The sections."),
            Panels(tuple(labels), tuple(f"{name}, labels" for name in names), "Their tissue classes."),
            _legend(present),
        ),
    )
