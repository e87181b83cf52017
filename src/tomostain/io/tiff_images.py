"""The images in a TIFF: which of them the file is about, at which resolutions, and reading one of them."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.colour_model import ColourModel
from tomostain.io.image_choice import Candidate, choose_image, is_level
from tomostain.io.image_size import check_decoded_size
from tomostain.io.imagej import check_imagej
from tomostain.io.interpret import interpret, interpret_grey
from tomostain.io.metadata.ome_channels import Channel, brightfield_order, ome_channels
from tomostain.io.metadata.ome_files import check_ome_files
from tomostain.io.metadata.units import Spacing, check_pixels, contradict
from tomostain.io.picture import Picture
from tomostain.io.tiff import check_complete, has_empty_parts, opened_tiff, stated_spacing
from tomostain.io.tiff_layout import bytes_in_file, channel_count, image_layout, samples_last
from tomostain.io.tiff_model import least_page_bytes, page_model, page_orientation

# Names of the further images of a slide scanner.
_ASSOCIATED = re.compile(r"\b(label|macro|thumbnail|thumb|overview|preview|barcode)\b", re.IGNORECASE)
_MAX_SINGLE_PAGES = 1000


@dataclass(frozen=True)
class TiffImage:
    """One image of a TIFF, at one or more resolutions.

    Attributes
    ----------
    path : Path
    levels : tuple of tifffile.TiffPageSeries
        Finest first.
    pixels : Element, optional
        Its Pixels element in OME-XML.
    """

    path: Path
    levels: tuple[Any, ...]
    pixels: ElementTree.Element | None = None

    @property
    def page(self) -> Any:
        """The first page of the finest level."""
        return self.levels[0].keyframe

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(rows, columns) of each level, upright.

        Raises
        ------
        InputError
            If the image is a stack, or has more than four channels.
        """
        turned = page_orientation(self.page) >= 5
        shapes = [image_layout(self.path, level) for level in self.levels]
        return [(columns, rows) if turned else (rows, columns) for rows, columns in shapes]

    @property
    def spacing(self) -> Spacing:
        """Voxel size (z, y, x) that the file states for this image, upright, µm; None where it states none."""
        if self.pixels is None and ome_pixels(self.page.parent):
            return (None, None, None)  # the XML does not describe this image
        z, y, x = stated_spacing(self.page.parent, self.page, self.pixels)
        return (z, x, y) if page_orientation(self.page) >= 5 else (z, y, x)


def main_image(path: Path, tif: tifffile.TiffFile) -> TiffImage:
    """Return the image that a TIFF is about: the largest one, with its coarser levels.

    Previews, labels and macro images are ignored at any position in the file.

    Raises
    ------
    InputError
        If the file holds several images of similar size, with a list of them, or is an ImageJ stack whose data are not
        complete.
    """
    check_imagej(path, tif)
    if tif.is_ome and tif.ome_metadata:
        check_ome_files(path, tif.ome_metadata)
    elements = ome_pixels(tif)
    images: list[tuple[Candidate, TiffImage]] = []
    series = list(tif.series)
    for index, one in enumerate(series):
        pixels = elements[index] if len(elements) == len(series) else None
        if "Y" in one.axes and "X" in one.axes:
            images.append(_candidate(path, one, pixels))
    images.extend(_uncovered(path, tif, series))
    if not images:
        raise InputError(f"{path}: contains no image; the file is damaged, copy it again")
    chosen = choose_image(path, [candidate for candidate, _ in images])
    image = images[chosen][1]
    finest = image.levels[0]
    levels = [
        finest,
        *(level for level in image.levels[1:] if _fits(finest, level) and not _is_part(tif, finest, level)),
    ]
    if len(levels) == 1:
        for index, (_, other) in enumerate(images):
            if (
                index != chosen
                and _separate_level(finest, other.levels[0])
                and not _is_part(tif, finest, other.levels[0])
            ):
                levels.append(other.levels[0])
        levels[1:] = sorted(levels[1:], key=lambda level: -level.keyframe.imagelength)
    return TiffImage(path, tuple(levels), image.pixels)


def read_tiff_picture(path: Path) -> Picture:
    """Read a TIFF with one image (the finest level of a pyramid).

    Raises
    ------
    InputError
        If the file is damaged, holds a stack or several images, or is too large for the memory.
    """
    with opened_tiff(path) as tif:
        return read_level(tif, main_image(path, tif), 0)


