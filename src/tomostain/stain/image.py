"""Stain one image file."""

from pathlib import Path
from typing import Unpack

from tomostain.errors import InputError
from tomostain.imaging.intensity import full_range_reference
from tomostain.io import Volume, open_volume, write_image, write_slide
from tomostain.io.images import PILLOW_SUFFIXES, read_picture
from tomostain.io.metadata.units import check_voxel_um
from tomostain.io.output_folder import ending_of, has_content
from tomostain.io.outputs import check_output_file
from tomostain.io.volumes.registry import find_reader
from tomostain.paths import StrPath
from tomostain.stain.request import Model, StainOptions, StainRequest, make_request
from tomostain.stain.stainer import Stainer
from tomostain.stain.voxel_size_check import check_voxel_size

OME_TIFF = (".ome.tif", ".ome.tiff")
IMAGE_ENDINGS = (".png", ".tif", ".tiff", *OME_TIFF)
_VOLUMES_ONLY = ("dataset", "resample", "uncertainty", "ensemble", "intensity_figure")


def is_one_image(source: StrPath, out: StrPath) -> bool:
    """Return whether a command is about one image: by the name of the output, or of the input if that is no volume.

    Raises
    ------
    InputError
        If the output has the name of one image, and the input is a folder.

    Examples
    --------
    >>> is_one_image("slice.tif", "stained.tif"), is_one_image("slice.tif", "stained.ome.zarr")
    (True, False)
    """
    is_drawn = ending_of(out) in (*IMAGE_ENDINGS, *PILLOW_SUFFIXES) and not has_content(Path(out))
    if is_drawn and Path(source).is_dir():
        raise InputError(f"{out}: is the name of one image, but {source} is a folder; give NAME.ome.zarr for a volume")
    return is_drawn or ending_of(source) in PILLOW_SUFFIXES


def stain_image(model: Model, source: StrPath, out: StrPath, **options: Unpack[StainOptions]) -> Path:
    """Stain a single µCT image.

    Parameters
    ----------
    model : path, Translator or Stainer
        A model folder or a loaded model.
    source : path
        A greyscale image.
    out : path
        The stained image: PNG, TIFF or OME-TIFF by its suffix. A TIFF states the pixel size.
    **options
        config, intensity, voxel_um, allow_voxel_mismatch, noise_seed, device and overwrite, as `StainRequest`. Without
        `voxel_um` the size that the file states is used; if it states none, the pixel size of the model is assumed.

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
    if ending_of(out) not in IMAGE_ENDINGS:
        raise InputError(f"{out}: {source} is one image, which is stained into NAME.png or NAME.tif")
    if out.is_dir():
        raise InputError(f"{out}: is a folder; give the name of a file for one image")
    check_output_file(out, "stained image", request.sources, overwrite=request.overwrite)
    stainer = Stainer(request.load_model(), request.config, request.noise_seed)
    try:
        picture = read_picture(Path(request.volume))
        ct = picture.grey()
    except InputError as error:
        raise InputError(f"{error}{_way_out(Path(source))}") from None
    voxel_um = check_voxel_um(request.voxel_um) if request.voxel_um is not None else _stated_voxel_um(source)
    if voxel_um is not None:
        advice = "resample the image, or set `allow_voxel_mismatch=True` to stain it as it is"
        allow = request.allow_voxel_mismatch
        check_voxel_size(voxel_um, stainer.voxel_um, source, allow_mismatch=allow, advice=advice)
    rows_um, columns_um = (stainer.voxel_um, stainer.voxel_um) if voxel_um is None else voxel_um[1:]
    intensity = request.intensity
    if intensity == "range":
        intensity = full_range_reference(ct.dtype, str(source), picture.bits)
    stained = stainer(ct, intensity=intensity, source=source)
    if ending_of(out) in OME_TIFF and rows_um == columns_um:
        write_slide(out, stained, rows_um, overwrite=request.overwrite)
    else:
        write_image(out, stained, pixel_um=(rows_um, columns_um), overwrite=request.overwrite)
    return out


def _way_out(source: Path) -> str:
    """Return what to do if a file of several slices was taken for one image, otherwise nothing."""
    reader = None if ending_of(source) in PILLOW_SUFFIXES else find_reader(source)
    try:
        several = reader is not None and reader.source(source, None).shape[0] > 1
    except InputError:
        several = False
    return ". A volume is stained into NAME.ome.zarr" if several else ""


def _stated_voxel_um(source: str) -> tuple[float, float, float] | None:
    """Return the voxel size that a file states; None for formats that are not volumes, or if it states none."""
    reader = None if ending_of(source) in PILLOW_SUFFIXES else find_reader(Path(source))
    if reader is None:
        return None
    try:
        return open_volume(source).voxel_um
    except InputError:
        pass  # one image usually states rows and columns only
    try:
        z_um, y_um, x_um = reader.source(Path(source), None).spacing
    except InputError:
        return None
    return None if y_um is None or x_um is None else (y_um if z_um is None else z_um, y_um, x_um)
