"""The reconstruction logs of Hereon's beamlines at PETRA III (P05, P07)."""

import re
from pathlib import Path

from tomostain.errors import InputError
from tomostain.io.metadata.scan_log import NUMBER, ScanLog, Sections, not_understood, only_value
from tomostain.io.metadata.units import nearly_equal, to_um

PIXEL_LINE = re.compile(
    r"^\s*(?:par\.)?eff(?:ective)?_pixel_size(_binned)?(_mu)?[ \t]*[:=][ \t]*(\S.*?)?[ \t]*$", re.MULTILINE
)

_SIZE = re.compile(rf"{NUMBER}[ \t]*(\S*)")

SCAN_LINE = re.compile(r"^\s*scan_name\s*[:=]\s*(\S.*?)\s*$", re.MULTILINE)

_RAW_BIN = re.compile(
    r"^\s*(?:par\.)?(?:raw_binning_factor|raw_image_binning|raw_bin)[ \t]*[:=][ \t]*(\S.*?)?[ \t]*$", re.MULTILINE
)

_RAW_BIN_NAME = re.compile(r"rawbin(\d+)", re.IGNORECASE)

_RECO_BIN = re.compile(r"^\s*(?:write\.)?reco_bin(?:ning_factor)?\s*[:=]\s*(\d+)\s*$", re.MULTILINE)

_SHAPE = re.compile(r"^\s*(?:tomo\.)?vol_shape\s*[:=]\s*\[?\s*(\d+)[\s,]+(\d+)[\s,]+(\d+)", re.MULTILINE)


def p05_log(path: Path, text: str) -> ScanLog | None:
    """Read the text of a reconstruction log of Hereon's beamlines; see `read_log`.

    Raises
    ------
    InputError
        If a size with a unit, or a binning, is not understood, or is stated twice with different values.
    """
    sizes: dict[bool, list[float]] = {False: [], True: []}
    for line in PIXEL_LINE.finditer(text):
        size = _p05_size(path, line)
        if size is not None:
            sizes[bool(line[1])].append(size)
    unbinned, binned_um = (only_value(path, sizes[kind]) for kind in (False, True))
    raw = _raw_bin(path, text)
    if unbinned is None:
        if binned_um is None:
            return None
        unbinned = binned_um / (raw or 1)
    raw_bin = raw or max(1, round((binned_um or unbinned) / unbinned))
    binned_um = binned_um or unbinned * raw_bin
    scan, shape, reco_bin = SCAN_LINE.search(text), _SHAPE.search(text), _RECO_BIN.search(text)
    return ScanLog(
        path,
        scan[1] if scan else "",
        (binned_um, binned_um, binned_um),
        True,
        None if nearly_equal(unbinned, binned_um) else unbinned,
        raw_bin,
        int(reco_bin[1]) if reco_bin else 1,
        (int(shape[1]), int(shape[2])) if shape else None,
        Sections(int(shape[3])) if shape and int(shape[3]) else None,
    )


def _p05_size(path: Path, line: re.Match[str]) -> float | None:
    """Return the size in one line; None if it has no unit (a variable of the program, in metres) or no value."""
    value = line[3] or ""
    size = _SIZE.fullmatch(value)
    if value in ("", "[]") or (size and not size[2] and not line[2]):
        return None
    length = to_um(float(size[1]), "µm" if line[2] else size[2]) if size and not (line[2] and size[2]) else None
    if length is None:
        raise not_understood(path, line[0].split(":")[0].split("=")[0], value)
    return length


def _raw_bin(path: Path, text: str) -> int | None:
    """Return the binning of the projections that the name of a log or the log states."""
    name, line = _RAW_BIN_NAME.search(path.name), _RAW_BIN.search(text)
    value = name[1] if name else line[1] if line else None
    if value is None:
        return None
    if not re.fullmatch(r"\d+(?:\.0*)?", value) or float(value) < 1:
        raise InputError(f"{path}: states a binning of '{value}', which is not understood; give `voxel_um`")
    return int(float(value))
