"""Opening the arrays of an OME-Zarr image, and errors that name the damaged part."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.input_files import check_is_folder
from tomostain.io.metadata.zarr_json import check_zarr_metadata, inside_zarr
from tomostain.io.ome_zarr.metadata import read_level_scales
from tomostain.io.ome_zarr.plan import PROGRESS

_DAMAGED = (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError, AssertionError)


def check_finished(path: Path, advice: str, unfinished: str) -> None:
    """Check that a folder is the Zarr of a finished image.

    Parameters
    ----------
    path : Path
    advice : str
        End of the message if the path is not a folder.
    unfinished : str
        End of the message if the writing was interrupted.

    Raises
    ------
    InputError
        If it is not such a folder.
    """
    check_is_folder(path, advice)
    if (path / PROGRESS).is_dir():
        raise InputError(f"{path}: {unfinished}")
    check_zarr_metadata(path)


def open_arrays(path: Path) -> tuple[dict[str, Any], list[str], list[Any]]:
    """Return the attributes of an OME-Zarr image, and the names and arrays of its levels, finest first."""
    import zarr

    group = zarr.open_group(path, mode="r")
    attributes = dict(group.attrs)
    names, _ = read_level_scales(attributes)
    for name in names:
        check_zarr_metadata(inside_zarr(path, name))
    return attributes, names, [group[name] for name in names]


@contextmanager
def naming_damage(path: Path, kind: str, advice: str = "") -> Iterator[None]:
    """Re-raise the errors of damaged metadata as `InputError`: the path is not of this kind, with the reason."""
    try:
        yield
    except InputError:
        raise
    except _DAMAGED as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise InputError(f"{path}: is not {kind} ({reason}){advice}") from None


def read_window(array: Any, window: Sequence[slice], where: str) -> NDArray[Any]:
    """Read a block (z, y, x) of an array with axes c z y x.

    Parameters
    ----------
    array : zarr.Array
    window : sequence of slice
    where : str
        Beginning of the message if the block cannot be read.

    Returns
    -------
    ndarray, shape (z, y, x, c)

    Raises
    ------
    InputError
        If the stored data are damaged.
    """
    try:
        return np.moveaxis(np.asarray(array[:, *window]), 0, -1)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{where} cannot be read ({str(error)[:120]}); the volume is damaged, see tomostain check"
        ) from None
