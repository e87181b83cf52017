"""The voxel size of a volume. Its files take precedence over a log next to them; the two must not contradict."""

from pathlib import Path

from tomostain.errors import InputError
from tomostain.io.metadata.sidecar_logs import SidecarLogs, Voxel, find_sidecar_logs, format_voxels
from tomostain.io.metadata.units import Spacing, format_spacing, nearly_equal
from tomostain.io.volumes.base import Source

MAX_VOXEL_UM = 1e4
"""The largest voxel size, µm, that a file or log may state: no tomogram has voxels of more than 1 cm."""

MIN_VOXEL_UM = 1e-3
"""The smallest voxel size, µm, that a file or log may state: no X-ray tomogram has voxels of less than 1 nm."""


def find_voxel(path: Path, source: Source) -> tuple[Voxel, str]:
    """Return the voxel size that the files of a volume state, completed by or taken from a log next to them.

    Parameters
    ----------
    path : Path
        The volume.
    source : Source
        Its shape, and the voxel size that its files state.

    Returns
    -------
    tuple of (z, y, x) in µm, and of str
        The size, and the name of the file that states it.

    Raises
    ------
    InputError
        If no file states it, if files and log contradict each other by more than 1 %, or if it is ambiguous which size
        of the log is that of the volume: it states a binned and an unbinned one, or the slices were resized.
    """
    if source.conflict:
        raise InputError(f"{path}: {source.conflict}; give the right size with `voxel_um`", parameter="voxel_um")
    first = source.ends[0] if source.ends else None
    stated_in = first or path
    _check_plausible(stated_in, source.spacing)
    logs = find_sidecar_logs(path, first, (source.shape[1], source.shape[2]))
    z, y, x = source.spacing
    if logs.path is None:
        if z is None or y is None or x is None:
            raise InputError(_missing(path, source, logs), parameter="voxel_um")
        return (z, y, x), stated_in.name
    _check_plausible(logs.path, logs.voxels_um[0])
    fitting = [voxel for voxel in logs.voxels_um if _agree(source.spacing, voxel)]
    if not fitting:
        raise InputError(
            f"{path}: {stated_in} states voxels of {format_spacing(source.spacing)}, {logs.path} states "
            f"{format_voxels(logs.voxels_um)}; give the right size with `voxel_um`"
        )
    if z is not None and y is not None and x is not None:
        return (z, y, x), stated_in.name
    if logs.resized and len(fitting) > 1 and logs.voxels_um[0] not in fitting:
        fitting = _sizes_of_resized(source, logs)
    if len(fitting) > 1:
        kinds = "" if logs.resized else " (unbinned, binned)"
        raise InputError(
            f"{path}: {logs.path} states voxels of {format_voxels(tuple(fitting))}{kinds}, and neither "
            "the name of the folder nor the slices say which is right; give it with `voxel_um`"
        )
    return fitting[0], logs.path.name


def _sizes_of_resized(source: Source, logs: SidecarLogs) -> list[Voxel]:
    """Return the sizes that slices may have that were surely resized: one if their number says whether along z, too.

    The factor is that of the pixel size in the files: the ratio of the rows and columns is rounded.
    """
    z, y, x = logs.voxels_um[0]
    _, stated_y, stated_x = source.spacing
    factor = next(stated / size for stated, size in ((stated_x, x), (stated_y, y)) if stated is not None)
    count = source.shape[0]
    in_plane, along_all = ((size, stated_y or y * factor, stated_x or x * factor) for size in (z, z * factor))
    if logs.sections == count:
        return [in_plane]
    if logs.sections is not None and abs(logs.sections / factor - count) < 1:
        return [along_all]
    return [in_plane, along_all]


def check_numbering_step(path: Path, source: Source, voxel_um: Voxel | None) -> None:
    """Raise if slices are numbered in steps, and the distance between two of them is not as many pixels.

    Parameters
    ----------
    path : Path
    source : Source
    voxel_um : tuple of (z, y, x), optional
        The size that the user gave; by default, that of the files or the log (NRecon: ``Section to Section Step``).

    Raises
    ------
    InputError
        With the advice to give the three sizes.
    """
    step = source.numbering_step
    if step == 1:
        return
    z, _, x = voxel_um or find_voxel(path, source)[0]
    if not nearly_equal(z, step * x):
        raise InputError(
            f"{path}: its slices are numbered in steps of {step}, but the voxel size along z is {z:g} µm, not {step} "
            f"times the pixel size of {x:g} µm; give (z, y, x) with `voxel_um`, or renumber the slices",
            parameter="voxel_um",
        )


def _agree(stated: Spacing, voxel: Voxel) -> bool:
    return all(s is None or nearly_equal(s, v) for s, v in zip(stated, voxel, strict=True))


def _check_plausible(path: Path, spacing: Spacing) -> None:
    """Raise if a size comes from a wrong unit: some programs write µm and label them as metres."""
    for size in spacing:
        if size is not None and not MIN_VOXEL_UM <= size <= MAX_VOXEL_UM:
            raise InputError(
                f"{path}: states a voxel size of {size:g} µm, so its unit is wrong; give it with `voxel_um`"
            )


def _missing(path: Path, source: Source, logs: SidecarLogs) -> str:
    """Return the message that the voxel size is missing, with the axes that are known and the log that does not fit."""
    known = format_spacing(source.spacing)
    only = f"only {known}" if known else ""
    unit = f"'{source.unknown_unit}'" if source.unknown_unit else ""
    remarks = "; ".join(remark for remark in (unit, only) if remark)
    facts = f"{' in a known unit' if unit else ''}{f' ({remarks})' if remarks else ''}"
    unfit = ""
    if logs.other_scans:
        log = logs.other_scans[0]
        unfit = f", and {log.path} is of {log.scan or 'an unnamed scan'}"
    return f"{path}: the voxel size is not in the file{facts}{unfit}; give it with `voxel_um`"
