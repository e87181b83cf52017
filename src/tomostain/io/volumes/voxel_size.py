"""The voxel size of a volume: what its files state goes before what a log beside them says; both must agree."""

from pathlib import Path

from tomostain.errors import InputError
from tomostain.io.metadata.sidecar_logs import Beside, Voxel, look_beside, said
from tomostain.io.metadata.units import Spacing, alike
from tomostain.io.volumes.base import Source

LARGEST_UM = 1e4
"""The largest voxel size, µm, that is believed where no user gave it: no tomogram has voxels of more than 1 cm."""


def find_voxel(path: Path, source: Source) -> tuple[Voxel, str]:
    """Return the voxel size that a volume's files state in full, completed from or taken from a log beside them.

    Parameters
    ----------
    path : Path
        The volume.
    source : Source
        Its shape and what its files state.

    Returns
    -------
    tuple of (z, y, x) in µm, and of str
        The size, and the name of the file that it stands in.

    Raises
    ------
    InputError
        If it stands nowhere, if files and log contradict each other by more than 1 %, or if the log names a binned and
        an unbinned size and nothing says which is that of the volume.
    """
    first = source.ends[0] if source.ends else None
    stated_in = first or path
    _check_believable(stated_in, source.spacing)
    near = look_beside(path, first, (source.shape[1], source.shape[2]))
    z, y, x = source.spacing
    if near.path is None:
        if z is None or y is None or x is None:
            raise InputError(_missing(path, source.spacing, near))
        return (z, y, x), stated_in.name
    _check_believable(near.path, near.voxels_um[0])
    fitting = [voxel for voxel in near.voxels_um if _agree(source.spacing, voxel)]
    if not fitting:
        raise InputError(
            f"{path}: {stated_in} states voxels of {_stated(source.spacing)}, {near.path} says {said(near.voxels_um)}; "
            "give the right size with `voxel_um`"
        )
    if z is not None and y is not None and x is not None:
        return (z, y, x), stated_in.name
    if len(fitting) > 1:
        raise InputError(
            f"{path}: {near.path} names voxels of {said(tuple(fitting))} (unbinned, binned), and neither the folder's "
            "name nor the slices say which they have; give it with `voxel_um`"
        )
    return fitting[0], near.path.name


def _agree(stated: Spacing, voxel: Voxel) -> bool:
    return all(s is None or alike(s, v) for s, v in zip(stated, voxel, strict=True))


def _check_believable(path: Path, spacing: Spacing) -> None:
    """Refuse sizes that come of a wrong unit: some programs write µm and call them metres."""
    for size in spacing:
        if size is not None and size > LARGEST_UM:
            raise InputError(
                f"{path}: states a voxel size of {size:g} µm, so its unit is wrong; give it with `voxel_um`"
            )


def _stated(spacing: Spacing) -> str:
    return ", ".join(f"{axis} {value:g} µm" for axis, value in zip("zyx", spacing, strict=True) if value is not None)


def _missing(path: Path, spacing: Spacing, near: Beside) -> str:
    """Say that the voxel size is asked for, what is known of it, and which log was passed over."""
    only = f" (only {_stated(spacing)})" if _stated(spacing) else ""
    passed = ""
    if near.strangers:
        log = near.strangers[0]
        passed = f", and {log.path} is of {log.scan or 'a scan it does not name'}"
    return f"{path}: the voxel size is not in the file{only}{passed}; give it with `voxel_um`"
