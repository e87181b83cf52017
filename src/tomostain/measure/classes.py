"""Classes of the tissue in a voxel of a measured volume."""

from collections.abc import Mapping
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from tomostain.phantom.tissue import Label

Labels = NDArray[np.uint8]


class TissueClass(IntEnum):
    """The tissue or material of a voxel. The values are those of label volumes on disk."""

    VOID = 0
    SOFT = 1
    BONE = 2
    NEW_BONE = 3
    DEGRADATION = 4
    METAL = 5
    NOT_MEASURED = 255


CLASSES: tuple[TissueClass, ...] = tuple(each for each in TissueClass if each != TissueClass.NOT_MEASURED)
"""The classes that a classifier assigns, without `NOT_MEASURED`."""

TITLES: Mapping[TissueClass, str] = {
    TissueClass.VOID: "void",
    TissueClass.SOFT: "soft tissue and marrow",
    TissueClass.BONE: "mineralised bone",
    TissueClass.NEW_BONE: "new woven bone",
    TissueClass.DEGRADATION: "degradation layer",
    TissueClass.METAL: "metal",
    TissueClass.NOT_MEASURED: "not measured",
}

COLOURS: Mapping[TissueClass, tuple[int, int, int]] = {
    TissueClass.VOID: (255, 255, 255),
    TissueClass.SOFT: (153, 190, 222),
    TissueClass.BONE: (150, 90, 170),
    TissueClass.NEW_BONE: (35, 90, 220),
    TissueClass.DEGRADATION: (230, 150, 40),
    TissueClass.METAL: (40, 40, 40),
    TissueClass.NOT_MEASURED: (200, 60, 60),
}
"""sRGB of each class in figures and viewers."""

MINERALISED = (TissueClass.BONE, TissueClass.NEW_BONE)
"""Bone of any age."""
IMPLANT = (TissueClass.METAL, TissueClass.DEGRADATION)
"""The implant with its degradation layer, which is what bone touches."""

_OF_PHANTOM = {
    Label.AIR: TissueClass.VOID,
    Label.TUBE: TissueClass.VOID,
    Label.SOFT: TissueClass.SOFT,
    Label.MARROW: TissueClass.SOFT,
    Label.ADIPOCYTE: TissueClass.SOFT,
    Label.BONE: TissueClass.BONE,
    Label.WOVEN: TissueClass.NEW_BONE,
    Label.LACUNA: TissueClass.SOFT,
    Label.CANAL: TissueClass.SOFT,
    Label.DEGRADATION: TissueClass.DEGRADATION,
    Label.SCREW: TissueClass.METAL,
}


def phantom_classes(labels: NDArray[np.integer]) -> Labels:
    """Return the tissue class of labels of a phantom.

    Parameters
    ----------
    labels : ndarray of int
        Values of `tomostain.phantom.tissue.Label`, of any shape.

    Returns
    -------
    ndarray of uint8
        Values of `TissueClass`, of the same shape. Lacunae and canals are soft tissue: they contain cells and vessels.

    Examples
    --------
    >>> phantom_classes(np.array([[Label.AIR, Label.LACUNA, Label.SCREW]])).tolist()
    [[0, 1, 5]]
    """
    table = np.zeros(max(Label) + 1, np.uint8)
    for label, tissue in _OF_PHANTOM.items():
        table[label] = tissue
    return table[labels]
