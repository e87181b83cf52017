"""The mapping between stored images and the input and output range of the networks, and its inverse.

µCT after normalisation (paper section 2.5) has background at 10000 and bone at 30000 of a 16-bit scale. A window of
grey values maps linearly to [-1, 1], and values outside it are clipped. The window is a property of the recipe and of
the model (`ct_window`). In the default window [0, 40000], background is -0.5, bone +0.5, and metal is clipped at 1.
Histology of 8 bit maps [0, 255] to [-1, 1]. All functions take NumPy arrays or torch tensors and return the same kind.
"""

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tomostain.deprecation import renamed
from tomostain.tiling.ct_window import DEFAULT_CT_WINDOW

if TYPE_CHECKING:
    from torch import Tensor

Array = TypeVar("Array", "NDArray[np.floating[Any]]", "Tensor")

CT_BACKGROUND = 10000.0
CT_BONE = 30000.0
DISPLAY_WINDOW = (0.0, 40000.0)
"""The grey values that pictures, baselines and metrics of the µCT show, whatever the window of a model is."""
FULL_RANGE_WINDOW = (0.0, 40000.0)
"""The grey values that the full range of an integer type becomes, where background and bone are not known."""


def ct_to_network(ct: Array, window: tuple[float, float] = DEFAULT_CT_WINDOW) -> Array:
    """Map normalised µCT values to [-1, 1].

    Parameters
    ----------
    ct : array or tensor of float
        Normalised µCT grey values (background 10000, bone 30000). Convert integers to float first.
    window : (float, float)
        Lowest and highest grey value that the network distinguishes: `ct_window` of its recipe or model.

    Returns
    -------
    array or tensor of float
        Same shape, clipped to [-1, 1].

    Examples
    --------
    >>> import numpy as np
    >>> ct_to_network(np.array([0.0, 10000.0, 30000.0, 65535.0])).tolist()
    [-1.0, -0.5, 0.5, 1.0]
    >>> ct_to_network(np.array([30000.0, 45000.0, 65535.0]), (0, 60000)).tolist()
    [0.0, 0.5, 1.0]
    """
    low, high = map(float, window)
    return ((ct - low) * (2.0 / (high - low)) - 1.0).clip(-1.0, 1.0)


def ct_from_network(x: Array, window: tuple[float, float] = DEFAULT_CT_WINDOW) -> Array:
    """Map network values in [-1, 1] back to normalised µCT grey values (float; the inverse of `ct_to_network`).

    Parameters
    ----------
    x : array or tensor of float
    window : (float, float)
        As in `ct_to_network`.

    Examples
    --------
    >>> import numpy as np
    >>> ct_from_network(np.array([-0.5, 0.5])).tolist()
    [10000.0, 30000.0]
    """
    low, high = map(float, window)
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


__getattr__ = renamed(__name__, {"CT_WINDOW": "DISPLAY_WINDOW"})
