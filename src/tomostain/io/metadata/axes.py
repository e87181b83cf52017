"""Names of axes: which axis of a stored array is z, y and x, by the names that the file states.

Names come from ``axistags`` (vigra, ilastik), labels and scales of HDF5 dimensions, ``axes`` of NeXus and OME-Zarr,
``dimension_names`` of Zarr 3, ``_ARRAY_DIMENSIONS`` of xarray and ``labels`` of NRRD.
"""

import re
from collections.abc import Sequence

Order = tuple[int, int, int]

_LEAST_IMAGE_PX = 16
"""An array of 3 or 4 columns and fewer rows or slices than this may be a small volume."""

_LETTERS = {
    "z": ("z", "plane", "planes", "slice", "slices", "section", "sections", "depth", "axial"),
    "y": ("y", "row", "rows", "height"),
    "x": ("x", "col", "cols", "column", "columns", "width"),
}
_FILLERS = frozenset(
    ("axis", "axes", "dim", "dimension", "pos", "position", "coord", "coordinate", "voxel", "voxels", "sample", "space")
)
_CHANNELS = frozenset(("c", "ch", "channel", "channels", "color", "colour", "rgb", "rgba", "band", "component"))
_TIMES = frozenset(("t", "time", "times", "timepoint", "timepoints", "frame", "frames"))
_PROJECTIONS = frozenset(("rot", "phi", "proj", "projection", "projections", "sinogram"))


class AxesError(ValueError):
    """The axes are not those of a volume; the message says why, to follow the name of the file."""


def is_angle(name: str) -> bool:
    """Return whether a name is that of a rotation angle.

    Examples
    --------
    >>> [is_angle(name) for name in ("rotation_angle", "gts_cs_theta", "omega", "x", "triangle_count")]
    [True, True, True, False, False]
    """
    tokens = _tokens(name)
    return any(
        token in _PROJECTIONS or re.fullmatch(r"(tomo)?(theta|omega|rotations?|(rotation|tomo)?angles?)s?", token)
        for token in tokens
    )


def letter_of(name: str) -> str:
    """Return z, y or x of an axis of this name; "" if it is none of them.

    Examples
    --------
    >>> [letter_of(name) for name in ("z", "voxel_x", "Y [µm]", "row", "detector_y.pixels", "dim_0", "c")]
    ['z', 'x', 'y', 'y', '', '', '']
    """
    tokens = [token for token in _tokens(name) if token not in _FILLERS]
    if len(tokens) != 1:
        return tokens[-1] if len(tokens) > 1 and "detector" not in tokens and tokens[-1] in ("z", "y", "x") else ""
    return next((letter for letter, names in _LETTERS.items() if tokens[0] in names), "")


def volume_order(shape: Sequence[int], names: Sequence[str | None] | None = None) -> Order:
    """Return the axes of an array that are z, y and x; all others have the length 1.

    Parameters
    ----------
    shape : sequence of int
        Of the stored array, with at least three axes.
    names : sequence of str or None, optional
        Their names, as far as the file states them.

    Returns
    -------
    tuple of int
        (z, y, x). Axes that are not named, or have names of which none is z, y or x, are in this order.

    Raises
    ------
    AxesError
        If there are channels, time points or projections, or the names do not say which axis is which.

    Examples
    --------
    >>> volume_order((13, 11, 9), ("x", "y", "z"))
    (2, 1, 0)
    >>> volume_order((9, 11, 13, 1)), volume_order((1, 9, 11, 13), "czyx")
    ((0, 1, 2), (1, 2, 3))
    >>> volume_order((181, 11, 13), ("theta", "y", "x"))
    Traceback (most recent call last):
    ...
    tomostain.io.metadata.axes.AxesError: its axes are theta 181, y 11, x 13: these are projections, not a volume
    """
    stated = ["" if name is None else str(name).strip() for name in (names or [None] * len(shape))]
    if len(stated) != len(shape):
        raise AxesError(f"it names {len(stated)} axes ({', '.join(stated)}), but its array has {len(shape)}")
    text = f"its axes are {', '.join(f'{name} {n}'.strip() for name, n in zip(stated, shape, strict=True))}"
    axes = []
    for axis, (name, size) in enumerate(zip(stated, shape, strict=True)):
        tokens = set(_tokens(name))
        if size > 1 and (is_angle(name) or "detector" in tokens):
            raise AxesError(f"{text}: these are projections, not a volume")
        if len(shape) > 3 and (size == 1 and tokens & (_CHANNELS | _TIMES)):
            continue
        if tokens & (_CHANNELS | _TIMES) and not letter_of(name):
            kind = "channels" if tokens & _CHANNELS else "time points"
            raise AxesError(f"{text}; a µCT volume has z, y, x and one channel, and these are {size} {kind}")
        axes.append(axis)
    axes = _spatial(axes, shape, stated, text)
    if not any(map(letter_of, stated)) and _is_image([shape[axis] for axis in axes]):
        raise AxesError(
            f"{text}: an image of {shape[axes[2]]} colours, not a volume (name its axes z, y, x if it is one)"
        )
    return _in_order(axes, [letter_of(stated[axis]) for axis in axes], text)


def _is_image(shape: Sequence[int]) -> bool:
    """Return whether three axes without names are rows, columns and the colours of an image: RGB or RGBA."""
    rows, columns, last = shape
    return last in (3, 4) and min(rows, columns) >= _LEAST_IMAGE_PX


def _spatial(axes: Sequence[int], shape: Sequence[int], names: Sequence[str], text: str) -> list[int]:
    """Return three of the axes: those named z, y, x, or what is left without axes of length 1 at the ends."""
    named = [axis for axis in axes if letter_of(names[axis])]
    if len(named) == 3 and all(shape[axis] == 1 for axis in axes if axis not in named):
        return named
    more = len(axes) - 3
    ways = {
        tuple(axes[first : first + 3])
        for first in range(more + 1)
        if all(shape[axis] == 1 and not letter_of(names[axis]) for axis in [*axes[:first], *axes[first + 3 :]])
    }
    if len(ways) != 1:
        why = "it is ambiguous which are z, y and x" if ways else "a µCT volume has z, y, x and one channel"
        raise AxesError(f"{text}; {why}")
    return list(ways.pop())


def _in_order(axes: Sequence[int], letters: Sequence[str], text: str) -> Order:
    named = [letter for letter in letters if letter]
    if len(set(named)) != len(named):
        raise AxesError(f"{text}; two of them have the same name")
    if len(named) == 2:  # the third is what is left
        letters = [letter or next(each for each in "zyx" if each not in named) for letter in letters]
    elif len(named) < 3:
        if any(letter and letter != usual for letter, usual in zip(letters, "zyx", strict=True)):
            raise AxesError(f"{text}; it is ambiguous which are z, y and x. Store the volume as (z, y, x)")
        letters = list("zyx")
    z, y, x = (axes[list(letters).index(letter)] for letter in "zyx")
    return z, y, x


def _tokens(name: str) -> list[str]:
    """Return the words of a name in lower case, without a unit in brackets or after a dot."""
    plain = re.sub(r"[\[(].*?[\])]", " ", name.lower()).split(".")[0]
    return [token for token in re.split(r"[^a-z0-9]+", plain) if token]
