"""Single images and folders of slices: PNG, JPEG, TIFF and the medical formats in; PNG and TIFF out."""

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.atomic import atomic_file, atomic_folder
from tomostain.io.itk_files import itk_header, itk_region
from tomostain.io.metadata.units import check_pixels, check_voxel_um
from tomostain.io.tiff import TIFF_SUFFIXES, read_tiff_image

ITK_SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr", ".nii", ".nii.gz")
PILLOW_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
_PILLOW_LIMIT = threading.Lock()


def read_image(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read one image.

    Parameters
    ----------
    path : Path
        PNG, JPEG, BMP, WebP, TIFF, or a two-dimensional MHA, NRRD or NIfTI.

    Returns
    -------
    ndarray, shape (rows, columns) or (rows, columns, 3)
        Grey images as uint8, uint16 or float32 (other numbers are converted to float32; yes/no images are 0 or 255);
        colour images as uint8 RGB: 16 bits are scaled to 8, transparency is composed on white.

    Raises
    ------
    InputError
        If the file is missing, damaged, of an unknown format, too large, or holds a stack.
    """
    path = Path(path)
    name = path.name.lower()
    if not path.is_file():
        raise InputError(f"{path}: {'is a folder, not an image' if path.is_dir() else 'no such file'}")
    if name.endswith(TIFF_SUFFIXES):
        image = read_tiff_image(path)
    elif name.endswith(PILLOW_SUFFIXES):
        image = read_pillow(path)
    elif name.endswith(ITK_SUFFIXES):
        image = _read_itk_image(path)
    else:
        raise InputError(f"{path}: '{path.suffix}' is not an image format known here; use PNG, JPEG or TIFF")
    return as_rgb(image, path) if image.ndim == 3 else as_grey(image, path)


def as_grey(image: NDArray[Any], path: Path) -> NDArray[Any]:
    """Convert a grey image (or volume) of any number type to uint8, uint16 or float32 in native byte order."""
    kind, size = image.dtype.kind, image.dtype.itemsize
    if kind == "b":
        return image.astype(np.uint8) * np.uint8(255)
    return np.asarray(image, dtype=grey_dtype(kind, size, path))


def grey_dtype(kind: str, size: int, path: Path) -> np.dtype[Any]:
    """Return the type to which grey values of a NumPy kind and item size are converted: uint8, uint16 or float32.

    Raises
    ------
    InputError
        If they are not real numbers.
    """
    if kind not in "biuf":
        raise InputError(
            f"{path}: values of NumPy kind '{kind}' are not grey values; convert them to uint16 or float32"
        )
    if kind in "bu" and size <= 2:
        return np.dtype(np.uint8 if size == 1 else np.uint16)
    return np.dtype(np.float32)


def as_rgb(image: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    """Convert an image of 1 to 4 samples per pixel to 8-bit RGB. Grey is repeated, alpha composed on white.

    Parameters
    ----------
    image : ndarray of bool, uint8 or uint16, shape (rows, columns) or (rows, columns, 1 to 4)
        Grey, grey + alpha, RGB or RGB + alpha.
    path : Path
        Named in the error message.

    Returns
    -------
    ndarray of uint8, shape (rows, columns, 3)

    Examples
    --------
    >>> as_rgb(np.array([[[0, 0, 0, 0]]], dtype=np.uint8), Path("a.png")).tolist()
    [[[255, 255, 255]]]
    """
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or not 1 <= image.shape[2] <= 4:
        raise InputError(f"{path}: an array of shape {image.shape} is not a grey or RGB image")
    if image.dtype == np.bool_:
        image = image.astype(np.uint8) * np.uint8(255)
    elif image.dtype.kind == "u" and image.dtype.itemsize == 2:
        image = ((image.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    elif image.dtype != np.uint8:
        raise InputError(f"{path}: colours of type {image.dtype} are not 8 or 16 bits; save the image as 8-bit RGB")
    if image.shape[2] in (2, 4):
        alpha = image[..., -1:].astype(np.uint16)
        image = ((image[..., :-1] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


@contextmanager
def opened_pillow(path: Path) -> Iterator[Any]:
    """Open an image with Pillow under this package's own size limit; errors are one line."""
    from PIL import Image, UnidentifiedImageError

    with _PILLOW_LIMIT:
        # Pillow's limit (89 Mpixel) is below a usual slide; `check_pixels` is used instead.
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            with Image.open(path) as image:
                check_pixels(path, (image.height, image.width))
                yield image
        except InputError:  # a ValueError itself
            raise
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
        except UnidentifiedImageError:
            raise InputError(f"{path}: is not of the format of its name; it is damaged or misnamed") from None
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            raise InputError(f"{path}: cannot be read ({error}); the file is truncated or damaged") from None
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def read_pillow(path: Path) -> NDArray[Any]:
    """Read a PNG, JPEG or similar, rotated by its EXIF tag; grey, grey + alpha, RGB or RGBA as stored."""
    from PIL import ImageOps

    with opened_pillow(path) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode == "P" or "transparency" in upright.info:
            upright = upright.convert("RGBA" if "transparency" in upright.info else "RGB")
        elif upright.mode not in ("1", "L", "LA", "RGB", "RGBA", "I;16", "I", "F"):
            upright = upright.convert("RGB")
        return np.asarray(upright)


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


def write_image(path: str | os.PathLike[str], array: NDArray[Any], *, overwrite: bool = False) -> None:
    """Write one image as PNG or TIFF, by the suffix of the name.

    Parameters
    ----------
    path : Path
        ``.png``, ``.tif`` or ``.tiff``.
    array : ndarray, shape (rows, columns) or (rows, columns, 3 or 4)
        bool (written as 0 and 255), uint8, or uint16 for grey; TIFF also takes float32.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    InputError
        If the file exists, or has another suffix.
    """
    from PIL import Image

    path = Path(path)
    array = np.asarray(array)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    suffix = path.suffix.lower()
    if suffix == ".png":
        if array.dtype != np.uint8 and not (array.dtype == np.uint16 and array.ndim == 2):
            raise ValueError(f"PNG takes uint8, or uint16 grey; found {array.dtype} of shape {array.shape}")
        with atomic_file(path, overwrite) as temporary:
            Image.fromarray(np.ascontiguousarray(array)).save(temporary)
    elif suffix in (".tif", ".tiff"):
        with atomic_file(path, overwrite) as temporary:
            _write_tiff(temporary, array)
    else:
        raise InputError(f"{path}: images are written as .png or .tif, not '{path.suffix}'")


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
        software="tomostain",
        **options,
    )


def write_stack(
    folder: str | os.PathLike[str],
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
        Replace an existing folder.

    Raises
    ------
    InputError
        If the folder exists or the voxel size is not a length.
    """
    z_um, y_um, x_um = check_voxel_um(voxel_um, "voxel_um")
    description = f"ImageJ=1.54f\nimages=1\nunit=micron\nspacing={z_um!r}\n"
    first: NDArray[Any] | None = None
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
