"""The implant before implantation, from the options of a measurement."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io import Volume, open_volume
from tomostain.measure.classes import IMPLANT, Labels, TissueClass
from tomostain.measure.config import MeasureConfig
from tomostain.measure.label_files import check_grid, open_labels
from tomostain.measure.label_source import LabelSource, Shape, VoxelSize
from tomostain.measure.morphometry.bodies import body_named
from tomostain.measure.morphometry.body_fit import FittedBody
from tomostain.measure.morphometry.degradation import PERMANENT
from tomostain.measure.morphometry.implant import Implant, find_implant, implant_of_region
from tomostain.measure.morphometry.initial_geometry import (
    InitialGeometry,
    geometry_from_body,
    geometry_from_mask,
    given_geometry,
)
from tomostain.measure.morphometry.z_blocks import BLOCK_BYTES, z_blocks
from tomostain.paths import StrPath

_MAX_VALUES = 300
"""Values that are listed of the labels of the new implant: more than there are tissue classes."""


@dataclass(frozen=True, eq=False)
class KnownImplant:
    """What is known of the implant before implantation.

    Attributes
    ----------
    geometry : InitialGeometry
        Volume and surface in the field of view.
    fitted : FittedBody or None
        The body that was fitted to the labels.
    """

    geometry: InitialGeometry
    fitted: FittedBody | None = None


def known_implant(config: MeasureConfig, labels: LabelSource) -> KnownImplant | None:
    """Return what the options state of the new implant.

    Parameters
    ----------
    config : MeasureConfig
        Its `initial` (labels or a mask of the new implant; see `open_initial`), `initial_volume_mm3` and
        `initial_surface_mm2`, or `geometry` (a body that is fitted to the labels).
    labels : LabelSource
        The measured volume. Voxels of the new implant that were not measured do not count.

    Returns
    -------
    KnownImplant or None
        None if the options state none of them.

    Raises
    ------
    InputError
        If the labels of the new implant lie on another grid or contain no implant, or the body does not fit.
    """
    max_bytes = config.max_bytes
    if config.initial is not None:
        return KnownImplant(_geometry_of_file(config.initial, labels, max_bytes))
    if config.initial_volume_mm3 is not None:
        geometry = given_geometry(config.initial_volume_mm3, config.initial_surface_mm2)
        return KnownImplant(_with_note_on_unmeasured(geometry, labels, max_bytes))
    if config.geometry is not None:
        implant = find_implant(labels, max_bytes=max_bytes)
        return KnownImplant(*geometry_from_body(implant, body_named(config.geometry), max_bytes=max_bytes))
    return None


def fitted_implant(labels: LabelSource, known: KnownImplant | None, config: MeasureConfig) -> Implant:
    """Return the implant with the surface of the fitted body, moved outwards by the layer of a degradable material.

    Classifiers confuse metal, layer and bone at the surface of an implant. Where its shape is known, the fitted surface
    is nearer to the true one.

    Parameters
    ----------
    labels : LabelSource
    known : KnownImplant or None
    config : MeasureConfig
        Its `implant`: a material that does not degrade has no layer.

    Returns
    -------
    Implant

    Raises
    ------
    InputError
        If no body was fitted.
    """
    if known is None or known.fitted is None:
        raise InputError(
            "`surface` 'fitted' needs the shape of the implant; set `geometry`, for example to 'm2-screw'",
            parameter="surface",
        )
    fitted = known.fitted
    offset_um = 0.0 if config.implant in PERMANENT else max(fitted.offset_um, 0.0)
    _, rows, columns = labels.shape
    plane = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1) * labels.voxel_um[1:]

    def read(start: int, stop: int) -> NDArray[np.bool_]:
        inside = np.empty((stop - start, rows, columns), bool)
        for z in range(start, stop):
            height = np.full((rows, columns, 1), z * labels.voxel_um[0])
            points = np.concatenate([height, plane], axis=-1).reshape(-1, 3)
            inside[z - start] = (fitted.distance(points) < offset_um).reshape(rows, columns)
        return inside

    return implant_of_region(labels, read, max_bytes=config.max_bytes)


def open_initial(path: StrPath, like: LabelSource, *, max_bytes: int = BLOCK_BYTES) -> LabelSource:
    """Open the labels of the new implant, or a binary mask of it.

    A file that contains metal or degradation layer is a label volume. A file with 0 and one other value, such as 1 or
    255, is a mask, of which the other value is the implant.

    Parameters
    ----------
    path : str or os.PathLike
    like : LabelSource
        The measured volume, on the same grid.
    max_bytes : int
        Memory for the values of a z block, 16 bytes per voxel.

    Returns
    -------
    LabelSource
        Of a mask: metal and void.

    Raises
    ------
    InputError
        If the file lies on another grid, or is neither of them.
    """
    labels = open_labels(path, like)
    volume = open_volume(path, voxel_um=labels.voxel_um)
    check_grid(path, volume, like)
    values = _values_of(volume, max_bytes)
    if not any(each in values for each in IMPLANT) and len(values) == 2 and 0 in values:
        return _Mask(volume)
    if values == {0}:
        raise InputError(
            f"{path}: the mask of the initial implant is empty; give the mask of the new implant, on the same grid",
            parameter="initial",
        )
    if not any(each in values for each in IMPLANT):
        listed = ", ".join(f"{each:g}" for each in sorted(values)[:10])
        raise InputError(
            f"{path}: contains the values {listed}; give labels in which the new implant is "
            f"{int(TissueClass.METAL)} (metal), or a mask of 0 and one other value",
            parameter="initial",
        )
    return labels


@dataclass(frozen=True)
class _Mask:
    """A binary mask as labels: metal where it is not 0."""

    volume: Volume

    @property
    def shape(self) -> Shape:
        return self.volume.shape

    @property
    def voxel_um(self) -> VoxelSize:
        return self.volume.voxel_um

    def read(self, start: int, stop: int) -> Labels:
        inside = self.volume.read(start, stop) != 0
        return np.where(inside, TissueClass.METAL, TissueClass.VOID).astype(np.uint8)


def _values_of(volume: Volume, max_bytes: int) -> set[float]:
    """Return the values that occur; no more than are needed to know that it is no label volume."""
    values: set[float] = set()
    for block in z_blocks(volume.shape, bytes_per_voxel=16.0, max_bytes=max_bytes):
        values.update(np.unique(volume.read(block.start, block.stop)).tolist())
        if len(values) > _MAX_VALUES:
            break
    return values


def _geometry_of_file(path: Path, labels: LabelSource, max_bytes: int) -> InitialGeometry:
    """Return the geometry of the new implant in the measured voxels, of its largest body only."""
    new = open_initial(path, labels, max_bytes=max_bytes)
    try:
        implant = find_implant(new, max_bytes=max_bytes)
        geometry = geometry_from_mask(
            implant.read,
            new.shape,
            new.voxel_um,
            measured=lambda start, stop: labels.read(start, stop) != TissueClass.NOT_MEASURED,
            max_bytes=max_bytes,
        )
    except InputError as error:
        raise InputError(f"{path}: {error}", parameter=error.parameter or "initial") from None
    if not implant.ignored_voxels:
        return geometry
    return replace(geometry, note=f"{geometry.note}; {implant.ignored_voxels} voxels apart from it are ignored")


def _with_note_on_unmeasured(geometry: InitialGeometry, labels: LabelSource, max_bytes: int) -> InitialGeometry:
    """Add a note if the bounding box of the implant contains voxels that were not measured."""
    box = find_implant(labels, max_bytes=max_bytes).box
    unknown = 0
    for block in z_blocks(labels.shape, bytes_per_voxel=4.0, max_bytes=max_bytes):
        start, stop = max(block.start, box[0].start), min(block.stop, box[0].stop)
        if start < stop:
            inside = labels.read(start, stop)[:, box[1], box[2]]
            unknown += int(np.count_nonzero(inside == TissueClass.NOT_MEASURED))
    if not unknown:
        return geometry
    share = unknown / math.prod(side.stop - side.start for side in box)
    note = (
        f"{share:.1%} of the bounding box of the implant were not measured; metal there counts as lost, unless the "
        "initial volume leaves it out"
    )
    return replace(geometry, note=f"{geometry.note}; {note}")
