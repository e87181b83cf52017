"""The implant before implantation, from the options of a measurement."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.measure.classes import IMPLANT
from tomostain.measure.config import MeasureConfig
from tomostain.measure.label_files import open_labels
from tomostain.measure.label_source import LabelSource
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
        Its `initial` (labels of the new implant), `initial_volume_mm3` and `initial_surface_mm2`, or `geometry` (a body
        that is fitted to the labels).
    labels : LabelSource

    Returns
    -------
    KnownImplant or None
        None if the options state none of them.

    Raises
    ------
    InputError
        If the labels of the new implant lie on another grid, or the body does not fit.
    """
    max_bytes = int(config.memory_gb * 1e9)
    if config.initial is not None:
        new = open_labels(config.initial, labels)
        return KnownImplant(geometry_from_mask(_implant_of(new), new.shape, new.voxel_um, max_bytes=max_bytes))
    if config.initial_volume_mm3 is not None:
        return KnownImplant(given_geometry(config.initial_volume_mm3, config.initial_surface_mm2))
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

    return implant_of_region(labels, read, max_bytes=int(config.memory_gb * 1e9))


def _implant_of(labels: LabelSource) -> Callable[[int, int], NDArray[np.bool_]]:
    """Return a reader of metal and degradation layer."""
    return lambda start, stop: np.isin(labels.read(start, stop), IMPLANT)
