"""Which pages of a TIFF are the volume.

A TIFF may hold a preview, a macro image, a pyramid or a second stack in addition to the volume, and each program groups
its pages differently. The volume is the largest set of pages of one size and type. Smaller images in addition to it
(previews) are left out. In every other case the file is refused, and the message lists what it holds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from tomostain.errors import InputError
from tomostain.io.imagej import check_imagej
from tomostain.io.tiff_model import page_orientation

_LISTED = 6
_PREVIEW = 2  # A preview has at most half the rows and half the columns of the slices.
_GENERIC = ("uniform", "generic")


@dataclass(frozen=True)
class PageSet:
    """Pages of one size and type.

    Attributes
    ----------
    plane : tuple of int
        Rows and columns.
    dtype : numpy.dtype
    samples : int
        Samples per pixel: 1 for grey.
    depth : int
        Number of images.
    pages : tuple
        The pages, `tifffile.TiffPage` or None where one is missing; one for all images if they are contiguous.
    offset : int or None
        Position of the values, if all images follow one another without a page for each.
    axes : str
        Axes longer than 1 in addition to Y and X, as the file names them; "" if it does not.
    layout : str
        All axes and their lengths, for messages.
    series : int or None
        Index of the series of tifffile, if it groups the pages by their metadata.
    orientation : int
        That of the TIFF tag; 1 for upright.
    """

    plane: tuple[int, int]
    dtype: np.dtype[Any]
    samples: int
    depth: int
    pages: tuple[Any, ...] = field(repr=False)
    offset: int | None = None
    axes: str = ""
    layout: str = ""
    series: int | None = None
    orientation: int = 1

    @property
    def values(self) -> int:
        """Number of pixels of all images."""
        return self.depth * self.plane[0] * self.plane[1]

    def describe(self) -> str:
        """Return number, size, type, colours and orientation of the images."""
        colour = f", {self.samples} samples" if self.samples > 1 else ""
        turned = f", orientation tag {self.orientation}" if self.orientation > 1 else ""
        return f"{self.depth} of {self.plane[0]} × {self.plane[1]} {self.dtype}{colour}{turned}"


def find_page_set(path: Path, tif: tifffile.TiffFile) -> PageSet:
    """Return the set of pages that is the volume.

    Raises
    ------
    InputError
        If it is ambiguous, or the pages are not those that the metadata state.
    """
    pages = [page.aspage() for page in tif.pages]
    check_imagej(path, tif)
    sets = [_set_of_series(number, series) for number, series in enumerate(_special_series(tif))]
    if any(set_ is None for set_ in sets):
        raise InputError(f"{path}: holds a kind of TIFF that is not read; save it as a plain TIFF stack")
    candidates = [set_ for set_ in sets if set_ is not None]
    candidates = [set_ for set_ in candidates if _is_uniform(set_)]
    # By offset: the index of a page in a SubIFD counts in its own chain.
    listed = {page.offset for set_ in candidates for page in set_.pages if page is not None and page.parent is tif}
    listed |= {page.offset for page in _coarser_pages(tif)}
    # Pages that belong to no series: appended later, or of a file without metadata.
    unlisted = _grouped([page for page in pages if page.offset not in listed])
    if tif.is_ome:
        return _largest(path, [*candidates, *unlisted])
    return _largest(path, _joined(candidates, unlisted))


def _special_series(tif: tifffile.TiffFile) -> list[tifffile.TiffPageSeries]:
    """Return the series that a program defined by its metadata. Other pages are compared one by one."""
    return [series for series in tif.series if series.kind not in _GENERIC]


def _coarser_pages(tif: tifffile.TiffFile) -> Iterator[Any]:
    """Yield the pages of the coarser levels of all series."""
    for level in (level for series in tif.series for level in series.levels[1:]):
        try:
            yield from (page for page in level.pages if page is not None)
        except IndexError:
            # tifffile numbers the second and further SubIFDs of a stack wrongly. They are not in the chain of pages.
            continue


def _set_of_series(number: int, series: tifffile.TiffPageSeries) -> PageSet | None:
    sizes = dict(zip(series.axes, series.shape, strict=True))
    stacked = {axis: int(size) for axis, size in sizes.items() if axis not in "YXS" and size > 1}
    page = series.keyframe
    if "Y" not in sizes or "X" not in sizes or page.dtype is None:
        return None
    depth = int(np.prod(list(stacked.values()), dtype=np.int64)) if stacked else 1
    contiguous = series.dataoffset is not None and sum(p is not None for p in series.pages) < depth
    return PageSet(
        (int(sizes["Y"]), int(sizes["X"])),
        np.dtype(series.dtype),
        int(sizes.get("S", 1)),
        depth,
        tuple(p if p is None else p.aspage() for p in series.pages),
        series.dataoffset if contiguous else None,
        "".join(stacked),
        f"{series.axes} of {tuple(series.shape)}",
        number,
    )


def _is_uniform(pages: PageSet) -> bool:
    """Return whether all pages have the size and type of the series; tifffile takes them from the first page."""
    size = (*pages.plane, str(pages.dtype))
    return all(p is None or (p.imagelength, p.imagewidth, str(p.dtype)) == size for p in pages.pages)


def _grouped(pages: Sequence[Any]) -> list[PageSet]:
    """Group pages by size, type and samples. Pages that are marked as previews or masks are left out."""
    full = [page for page in pages if not (page.is_reduced or page.is_mask)] or list(pages)
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for page in full:
        key = (page.imagelength, page.imagewidth, str(page.dtype), page.samplesperpixel, page_orientation(page))
        groups.setdefault(key, []).append(page)
    return [
        PageSet(
            (int(rows), int(columns)),
            np.dtype(group[0].dtype or "V1"),
            samples,
            len(group),
            tuple(group),
            orientation=orientation,
        )
        for (rows, columns, _, samples, orientation), group in groups.items()
    ]


def _joined(known: list[PageSet], rest: list[PageSet]) -> list[PageSet]:
    """Join series of one image each that were appended one by one; order of the file."""
    single = [set_ for set_ in known if _is_single(set_)]
    pages = [page for set_ in (*single, *rest) for page in set_.pages if page is not None]
    return [*(set_ for set_ in known if not _is_single(set_)), *_grouped(sorted(pages, key=lambda page: page.index))]


def _is_single(pages: PageSet) -> bool:
    return pages.depth == 1 and pages.offset is None


def _largest(path: Path, sets: list[PageSet]) -> PageSet:
    """Return the volume of several sets of pages, if it is clear which one."""
    stacks = [set_ for set_ in sets if set_.depth > 1 and set_.samples == 1] or sets
    largest = max(stacks, key=lambda set_: set_.values)
    others = list(sets)
    others.remove(largest)
    if all(_is_preview(other, largest) for other in others):
        return largest
    listing = ", ".join(set_.describe() for set_ in sets[:_LISTED]) + (", …" if len(sets) > _LISTED else "")
    raise InputError(
        f"{path}: holds several sets of images ({listing}), and it is ambiguous which is the volume; save the slices "
        "of the volume alone as a TIFF stack"
    )


def _is_preview(other: PageSet, volume: PageSet) -> bool:
    """Return whether images are a preview of a volume, a level of its pyramid, or one photograph of another size."""
    smaller = all(_PREVIEW * a <= b for a, b in zip(other.plane, volume.plane, strict=True))
    larger = all(a >= _PREVIEW * b for a, b in zip(other.plane, volume.plane, strict=True))
    if other.depth == 1 and volume.depth > 1:
        is_photograph = other.samples > 1 and other.plane != volume.plane
        return smaller or is_photograph or (larger and other.values < volume.values)
    if other.depth == 1:
        return smaller
    return smaller and other.depth <= volume.depth
