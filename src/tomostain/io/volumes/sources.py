"""Volumes in MHA, NRRD and NIfTI, and in OME-Zarr: what they say of themselves and how a slab is read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.metadata.units import Spacing, to_um
from tomostain.io.volumes.base import Source
from tomostain.io.volumes.itk import itk_header, itk_region, map_nrrd


def itk_source(path: Path) -> Source:
    """Open MHA, NRRD or NIfTI; a slab is streamed or mapped from the file.

    Raises
    ------
    InputError
        If it is damaged, two-dimensional or in colour.
    """
    header = itk_header(path)
    shape = header.shape
    while len(shape) > 3 and shape[0] == 1:
        shape = shape[1:]
    if header.components > 1:
        raise InputError(f"{path}: has {header.components} values a voxel; a µCT volume is grey")
    if len(shape) != 3:
        raise InputError(f"{path}: holds an array of shape {header.shape}, not a volume (z, y, x)")
    extra = len(header.shape) - 3
    if path.suffix.lower() in (".nrrd", ".nhdr"):
        mapped = map_nrrd(path, header)
        if mapped is not None:
            values = mapped.reshape(shape)
            return Source(shape, header.dtype, header.spacing, lambda start, stop: np.array(values[start:stop]))

    def read(start: int, stop: int) -> NDArray[Any]:
        if extra:
            return itk_region(path, header, 0, 1).reshape(shape)[start:stop]
        return itk_region(path, header, start, stop)

    return Source(shape, header.dtype, header.spacing, read)


def zarr_source(path: Path) -> Source:
    """Open level 0 of an OME-Zarr image (0.4 or 0.5) with one channel and one time point, or a plain 3D Zarr array.

    Raises
    ------
    InputError
        If it is no Zarr, has more channels (a stained volume, say), or is damaged.
    """
    import zarr

    try:
        node = zarr.open(path, mode="r")
        attributes = dict(node.attrs)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path}: cannot be read as Zarr ({reason[:120]}); the folder is damaged or incomplete"
        ) from None
    if isinstance(node, zarr.Array):
        array, axes = node, "zyx"[-node.ndim :]
        spacing: Spacing = (None, None, None)
    else:
        array, axes, spacing = _multiscale(path, node, attributes)
    lengths = dict(zip(axes, array.shape, strict=False))
    others = {axis: size for axis, size in lengths.items() if axis not in "zyx" and size != 1}
    if others or not axes.endswith("zyx") or len(axes) != array.ndim:
        named = ", ".join(f"{axis} {size}" for axis, size in lengths.items())
        raise InputError(f"{path}: its axes are {named or array.shape}; a µCT volume has z, y, x and one channel")

    def read(start: int, stop: int) -> NDArray[Any]:
        try:
            return np.asarray(array[(0,) * (array.ndim - 3) + (slice(start, stop),)])
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{path}: slices {start} to {stop - 1} cannot be read ({error}); it is damaged") from None

    return Source(tuple(array.shape[-3:]), np.dtype(array.dtype), spacing, read)


def _multiscale(path: Path, group: Any, attributes: Mapping[str, Any]) -> tuple[Any, str, Spacing]:
    """Return the finest array of an OME-Zarr image, its axes, and its voxel size where units are stated."""
    try:
        image = attributes.get("ome", attributes)["multiscales"][0]
        axes = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in image["axes"]]
        level = image["datasets"][0]
        array = group[level["path"]]
        scale = np.ones(len(axes))
        for transform in [*level.get("coordinateTransformations", []), *image.get("coordinateTransformations", [])]:
            if transform.get("type") == "scale":
                scale = scale * np.asarray(transform["scale"], dtype=float)
        names = "".join(str(axis["name"]) for axis in axes)
        # nabu turns the sign of z where it wrote the slices from the last to the first: the size is the same.
        steps = {axis["name"]: to_um(abs(float(s)), axis.get("unit")) for axis, s in zip(axes, scale, strict=True)}
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: is no OME-Zarr image ({type(error).__name__}: {error}); give the image's folder"
        ) from None
    return array, names, (steps.get("z"), steps.get("y"), steps.get("x"))
