"""Projections in HDF5: raw scans that look like a volume, since they are stacks of images too.

Sources: the NeXus definition NXtomo (https://manual.nexusformat.org/classes/applications/NXtomo.html: ``image_key``,
``rotation_angle``); Scientific Data Exchange (https://dxfile.readthedocs.io: ``exchange/data``, ``data_white``,
``data_dark``, ``theta``); httomo's tests with files of Diamond's beamlines (``gts_cs_theta``); Savu (``axes`` such as
``rotation_angle.degrees``).
"""

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tomostain.io.metadata.axes import is_angle, letter_of
from tomostain.io.metadata.hdf5_tree import DAMAGED, Hdf5Tree

if TYPE_CHECKING:
    import h5py

_RAW_NAME = re.compile(
    r"(^|_)(dark|white|flat|bright)(s|_?fields?|_?frames?|_?images?)?$|(^|_)(proj(ection)?s?|sino(gram)?s?|radiographs?)$"
)
_FLAT_OR_DARK = re.compile(
    r"(^|_)(dark|white|flat|bright)(s|_?fields?|_?frames?|_?images?|_?data|_?current)?(_?(pre|post|before|after|avg|\d+))?$"
)
_RECONSTRUCTED = re.compile(r"recon|rec_|process|result", re.IGNORECASE)
_VOLUME_NAME = re.compile(
    r"recon|rec_|process|result|(^|[/_])(vol(ume)?s?|rec|slices?|tomograms?)($|[/_\d])", re.IGNORECASE
)
_FEWEST_ANGLES, _MOST_ANGLES = 5, 10**6
_OTHER_THAN_ANGLES = re.compile(r"cent(er|re)|axis|offset")


def why_projections(tree: Hdf5Tree, dataset: "h5py.Dataset") -> tuple[str, bool] | None:
    """Return the reason why a dataset holds projections, flat or dark fields, and not a volume.

    Parameters
    ----------
    tree : Hdf5Tree
    dataset : h5py.Dataset
        With at least three axes.

    Returns
    -------
    tuple of (str, bool), or None
        The reason, and whether it is certain: other reasons do not hold if the user names the dataset. None if
        nothing says that it holds projections.
    """
    try:
        return next(_reasons(tree, dataset), None)
    except DAMAGED:
        return None


def _reasons(tree: Hdf5Tree, dataset: "h5py.Dataset") -> Iterator[tuple[str, bool]]:
    names = tree.names(dataset) or [dataset.name.strip("/")]
    frames = int(dataset.shape[0])
    for name in names:
        parent = tree.groups.get(name.rpartition("/")[0])
        if parent is not None and _nx_class(parent) == "NXdetector":
            yield f"{name} is in an NXdetector", True
        siblings = tree.siblings(name)
        for key, item in siblings.items():
            if key.lower().startswith("image_key") and hasattr(item, "shape"):
                yield f"{key} is next to it", True
            if _FLAT_OR_DARK.search(key.lower()) and _is_of_same_images(item, dataset):
                yield f"{key} is next to it", True
    for name, item in tree.datasets.items():
        key = name.rpartition("/")[2].lower()
        if key.startswith("image_key") and item.shape == (frames,) and not any(map(_RECONSTRUCTED.search, names)):
            yield f"{name} has a key for each of its {frames} images", True
    yield from _by_definition(tree, names)
    yield from _by_angles(tree, dataset, names)
    for name in names:
        if _RAW_NAME.search(name.rpartition("/")[2].lower()):
            yield f"its name is {name}", False
        if re.match(r"exchange/data$", name):
            yield f"{name} is the place of projections in a data-exchange file", False


def _by_definition(tree: Hdf5Tree, names: list[str]) -> Iterator[tuple[str, bool]]:
    """Yield a reason if the NXentry of a dataset, or a subentry, has the definition NXtomo."""
    for name in names:
        parts = name.split("/")
        for depth in range(1, len(parts)):
            group = tree.groups.get("/".join(parts[:depth]))
            definition = None if group is None else tree.member(group, "definition")
            if (
                definition is not None
                and _text(definition).strip().lower() == "nxtomo"
                and not _RECONSTRUCTED.search(name)
            ):
                yield "its definition is NXtomo", True


