"""Headers of ImageJ: the number of images, compared with what the file holds, and the origin of coordinates.

ImageJ writes the values of a large stack one after another with one page (IFD) only. If the data do not fit the header,
tifffile only logs it and returns the first image.
"""

import math
from pathlib import Path

import numpy as np
import tifffile

from tomostain.errors import InputError
from tomostain.io.metadata.placement import Placement, Triple
from tomostain.io.metadata.units import Spacing


def stated_images(path: Path, tif: tifffile.TiffFile) -> int:
    """Return the number of images that the header of an ImageJ file states; 1 for a file of another program.

    Raises
    ------
    InputError
        If a number in the header is not a positive integer.
    """
    if not tif.is_imagej:
        return 1
    metadata = tif.imagej_metadata or {}
    counts = [metadata.get(name, 1) for name in ("channels", "slices", "frames")]
    stated = metadata.get("images", 1)
    if not all(isinstance(number, int) and number > 0 for number in (*counts, stated)):
        raise InputError(f"{path}: its ImageJ header is damaged; save it again")
    return max(stated, int(np.prod(counts, dtype=object)))


def check_imagej(path: Path, tif: tifffile.TiffFile) -> None:
    """Compare the number of images that ImageJ states with what the file holds.

    Raises
    ------
    InputError
        If they differ.
    """
    if not tif.is_imagej:
        return
    images, pages = stated_images(path, tif), len(tif.pages)
    series = tif.series[0]
    planes = int(np.prod([n for axis, n in zip(series.axes, series.shape, strict=True) if axis not in "YXS"]))
    if images in (planes, planes * series.keyframe.samplesperpixel) and pages in (1, planes):
        return
    if images == 1 and pages == planes:  # written by older programs, which do not state the number
        return
    holds = f"{pages} pages" if pages > 1 else f"the data of {_complete_images(tif, images)}"
    raise InputError(
        f"{path}: its ImageJ header states {images} images, but the file holds {holds}; it is truncated or was changed "
        "by another program, copy or save it again"
    )


def _complete_images(tif: tifffile.TiffFile, stated: int) -> int:
    page = tif.pages.first
    return min(stated, max(0, tif.filehandle.size - page.dataoffsets[0]) // max(1, page.nbytes))


def imagej_placement(tif: tifffile.TiffFile, spacing: Spacing) -> tuple[Placement | None, Triple | None]:
    """Return where a volume lies by the origin that ImageJ states, in voxels, and the voxel size in the same unit.

    Returns
    -------
    tuple of (Placement or None, and (z, y, x) or None)
        In µm, with None for the size, if the voxel size is stated; else in voxels. None if no origin is stated.
    """
    metadata = (tif.imagej_metadata or {}) if tif.is_imagej else {}
    origin = [_finite(metadata.get(f"{axis}origin", 0.0)) for axis in "zyx"]
    if not any(origin):
        return None, None
    z, y, x = spacing
    is_known = z is not None and y is not None and x is not None
    size = (z, y, x) if z is not None and y is not None and x is not None else (1.0, 1.0, 1.0)
    first = [-voxels * step for voxels, step in zip(origin, size, strict=True)]
    return Placement((first[0], first[1], first[2])), None if is_known else size


def _finite(value: object) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0
