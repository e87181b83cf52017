"""Which of the logs beside a volume speaks of it, and which of the sizes it names is that of the volume's voxels.

The rules:

- Logs lie in the folder of the slices or, where none of them fits, in the folder above; those of a single file lie
  beside it. A log fits if the scan it names stands in the names of the slices (``reco_<scan>_000000.tif``) or is the
  name of the folder or of one of the three above it (Hereon: ``<scan>/reco/float_rawBin2``). One log alone among the
  slices is believed whatever it names.
- Hereon's logs name two sizes. Which one it is stands in the name of the folder: ``rawBin2`` is twice the unbinned
  size, ``phaseBin2`` and ``recoBin2`` double it again (``matlab/utilities/write_volume.m`` of
  https://github.com/moosmann/matlab); ``bin2`` and ``binned`` are the binned size, ``bin1`` and ``unbinned`` the other.
  Where the folder is silent, slices as large as the log's ``vol_shape`` have the binned size, and so has the file
  ``<scan>.h5`` that the program writes by itself. Else it is open.
"""

import re
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from tomostain.errors import InputError
from tomostain.io.metadata.logs import ScanLog, read_log
from tomostain.io.metadata.units import alike

Voxel = tuple[float, float, float]

_BIN = re.compile(r"(?<![a-z])(raw|phase|reco)?_?bin(?:ning)?[_-]?(\d{1,2})(?!\d)", re.IGNORECASE)
_WORD = re.compile(r"(?<![a-z])(un)?binned(?![a-z])", re.IGNORECASE)
_INDEX = re.compile(r"[ _.-]?\d+$")
_MOST_LOGS = 200


@dataclass(frozen=True)
class Beside:
    """What the logs beside a volume say.

    Attributes
    ----------
    path : Path or None
        The log that fits, if there is one.
    voxels_um : tuple of (z, y, x)
        The voxel sizes it may mean: one, or several where it is open which of them the volume has.
    strangers : tuple of ScanLog
        Logs that speak of other scans.
    """

    path: Path | None = None
    voxels_um: tuple[Voxel, ...] = ()
    strangers: tuple[ScanLog, ...] = ()


def look_beside(path: Path, first: Path | None, plane: tuple[int, int]) -> Beside:
    """Look for logs beside a volume.

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
    Beside

    Raises
    ------
    InputError
        If logs that fit contradict each other by more than 1 %, or are of another binning than the folder says.
    """
    # "." has no name, and a link to a folder of slices has another; a linked file keeps its own.
    path = path.resolve() if first else path.parent.resolve() / path.name
    folder = path if first else path.parent
    here = _logs(folder)
    if first and len(here) == 1:
        chosen = here
    else:
        names = names_of(path, first)
        chosen = [log for log in here if _fits(log, *names)]
        if first and not chosen:
            above = _logs(path.parent)
            chosen, here = [log for log in above if _fits(log, *names)], [*here, *above]
    if not chosen:
        return Beside(strangers=tuple(here))
    chosen = _of_this_binning(path, chosen)
    found = [(log, possible_voxels(log, path, plane)) for log in chosen]
    log, voxels = found[0]
    for other, others in found[1:]:
        if not _same(voxels, others):
            raise InputError(
                f"{path}: {log.path} says voxels of {said(voxels)}, {other.path} of {said(others)}; "
                "give the right size with `voxel_um`"
            )
    return Beside(log.path, voxels)


def _same(first: tuple[Voxel, ...], second: tuple[Voxel, ...]) -> bool:
    pairs = zip(chain(*first), chain(*second), strict=False)
    return len(first) == len(second) and all(alike(a, b) for a, b in pairs)


