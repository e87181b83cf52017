"""A fly-through: the volume rotates while a cutting plane moves through it and back."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomostain.progress import Progress, silent
from tomostain.view.render.camera import Camera
from tomostain.view.render.rgba import background_alpha, transfer_opacity
from tomostain.view.render.surfaces import crop_to_matter, light_surfaces
from tomostain.view.render.volume import render_volume

FRAMES, SECONDS = 72, 9.0
SIZE = (640, 480)
# A film is smoother and has the width of a projector.
FILM_FRAMES = 216
FILM_SIZE = (1280, 720)


def fly_through(
    volume: NDArray[np.uint8],
    voxel_um: tuple[float, float, float],
    *,
    frames: int = FRAMES,
    size: tuple[int, int] = SIZE,
    progress: Progress = silent,
) -> Iterator[NDArray[np.uint8]]:
    """Render one period: a full rotation while a cutting plane moves along z through the volume and back.

    The last frame continues with the first, so that the film can be repeated.

    Parameters
    ----------
    volume : ndarray of uint8, shape (Z, Y, X, 4)
        Colours with alpha. The haze of the white background is removed.
    voxel_um : tuple of float
        Voxel size (z, y, x), µm.
    frames : int
        Number of frames.
    size : tuple of int
        (width, height), px.
    progress : Progress
        Listener.

    Yields
    ------
    ndarray of uint8, shape (height, width, 3)

    Raises
    ------
    InputError
        If VTK is not installed or the volume is too large.
    """
    matter = crop_to_matter(transfer_opacity(volume, floor=background_alpha(volume)))
    depth = len(matter)
    for number in range(frames):
        turn = number / frames
        # The camera starts behind, so that it looks into the cut while the cut is deep.
        camera = Camera(azimuth_deg=208.0 + 360.0 * turn, elevation_deg=26.0)
        cut = matter.copy()
        # From the first slice to 85 % of the depth and back, so that a part always remains.
        cut[: round(depth * 0.85 * np.sin(np.pi * turn) ** 2), ..., 3] = 0
        yield render_volume(light_surfaces(cut, camera), voxel_um, size=size, camera=camera)
        progress("rendering frames", number + 1, frames)


def write_gif(path: Path, pictures: Iterator[NDArray[np.uint8]], seconds: float = SECONDS / FRAMES) -> None:
    """Write images (height, width, 3) as a repeating animated GIF, `seconds` each (GIF uses hundredths of a second)."""
    from PIL import Image

    images = [Image.fromarray(picture).quantize(colors=255, dither=Image.Dither.NONE) for picture in pictures]
    images[0].save(path, save_all=True, append_images=images[1:], duration=round(seconds * 1000), loop=0)
