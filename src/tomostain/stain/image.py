"""Stain one image file."""

from pathlib import Path
from typing import Unpack

from tomostain.errors import InputError
from tomostain.io import Volume, write_image
from tomostain.io.atomic import refuse_existing
from tomostain.io.images import read_grey
from tomostain.stain.request import Model, StainOptions, StainRequest, StrPath, make_request
from tomostain.stain.stainer import Stainer
from tomostain.stain.voxel_size_check import check_voxel_size

_VOLUMES_ONLY = ("dataset", "resample", "uncertainty", "ensemble", "intensity_figure")


def stain_image(model: Model, source: StrPath, out: StrPath, **options: Unpack[StainOptions]) -> Path:
    """Stain a single µCT image.

    Parameters
    ----------
    model : path, Translator or Stainer
        A model folder or a loaded model.
    source : path
        A greyscale image.
    out : path
        The stained image, PNG or TIFF by its suffix.
    **options
        config, intensity, voxel_um, allow_voxel_mismatch, noise_seed, device and overwrite, as `StainRequest`. Without
        `voxel_um` the image is assumed to have the pixel size of the model.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    InputError
        If the image is not greyscale, an option is for volumes only, or as `stain_volume`.
    """
    return stain_image_request(make_request(model, source, out, **options))


def stain_image_request(request: StainRequest) -> Path:
    """Stain a single µCT image; as `stain_image`, with the image as the volume of a request."""
    source, out = request.source, request.out_path
    for name in _VOLUMES_ONLY:
        if getattr(request, name):
            raise InputError(f"`{name}`: is for volumes, and {source} is a single image; leave it out", parameter=name)
    if isinstance(request.volume, Volume):
        raise InputError(f"{source}: is a volume; use `stain_volume`", parameter="volume")
    refuse_existing(out, request.overwrite)
    stainer = Stainer(request.load_model(), request.config, request.noise_seed)
    ct = read_grey(Path(request.volume))
    if request.voxel_um is not None:
        size = request.voxel_um
        voxel_um = size if isinstance(size, tuple) else (size, size, size)
        check_voxel_size(voxel_um, stainer.voxel_um, source, allow_mismatch=request.allow_voxel_mismatch)
    write_image(out, stainer(ct, intensity=request.intensity, source=source), overwrite=request.overwrite)
    return out
