"""Volume rendering without a graphics library: front-to-back compositing along parallel rays.

For machines without VTK. The tests also compare the VTK rendering with it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.integers import to_integers
from tomostain.progress import Progress, silent
from tomostain.view.render.camera import Camera

RGB = NDArray[np.uint8]


def composite_projection(
    volume: NDArray[np.uint8],
    axis: int = 0,
    *,
    reverse: bool = False,
    background: tuple[int, int, int] = (255, 255, 255),
) -> RGB:
    """Render a volume along one of its axes.

    Parameters
    ----------
    volume : ndarray of uint8, shape (Z, Y, X, 4)
        Colours with alpha; alpha / 255 is the opacity of one voxel.
    axis : int
        Viewing axis, from its beginning.
    reverse : bool
        View from its end.
    background : tuple of int
        Colour behind the volume.

    Returns
    -------
    ndarray of uint8, shape (the other two axes, 3)

    Notes
    -----
    The over operator of Porter and Duff, front to back: C = Σ_i c_i α_i Π_{j<i} (1 - α_j) + background Π (1 - α).

    Examples
    --------
    >>> red_half_over_blue = np.array([[[[255, 0, 0, 51]]], [[[0, 0, 255, 255]]]], dtype=np.uint8)
    >>> composite_projection(red_half_over_blue)[0, 0].tolist()
    [51, 0, 204]
    """
    layers = np.moveaxis(volume, axis, 0)
    light = _Light(layers.shape[1:3])
    for layer in layers[::-1] if reverse else layers:
        alpha = layer[..., 3].astype(np.float32) / 255
        light.add(layer[..., :3] * alpha[..., None], alpha)
    return light.over(background)


def render_composite(
    volume: NDArray[np.uint8],
    voxel_um: tuple[float, float, float],
    *,
    size: tuple[int, int],
    camera: Camera,
    unit_um: float,
    background: tuple[int, int, int] = (255, 255, 255),
    progress: Progress = silent,
) -> RGB:
    """Render a volume from any side by sampling it along parallel rays, in steps of half a voxel.

    Parameters
    ----------
    volume : ndarray of uint8, shape (Z, Y, X, 4)
        Colours with alpha.
    voxel_um : tuple of float
        Voxel size (z, y, x), µm.
    size : tuple of int
        (width, height) of the image, px.
    camera : Camera
        The view.
    unit_um : float
        Length over which the fraction alpha / 255 of the light is absorbed, µm.
    background : tuple of int
        Colour behind the volume.
    progress : Progress
        Listener.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
    """
    step = np.asarray(voxel_um, dtype=np.float64)
    extent = np.asarray(volume.shape[:3]) * step
    pixel = 2 * camera.half_height_um(extent, size) / size[1]
    columns = (np.arange(size[0]) - (size[0] - 1) / 2) * pixel
    rows = (np.arange(size[1]) - (size[1] - 1) / 2) * pixel
    plane = rows[:, None, None] * camera.down + columns[None, :, None] * camera.right
    stride = float(step.min()) / 2
    reach = float(np.abs(camera.towards) @ extent / 2)
    depths = np.arange(-reach, reach, stride)
    # Colours are interpolated after multiplication by alpha. Otherwise transparent voxels would colour solid ones.
    alpha = volume[..., 3].astype(np.float32) / 255
    channels = [volume[..., c] * alpha for c in range(3)] + [alpha]
    centre = (extent - step) / 2
    light = _Light((size[1], size[0]))
    for number, depth in enumerate(depths):
        points = np.moveaxis((plane - depth * camera.towards + centre) / step, -1, 0)
        light.add_sample([_interpolate(channel, points) for channel in channels], stride / unit_um)
        progress("rendering", number + 1, len(depths))
    return light.over(background)


def _interpolate(channel: NDArray[Any], points: NDArray[np.float64]) -> NDArray[np.float32]:
    result: Any = ndimage.map_coordinates(channel, points, output=np.float32, order=1, mode="constant")
    return np.asarray(result, dtype=np.float32)


class _Light:
    """The light accumulated on each ray, and the remaining transmission."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.colour: NDArray[np.float32] = np.zeros((*shape, 3), dtype=np.float32)
        self.through: NDArray[np.float32] = np.ones(shape, dtype=np.float32)

    def add(self, premultiplied: NDArray[Any], alpha: NDArray[Any]) -> None:
        """Add a layer behind the existing ones."""
        self.colour += premultiplied * self.through[..., None]
        self.through *= 1 - alpha

    def add_sample(self, sample: list[NDArray[np.float32]], share: float) -> None:
        """Add a sample of colours times alpha, and alpha, over the fraction `share` of the unit length."""
        *colours, alpha = sample
        corrected = 1 - (1 - alpha.clip(0, 1)) ** share
        scale = np.divide(corrected, alpha, out=np.zeros_like(alpha), where=alpha > 0)
        self.add(np.stack(colours, axis=-1) * scale[..., None], corrected)

    def over(self, background: tuple[int, int, int]) -> RGB:
        """Return the image in front of a background."""
        picture = self.colour + self.through[..., None] * np.asarray(background, dtype=np.float32)
        return to_integers(picture, np.uint8, "rendering", clip=True)
