"""Single images and folders of slices: PNG, JPEG, TIFF and the medical formats in; PNG and TIFF out."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.input_files import refuse_special_file
from tomostain.io.atomic import atomic_file, atomic_folder
from tomostain.io.interpret import interpret_by_samples
from tomostain.io.itk_files import itk_header, itk_region
from tomostain.io.metadata.units import check_pixels, check_voxel_um
from tomostain.io.outputs import FolderKind, check_output
from tomostain.io.own_files import SOFTWARE, is_own_tiff
from tomostain.io.picture import Picture, grey_dtype
from tomostain.io.pillow_images import PILLOW_SUFFIXES, read_pillow
from tomostain.io.tiff import TIFF_SUFFIXES
from tomostain.io.tiff_images import read_tiff_picture
from tomostain.paths import StrPath

ITK_SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr", ".nii", ".nii.gz")
_STACK = FolderKind("folder of TIFF slices of tomostain", r"[^/]+\.tiff?", is_own=is_own_tiff)


def read_image(path: StrPath) -> NDArray[Any]:
    """Read one image.

    Parameters
    ----------
    path : Path
        PNG, JPEG, BMP, WebP, TIFF, or a two-dimensional MHA, NRRD or NIfTI.

    Returns
    -------
    ndarray, shape (rows, columns) or (rows, columns, 3)
        Grey images as uint8, uint16 or float32 (other numbers are converted to float32; yes/no images are 0 or 255);
        colour images as uint8 RGB: more bits are scaled to 8, other colour models (palette, CMYK, YCbCr, CIELab) are
        converted, transparency is composed on white. The image is upright by its orientation tag.

    Raises
    ------
    InputError
        If the file is missing, damaged, of an unknown format, too large, or holds a stack or several images.
    """
    return read_picture(path).image()


def read_rgb(path: StrPath) -> NDArray[np.uint8]:
    """Read one image as histology.

    Returns
    -------
    ndarray of uint8, shape (rows, columns, 3)
        As `read_image`; grey images are scaled to 8 bits and repeated.

    Raises
    ------
    InputError
        As `read_image`; also for grey values that are signed or not integers.
    """
    return read_picture(path).rgb()


def read_grey(path: StrPath) -> NDArray[Any]:
    """Read one image as µCT.

    Returns
    -------
    ndarray of uint8, uint16 or float32, shape (rows, columns)
        Grey values as stored. Three equal channels count as grey and keep their bits.

    Raises
    ------
    InputError
        As `read_image`; also for a colour image, or one that is partly transparent.
    """
    return read_picture(path).grey()


def read_mask(path: StrPath) -> NDArray[np.bool_]:
    """Read a mask that a person drew or a program wrote.

    Returns
    -------
    ndarray of bool, shape (rows, columns)
        Where the image is not 0 (not black).

    Raises
    ------
    InputError
        As `read_image`; also for a mask that is partly transparent or has values that are not finite, and for one in
        JPEG with grey values: JPEG blurs the border and changes zeros.
    """
    picture = read_picture(path)
    mask = picture.mask()
    if picture.path.name.lower().endswith((".jpg", ".jpeg")) and len(np.unique(picture.samples)) > 2:
        raise InputError(f"{path}: JPEG changes the zeros of a mask; save the mask as PNG or TIFF")
    return mask


def read_picture(path: StrPath) -> Picture:
    """Read one image in its declared colour model, before it is reduced to grey values, RGB or a mask.

    Raises
    ------
    InputError
        As `read_image`.
    """
    path = Path(path)
    name = path.name.lower()
    refuse_special_file(path)
    if not path.is_file():
        raise InputError(f"{path}: {'is a folder, not an image' if path.is_dir() else 'no such file'}")
    if name.endswith(TIFF_SUFFIXES):
        return read_tiff_picture(path)
    if name.endswith(PILLOW_SUFFIXES):
        return read_pillow(path)
    if name.endswith(ITK_SUFFIXES):
        return interpret_by_samples(_read_itk_image(path), path)
    raise InputError(f"{path}: '{path.suffix}' is not an image format known here; use PNG, JPEG or TIFF")


def as_grey(image: NDArray[Any], path: Path) -> NDArray[Any]:
    """Convert a grey image (or volume) of any number type to uint8, uint16 or float32 in native byte order."""
    kind, size = image.dtype.kind, image.dtype.itemsize
    if kind == "b":
        return image.astype(np.uint8) * np.uint8(255)
    return np.asarray(image, dtype=grey_dtype(kind, size, path))


def as_rgb(image: NDArray[Any], path: Path, profile: bytes | None = None) -> NDArray[np.uint8]:
    """Convert an image of 1 to 4 samples per pixel to 8-bit RGB. Grey is repeated, alpha composed on white.

    Parameters
    ----------
    image : ndarray of bool, uint8 or uint16, shape (rows, columns) or (rows, columns, 1 to 4)
        Grey, grey + alpha, RGB or RGB + alpha.
    path : Path
        Named in the error message.
    profile : bytes, optional
        ICC profile of RGB, if it is not sRGB.

    Returns
    -------
    ndarray of uint8, shape (rows, columns, 3)

    Examples
    --------
    >>> as_rgb(np.array([[[0, 0, 0, 0]]], dtype=np.uint8), Path("a.png")).tolist()
    [[[255, 255, 255]]]
    """
    return interpret_by_samples(image, path, profile=profile).rgb()


def _read_itk_image(path: Path) -> NDArray[Any]:
    """Read a two-dimensional MHA, NRRD or NIfTI through SimpleITK (or a volume of one slice)."""
    header = itk_header(path)
    shape = tuple(header.shape)
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) != 2:
        raise InputError(f"{path}: holds an array of shape {header.shape}, but one image is expected")
    check_pixels(path, shape)
    image = itk_region(path, header, 0, header.shape[0])
    return image.reshape(*shape, -1) if header.components > 1 else image.reshape(shape)


def write_image(
    path: StrPath,
    array: NDArray[Any],
    *,
    pixel_um: float | Sequence[float] | None = None,
    overwrite: bool = False,
) -> None:
    """Write one image as PNG or TIFF, by the suffix of the name.

    Parameters
    ----------
    path : Path
        ``.png``, ``.tif`` or ``.tiff``.
    array : ndarray, shape (rows, columns) or (rows, columns, 3 or 4)
        bool (written as 0 and 255), uint8, or uint16 for grey; TIFF also takes float32.
    pixel_um : float or sequence of float, optional
        Pixel size, or (y, x), µm; a TIFF states it in its resolution tags. PNG is written without.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    InputError
        If the file exists, or has another suffix.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    path = Path(path)
    array = np.asarray(array)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    suffix = path.suffix.lower()
    if suffix == ".png":
        if array.dtype != np.uint8 and not (array.dtype == np.uint16 and array.ndim == 2):
            raise ValueError(f"PNG takes uint8, or uint16 grey; found {array.dtype} of shape {array.shape}")
        with atomic_file(path, overwrite) as temporary:
            about = PngInfo()
            about.add_text("Software", SOFTWARE)
            Image.fromarray(np.ascontiguousarray(array)).save(temporary, pnginfo=about)
    elif suffix in (".tif", ".tiff"):
        with atomic_file(path, overwrite) as temporary:
            _write_tiff(temporary, array, **_resolution(pixel_um))
    else:
        raise InputError(f"{path}: images are written as .png or .tif, not '{path.suffix}'")


