"""Inputs of a registration that may be single images: one µCT image as a volume of one slice, a grey slide."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tomostain.errors import InputError
from tomostain.io import Slide, Volume, open_slide, open_volume
from tomostain.io.images import ITK_SUFFIXES, PILLOW_SUFFIXES, read_grey, read_rgb
from tomostain.io.itk_files import itk_header
from tomostain.paths import StrPath

VoxelSize = float | Sequence[float] | None


def open_volume_or_image(
    path: StrPath,
    voxel_um: VoxelSize = None,
    dataset: str | None = None,
    *,
    allow_missing: bool = False,
) -> Volume:
    """Open a volume, or a single grey image as a volume of one slice.

    Parameters
    ----------
    path : str or os.PathLike
        What `open_volume` reads, or a two-dimensional PNG, JPEG, MHA, NRRD or NIfTI.
    voxel_um : float or three, optional
        Needed for a single image.
    dataset : str, optional
    allow_missing : bool
        Fill slices of which data are missing with zeros.

    Raises
    ------
    InputError
        See `open_volume`; also if the pixel size of an image is not given.
    """
    path = Path(path)
    if not _is_image(path):
        return open_volume(path, voxel_um=voxel_um, dataset=dataset, allow_missing=allow_missing)
    if voxel_um is None:
        raise InputError(f"{path}: the pixel size of an image is unknown; give `voxel_um`, µm", parameter="voxel_um")
    return Volume.from_array(read_grey(path)[None], voxel_um, name=str(path))


def open_slide_or_image(path: StrPath, pixel_um: float | None = None, *, inverted: bool = False) -> Slide:
    """Open a slide, or an image in a medical format as a slide.

    Parameters
    ----------
    path : str or os.PathLike
    pixel_um : float, optional
    inverted : bool
        The slide is stored inverted: dark glass, bright tissue.

    Raises
    ------
    InputError
        See `open_slide`; also if the pixel size of an image in a medical format is not given.
    """
    path = Path(path)
    if path.name.lower().endswith(ITK_SUFFIXES):
        if pixel_um is None:
            raise InputError(
                f"{path}: the pixel size of the slide is unknown; give `pixel_um`, µm", parameter="pixel_um"
            )
        slide = Slide.from_array(read_rgb(path), pixel_um, name=str(path))
    else:
        slide = open_slide(path, pixel_um=pixel_um)
    if not inverted:
        return slide
    read = slide._read_level
    return replace(slide, _read_level=lambda level: 255 - read(level))


def _is_image(path: Path) -> bool:
    """Whether a file holds one image, in a format that `open_volume` does not read as one slice."""
    name = path.name.lower()
    if not path.is_file():
        return False
    if name.endswith(PILLOW_SUFFIXES):
        return True
    return name.endswith(ITK_SUFFIXES) and len(itk_header(path).shape) == 2
