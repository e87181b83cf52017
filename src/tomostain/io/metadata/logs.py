"""The voxel size in the text logs of reconstruction programs.

A size that a log states and that is not understood is an error. It never makes another key count.

Sources of the layouts:

- Hereon at PETRA III (P05, P07): ``reco*.log`` as ``matlab/experiments/p05/p05_reco.m`` and ``matlab/hzg/sino_reco.m``
  of https://github.com/moosmann/matlab (commit e3c5f0d) write it: ``scan_name : …``, ``eff_pixel_size : 1.28 micron``
  and ``eff_pixel_size_binned : 2.56 micron`` (raw binning times the first); older logs have ``effective_pixel_size``,
  ``par.eff_pixel_size``, or ``effective_pixel_size_mu`` without a unit. Further down the same names appear again
  without a unit, in metres (a list of the program's variables). Only sizes with a unit are read.
- Bruker (SkyScan): NRecon's ``*_rec.log``, as shown in
  https://discourse.slicer.org/t/problems-with-openning-tiff-by-loading-log-document-on-skyscanreconimport-module/26898
  (NRecon 1.7): sections ``[Acquisition]`` with ``Image Pixel Size (um)=``, ``[Reconstruction]`` with ``Pixel Size
  (um)=`` and ``Section to Section Step=``, ``[File name convention]`` with ``Filename Prefix=``.
  On a computer with a German or French locale the numbers have decimal commas
  (https://github.com/openslide/openslide/issues/134). Bruker's programs that resize a dataset append a section.
- nabu (ESRF): ``<name>_infos.txt`` next to TIFF slices, as tomoscan 2.5 (``tomoscan/esrf/volume/singleframebase.py``,
  https://gitlab.esrf.fr/tomotools/tomoscan) and silx (``silx/io/configdict.py``) write it: sections
  ``[processing_options.reconstruction]`` with ``voxel_size_cm = …`` (before binning) and ``[nabu_config.dataset]``.
"""

import codecs
import math
import re
from dataclasses import dataclass
from pathlib import Path

from tomostain.errors import InputError
from tomostain.io.metadata.units import nearly_equal, to_um

MAX_LOG_BYTES = 2**20
"""Bytes of a log that are read: the sizes are near its beginning."""

_NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
_PIXEL = re.compile(
    r"^\s*(?:par\.)?eff(?:ective)?_pixel_size(_binned)?(_mu)?[ \t]*[:=][ \t]*(\S.*?)?[ \t]*$", re.MULTILINE
)
_SIZE = re.compile(rf"{_NUMBER}[ \t]*(\S*)")
_SCAN = re.compile(r"^\s*scan_name\s*[:=]\s*(\S.*?)\s*$", re.MULTILINE)
_RAW_BIN = re.compile(
    r"^\s*(?:par\.)?(?:raw_binning_factor|raw_image_binning|raw_bin)[ \t]*[:=][ \t]*(\S.*?)?[ \t]*$", re.MULTILINE
)
_RAW_BIN_NAME = re.compile(r"rawbin(\d+)", re.IGNORECASE)
_RECO_BIN = re.compile(r"^\s*(?:write\.)?reco_bin(?:ning_factor)?\s*[:=]\s*(\d+)\s*$", re.MULTILINE)
_PIXEL_SIZE_KEY = re.compile(r"(?:result |scaled |resized |image |voxel |and )*(?:pixel|voxel) size\s*(?:\((.*?)\))?")
_SHAPE = re.compile(r"^\s*(?:tomo\.)?vol_shape\s*[:=]\s*\[?\s*(\d+)[\s,]+(\d+)[\s,]+(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class ScanLog:
    """The content of one log.

    Attributes
    ----------
    path : Path
    scan : str
        The scan, or the start of the names of the slices; "" if the log does not state it.
    voxel_um : tuple of float
        Voxel size (z, y, x), µm, as reconstructed.
    by_folder : bool
        Whether the name of the folder decides how the size is read (Hereon). The other attributes are for these logs.
    unbinned_um : float or None
        Pixel size before the projections were binned, if it differs.
    raw_bin : int
        Number of pixels of the projections that were binned along each side.
    reco_bin : int
        Number of voxels that were binned after the reconstruction along each side.
    plane : tuple of int or None
        Rows and columns of a reconstructed slice.
    sections : Sections or None
        The slices that were reconstructed.
    problem : str
        Why the size is not known although the log states it: the message of the error if the log is that of the volume.
    """

    path: Path
    scan: str
    voxel_um: tuple[float, float, float]
    by_folder: bool = False
    unbinned_um: float | None = None
    raw_bin: int = 1
    reco_bin: int = 1
    plane: tuple[int, int] | None = None
    sections: "Sections | None" = None
    problem: str = ""


@dataclass(frozen=True)
class Sections:
    """The slices that a log states.

    Attributes
    ----------
    count : int
    first, last : int or None
        Numbers of the first and the last slice in the names of the files; None if not stated.
    """

    count: int
    first: int | None = None
    last: int | None = None


def read_log(path: Path) -> ScanLog | None:
    """Read the first `MAX_LOG_BYTES` of a log.

    Parameters
    ----------
    path : Path

    Returns
    -------
    ScanLog or None
        None for a file of another kind, one that cannot be read, and one that states no size. If it states a size that
        is not understood, or two sizes for the same thing, `ScanLog.problem` says so.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_LOG_BYTES)
    except OSError:
        return None
    text = _decoded(data)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        return _parsed(path, text)
    except InputError as error:
        return ScanLog(path, _scan_of(path, text), (math.nan, math.nan, math.nan), problem=str(error))


def _decoded(data: bytes) -> str:
    """Decode the text of a log.

    Windows programs write in various code pages, also in UTF-16 ("Unicode"). Latin-1 reads any bytes, and the keys are
    plain ASCII but for µ.
    """
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if data.startswith(mark):
            return data.decode(encoding, errors="ignore")
    if data[1:2] == b"\0" or data[:1] == b"\0":  # UTF-16 without a mark
        return data.decode("utf-16-le" if data[1:2] == b"\0" else "utf-16-be", errors="ignore")
    is_utf8 = any(lead in data for lead in (b"\xc3", b"\xc2\xb5", b"\xce\xbc"))
    return data.decode("utf-8", errors="ignore") if is_utf8 else data.decode("latin-1")


def _parsed(path: Path, text: str) -> ScanLog | None:
    name = path.name.lower()
    if name.endswith("_infos.txt"):
        return nabu_log(path, text)
    if name.startswith("reco") and name.endswith(".log") and _PIXEL.search(text):
        return p05_log(path, text)
    return skyscan_log(path, text) if name.endswith(".log") else None


def _scan_of(path: Path, text: str) -> str:
    """Return the scan of a log whose size is not understood."""
    scan = _SCAN.search(text)
    if scan:
        return scan[1]
    if path.name.lower().endswith("_infos.txt"):
        return path.name[: -len("_infos.txt")]
    return _sections(text, "=").get("file name convention", {}).get("filename prefix", [""])[0] or path.stem


def p05_log(path: Path, text: str) -> ScanLog | None:
    """Read the text of a reconstruction log of Hereon's beamlines; see `read_log`.

    Raises
    ------
    InputError
        If a size with a unit, or a binning, is not understood, or is stated twice with different values.
    """
    sizes: dict[bool, list[float]] = {False: [], True: []}
    for line in _PIXEL.finditer(text):
        size = _p05_size(path, line)
        if size is not None:
            sizes[bool(line[1])].append(size)
    unbinned, binned_um = (_one(path, sizes[kind]) for kind in (False, True))
    raw = _raw_bin(path, text)
    if unbinned is None:
        if binned_um is None:
            return None
        unbinned = binned_um / (raw or 1)
    raw_bin = raw or max(1, round((binned_um or unbinned) / unbinned))
    binned_um = binned_um or unbinned * raw_bin
    scan, shape, reco_bin = _SCAN.search(text), _SHAPE.search(text), _RECO_BIN.search(text)
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
        raise _not_understood(path, line[0].split(":")[0].split("=")[0], value)
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


def skyscan_log(path: Path, text: str) -> ScanLog | None:
    """Read the text of a log of Bruker's NRecon; see `read_log`.

    Raises
    ------
    InputError
        If a size is not understood, or is stated twice with different values.
    """
    sections = _sections(text, "=")
    named = {name for name, keys in sections.items() if any(_PIXEL_SIZE_KEY.fullmatch(key) for key in keys)}
    if not named:
        return None
    # The size of the reconstruction counts, else that of the acquisition. Other sections must agree with it: they are
    # of programs that resize a dataset.
    main = next((name for name in ("reconstruction", "acquisition") if name in named), min(named))
    others = named - {"reconstruction", "acquisition", main}
    sizes = [size for name in (main, *sorted(others)) for size in _pixel_sizes(path, sections[name])]
    size = _one(path, sizes)
    resized = {name for name in sections if re.search(r"resiz|resampl|rebin", name)} - named
    if resized:
        raise InputError(
            f"{path}: the dataset was resized (section [{min(resized)}]), and the new pixel size is not in the log; "
            "give it with `voxel_um`"
        )
    assert size is not None
    reconstruction = sections.get("reconstruction", {})
    steps = [_decimal(path, "Section to Section Step", v) for v in reconstruction.get("section to section step", [])]
    step = _one(path, steps, "section steps") or 1.0
    prefix = sections.get("file name convention", {}).get("filename prefix", [""])[0]
    plane, slices = _result_plane(reconstruction), _reconstructed_sections(reconstruction, steps)
    return ScanLog(path, prefix or path.stem, (size * step, size, size), plane=plane, sections=slices)


def _reconstructed_sections(reconstruction: dict[str, list[str]], steps: list[float]) -> Sections | None:
    """Return the slices that NRecon reconstructed: ``Sections Count``, ``First Section`` and ``Last Section``.

    Without the count, it follows from the other two and from the steps between sections, if the log states them.
    """
    values = [reconstruction.get(key, [""])[-1] for key in ("sections count", "first section", "last section")]
    count, first, last = (int(value) if value.isdecimal() and len(value) < 9 else None for value in values)
    if first is not None and last is not None:
        first, last = min(first, last), max(first, last)
    if not count and first is not None and last is not None and len(steps) == 1 and steps[0] >= 1:
        count = int((last - first) // steps[0]) + 1
    if not count:
        return None
    return Sections(count, first, last)


def _pixel_sizes(path: Path, keys: dict[str, list[str]]) -> list[float]:
    """Return all pixel sizes of a section, µm. The size of the camera's pixels is another thing."""
    sizes = []
    for key, values in keys.items():
        match = _PIXEL_SIZE_KEY.fullmatch(key)
        if match is None:
            continue
        for value in values:
            size = to_um(_decimal(path, key, value), match[1])
            if size is None:
                raise _not_understood(path, key, value)
            sizes.append(size)
    return sizes


def _result_plane(reconstruction: dict[str, list[str]]) -> tuple[int, int] | None:
    """Return rows and columns of the slices as they were reconstructed, if the log states them."""
    sides = [reconstruction.get(f"result image {side} (pixels)", [""])[-1] for side in ("height", "width")]
    return (int(sides[0]), int(sides[1])) if all(side.isdecimal() and int(side) > 0 for side in sides) else None


def nabu_log(path: Path, text: str) -> ScanLog | None:
    """Read the text of the description that nabu writes next to TIFF slices; see `read_log`.

    Raises
    ------
    InputError
        If a size or a binning is not understood, or is stated twice with different values.
    """
    sections = _sections(text, "=")
    options = sections.get("processing_options.reconstruction", {})
    dataset = sections.get("nabu_config.dataset", {})
    blocks = [
        (key, lengths)
        for key in ("voxel_size_cm", "pixel_size_cm")
        for value in options.get(key, [])
        if (lengths := _nabu_lengths(path, key, value)) is not None
    ]
    if not blocks:
        return None
    for axis in range(3):
        _one(path, [lengths[axis] for _, lengths in blocks])
    z, y, x = blocks[0][1]
    across, along = (
        _one(path, [_decimal(path, key, value) for value in dataset.get(key, [])], "binnings") or 1.0
        for key in ("binning", "binning_z")
    )
    return ScanLog(path, path.name[: -len("_infos.txt")], (z * along, y * across, x * across))


def _nabu_lengths(path: Path, key: str, value: str) -> tuple[float, float, float] | None:
    """Return (z, y, x), µm, from one or three numbers in cm; None if the value is empty or None."""
    # NumPy 2 prints its numbers as np.float64(1.0).
    words = re.sub(r"np\.\w+", "", value).translate(str.maketrans("()[],;", "      ")).split()
    if all(word == "None" for word in words):
        return None
    lengths = [to_um(float(word), "cm") if re.fullmatch(_NUMBER, word) else None for word in words]
    lengths_um = [length for length in lengths if length is not None]
    # "1,28e-4" with a decimal comma would be two numbers.
    if len(lengths_um) != len(words) or len(lengths_um) not in (1, 3):
        raise _not_understood(path, key, value)
    z, y, x = (lengths_um * 3)[:3]
    return z, y, x


def _not_understood(path: Path, key: str, value: str) -> InputError:
    return InputError(
        f"{path}: states '{key.strip()}' as '{value[:60]}', which is not understood; give the voxel size with "
        "`voxel_um`"
    )


def _sections(text: str, separator: str) -> dict[str, dict[str, list[str]]]:
    """Split the text of an INI file into its sections and keys, in lower case, with all values of a key that repeats.

    Sections of one name are joined.
    """
    sections: dict[str, dict[str, list[str]]] = {}
    keys: dict[str, list[str]] = {}
    for line in text.split("\n"):
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            keys = sections.setdefault(line[1:-1].strip().lower(), {})
        elif separator in line:
            key, value = line.split(separator, 1)
            keys.setdefault(key.strip().lower(), []).append(value.strip())
    return sections


def _decimal(path: Path, key: str, value: str) -> float:
    """Return a positive number with a decimal point or comma.

    A comma is never a separator of thousands: no scanner has pixels of a millimetre.
    """
    if re.fullmatch(r"\d+,\d+(?:[eE][-+]?\d+)?", value):
        value = value.replace(",", ".")
    number = float(value) if re.fullmatch(_NUMBER, value) else math.nan
    if not (math.isfinite(number) and number > 0):
        raise _not_understood(path, key, value)
    return number


def _one(path: Path, sizes: list[float], what: str = "pixels") -> float | None:
    """Return the one value that a log states, or None."""
    unit = "" if what != "pixels" else " µm"
    for size in sizes[1:]:
        if not nearly_equal(size, sizes[0]):
            raise InputError(
                f"{path}: states {what} of {sizes[0]:g} and of {size:g}{unit}; give the right voxel size with "
                "`voxel_um`"
            )
    return sizes[0] if sizes else None
