"""The voxel size in the text logs of reconstruction programs.

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
- nabu (ESRF): ``<name>_infos.txt`` next to TIFF slices, as tomoscan 2.5 (``tomoscan/esrf/volume/singleframebase.py``,
  https://gitlab.esrf.fr/tomotools/tomoscan) and silx (``silx/io/configdict.py``) write it: sections
  ``[processing_options.reconstruction]`` with ``voxel_size_cm = …`` (before binning) and ``[nabu_config.dataset]``.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from tomostain.errors import InputError
from tomostain.io.metadata.units import nearly_equal, to_um

MAX_LOG_BYTES = 2**20
"""Bytes of a log that are read: the sizes are near its beginning."""

_NUMBER = r"([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)"
_PIXEL = re.compile(
    rf"^\s*(?:par\.)?eff(?:ective)?_pixel_size(_binned)?(_mu)?\s*[:=]\s*{_NUMBER}[ \t]*(\S*)\s*$", re.MULTILINE
)
_SCAN = re.compile(r"^\s*scan_name\s*[:=]\s*(\S.*?)\s*$", re.MULTILINE)
_RAW_BIN = re.compile(
    r"^\s*(?:par\.)?(?:raw_binning_factor|raw_image_binning|raw_bin)\s*[:=]\s*(\d+)\s*$", re.MULTILINE
)
_RAW_BIN_NAME = re.compile(r"rawbin(\d+)", re.IGNORECASE)
_RECO_BIN = re.compile(r"^\s*(?:write\.)?reco_bin(?:ning_factor)?\s*[:=]\s*(\d+)\s*$", re.MULTILINE)
_SHAPE = re.compile(r"^\s*(?:tomo\.)?vol_shape\s*[:=]\s*\[?\s*(\d+)[\s,]+(\d+)[\s,]+\d+", re.MULTILINE)


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
    """

    path: Path
    scan: str
    voxel_um: tuple[float, float, float]
    by_folder: bool = False
    unbinned_um: float | None = None
    raw_bin: int = 1
    reco_bin: int = 1
    plane: tuple[int, int] | None = None


def read_log(path: Path) -> ScanLog | None:
    """Read the first `MAX_LOG_BYTES` of a log.

    Parameters
    ----------
    path : Path

    Returns
    -------
    ScanLog or None
        None for a file of another kind, one that cannot be read, and one that states no size.

    Raises
    ------
    InputError
        If a log states two sizes for the same thing.
    """
    name = path.name.lower()
    try:
        with path.open("rb") as file:
            data = file.read(MAX_LOG_BYTES)
    except OSError:
        return None
    # Windows programs write in various code pages. Latin-1 reads any bytes, and the keys are plain ASCII.
    text = data.decode("utf-8-sig", errors="ignore") if b"\xc3" in data else data.decode("latin-1")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if name.endswith("_infos.txt"):
        return nabu_log(path, text)
    if name.startswith("reco") and name.endswith(".log") and _PIXEL.search(text):
        return p05_log(path, text)
    return skyscan_log(path, text) if name.endswith(".log") else None


def p05_log(path: Path, text: str) -> ScanLog | None:
    """Read the text of a reconstruction log of Hereon's beamlines; see `read_log`."""
    sizes: dict[bool, list[float]] = {False: [], True: []}
    for binned, micron, number, unit in _PIXEL.findall(text):
        size = to_um(float(number), "µm" if micron else unit)
        if size is not None:
            sizes[bool(binned)].append(size)
    unbinned, binned_um = (_one(path, sizes[kind]) for kind in (False, True))
    binning = _RAW_BIN_NAME.search(path.name) or _RAW_BIN.search(text)
    if unbinned is None:
        if binned_um is None:
            return None
        unbinned = binned_um / (int(binning[1]) if binning else 1)
    raw_bin = int(binning[1]) if binning else max(1, round((binned_um or unbinned) / unbinned))
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
    )


def skyscan_log(path: Path, text: str) -> ScanLog | None:
    """Read the text of a log of Bruker's NRecon; see `read_log`."""
    sections = _sections(text, "=")
    reconstruction = sections.get("reconstruction", {})
    size = _length(reconstruction.get("pixel size (um)"))
    if size is None:
        size = _length(sections.get("acquisition", {}).get("image pixel size (um)"))
    if size is None:
        return None
    step = _length(reconstruction.get("section to section step")) or 1.0
    prefix = sections.get("file name convention", {}).get("filename prefix", "")
    return ScanLog(path, prefix or path.stem, (size * step, size, size))


def nabu_log(path: Path, text: str) -> ScanLog | None:
    """Read the text of the description that nabu writes next to TIFF slices; see `read_log`."""
    sections = _sections(text, "=")
    options = sections.get("processing_options.reconstruction", {})
    dataset = sections.get("nabu_config.dataset", {})
    for key in ("voxel_size_cm", "pixel_size_cm"):
        plain = re.sub(r"np\.\w+", "", options.get(key, ""))  # NumPy 2 prints its numbers as np.float64(1.0)
        lengths = [length for number in re.findall(_NUMBER, plain) if (length := to_um(float(number), "cm"))]
        if len(lengths) in (1, 3):
            z, y, x = (lengths * 3)[:3]
            across = _length(dataset.get("binning")) or 1.0
            along = _length(dataset.get("binning_z")) or 1.0
            return ScanLog(path, path.name[: -len("_infos.txt")], (z * along, y * across, x * across))
    return None


def _sections(text: str, separator: str) -> dict[str, dict[str, str]]:
    """Split the text of an INI file into its sections and keys, in lower case; of two equal keys the first counts."""
    sections: dict[str, dict[str, str]] = {}
    keys: dict[str, str] = {}
    for line in text.split("\n"):
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            keys = sections.setdefault(line[1:-1].strip().lower(), {})
        elif separator in line:
            key, value = line.split(separator, 1)
            keys.setdefault(key.strip().lower(), value.strip())
    return sections


def _length(value: str | None) -> float | None:
    """Return a positive number, or None."""
    try:
        return to_um(float(value or ""), "µm")
    except ValueError:
        return None


def _one(path: Path, sizes: list[float]) -> float | None:
    """Return the size that a log states, or None."""
    for size in sizes[1:]:
        if not nearly_equal(size, sizes[0]):
            raise InputError(
                f"{path}: states pixels of {sizes[0]:g} and of {size:g} µm; give the right size with `voxel_um`"
            )
    return sizes[0] if sizes else None
