"""Volumes in MHA, NRRD and NIfTI, read in parts with SimpleITK.

SimpleITK streams MHA and NIfTI (compressed or not), but reads a whole NRRD into memory whatever part is asked for
(measured with SimpleITK 2.5.7). So the values of a NRRD are mapped from its file; a gzipped one is unpacked once to a
temporary file.
"""

import logging
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.itk_checks import MHA_SUFFIXES, NIFTI_SUFFIXES, check_packed_data
from tomostain.io.itk_files import ItkHeader, itk_header, itk_region
from tomostain.io.metadata.axes import AxesError, letter_of, volume_order
from tomostain.io.nrrd_files import NRRD_SUFFIXES, map_nrrd, nrrd_header
from tomostain.io.volumes.base import Source
from tomostain.io.volumes.registry import register_reader
from tomostain.io.volumes.rescale import Rescale, rescaled

logger = logging.getLogger("tomostain.io")

_OF_SPACE = ("space", "domain", "???", "none", "")
"""Kinds of axes of a NRRD that may be those of a volume."""


@register_reader(suffixes=NIFTI_SUFFIXES, label="NIfTI", extra="io")
@register_reader(suffixes=NRRD_SUFFIXES, label="NRRD", extra="io")
@register_reader(suffixes=MHA_SUFFIXES, label="MHA", extra="io")
def open_itk(path: Path, dataset: str | None = None) -> Source:
    """Open MHA, NRRD or NIfTI; slices are streamed or mapped from the file.

    Raises
    ------
    InputError
        If it is damaged, two-dimensional or in colour, or SimpleITK is not installed.
    """
    header = itk_header(path)
    shape = header.shape
    while len(shape) > 3 and shape[0] == 1:
        shape = shape[1:]
    if header.components > 1:
        raise InputError(f"{path}: has {header.components} values per voxel; a µCT volume is grey")
    if len(shape) != 3:
        raise InputError(f"{path}: holds an array of shape {header.shape}, not a volume (z, y, x)")
    _check_labels(path, header)
    if path.suffix.lower() in NRRD_SUFFIXES:
        if nrrd_header(path).is_quantised:
            logger.warning("%s: states the range of its values before quantisation; they are read as stored", path)
        mapped = map_nrrd(path, header.shape, header.dtype)
        if mapped is not None:
            values = mapped.reshape(shape)
            return Source(
                shape,
                header.dtype,
                header.spacing,
                lambda start, stop: np.array(values[start:stop]),
                placement=header.placement,
                step=header.step,
                unknown_unit=header.unknown_unit,
                is_concurrent=True,
            )
    has_more_axes = len(header.shape) > 3
    if path.suffix.lower() in MHA_SUFFIXES:
        verify = cache(lambda: check_packed_data(path, math.prod(header.shape) * header.dtype.itemsize))
    else:
        verify = cache(lambda: None)

    def read(start: int, stop: int) -> NDArray[Any]:
        verify()  # once, when the first values are read
        if has_more_axes:
            return itk_region(path, header, 0, 1).reshape(shape)[start:stop]
        return itk_region(path, header, start, stop)

    source = Source(
        shape,
        header.dtype,
        header.spacing,
        read,
        placement=header.placement,
        step=header.step,
        conflict=header.conflict,
        unknown_unit=header.unknown_unit,
    )
    return rescaled(source, Rescale(header.slope, header.intercept))


def _check_labels(path: Path, header: ItkHeader) -> None:
    """Raise if the kinds or labels of a NRRD state that an axis is not of space, or another order than x fastest."""
    extra = len(header.kinds) - len(header.shape)
    if extra == 1 and header.kinds[-1].lower() not in _OF_SPACE:  # one component of each voxel, which ITK leaves out
        header = replace(header, kinds=header.kinds[:-1], labels=header.labels[: len(header.shape)])
    for what, words in (("kinds", header.kinds), ("labels", header.labels)):
        if words and len(words) != len(header.shape):
            raise InputError(
                f"{path}: states {len(words)} {what}, but has {len(header.shape)} axes; correct or remove them"
            )
    for kind, size in zip(header.kinds, header.shape, strict=False):
        if size > 1 and kind.lower() not in _OF_SPACE:
            raise InputError(
                f"{path}: one of its axes is of kind '{kind[:40]}' ({size} values); a µCT volume has z, y, x only"
            )
    if not header.labels or not any(map(letter_of, header.labels)):
        return
    try:
        order = volume_order(header.shape, header.labels)
    except AxesError as error:
        raise InputError(f"{path}: {error}") from None
    if tuple(order) != tuple(sorted(order)):
        names = ", ".join(header.labels[::-1])
        raise InputError(
            f"{path}: its labels state the axes {names}, fastest first; store it as x, y, z, or correct the labels"
        )
