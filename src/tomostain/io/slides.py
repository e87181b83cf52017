"""Whole-slide images: read at a suitable level of their pyramid, and written as pyramidal OME-TIFF."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomostain.errors import InputError
from tomostain.input_files import refuse_special_file
from tomostain.io.array_source import split_source
from tomostain.io.colour_model import ColourModel
from tomostain.io.colour_profiles import describe_colours
from tomostain.io.content import what_it_is
from tomostain.io.czi import open_czi
from tomostain.io.images import as_rgb
from tomostain.io.metadata.units import check_length_um, check_pixels, square_pixel_um, to_um
from tomostain.io.ome_tiff import write_ome_tiff
from tomostain.io.pillow_images import PILLOW_SUFFIXES, pillow_model, pillow_shape, read_pillow
from tomostain.io.slide_levels import Level, slide_levels
from tomostain.io.tiff import TIFF_SUFFIXES, check_complete, opened_tiff
from tomostain.io.tiff_images import check_brightfield, check_level_size, main_image, read_level
from tomostain.io.tiff_model import page_model
from tomostain.memory import check_memory
from tomostain.paths import StrPath

_OPENSLIDE_ONLY = (".svs", ".ndpi", ".mrxs", ".vms", ".vmu", ".scn", ".bif", ".svslide", ".dcm")


@dataclass(frozen=True)
class Slide:
    """A stained slide. Its pixels are in memory only after `read`.

    Attributes
    ----------
    path : Path
        The file.
    shape : tuple of int
        (rows, columns) of the finest level.
    pixel_um : float
        Its pixel size, µm.
    levels : tuple
        ``((rows, columns), pixel_um)`` of each level, finest first.
    """

    path: Path
    shape: tuple[int, int]
    pixel_um: float
    levels: tuple[Level, ...]
    _read_level: Callable[[int], NDArray[np.uint8]] = field(repr=False)
    _colours: Callable[[], dict[str, str]] = field(default=lambda: describe_colours(ColourModel("rgb")), repr=False)

    @classmethod
    def from_array(cls, rgb: NDArray[np.uint8], pixel_um: float, name: str = "slide") -> "Slide":
        """Make a slide with one level from an array.

        Parameters
        ----------
        rgb : ndarray of uint8, shape (rows, columns, 3)
            Colours. The array is not copied.
        pixel_um : float
            Pixel size, µm.
        name : str
            Used in messages and as `path`.

        Raises
        ------
        InputError
            If the array has another shape or type, or the pixel size is not a length.

        Examples
        --------
        >>> Slide.from_array(np.zeros((4, 6, 3), np.uint8), 2.5).shape
        (4, 6)
        """
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
            raise InputError(f"{name}: a slide is a uint8 array (rows, columns, 3), found {rgb.dtype} {rgb.shape}")
        shape, length = (rgb.shape[0], rgb.shape[1]), check_length_um(pixel_um, "pixel_um")
        return cls(Path(name), shape, length, ((shape, length),), lambda _: rgb)

    @property
    def colours(self) -> dict[str, str]:
        """Which colour profile the file states (``profile``), and what `read` does with it (``conversion``)."""
        return self._colours()

    def read(self, wanted_pixel_um: float | None = None) -> tuple[NDArray[np.uint8], float]:
        """Read the coarsest level that is at least as fine as a pixel size.

        Parameters
        ----------
        wanted_pixel_um : float, optional
            The pixel size to which the image is resampled later, µm; None for the finest level.

        Returns
        -------
        ndarray of uint8, shape (rows, columns, 3)
            RGB, upright: other colour models converted, transparency composed on white, grey repeated, more bits
            scaled to 8, colours of another ICC profile converted to sRGB.
        float
            Pixel size of that level, µm.

        Raises
        ------
        InputError
            If the level is too large to be read at once, or damaged.
        """
        index = 0
        if wanted_pixel_um is not None:
            limit = check_length_um(wanted_pixel_um, "wanted_pixel_um") * (1 + 1e-3)
            index = max((i for i, (_, pixel) in enumerate(self.levels) if pixel <= limit), default=0)
        shape, pixel_um = self.levels[index]
        check_pixels(self.path, shape)
        rgb = self._read_level(index)
        if rgb.shape != (*shape, 3):
            raise InputError(f"{self.path}: level {index} has shape {rgb.shape[:2]}, but states {shape}; save it again")
        return rgb, pixel_um


SlideSource: TypeAlias = StrPath | Slide | ArrayLike | tuple[ArrayLike, float]
"""A path, an open slide, an array, or (array, pixel_um)."""


def open_slide(path: "SlideSource", *, pixel_um: float | None = None) -> Slide:
    """Open a slide: a format of OpenSlide (SVS, NDPI, MRXS, SCN, …), CZI, OME-TIFF, TIFF, PNG or JPEG.

    The slide is the largest image of the file, with its coarser levels. Labels, macro images and previews do not count.

    Parameters
    ----------
    path : path, Slide, array-like or tuple (array, pixel_um)
        The file. An open slide is returned as it is; a uint8 array (rows, columns, 3) becomes one (`Slide.from_array`).
    pixel_um : float, optional
        Pixel size of the finest level, µm; takes precedence over the file.

    Returns
    -------
    Slide
        Its pixels are read by `Slide.read`.

    Raises
    ------
    InputError
        If the file is missing, damaged or of an unknown format, if it holds several images of similar size or
        fluorescence channels, or if its pixel size is neither stated nor given.
    """
    if isinstance(path, Slide):
        if pixel_um is not None:
            raise InputError(f"{path.path}: `pixel_um` is for files; this slide is open already", parameter="pixel_um")
        return path
    if (array := split_source(path, pixel_um, "pixel_um")) is not None:
        values, size_um = array
        if not isinstance(size_um, int | float):
            raise InputError(f"`pixel_um` {size_um}: give one number, µm", parameter="pixel_um")
        return Slide.from_array(np.asarray(values), size_um)
    path = Path(path)  # type: ignore[arg-type]  # no array
    refuse_special_file(path)
    if not path.is_file():
        raise InputError(f"{path}: {'is a folder, not a slide' if path.is_dir() else 'no such file'}")
    name = path.name.lower()
    if name.endswith(".czi"):
        shapes, stated, read, colours = open_czi(path)
    elif name.endswith(PILLOW_SUFFIXES):
        (shapes, stated, read), colours = _open_pillow(path), lambda: describe_colours(pillow_model(path))
    elif name.endswith(_OPENSLIDE_ONLY):
        (shapes, stated, read), colours = _open_openslide(path), lambda: _openslide_colours(path)
    elif name.endswith(TIFF_SUFFIXES):
        shapes, stated, read, colours = _open_tiff_slide(path)
    else:
        raise InputError(f"{path}: '{path.suffix}' is not a slide format known here; export it as OME-TIFF")
    if pixel_um is not None:
        finest = check_length_um(pixel_um, "pixel_um")
    elif stated[0] is None or stated[1] is None:
        raise InputError(f"{path}: the pixel size is not in the file; give it with `pixel_um`", parameter="pixel_um")
    else:
        finest = square_pixel_um(path, stated[0], stated[1])
    return Slide(path, shapes[0], finest, slide_levels(shapes, finest), read, colours)


_Opened = tuple[list[tuple[int, int]], tuple[float | None, float | None], Callable[[int], NDArray[np.uint8]]]


def _open_pillow(path: Path) -> _Opened:
    """Open a PNG or JPEG: one level. Its resolution is a print resolution and is ignored."""
    return [pillow_shape(path)], (None, None), lambda _: read_pillow(path).rgb()


def _open_openslide(path: Path) -> _Opened:
    """Open a slide with OpenSlide."""
    try:
        import openslide
    except ImportError:
        raise InputError(f"{path}: reading this slide needs OpenSlide; pip install 'tomostain[io]'") from None
    try:
        with openslide.OpenSlide(path) as slide:
            shapes = [(rows, columns) for columns, rows in slide.level_dimensions]
            stated = tuple(
                to_um(_float(slide.properties.get(key)), "um")
                for key in (openslide.PROPERTY_NAME_MPP_Y, openslide.PROPERTY_NAME_MPP_X)
            )
    except openslide.OpenSlideError as error:
        advice = what_it_is(path) or "copy or export it again"
        raise InputError(f"{path}: OpenSlide cannot read this slide ({error}); {advice}") from None

    def read(level: int) -> NDArray[np.uint8]:
        rows, columns = shapes[level]
        check_memory(12 * rows * columns, str(path), "use a coarser pixel size")
        try:
            with openslide.OpenSlide(path) as opened:
                region = opened.read_region((0, 0), level, opened.level_dimensions[level])
                profile = _openslide_profile(opened)
            return as_rgb(np.asarray(region), path, profile)
        except openslide.OpenSlideError as error:
            raise InputError(f"{path}: level {level} cannot be read ({error}); copy or export it again") from None

    return shapes, (stated[0], stated[1]), read


def _openslide_profile(slide: Any) -> bytes | None:
    profile = getattr(slide, "color_profile", None)  # of OpenSlide 4
    return None if profile is None else bytes(profile.tobytes())


def _openslide_colours(path: Path) -> dict[str, str]:
    """Return `Slide.colours` of a slide as OpenSlide gives it: RGB, with the profile that the file states."""
    import openslide

    with openslide.OpenSlide(path) as slide:
        return describe_colours(ColourModel("rgb", profile=_openslide_profile(slide)))


def _float(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _open_tiff_slide(path: Path) -> tuple[*_Opened, Callable[[], dict[str, str]]]:
    """Open a TIFF: with OpenSlide if it is of a scanner that OpenSlide knows (a renamed SVS), else with tifffile."""
    with opened_tiff(path) as tif:
        is_ome = tif.is_ome
    if not is_ome and _scanner(path):
        try:
            return *_open_openslide(path), lambda: _openslide_colours(path)
        except InputError:
            pass  # tifffile reads some files that OpenSlide refuses
    with opened_tiff(path) as tif:
        image = main_image(path, tif)
        shapes, spacing = image.shapes, image.spacing
        check_brightfield(image)
        check_level_size(path, image.levels[-1])
        model = page_model(path, image.levels[0].keyframe)  # raises for colours that cannot be converted
        check_complete(path, tif, [page for page in image.levels[0].pages if page is not None and page.parent is tif])

    def read_rgb(index: int) -> NDArray[np.uint8]:
        with opened_tiff(path) as opened:
            return read_level(opened, main_image(path, opened), index).rgb()

    return shapes, (spacing[1], spacing[2]), read_rgb, lambda: describe_colours(model)


def _scanner(path: Path) -> bool:
    """Return whether OpenSlide is installed and recognises the format of a scanner."""
    try:
        import openslide
    except ImportError:
        return False
    return openslide.OpenSlide.detect_format(path) not in (None, "generic-tiff")


def write_slide(path: StrPath, rgb: NDArray[np.uint8], pixel_um: float, *, overwrite: bool = False) -> None:
    """Write a slide as tiled, pyramidal OME-TIFF (lossless) with its pixel size.

    Parameters
    ----------
    path : Path
        Usually ``.ome.tif``.
    rgb : ndarray of uint8, shape (rows, columns, 3)
        The slide.
    pixel_um : float
        Its pixel size, µm; written in the OME-XML and in the resolution tags.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    InputError
        If the file exists or the pixel size is not a length.

    Notes
    -----
    The coarser levels (2 × 2 means) are in SubIFDs, as OME-TIFF requires. OpenSlide also opens the file, with its pixel
    size, but sees only the finest level.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError(f"a slide is uint8 (rows, columns, 3), found {rgb.dtype} {rgb.shape}")
    write_ome_tiff(path, rgb, pixel_um, overwrite=overwrite)
