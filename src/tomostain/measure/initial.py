"""The implant before implantation, from the options of a measurement."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tomostain.measure.classes import IMPLANT
from tomostain.measure.config import MeasureConfig
from tomostain.measure.label_files import open_labels
from tomostain.measure.label_source import LabelSource
from tomostain.measure.morphometry.bodies import body_named
from tomostain.measure.morphometry.implant import find_implant
from tomostain.measure.morphometry.initial_geometry import (
    InitialGeometry,
    geometry_from_body,
    geometry_from_mask,
    given_geometry,
)


def initial_geometry(config: MeasureConfig, labels: LabelSource) -> InitialGeometry | None:
    """Return volume and surface of the new implant in the field of view.

    Parameters
    ----------
    config : MeasureConfig
        Its `initial` (labels of the new implant), `initial_volume_mm3` and `initial_surface_mm2`, or `geometry` (a body
        that is fitted to the labels).
    labels : LabelSource

    Returns
    -------
    InitialGeometry or None
        None if the options state none of them.

    Raises
    ------
    InputError
        If the labels of the new implant lie on another grid, or the body does not fit.
    """
    max_bytes = int(config.memory_gb * 1e9)
    if config.initial is not None:
        new = open_labels(config.initial, labels)
        return geometry_from_mask(_implant_of(new), new.shape, new.voxel_um, max_bytes=max_bytes)
    if config.initial_volume_mm3 is not None and config.initial_surface_mm2 is not None:
        return given_geometry(config.initial_volume_mm3, config.initial_surface_mm2)
    if config.geometry is not None:
        implant = find_implant(labels, max_bytes=max_bytes)
        return geometry_from_body(implant, body_named(config.geometry), max_bytes=max_bytes)[0]
    return None


def _implant_of(labels: LabelSource) -> Callable[[int, int], NDArray[np.bool_]]:
    """Return a reader of metal and degradation layer."""
    return lambda start, stop: np.isin(labels.read(start, stop), IMPLANT)
