"""Axes, scales and translations in the metadata of OME-Zarr images.

Source: the OME-Zarr (OME-NGFF) specifications 0.4 and 0.5, "axes" and "multiscales" metadata: the transformations of a
level come first, then those of the image; each list is applied in its order.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.metadata.placement import Placement, Triple, along_axes
from tomostain.io.metadata.units import Spacing, to_um, unknown_unit

_MAX_LEVELS = 64
"""The sides of each level are half of those of the level before: no volume has as many."""


@dataclass(frozen=True)
class Level:
    """One level of an OME-Zarr image.

    Attributes
    ----------
    path : str
        Of the array, in the group.
    names : tuple of str
        Names of all axes.
    spacing : Spacing
        Voxel size (z, y, x), µm; None for an axis whose scale or unit is not stated.
    step : tuple of float or None
        The same in the units of the axes; None if no scale is stated.
    origin : tuple of float
        Centre of the first voxel (z, y, x), in the units of the axes.
    signs : tuple of float
        -1 for an axis (z, y, x) along which the position decreases, as its scale states; else 1.
    unknown_unit : str
        A unit of the axes that is not known; "" if there is none.
    """

    path: str
    names: tuple[str, ...]
    spacing: Spacing
    step: Triple | None
    origin: Triple
    unknown_unit: str = ""
    signs: Triple = (1.0, 1.0, 1.0)

    def placement(self) -> Placement:
        """Return where the level lies: in µm if all units are stated, and else in the units of the axes."""
        if self.step is None:
            return Placement()
        factors = [1.0 if um is None else um / step for um, step in zip(self.spacing, self.step, strict=True)]
        z, y, x = (value * factor for value, factor in zip(self.origin, factors, strict=True))
        return along_axes((z, y, x), self.signs)

    def placement_step(self) -> Triple | None:
        """Return the voxel size (z, y, x) in the unit of `placement`."""
        if self.step is None:
            return None
        z, y, x = (step if um is None else um for um, step in zip(self.spacing, self.step, strict=True))
        return z, y, x


def read_levels(attributes: Mapping[str, Any]) -> list[Level]:
    """Read all levels of the image in the attributes of a Zarr group, the finest one first.

    Raises
    ------
    InputError
        If the group describes several images.
    ValueError, KeyError, IndexError, TypeError, AttributeError
        If the metadata are not those of an image.
    """
    images = attributes.get("ome", attributes)["multiscales"]
    image = images[0]
    if not image["datasets"]:
        raise ValueError("it has no levels")
    firsts = list(dict.fromkeys(str(each["datasets"][0]["path"]) for each in images))
    if len(firsts) > 1:
        raise InputError(
            f"describes {len(firsts)} images (arrays {', '.join(firsts[:6])}), and it is ambiguous which is the "
            "volume; give the folder of one array, and its size with `voxel_um`"
        )
    if len(image["datasets"]) > _MAX_LEVELS:
        raise ValueError(f"it states {len(image['datasets'])} levels")
    axes = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in image["axes"]]
    names = tuple(str(axis["name"]) for axis in axes)
    units = {name: axis.get("unit") for name, axis in zip(names, axes, strict=True)}
    of_image = image.get("coordinateTransformations") or []
    levels = [_level(dataset, names, units, of_image) for dataset in image["datasets"]]
    # The format lists the finest level first, but some programs do not. Sorting is stable.
    if all(level.step is not None for level in levels):
        levels.sort(key=lambda level: math.prod(level.step or ()))
    return levels


def _level(
    dataset: Mapping[str, Any], names: tuple[str, ...], units: Mapping[str, Any], of_image: Sequence[Mapping[str, Any]]
) -> Level:
    transforms = [*(dataset.get("coordinateTransformations") or []), *of_image]
    scale, origin = _affine(transforms, len(names))
    # nabu writes a negative z where it wrote the slices from the last to the first. The size is the
    # same; the sign is the direction of the axis.
    steps = {name: abs(float(s)) for name, s in zip(names, scale, strict=True)} if scale is not None else {}
    starts = dict(zip(names, (float(value) for value in origin), strict=True))
    z_um, y_um, x_um = (to_um(steps.get(axis), units.get(axis)) for axis in "zyx")
    step = None if len(steps.keys() & set("zyx")) < 3 else (steps["z"], steps["y"], steps["x"])
    first = (starts.get("z", 0.0), starts.get("y", 0.0), starts.get("x", 0.0))
    negative = {name for name, s in zip(names, scale, strict=True) if s < 0} if scale is not None else set()
    return Level(
        str(dataset["path"]),
        names,
        (z_um, y_um, x_um),
        step,
        first,
        unknown_unit(*(units.get(axis) for axis in "zyx")),
        (-1.0 if "z" in negative else 1.0, -1.0 if "y" in negative else 1.0, -1.0 if "x" in negative else 1.0),
    )


def _affine(
    transforms: Sequence[Mapping[str, Any]], count: int
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64]]:
    """Return the product of all scales, None if none is stated, and the position of the first voxel."""
    scale: NDArray[np.float64] | None = None
    origin = np.zeros(count)
    for transform in transforms:
        kind = transform.get("type")
        if kind == "scale":
            factors = _vector(transform["scale"], count)
            scale = factors if scale is None else scale * factors
            origin = origin * factors
        elif kind == "translation":
            origin = origin + _vector(transform["translation"], count)
        elif kind != "identity":
            raise ValueError(f"the transformation '{kind}' is not supported")
    return scale, origin


def _vector(values: Any, count: int) -> NDArray[np.float64]:
    vector = np.asarray(values, dtype=float)
    if vector.shape != (count,) or not all(map(math.isfinite, vector)):
        raise ValueError(f"{values} are not {count} finite numbers, one for each axis")
    return vector