def read_level(tif: tifffile.TiffFile, image: TiffImage, index: int) -> Picture:
    """Read a level of an image, in its declared colour model.

    Raises
    ------
    InputError
        As `read_tiff_picture`.
    """
    path, series = image.path, image.levels[index]
    image_layout(path, series)  # raises for a stack
    pages = [page for page in series.pages if page is not None]
    if len(pages) < len(series.pages) and series.dataoffset is None:
        raise InputError(
            f"{path}: {len(series.pages) - len(pages)} of its {len(series.pages)} planes are in missing files; restore "
            "them"
        )
    check_complete(path, tif, [page for page in pages if page.parent is tif])
    empty = sum(has_empty_parts(page) for page in pages)
    if empty:
        raise InputError(
            f"{path}: {empty} of {len(pages)} planes have tiles or strips that were never written; copy or export it "
            "again"
        )
    check_level_size(path, series)
    samples = samples_last(np.asarray(series.asarray()), series.axes)
    model = page_model(path, series.keyframe, significant_bits(image.pixels))
    model = _without_imagej_display(model, series.keyframe)
    model = replace(model, orientation=page_orientation(image.page))  # coarser levels may lack the tag
    order = _channel_order(image, series)
    if order is None:
        return interpret(samples, model, path)
    planes = [interpret(samples[..., channel], model, path) for channel in order]
    return Picture(path, np.stack([plane.samples for plane in planes], axis=-1), planes[0].bits)


def grey_values(path: Path, values: NDArray[Any], page: Any) -> NDArray[Any]:
    """Turn the grey values of a page, or of several pages (n, rows, columns) that are stored as one, upright.

    A palette of greys is looked up. The look-up table of ImageJ, also an inverting one, is only a display: its indices
    are the values.

    Raises
    ------
    InputError
        If they are colours, or white is zero and they are not unsigned.
    """
    return interpret_grey(values, _grey_model(path, page), path)


def upright_shape(path: Path, page: Any) -> tuple[int, int]:
    """Return (rows, columns) of a page of grey values, upright.

    Raises
    ------
    InputError
        As `grey_values`.
    """
    model, dtype = _grey_model(path, page), page.keyframe.dtype
    interpret_grey(np.zeros((1, 1), dtype), model, path)  # refused before any slice is read
    rows, columns = int(page.keyframe.imagelength), int(page.keyframe.imagewidth)
    return (columns, rows) if model.turns else (rows, columns)


def _grey_model(path: Path, page: Any) -> ColourModel:
    model = page_model(path, page)
    if model.kind == "palette" and page.keyframe.parent.is_imagej:
        return replace(model, kind="grey", palette=None)
    return _without_imagej_display(model, page.keyframe)


def _without_imagej_display(model: ColourModel, page: Any) -> ColourModel:
    """Return the model without the inverting look-up table of ImageJ.

    ImageJ writes "white is zero" for it, and does not change the values (ij/io/FileSaver.java, TiffEncoder.java).
    """
    return replace(model, white_is_zero=False) if page.parent.is_imagej else model


def significant_bits(pixels: ElementTree.Element | None) -> int | None:
    """Return the SignificantBits of a Pixels element of OME-XML."""
    text = "" if pixels is None else pixels.get("SignificantBits", "")
    return int(text) if text.isdigit() and len(text) < 3 else None


def check_level_size(path: Path, series: Any) -> None:
    """Raise if a series (or level) is too large for the free memory, or far larger than its data can hold.

    Raises
    ------
    InputError
    """
    rows, columns = image_layout(path, series)
    check_pixels(path, (rows, columns))
    pixel_bytes = channel_count(series) * np.dtype(series.dtype).itemsize
    stored = bytes_in_file([page for page in series.pages if page is not None])
    stored_bytes = None if series.dataoffset is not None else stored
    min_bytes = least_page_bytes(series.keyframe)
    check_decoded_size(path, rows * columns, pixel_bytes, stored_bytes, min_bytes)


def _channel_order(image: TiffImage, series: Any) -> Sequence[int] | None:
    """Return the channels that are red, green and blue where they are separate planes; None for one image.

    Raises
    ------
    InputError
        If there are several channels that are not red, green and blue.
    """
    channels = dict(zip(series.axes, series.shape, strict=True)).get("C", 1)
    if channels == 1:
        return None
    stated = ome_channels(image.pixels) if image.pixels is not None else _imagej_channels(series.keyframe.parent)
    return brightfield_order(image.path, int(channels), stated)


