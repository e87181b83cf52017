"""Writing of a report as ONE page that needs no other file."""

from pathlib import Path

from tomostain.errors import InputError
from tomostain.io.atomic import refuse_existing, write_text
from tomostain.paths import StrPath
from tomostain.view.report.blocks import Report
from tomostain.view.report.encoding import Encoding
from tomostain.view.report.html import page

MAX_BYTES = 8_000_000
_ENCODINGS = (Encoding(1600, 90), Encoding(1400, 84), Encoding(1100, 78), Encoding(800, 70))


def write_report(path: StrPath, report: Report, *, overwrite: bool = False, max_bytes: int = MAX_BYTES) -> Path:
    """Write a report as one self-contained HTML page: no other file, no network, no JavaScript needed.

    Parameters
    ----------
    path : str or os.PathLike
        The HTML file.
    report : Report
        Content. All text is escaped.
    overwrite : bool
        Replace an existing page.
    max_bytes : int
        Maximum size of the page. Images are reduced in steps until it fits.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    InputError
        If the page exists, an image cannot be read, or there are too many images for the maximum size.
    """
    path = Path(path)
    refuse_existing(path, overwrite, "report")
    for encoding in _ENCODINGS:
        text = page(report, encoding)
        if len(text.encode()) <= max_bytes:
            write_text(path, text, overwrite=overwrite)
            return path
    raise InputError(f"{path}: the page would have {len(text) / 1e6:.1f} MB even with small images; show fewer of them")
