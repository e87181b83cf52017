"""The field of view: which part of the surface of the implant is seen, and which part of a region was measured."""

import numpy as np
from numpy.typing import NDArray

from tomostain.measure.classes import Labels, TissueClass

MIN_MEASURED = 0.5
"""A surface element is seen if at least this share of the samples along its normal is measured."""


def is_seen(samples: Labels) -> NDArray[np.bool_]:
    """Return which elements of a surface are seen.

    Parameters
    ----------
    samples : ndarray of uint8, shape (n, k)
        Classes along the normals of the elements. `NOT_MEASURED` stands for voxels that were not measured as well as
        for positions outside the volume.

    Returns
    -------
    ndarray of bool, shape (n,)
        Whether at least half of the samples are measured.

    Examples
    --------
    >>> is_seen(np.array([[1, 2, 255, 255], [1, 255, 255, 255]], np.uint8)).tolist()
    [True, False]
    """
    measured = samples != TissueClass.NOT_MEASURED
    return np.asarray(measured.sum(axis=1) >= MIN_MEASURED * samples.shape[1], dtype=bool)


def surface_note(symbol: str, seen: float, total: float) -> str:
    """Return a sentence that states how much of the surface (or outline) counts; empty if all of it does.

    Parameters
    ----------
    symbol : str
        The measure, such as ``BIC``.
    seen, total : float
        Area or length that is seen, and all of it.

    Examples
    --------
    >>> surface_note("BIC", 82.0, 100.0)
    'BIC of 82 % of the surface; the rest is outside the field of view or not measured'
    >>> surface_note("BIC", 100.0, 100.0)
    ''
    """
    if total <= 0 or seen >= 0.9995 * total:
        return ""
    share = 100 * seen / total
    shown = f"{share:.0f}" if share < 99 else f"{share:.1f}"
    return f"{symbol} of {shown} % of the surface; the rest is outside the field of view or not measured"


def cut_note(faces: tuple[str, ...]) -> str:
    """Return a sentence that states where the implant leaves the volume; empty if it lies inside.

    Examples
    --------
    >>> cut_note(("-z", "+x"))
    'the implant reaches the faces -z, +x of the volume: the part beyond is not measured'
    """
    if not faces:
        return ""
    word = "face" if len(faces) == 1 else "faces"
    return f"the implant reaches the {word} {', '.join(faces)} of the volume: the part beyond is not measured"


def region_note(measured: int, total: int) -> str:
    """Return a sentence that states how much of a region was measured; empty if all of it was.

    Parameters
    ----------
    measured, total : int
        Voxels or pixels.

    Examples
    --------
    >>> region_note(900, 1000)
    '90 % of the region is measured'
    """
    if total <= 0 or measured >= 0.9995 * total:
        return ""
    share = 100 * measured / total
    return f"{share:.0f} % of the region is measured" if share < 99 else f"{share:.1f} % of the region is measured"
