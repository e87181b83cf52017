"""Camera, and removal of a part of the volume to show the inside. Used by both renderers.

World coordinates are those of the slices: x to the right, y down, z into the screen, all in µm. The view is not
mirrored relative to the slices. The camera projects in parallel: lengths across the view are true.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Cut = Literal["none", "corner", "half"]


@dataclass(frozen=True)
class Camera:
    """A parallel projection on the centre of the volume.

    Attributes
    ----------
    azimuth_deg : float
        Rotation of the camera to the right around the vertical axis (y). 0 looks along z.
    elevation_deg : float
        Elevation of the camera above the volume, -85 to 85.
    zoom : float
        1 fits the whole volume into the image.
    """

    azimuth_deg: float = 28.0
    elevation_deg: float = 26.0
    zoom: float = 1.0

    @property
    def towards(self) -> NDArray[np.float64]:
        """Unit vector (z, y, x) from the volume to the camera."""
        azimuth, elevation = np.deg2rad(self.azimuth_deg), np.deg2rad(np.clip(self.elevation_deg, -85, 85))
        flat = np.cos(elevation)
        return np.array([-flat * np.cos(azimuth), -np.sin(elevation), flat * np.sin(azimuth)])

    @property
    def right(self) -> NDArray[np.float64]:
        """Unit vector (z, y, x) to the right in the image."""
        azimuth = np.deg2rad(self.azimuth_deg)
        return np.array([np.sin(azimuth), 0.0, np.cos(azimuth)])

    @property
    def down(self) -> NDArray[np.float64]:
        """Unit vector (z, y, x) downwards in the image."""
        forward = -self.towards
        # In the order (z, y, x) the cross product has the opposite sign of that in (x, y, z).
        return -np.cross(forward, self.right)

    def half_height_um(self, size_um: NDArray[np.float64], size: tuple[int, int]) -> float:
        """Return half the height of the field of view, µm, so that a box of `size_um` (z, y, x) fits `size` (w, h)."""
        half_width = np.abs(self.right) @ size_um / 2
        half_height = np.abs(self.down) @ size_um / 2
        return float(max(half_height, half_width * size[1] / size[0]) * 1.04 / self.zoom)


def cut_away(volume: NDArray[np.uint8], cut: Cut, camera: Camera) -> NDArray[np.uint8]:
    """Make the part that faces the camera transparent.

    Parameters
    ----------
    volume : ndarray of uint8, shape (Z, Y, X, 4)
        Colours with alpha. It is not changed.
    cut : str
        ``corner``: the octant nearest to the camera. ``half``: the half along the axis that points most to the camera.
        ``none``: nothing.
    camera : Camera
        The view.

    Returns
    -------
    ndarray of uint8, shape (Z, Y, X, 4)
    """
    if cut == "none":
        return volume
    towards = camera.towards
    axes = [0, 1, 2] if cut == "corner" else [int(np.argmax(np.abs(towards)))]
    part: list[slice] = [slice(None)] * 3
    for axis in axes:
        middle = volume.shape[axis] // 2
        part[axis] = slice(middle, None) if towards[axis] > 0 else slice(None, middle)
    result = volume.copy()
    result[part[0], part[1], part[2], 3] = 0
    return result
