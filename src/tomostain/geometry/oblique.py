"""The axes of a plane that is tilted by two angles, as viewers show it."""

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def oblique_axes(tilt_x_deg: float, tilt_y_deg: float) -> tuple[Float64, Float64, Float64]:
    """Return the directions of rows and columns of a tilted plane, and its normal.

    The plane begins as a slice across z, with y down and x to the right. It is turned about the x axis first, and then
    about the y axis. 90° about x is the plane across y, 90° about y the plane across x. The directions change smoothly
    with the angles.

    Parameters
    ----------
    tilt_x_deg, tilt_y_deg : float
        Angles, degrees. Between -90 and 90 they reach every plane.

    Returns
    -------
    down, right, normal : ndarray of float64, shape (3,)
        Unit vectors (z, y, x), perpendicular to each other.

    Examples
    --------
    >>> down, right, normal = oblique_axes(90, 0)
    >>> [(axis.round(9) + 0).tolist() for axis in (down, right, normal)]
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]
    """
    a, b = np.radians([tilt_x_deg, tilt_y_deg])
    down = np.array([np.sin(a) * np.cos(b), np.cos(a), -np.sin(a) * np.sin(b)])
    right = np.array([np.sin(b), 0.0, np.cos(b)])
    normal = np.array([np.cos(a) * np.cos(b), -np.sin(a), -np.cos(a) * np.sin(b)])
    return down, right, normal
