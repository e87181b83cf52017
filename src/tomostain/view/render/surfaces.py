"""Preparation of a volume for rendering: cropping, lighting of surfaces, colours at edges."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.integers import to_integers
from tomostain.view.render.camera import Camera


def crop_to_matter(volume: NDArray[np.uint8], share: float = 0.002) -> NDArray[np.uint8]:
    """Crop the empty margins of a volume, so that the specimen fills the image.

    Parameters
    ----------
    volume : ndarray of uint8, shape (Z, Y, X, 4)
        Colours with alpha, the haze removed.
    share : float
        A plane counts as empty if at most this fraction of it has alpha, so that single specks do not count.

    Returns
    -------
    ndarray of uint8, shape (z, y, x, 4)
        A view. The whole volume if it is empty.
    """
    matter = volume[..., 3] > 0
    part: list[slice] = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        full = np.flatnonzero(matter.mean(axis=others) > share)
        part.append(slice(int(full[0]), int(full[-1]) + 1) if len(full) else slice(None))
    return volume[part[0], part[1], part[2]]


def spread_colours(volume: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give transparent voxels next to matter its colour. They remain transparent.

    A graphics card interpolates colour and alpha separately, so the white of the glass would whiten every surface.

    Parameters
    ----------
    volume : ndarray of uint8, shape (Z, Y, X, 4)
        Colours with alpha. It is not changed.

    Returns
    -------
    ndarray of uint8, shape (Z, Y, X, 4)
    """
    result = volume.copy()
    filled = volume[..., 3] > 0
    for axis in range(3):
        # One axis after the other also reaches the diagonal neighbours, which trilinear interpolation uses.
        colours, is_filled = np.moveaxis(result, axis, 0), np.moveaxis(filled, axis, 0)
        before = is_filled.copy()
        for to, source in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
            take = before[source] & ~is_filled[to]
            colours[to][take, :3] = colours[source][take, :3]
            is_filled[to][take] = True
    return result


def light_surfaces(volume: NDArray[np.uint8], camera: Camera, strength: float = 0.4) -> NDArray[np.uint8]:
    """Darken surfaces that face away from a lamp at the upper left of the camera. The inside keeps its colours.

    Without lighting, the faces of a cut cannot be distinguished. The surface is that of all matter (blurred over two
    voxels), not of single cells, so that the texture of the stain does not look like relief.

    Parameters
    ----------
    volume : ndarray of uint8, shape (Z, Y, X, 4)
        Colours with alpha, cut and cropped. It is not changed.
    camera : Camera
        The view.
    strength : float
        Darkening of a surface at right angles to the light, 0 to 1.

    Returns
    -------
    ndarray of uint8, shape (Z, Y, X, 4)
    """
    lamp = 0.9 * camera.towards - 0.75 * camera.down - 0.55 * camera.right
    lamp /= np.linalg.norm(lamp)
    # Padded with air: the outer faces of the volume are surfaces too.
    matter = np.pad((volume[..., 3] > 0).astype(np.float32), 3)
    smooth = ndimage.gaussian_filter(matter, 2.0, truncate=3.0)
    slopes = np.stack(np.gradient(smooth))[:, 3:-3, 3:-3, 3:-3]
    steep = np.linalg.norm(slopes, axis=0)
    facing = np.tensordot(-lamp, slopes, axes=1) / np.maximum(steep, 1e-6)
    # A flat surface blurred by σ has the slope 1 / (σ √(2π)); half of it counts as a surface.
    surface = np.clip(steep * (2.0 * 2.0 * np.sqrt(2 * np.pi)), 0, 1)
    # Within 40° of the lamp a surface is fully lit, so that surfaces facing the camera keep the colours of the stain.
    shade = 1 - strength * surface * (1 - np.clip(facing / 0.77, 0, 1))
    result = volume.copy()
    lit = volume[..., :3] * shade[..., None].astype(np.float32)
    result[..., :3] = to_integers(lit, np.uint8, "lit surfaces")
    return result
