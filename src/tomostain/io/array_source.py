"""An array with the size of its voxels or pixels, where a function also takes the path of a file."""

import os
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from tomostain.errors import InputError

SizeUm: TypeAlias = float | Sequence[float]
"""Size of a voxel or pixel, or (z, y, x), µm."""
ArraySource: TypeAlias = ArrayLike | tuple[ArrayLike, SizeUm]
"""An array, or an array with the size of its voxels or pixels."""


def split_source(source: object, size_um: SizeUm | None, parameter: str) -> tuple[Any, SizeUm] | None:
    """Return an array and the size of its voxels, µm; None if the source is a path.

    Parameters
    ----------
    source : path, array-like, or tuple (array, size)
    size_um : float or sequence of float, optional
        The size if `source` is an array alone. It takes precedence over that of a tuple.
    parameter : str
        Name of the parameter for the size, such as ``voxel_um``, for messages.

    Raises
    ------
    InputError
        If the source is neither a path nor an array, or the size of an array is not given.

    Examples
    --------
    >>> split_source("scan.tif", None, "voxel_um") is None
    True
    >>> split_source((np.zeros((2, 3, 4)), 5.0), None, "voxel_um")[1]
    5.0
    """
    if isinstance(source, str | os.PathLike):
        return None
    values: Any = source
    if isinstance(source, tuple) and len(source) == 2 and _is_array(source[0]):
        values, size_um = source[0], source[1] if size_um is None else size_um
    if not _is_array(values):
        raise InputError(f"expected a path, an array or (array, {parameter}), found {type(source).__name__}")
    if size_um is None:
        kind = parameter.partition("_")[0]
        raise InputError(
            f"the {kind} size of an array is unknown; give (array, {parameter}), or `{parameter}`", parameter=parameter
        )
    return (values if hasattr(values, "shape") else np.asarray(values)), size_um


def _is_array(value: object) -> bool:
    """Return whether a value is an array or a nested list; no file, mapping or number."""
    return hasattr(value, "__getitem__") and (hasattr(value, "shape") or isinstance(value, list))
