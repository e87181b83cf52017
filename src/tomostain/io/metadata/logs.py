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
from pathlib import Path

from tomostain.errors import InputError
from tomostain.io.metadata.hereon_log import PIXEL_LINE, SCAN_LINE, p05_log
from tomostain.io.metadata.scan_log import NUMBER, ScanLog, not_understood, only_value, positive_number, sections_of
from tomostain.io.metadata.skyscan_log import skyscan_log
from tomostain.io.metadata.units import to_um

MAX_LOG_BYTES = 2**20
"""Bytes of a log that are read: the sizes are near its beginning."""


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
    if name.startswith("reco") and name.endswith(".log") and PIXEL_LINE.search(text):
        return p05_log(path, text)
    return skyscan_log(path, text) if name.endswith(".log") else None


def _scan_of(path: Path, text: str) -> str:
    """Return the scan of a log whose size is not understood."""
    scan = SCAN_LINE.search(text)
    if scan:
        return scan[1]
    if path.name.lower().endswith("_infos.txt"):
        return path.name[: -len("_infos.txt")]
    return sections_of(text, "=").get("file name convention", {}).get("filename prefix", [""])[0] or path.stem


def nabu_log(path: Path, text: str) -> ScanLog | None:
    """Read the text of the description that nabu writes next to TIFF slices; see `read_log`.

    Raises
    ------
    InputError
        If a size or a binning is not understood, or is stated twice with different values.
    """
    sections = sections_of(text, "=")
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
        only_value(path, [lengths[axis] for _, lengths in blocks])
    z, y, x = blocks[0][1]
    across, along = (
        only_value(path, [positive_number(path, key, value) for value in dataset.get(key, [])], "binnings") or 1.0
        for key in ("binning", "binning_z")
    )
    return ScanLog(path, path.name[: -len("_infos.txt")], (z * along, y * across, x * across))


def _nabu_lengths(path: Path, key: str, value: str) -> tuple[float, float, float] | None:
    """Return (z, y, x), µm, from one or three numbers in cm; None if the value is empty or None."""
    # NumPy 2 prints its numbers as np.float64(1.0).
    words = re.sub(r"np\.\w+", "", value).translate(str.maketrans("()[],;", "      ")).split()
    if all(word == "None" for word in words):
        return None
    lengths = [to_um(float(word), "cm") if re.fullmatch(NUMBER, word) else None for word in words]
    lengths_um = [length for length in lengths if length is not None]
    # "1,28e-4" with a decimal comma would be two numbers.
    if len(lengths_um) != len(words) or len(lengths_um) not in (1, 3):
        raise not_understood(path, key, value)
    z, y, x = (lengths_um * 3)[:3]
    return z, y, x
