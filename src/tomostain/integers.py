"""Conversion of floating-point numbers to integers, with a check. A plain cast turns NaN and infinity into a value."""

import math
import sys
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError

if TYPE_CHECKING:
    import torch

Integer = TypeVar("Integer", bound=np.integer[Any])


@overload
def to_integers(
    values: NDArray[Any], dtype: type[Integer], place: str, *, rounded: bool = ..., clip: bool = ...
) -> NDArray[Integer]: ...


@overload
def to_integers(
    values: "NDArray[Any]", dtype: np.dtype[Any], place: str, *, rounded: bool = ..., clip: bool = ...
) -> NDArray[Any]: ...


@overload
def to_integers(
    values: "torch.Tensor", dtype: "torch.dtype", place: str, *, rounded: bool = ..., clip: bool = ...
) -> "torch.Tensor": ...


def to_integers(values: Any, dtype: Any, place: str, *, rounded: bool = True, clip: bool = False) -> Any:
    """Convert numbers to integers, or raise if one of them is not finite. All such conversions use this function.

    Parameters
    ----------
    values : ndarray or Tensor of float
        For a tensor on a GPU, the check waits for its values, so it belongs behind a loop over tiles, not in it.
    dtype : numpy integer type, or torch.dtype for a tensor
    place : str
        Beginning of the message: a description of the values.
    rounded : bool
        Round to the nearest integer (half to even). False: towards zero.
    clip : bool
        Limit the values to the range of `dtype`. By default a value outside it is an error.

    Returns
    -------
    ndarray or Tensor
        Of the same shape.

    Raises
    ------
    InputError
        If a value is NaN or infinite, or, without `clip`, outside the range of `dtype`. The message states
        their number.

    Examples
    --------
    >>> to_integers(np.array([0.5, 1.5, 254.6]), np.uint8, "colours").tolist()
    [0, 2, 255]
    >>> to_integers(np.array([-3.0, 300.0]), np.uint8, "colours", clip=True).tolist()
    [0, 255]
    >>> to_integers(np.array([1.0, np.nan]), np.uint8, "colours")
    Traceback (most recent call last):
    tomostain.errors.InputError: colours: 1 of 2 values are not finite numbers
    """
    extremes = _extremes(values)
    if extremes is None:
        return values.to(dtype) if _is_tensor(values) else values.astype(dtype)
    _refuse_not_finite(values, place, extremes)
    if _is_tensor(values):
        info, whole = sys.modules["torch"].iinfo(dtype), values.round() if rounded else values
    else:
        info, whole = np.iinfo(dtype), np.rint(values) if rounded else values
    if clip:
        whole = whole.clip(info.min, info.max)
    else:
        low, high = (round(number) if rounded else int(number) for number in extremes)
        if low < info.min or high > info.max:
            raise InputError(
                f"{place}: values from {extremes[0]:g} to {extremes[1]:g}, outside {info.min} to {info.max}"
            )
    return whole.to(dtype) if _is_tensor(values) else whole.astype(dtype)


def refuse_not_finite(values: "NDArray[Any] | torch.Tensor", place: str) -> None:
    """Raise if a value is NaN or infinite.

    Parameters
    ----------
    values : ndarray or Tensor
    place : str
        Beginning of the message: a description of the values.

    Raises
    ------
    InputError
        The message states the number of such values.
    """
    extremes = _extremes(values)
    if extremes is not None:
        _refuse_not_finite(values, place, extremes)


def _refuse_not_finite(values: Any, place: str, extremes: tuple[float, float]) -> None:
    if all(map(math.isfinite, extremes)):
        return
    finite = values.isfinite() if _is_tensor(values) else np.isfinite(values)
    size = math.prod(values.shape)
    raise InputError(f"{place}: {size - int(finite.sum())} of {size} values are not finite numbers")


def _extremes(values: Any) -> tuple[float, float] | None:
    """Return minimum and maximum, which are NaN if a value is; None without values."""
    if not math.prod(values.shape):
        return None
    if _is_tensor(values):
        low, high = sys.modules["torch"].stack(values.aminmax()).tolist()  # one copy from a GPU
        return float(low), float(high)
    return float(values.min()), float(values.max())


def _is_tensor(values: Any) -> bool:
    return not isinstance(values, np.ndarray | np.generic)