def names_of(path: Path, first: Path | None) -> tuple[str, tuple[str, ...]]:
    """Return the name that a volume's slices have in common, and the names of its folder and those above it.

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


def said(voxels: tuple[Voxel, ...]) -> str:
    """Return voxel sizes as text for a message.

    Examples
    --------
    >>> said(((5.0, 5.0, 5.0), (10.0, 5.0, 5.0)))
    '5 µm or 10 x 5 x 5 µm'
    """
    sizes = [voxel if len(set(voxel)) > 1 else voxel[:1] for voxel in voxels]
    return " or ".join(" x ".join(f"{value:.6g}" for value in size) + " µm" for size in sizes)


def possible_voxels(log: ScanLog, path: Path, plane: tuple[int, int]) -> tuple[Voxel, ...]:
    """Return the voxel sizes that a log may mean for the slices in a folder; one where the rules decide.

    Parameters
    ----------
    log : ScanLog
    path : Path
        The folder (or file), whose name, or else that of the folder above, says how it was binned.
    plane : tuple of int
        Rows and columns of its slices.

    Returns
    -------
    tuple of (z, y, x)
    """
    if not log.by_folder:
        return (log.voxel_um,)
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
    return tuple(_cube(size) for size in _told_by_slices(log, path, plane, open_sizes))


def _told_by_slices(log: ScanLog, path: Path, plane: tuple[int, int], open_sizes: list[float]) -> list[float]:
    """Decide between the sizes of a log, where no number in the folder's name does: by a word there, by the slices."""
    binned, fraction, word = log.voxel_um[2], _fraction(log.plane, plane), _WORD.search(path.name)
    if word and word[1]:
        return open_sizes[:1]
    if fraction == 1 or path.name == f"{log.scan}.h5":
        return [binned]
    if word:
        # Older folders "float_binned" were binned once more, after the reconstruction.
        once_more = fraction or log.reco_bin
        if once_more == 1 and log.unbinned_um is not None:
            return [binned]
        return [*open_sizes, binned * max(2, once_more)]
    return [*open_sizes, binned * fraction] if fraction else open_sizes


def binning_in(path: Path) -> dict[str, int]:
    """Return the binning that the name of a folder states, or else that of the folder above: raw, phase, reco, or "".

    Examples
    --------
    >>> binning_in(Path("reco/float_rawBin2_recoBin4")), binning_in(Path("a_bin_2/slices")), binning_in(Path("robin2"))
    ({'raw': 2, 'reco': 4}, {'': 2}, {})
    """
    for name in (path.name, path.absolute().parent.name):
        found = {kind.lower(): int(number) for kind, number in _BIN.findall(name) if int(number)}
        if found or _WORD.search(name):
            return found
    return {}


def _cube(size: float) -> Voxel:
    return size, size, size


def _fraction(whole: tuple[int, int] | None, plane: tuple[int, int]) -> int | None:
    """Return how many times smaller slices are than the reconstructed ones; None if by no whole number up to 8."""
    if whole is None:
        return None
    for factor in range(1, 9):
        if sorted(side // factor for side in whole) == sorted(plane):
            return factor
    return None


def _logs(folder: Path) -> list[ScanLog]:
    """Read the logs in a folder, in the order of their names; none where it may not be listed."""
    try:
        names = sorted(p for p in folder.iterdir() if p.name.lower().endswith((".log", "_infos.txt")) and p.is_file())
    except OSError:
        return []
    read = (read_log(path) for path in names[:_MOST_LOGS])
    return [log for log in read if log is not None]


def _fits(log: ScanLog, base: str, folders: tuple[str, ...]) -> bool:
    """Say whether the scan that a log names is that of slices named `base` in folders of these names."""
    scan, name = log.scan.casefold(), base.casefold()
    if not scan:
        return False
    # "reco_syn7" is of the scan syn7; "reco_syn7_2" is not.
    return name == scan or name.endswith(("_" + scan, "-" + scan, " " + scan)) or scan in map(str.casefold, folders)


def _of_this_binning(path: Path, logs: list[ScanLog]) -> list[ScanLog]:
    """Leave out the logs of other raw binnings than the folder's name states."""
    raw = binning_in(path).get("raw")
    same = [log for log in logs if raw is None or not log.by_folder or log.raw_bin == raw]
    if not same:
        raise InputError(
            f"{path}: its name says a raw binning of {raw}, {logs[0].path} one of {logs[0].raw_bin}; "
            "give the voxel size with `voxel_um`"
        )
    return same
