"""Labels and scales of the dimensions of an HDF5 dataset, read without the HDF5 library for dimension scales.

That library ends the process (segmentation fault) if their attributes do not have the types of the specification.
Source: HDF5 Dimension Scale specification, ``DIMENSION_LABELS``, ``DIMENSION_LIST`` and ``NAME``.
"""

from typing import TYPE_CHECKING

import numpy as np

from tomostain.io.metadata.axes import AxesError
from tomostain.io.metadata.hdf5_tree import DAMAGED
from tomostain.io.metadata.nexus_groups import text_of

if TYPE_CHECKING:
    import h5py

_LABELS, _LIST = "DIMENSION_LABELS", "DIMENSION_LIST"


def dimension_labels(dataset: "h5py.Dataset") -> list[str]:
    """Return the label of each dimension; "" for one without.

    Raises
    ------
    AxesError
        If the attribute is no list of texts, or has another length.
    """
    if _LABELS not in dataset.attrs:
        return [""] * dataset.ndim
    values = np.asarray(dataset.attrs[_LABELS])
    if values.shape != (dataset.ndim,) or values.dtype.kind not in "OSU":
        raise _damaged(_LABELS)
    return ["" if value is None else text_of(value) for value in values.tolist()]


def dimension_scales(dataset: "h5py.Dataset") -> "list[list[h5py.Dataset]]":
    """Return the scales of each dimension.

    Raises
    ------
    AxesError
        If the attribute is no list of references for each dimension.
    """
    import h5py

    if _LIST not in dataset.attrs:
        return [[] for _ in range(dataset.ndim)]
    stored = dataset.attrs.get_id(_LIST)
    kind = stored.get_type()
    is_list = isinstance(kind, h5py.h5t.TypeVlenID) and isinstance(kind.get_super(), h5py.h5t.TypeReferenceID)
    if not is_list or stored.shape != (dataset.ndim,):
        raise _damaged(_LIST)
    scales = []
    for references in dataset.attrs[_LIST]:
        items = (_target(dataset, reference) for reference in np.ravel(references))
        scales.append([item for item in items if isinstance(item, h5py.Dataset)])
    return scales


def scale_name(scale: "h5py.Dataset") -> str:
    """Return the name of a scale: the one that it states, else that of its dataset."""
    return text_of(scale.attrs.get("NAME", "")) or (scale.name or "").rpartition("/")[2]


def _target(dataset: "h5py.Dataset", reference: object) -> object:
    try:
        return dataset.file[reference] if reference else None
    except DAMAGED:
        return None


def _damaged(attribute: str) -> AxesError:
    return AxesError(f"its attribute {attribute} is damaged; correct or remove it")