def check_brightfield(image: TiffImage) -> None:
    """Raise if OME-XML states that an image of one channel is not a brightfield image.

    Raises
    ------
    InputError
        If its channel is fluorescence.
    """
    if image.pixels is not None:
        channels = ome_channels(image.pixels)
        if len(channels) == 1 and channel_count(image.levels[0]) == 1:
            brightfield_order(image.path, 1, channels)
    _channel_order(image, image.levels[0])


def _imagej_channels(tif: tifffile.TiffFile) -> list[Channel]:
    """Return the channels of an ImageJ composite by the last colour of their look-up tables."""
    tables = (tif.imagej_metadata or {}).get("LUTs") or [] if tif.is_imagej else []
    return [Channel("", tuple(int(v) for v in np.asarray(table)[:, -1])) for table in tables]  # type: ignore[arg-type]


def ome_pixels(tif: tifffile.TiffFile) -> list[ElementTree.Element]:
    """Return the Pixels element of each image in OME-XML."""
    if not tif.is_ome or not tif.ome_metadata:
        return []
    try:
        root = ElementTree.fromstring(tif.ome_metadata)
    except ElementTree.ParseError:
        return []
    images = [element for element in root if element.tag.endswith("Image")]
    arrays = []
    for image in images:
        for pixels in image:
            if pixels.tag.endswith("Pixels"):
                pixels.set("ImageName", image.get("Name", ""))
                arrays.append(pixels)
    return arrays


def _candidate(path: Path, series: Any, pixels: ElementTree.Element | None) -> tuple[Candidate, TiffImage]:
    sizes: Mapping[str, int] = dict(zip(series.axes, series.shape, strict=True))
    depth = int(np.prod([size for axis, size in sizes.items() if axis not in "YXCS"], dtype=np.int64))
    page = series.keyframe
    name = (pixels.get("ImageName", "") if pixels is not None else "") or str(series.name or "")
    description = str(getattr(page, "description", "") or "")
    # The second line of an Aperio description, and the first of others, name what a further image is.
    lines = description.splitlines()[1 if description.startswith("Aperio") else 0 :][:1]
    words = " ".join([name, *(line for line in lines if len(line) < 80)])
    is_aside = bool(_ASSOCIATED.search(words)) or bool(page.subfiletype & 4)
    candidate = Candidate(name or f"page {page.index}", int(sizes["Y"]), int(sizes["X"]), depth, is_aside)
    return candidate, TiffImage(path, tuple(series.levels), pixels)


def _uncovered(path: Path, tif: tifffile.TiffFile, series: Sequence[Any]) -> list[tuple[Candidate, TiffImage]]:
    """Return the pages that belong to no series (appended to a file of ImageJ), as separate images."""
    covered = {page.offset for one in series for level in one.levels for page in level.pages if page is not None}
    pages = [tif.pages[index] for index in range(min(len(tif.pages), _MAX_SINGLE_PAGES))]
    spare: list[Any] = [page for page in pages if page.offset not in covered]
    images = []
    for page in spare:
        whole = page.aspage() if hasattr(page, "aspage") else page
        one = tifffile.TiffPageSeries([whole], whole.shape, whole.dtype, whole.axes)
        images.append(_candidate(path, one, None))
    return images


def _fits(finest: Any, level: Any) -> bool:
    """Return whether a level that the file states has the channels, type and aspect ratio of the finest one."""
    same = channel_count(level) == channel_count(finest) and np.dtype(level.dtype) == np.dtype(finest.dtype)
    return same and is_level(_size(finest), _size(level))


def _is_part(tif: tifffile.TiffFile, finest: Any, other: Any) -> bool:
    """Return whether a page is a part of the image rather than a coarser level: it states pixels of the same size.

    Pages that are flagged as reduced, or in SubIFDs, are levels: some programs copy the resolution to them. The levels
    of Aperio repeat the description of the finest one, with its MPP.
    """
    page, coarser = finest.keyframe, other.keyframe
    if tif.is_ome or tif.is_svs or coarser.is_reduced or coarser.is_subifd:
        return False
    stated, same = stated_spacing(tif, page)[1:], stated_spacing(tif, coarser)[1:]
    return None not in stated and None not in same and not contradict((None, *stated), (None, *same))


def _separate_level(finest: Any, other: Any) -> bool:
    """Return whether another image of the file is a coarser level: flagged as reduced, or tiled like the finest."""
    page, coarser = finest.keyframe, other.keyframe
    return _fits(finest, other) and bool(coarser.is_reduced or (page.is_tiled and coarser.is_tiled))


def _size(series: Any) -> tuple[int, int]:
    sizes = dict(zip(series.axes, series.shape, strict=True))
    return int(sizes.get("Y", 0)), int(sizes.get("X", 0))