def _resolution(pixel_um: float | Sequence[float] | None) -> dict[str, Any]:
    """Return the resolution tags of a TIFF: pixels per cm."""
    if pixel_um is None:
        return {}
    y_um, x_um = (pixel_um, pixel_um) if isinstance(pixel_um, float | int) else pixel_um
    return {"resolution": (1e4 / x_um, 1e4 / y_um), "resolutionunit": "centimeter"}


def _write_tiff(path: Path, array: NDArray[Any], **options: Any) -> None:
    """Write one deflated TIFF; grey or RGB(A) by its shape."""
    colour = array.ndim == 3
    if array.ndim != 2 and not (colour and array.shape[2] in (3, 4)):
        raise ValueError(f"an image is (rows, columns) or (rows, columns, 3 or 4), found shape {array.shape}")
    tifffile.imwrite(
        path,
        array,
        photometric="rgb" if colour else "minisblack",
        extrasamples=["unassalpha"] if colour and array.shape[2] == 4 else None,
        compression="zlib",
        predictor=array.dtype.kind == "u",
        metadata=None,
        software=SOFTWARE,
        **options,
    )


def write_stack(
    folder: StrPath,
    slices: Iterable[NDArray[Any]],
    *,
    stem: str = "slice",
    names: Sequence[str] | None = None,
    voxel_um: float | Sequence[float],
    overwrite: bool = False,
) -> None:
    """Write a folder of TIFF slices ``stem_0000.tif``, … with the voxel size; one slice is in memory at a time.

    Parameters
    ----------
    folder : Path
        The folder to create. It appears when it is complete.
    slices : iterable of ndarray
        All (Y, X) or all (Y, X, 3 or 4), of one type.
    stem : str
        Beginning of the file names.
    names : sequence of str, optional
        The file names, one per slice, ending in ``.tif`` or ``.tiff``.
    voxel_um : float or sequence of float
        Voxel size, or (z, y, x), µm; written as ImageJ writes it (unit micron, spacing, resolution tags).
    overwrite : bool
        Replace a folder that this function wrote.

    Raises
    ------
    InputError
        If the folder exists, another program wrote a file in it, or the voxel size is not a length.
    """
    z_um, y_um, x_um = check_voxel_um(voxel_um, "voxel_um")
    description = f"ImageJ=1.54f\nimages=1\nunit=micron\nspacing={z_um!r}\n"
    first: NDArray[Any] | None = None
    check_output(folder, _STACK, overwrite=overwrite)
    with atomic_folder(Path(folder), overwrite) as temporary:
        for index, image in enumerate(slices):
            image = np.asarray(image)
            first = image if first is None else first
            if (image.shape, image.dtype) != (first.shape, first.dtype):
                raise ValueError(f"slice {index} is {image.dtype} {image.shape}, the first {first.dtype} {first.shape}")
            _write_tiff(
                temporary / (f"{stem}_{index:04d}.tif" if names is None else names[index]),
                image,
                description=description,
                resolution=(1.0 / x_um, 1.0 / y_um),
                resolutionunit="none",
            )
        if first is None:
            raise ValueError("a stack has at least one slice")
