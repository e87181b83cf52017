"""Registration in Python: of arrays, opened files or paths, with or without writing the pair."""

from pathlib import Path

import torch

from tomostain.io import open_slide, open_volume
from tomostain.io.slides import SlideSource
from tomostain.io.volumes.volume import VolumeSource
from tomostain.paths import StrPath
from tomostain.progress import Progress, silent
from tomostain.register.config import RegisterConfig
from tomostain.register.files import register_opened
from tomostain.register.hints import Hint
from tomostain.register.pair_files import PairFolder
from tomostain.register.registration import Registration

AnyVolume = VolumeSource
AnySlide = SlideSource


def register_slide(
    volume: "VolumeSource",
    slide: "SlideSource",
    config: RegisterConfig | None = None,
    *,
    pair_out: StrPath | None = None,
    hint: Hint = Hint(),
    device: str | torch.device = "auto",
    progress: Progress = silent,
) -> Registration:
    """Find the section of a slide in a µCT volume, and cut the pair of both images.

    Parameters
    ----------
    volume : Volume, str, os.PathLike, or tuple (array, voxel_um)
        Grey values of shape (Z, Y, X): an opened volume, a path for `open_volume`, or an array with its voxel size
        (one number, or z, y, x), µm.
    slide : Slide, str, os.PathLike, or tuple (array, pixel_um)
        The whole-slide image: an opened slide, a path for `open_slide`, or a uint8 array of shape (rows, columns, 3)
        with its pixel size, µm.
    config : RegisterConfig, optional
        Options of the search and of the pair.
    pair_out : str or os.PathLike, optional
        Folder to be written as by ``tomostain register``. None writes nothing.
    hint : Hint
        The known part of the pose. ``Hint(accept=True)`` accepts an uncertain result.
    device : str or torch.device
        Device of the search: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``. A single image is registered on the CPU.
    progress : Progress

    Returns
    -------
    Registration
        ``section`` (pose), ``confidence``, ``evidence``, ``warnings``, and ``pair`` with the arrays ``ct`` (uint16),
        ``histology`` (uint8, RGB) and ``mask`` (bool) on one grid.

    Raises
    ------
    RegistrationUncertainError
        If the confidence is below ``config.threshold``. Its ``candidates`` are the best poses.
    InputError
        If an input cannot be read, a size is missing, or volume and slide do not fit together.

    Examples
    --------
    >>> result = register_slide((ct, 5.0), (rgb, 1.25))  # doctest: +SKIP
    >>> result.confidence, result.pair.ct.shape  # doctest: +SKIP
    """
    folder = None if pair_out is None else PairFolder(Path(pair_out))
    return register_opened(
        open_volume(volume), open_slide(slide), config, hint=hint, folder=folder, device=device, progress=progress
    )
