"""The mapping between stored images and the input and output range of the networks, and its inverse.

µCT after normalisation (paper section 2.5) has background at 10000 and bone at 30000 of a 16-bit scale. The window
[0, 40000] maps linearly to [-1, 1], so that background is -0.5 and bone +0.5; brighter metal is clipped at 1.
Histology of 8 bit maps [0, 255] to [-1, 1]. All functions take NumPy arrays or torch tensors and return the same kind.
"""

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Array = TypeVar("Array", "NDArray[np.floating[Any]]", "Tensor")

CT_BACKGROUND = 10000.0
CT_BONE = 30000.0
CT_WINDOW = (0.0, 40000.0)


def ct_to_network(ct: Array) -> Array:
    """Map normalised µCT values to [-1, 1].

    Parameters
    ----------
    ct : array or tensor of float
        Normalised µCT grey values (background 10000, bone 30000). Convert integers to float first.

    Returns
    -------
    array or tensor of float
        Same shape, clipped to [-1, 1].

    Examples
    --------
    >>> import numpy as np
    >>> ct_to_network(np.array([0.0, 10000.0, 30000.0, 65535.0])).tolist()
    [-1.0, -0.5, 0.5, 1.0]
    """
    low, high = CT_WINDOW
    return ((ct - low) * (2.0 / (high - low)) - 1.0).clip(-1.0, 1.0)


def ct_from_network(x: Array) -> Array:
    """Map network values in [-1, 1] back to normalised µCT grey values (float; the inverse of `ct_to_network`).

    Examples
    --------
    >>> import numpy as np
    >>> ct_from_network(np.array([-0.5, 0.5])).tolist()
    [10000.0, 30000.0]
    """
    low, high = CT_WINDOW
    return (_clipped(x) + 1.0) * ((high - low) / 2.0) + low


def histology_to_network(histology: Array) -> Array:
    """Map 8-bit histology values (as float) from [0, 255] to [-1, 1].

    Examples
    --------
    >>> import numpy as np
    >>> histology_to_network(np.array([0.0, 127.5, 255.0])).tolist()
    [-1.0, 0.0, 1.0]
    """
    return histology / 127.5 - 1.0


def histology_from_network(y: Array) -> Array:
    """Map network values in [-1, 1] to [0, 255] (float; round before converting to uint8). Infinity becomes NaN.

    Examples
    --------
    >>> import numpy as np
    >>> histology_from_network(np.array([-1.0, 0.0, 2.0])).tolist()
    [0.0, 127.5, 255.0]
    """
    return (_clipped(y) + 1.0) * 127.5


def _clipped(values: Array) -> Array:
    """Clip to [-1, 1]. Infinity becomes NaN instead of a value, so that `tomostain.integers` finds it later."""
    with np.errstate(invalid="ignore"):
        return values.clip(-1.0, 1.0) + (values - values)