def _by_angles(tree: Hdf5Tree, dataset: "h5py.Dataset", names: list[str]) -> Iterator[tuple[str, bool]]:
    """Yield a reason if there are rotation angles: next to the dataset, or as many as it has images."""
    is_httomo = any(tree.member(tree.file["/"], "data_dims/detector_x_y") is not None and n == "data" for n in names)
    for name in names:
        for key, item in tree.siblings(name).items():
            # A scan that was stopped has more angles than images. A volume that is
            # recognised by its name is independent of the number of images.
            any_number = not is_httomo and not _VOLUME_NAME.search(name)
            axes = dataset.shape[:1] if is_httomo else dataset.shape
            if _is_angles(key, item) and (any_number or item.shape[0] in axes):
                yield f"{key} is next to it", False
    if any(_RECONSTRUCTED.search(name) for name in names):
        return
    entries = {name.split("/")[0] for name in names}
    is_volume = any(_VOLUME_NAME.search(name) for name in names)
    for name, item in tree.datasets.items():
        is_near = name.split("/")[0] in entries and "/" in name
        key = name.rpartition("/")[2]
        axes = dataset.shape[:2] if is_near else () if is_volume else dataset.shape[:1]
        if _is_angles(key, item) and item.shape[0] in axes:
            yield f"{name} has as many angles as it has images", False
        elif not is_volume and _spans_a_turn(key, item, int(dataset.shape[0])):
            yield f"{name} has a number for each of its images, evenly spaced over half a turn or a whole one", False
    holders = [dataset, *(tree.groups.get(name.rpartition("/")[0]) for name in names)]
    for holder in holders if not is_volume else ():
        for key, value in ({} if holder is None else holder.attrs).items():
            if is_angle(key) and getattr(value, "shape", ()) == dataset.shape[:1] and value.dtype.kind in "iuf":
                yield f"the attribute {key} has as many angles as it has images", False


def _is_angles(key: str, item: Any) -> bool:
    """Return whether a dataset is a list of rotation angles, by its name, unit or type of transformation."""
    if getattr(item, "shape", None) is None or len(item.shape) != 1 or item.shape[0] < 2:
        return False
    if getattr(item, "dtype", None) is None or item.dtype.kind not in "iuf":
        return False
    if is_angle(key) and not _OTHER_THAN_ANGLES.search(key.lower()):
        return True
    if letter_of(key):
        return False
    unit = _attribute(item, "units").lower()
    return unit in ("deg", "degree", "degrees", "°", "rad", "radian", "radians") or (
        _attribute(item, "transformation_type").lower() == "rotation"
    )


def _spans_a_turn(key: str, item: Any, frames: int) -> bool:
    """Return whether a list without the name or unit of an angle is one by its numbers: over 180°, 360°, π or 2π."""
    if getattr(item, "shape", None) != (frames,) or not _FEWEST_ANGLES <= frames <= _MOST_ANGLES:
        return False
    if item.dtype.kind not in "iuf" or letter_of(key) or _attribute(item, "units") or item.is_scale:
        return False
    values = np.asarray(item[()], dtype=float)
    steps = np.diff(values)
    if not np.isfinite(values).all() or not np.allclose(steps, steps[0], rtol=1e-3) or abs(steps[0]) == 1:
        return False
    spans = (abs(values[-1] - values[0]), abs(values[-1] - values[0]) + abs(steps[0]))  # with and without the end
    turns = (180.0, 360.0, math.pi, 2 * math.pi)
    return any(abs(span - turn) < 1e-3 * turn for span in spans for turn in turns)


def _is_of_same_images(item: Any, dataset: "h5py.Dataset") -> bool:
    """Return whether a dataset holds images of the same size, but is not a volume of the same shape."""
    shape = getattr(item, "shape", None) or ()
    return 2 <= len(shape) <= 3 and shape[-2:] == dataset.shape[-2:] and shape != dataset.shape


def _nx_class(group: "h5py.Group") -> str:
    return _attribute(group, "NX_class")


def _attribute(item: Any, key: str) -> str:
    try:
        value = item.attrs.get(key, "")
    except DAMAGED:
        return ""
    value = getattr(value, "flat", [value])[0] if getattr(value, "size", 1) else ""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _text(item: Any) -> str:
    """Return the value of a dataset of one text."""
    if getattr(item, "size", 0) != 1:
        return ""
    value = item[()]
    value = getattr(value, "flat", [value])[0]
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
