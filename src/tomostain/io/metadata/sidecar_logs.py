"""Find the log of the reconstruction next to a volume, and which of its sizes is the voxel size of the volume.

The rules:

- Logs are in the folder of the slices or, if none of them fits, in the folder above. Logs of a single file are next
  to it. A log fits if its scan is part of the names of the slices (``reco_<scan>_000000.tif``) or is the name of the
  folder or of one of the three above it (Hereon: ``<scan>/reco/float_rawBin2``). A single log among the slices is used
  whatever scan it names.
- Hereon's logs state two sizes. The name of the folder decides: ``rawBin2`` is twice the unbinned size, ``phaseBin2``
  and ``recoBin2`` double it again (``matlab/utilities/write_volume.m`` of https://github.com/moosmann/matlab); ``bin2``
  and ``binned`` are the binned size, ``bin1`` and ``unbinned`` the other. If the name does not state it, slices as
  large as the log's ``vol_shape`` have the binned size, and so has the file ``<scan>.h5`` of the program itself.
  Otherwise the size is ambiguous.
- NRecon's logs state the rows and columns of a slice. Smaller slices were cropped, or resized in the plane or along all
  axes; the voxel size that the slices state and their number decide (`tomostain.io.volumes.voxel_size`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from tomostain.deprecation import renamed
from tomostain.errors import InputError
from tomostain.io.metadata.logs import read_log
from tomostain.io.metadata.scan_log import ScanLog
from tomostain.io.metadata.units import nearly_equal

Voxel = tuple[float, float, float]

_BIN = re.compile(r"(?<![a-z])(raw|phase|reco)?_?bin(?:ning)?[_-]?(\d{1,2})(?!\d)", re.IGNORECASE)
_WORD = re.compile(r"(?<![a-z])(un)?binned(?![a-z])", re.IGNORECASE)
_INDEX = re.compile(r"[ _.-]?\d+$")
_MAX_LOGS = 200
# Slices that are smaller by less are cropped.
_SURELY_RESIZED = 1.5

__getattr__ = renamed(__name__, {"look_beside": "find_sidecar_logs", "Beside": "SidecarLogs", "said": "format_voxels"})


@dataclass(frozen=True)
class SidecarLogs:
    """The result of the search for logs next to a volume.

    Attributes
    ----------
    path : Path or None
        The log that belongs to the volume, if there is one.
    voxels_um : tuple of (z, y, x)
        The voxel sizes that it may mean: one, or several if it is ambiguous.
    other_scans : tuple of ScanLog
        Logs of other scans.
    resized : bool
        The slices are smaller than the log states: `voxels_um` are the sizes if they were cropped, resized in the
        plane, and resized along all axes.
    sections : int or None
        Number of slices that the log states.
    """

    path: Path | None = None
    voxels_um: tuple[Voxel, ...] = ()
    other_scans: tuple[ScanLog, ...] = ()
    resized: bool = False
    sections: int | None = None


def find_sidecar_logs(path: Path, first: Path | None, plane: tuple[int, int]) -> SidecarLogs:
    """Find the logs next to a volume.

    Parameters
    ----------
    path : Path
        The volume.
    first : Path or None
        Its first slice, if it is a folder of slices.
    plane : tuple of int
        Rows and columns of a slice.

    Returns
    -------
    SidecarLogs

    Raises
    ------
    InputError
        If a log that fits states a size that is not understood, if logs that fit contradict each other by more than
        1 %, or if they state another binning than the name of the folder.
    """
    path = _resolved(path, first)
    chosen, candidates = _fitting_logs(path, first)
    if not chosen:
        return SidecarLogs(other_scans=tuple(candidates))
    for log in chosen:
        if log.problem:
            raise InputError(log.problem)
    chosen = _of_this_binning(path, chosen)
    sizes = [(log, possible_voxels(log, path, plane)) for log in chosen]
    log, voxels = sizes[0]
    for other, others in sizes[1:]:
        if not _same(voxels, others):
            raise InputError(
                f"{path}: {log.path} states voxels of {format_voxels(voxels)}, {other.path} of "
                f"{format_voxels(others)}; give the right size with `voxel_um`"
            )
    resized = not log.by_folder and len(voxels) > 1
    return SidecarLogs(log.path, voxels, resized=resized, sections=log.sections.count if log.sections else None)


def _resolved(path: Path, first: Path | None) -> Path:
    """Resolve "." and links to folders, which have other names; a linked file keeps its own name."""
    return path.resolve() if first else path.parent.resolve() / path.name


def _fitting_logs(path: Path, first: Path | None) -> tuple[list[ScanLog], list[ScanLog]]:
    """Return the logs that fit a volume, and all logs that were compared."""
    folder = path if first else path.parent
    candidates = _logs(folder)
    if first and len(candidates) == 1:
        return candidates, candidates
    names = names_of(path, first)
    chosen = [log for log in candidates if _fits(log, *names)]
    if first and not chosen:
        above = _logs(path.parent)
        chosen, candidates = [log for log in above if _fits(log, *names)], [*candidates, *above]
    return chosen, candidates


def missing_sections(path: Path, first: Path, plane: tuple[int, int], numbers: Sequence[int]) -> tuple[str, list[int]]:
    """Compare the slices in a folder with those that the logs of the reconstruction state.

    Slices of another size than the log states were cropped or resized afterwards: their number is not compared.

    Parameters
    ----------
    path : Path
        The folder.
    first : Path
        Its first slice.
    plane : tuple of int
        Rows and columns of a slice.
    numbers : sequence of int
        The numbers in the names of the slices, also of those inside the sequence that are known to be missing.

    Returns
    -------
    tuple of (str, list of int)
        What is missing, as the beginning of a message ("" if nothing), and the numbers of the missing slices, if they
        are known.
    """
    path = _resolved(path, first)
    for log in _fitting_logs(path, first)[0]:
        factor = 1 if log.plane is None else _fraction(log.plane, plane)
        if log.sections is None or factor is None or (factor > 1 and not log.by_folder):
            continue
        count, low, high = log.sections.count // factor, log.sections.first, log.sections.last
        # Slices with other numbers were renamed or copied from another place: a derived count says nothing of them.
        renumbered = low is None or high is None or not all(low <= number <= high for number in numbers)
        if len(numbers) >= count or (log.sections.derived and renumbered):
            continue
        reason = f"{len(numbers)} of {count} slices that {log.path.name} states are in the folder"
        step = numbers[1] - numbers[0] if len(numbers) > 1 else 1
        if low is None or high is None or len(stated := range(low, high + 1, step)) != count:
            return reason, []
        absent = sorted(set(stated) - set(numbers))
        return (reason, absent) if len(absent) == count - len(numbers) else (reason, [])
    return "", []


def _same(first: tuple[Voxel, ...], second: tuple[Voxel, ...]) -> bool:
    pairs = zip(chain(*first), chain(*second), strict=False)
    return len(first) == len(second) and all(nearly_equal(a, b) for a, b in pairs)


def names_of(path: Path, first: Path | None) -> tuple[str, tuple[str, ...]]:
    """Return the common name of the slices of a volume, and the names of its folder and of those above it.

    Examples
    --------
    >>> names_of(Path("/d/syn7/reco/float"), Path("reco_syn7_000000.tif"))
    ('reco_syn7', ('float', 'reco', 'syn7', 'd'))
    >>> names_of(Path("/d/syn7.ome.tif"), None)
    ('syn7', ())
    """
    if first is None:
        return re.sub(r"\.(ome|nii)$", "", path.stem, flags=re.IGNORECASE), ()
    absolute = path.absolute()
    return _INDEX.sub("", first.stem), (absolute.name, *(parent.name for parent in list(absolute.parents)[:3]))


def format_voxels(voxels: tuple[Voxel, ...]) -> str:
    """Return voxel sizes as text for a message.

    Examples
    --------
    >>> format_voxels(((5.0, 5.0, 5.0), (10.0, 5.0, 5.0)))
    '5 µm or 10 x 5 x 5 µm'
    """
    sizes = [voxel if len(set(voxel)) > 1 else voxel[:1] for voxel in voxels]
    return " or ".join(" x ".join(f"{value:.6g}" for value in size) + " µm" for size in sizes)


def possible_voxels(log: ScanLog, path: Path, plane: tuple[int, int]) -> tuple[Voxel, ...]:
    """Return the voxel sizes that a log may mean for the slices in a folder; one if the rules decide.

    Parameters
    ----------
    log : ScanLog
    path : Path
        The folder (or file). Its name, or that of the folder above, states how it was binned.
    plane : tuple of int
        Rows and columns of its slices.

    Returns
    -------
    tuple of (z, y, x)
    """
    if not log.by_folder:
        z, y, x = log.voxel_um
        factor = _resized(log.plane, plane)
        # Slices of half the size that the log states were cropped or resized; the log does not say which.
        if factor is None:
            return (log.voxel_um,)
        return log.voxel_um, (z, y * factor, x * factor), (z * factor, y * factor, x * factor)
    binned = log.voxel_um[2]
    unbinned = log.unbinned_um or binned
    open_sizes = [unbinned] if log.unbinned_um is None else [unbinned, binned]
    stated = binning_in(path)
    if "raw" in stated or "reco" in stated or "phase" in stated:
        base = unbinned * stated["raw"] if "raw" in stated else binned
        return (_cube(base * stated.get("phase", 1) * stated.get("reco", 1)),)
    if "" in stated:
        if stated[""] in (1, log.raw_bin):
            return (_cube(binned if stated[""] == log.raw_bin else unbinned),)
        return tuple(_cube(size) for size in [*open_sizes, unbinned * stated[""]])
    return tuple(_cube(size) for size in _size_by_slices(log, path, plane, open_sizes))


def _size_by_slices(log: ScanLog, path: Path, plane: tuple[int, int], open_sizes: list[float]) -> list[float]:
    """Decide between the sizes of a log by a word in the name of the folder or by the shape of the slices."""
    binned, fraction, word = log.voxel_um[2], _fraction(log.plane, plane), _WORD.search(path.name)
    if word and word[1]:
        return open_sizes[:1]
    if fraction == 1 or path.name == f"{log.scan}.h5":
        return [binned]
    if word:
        # Older folders "float_binned" were binned again after the reconstruction.
        once_more = fraction or log.reco_bin
        if once_more == 1 and log.unbinned_um is not None:
            return [binned]
        return [*open_sizes, binned * max(2, once_more)]
    return [*open_sizes, binned * fraction] if fraction else open_sizes


def binning_in(path: Path) -> dict[str, int]:
    """Return the binning that the name of a folder or of the folder above states, by kind: raw, phase, reco, or "".

    Examples
    --------
    >>> binning_in(Path("reco/float_rawBin2_recoBin4")), binning_in(Path("a_bin_2/slices")), binning_in(Path("robin2"))
    ({'raw': 2, 'reco': 4}, {'': 2}, {})
    """
    for name in (path.name, path.absolute().parent.name):
        binning = {kind.lower(): int(number) for kind, number in _BIN.findall(name) if int(number)}
        if binning or _WORD.search(name):
            return binning
    return {}


def _cube(size: float) -> Voxel:
    return size, size, size


def _fraction(whole: tuple[int, int] | None, plane: tuple[int, int]) -> int | None:
    """Return the whole number up to 8 by which slices are smaller than reconstructed; None if there is none."""
    if whole is None:
        return None
    for factor in range(1, 9):
        if sorted(side // factor for side in whole) == sorted(plane):
            return factor
    return None


def _resized(whole: tuple[int, int] | None, plane: tuple[int, int]) -> float | None:
    """Return the factor by which slices are smaller than reconstructed, the same along both axes; None otherwise."""
    if whole is None or min(plane) < 1:
        return None
    factors = [before / after for before, after in zip(whole, plane, strict=True)]
    same = abs(factors[0] - factors[1]) <= sum(factor / side for factor, side in zip(factors, plane, strict=True))
    return factors[0] if same and min(factors) > _SURELY_RESIZED else None


def _logs(folder: Path) -> list[ScanLog]:
    """Read the logs in a folder, sorted by name; an empty list if it cannot be listed."""
    try:
        names = sorted(p for p in folder.iterdir() if p.name.lower().endswith((".log", "_infos.txt")) and p.is_file())
    except OSError:
        return []
    read = (read_log(path) for path in names[:_MAX_LOGS])
    return [log for log in read if log is not None]


def _fits(log: ScanLog, base: str, folders: tuple[str, ...]) -> bool:
    """Return whether a log is of the scan of slices named `base` in folders of these names."""
    scan, name = log.scan.casefold(), base.casefold()
    if not scan:
        return False
    # "reco_syn7" is of the scan syn7; "reco_syn7_2" is not.
    return name == scan or name.endswith(("_" + scan, "-" + scan, " " + scan)) or scan in map(str.casefold, folders)


def _of_this_binning(path: Path, logs: list[ScanLog]) -> list[ScanLog]:
    """Return the logs whose raw binning agrees with the name of the folder."""
    raw = binning_in(path).get("raw")
    same = [log for log in logs if raw is None or not log.by_folder or log.raw_bin == raw]
    if not same:
        raise InputError(
            f"{path}: its name states a raw binning of {raw}, {logs[0].path} one of {logs[0].raw_bin}; "
            "give the voxel size with `voxel_um`"
        )
    return same
