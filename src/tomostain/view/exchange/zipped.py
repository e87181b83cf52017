"""ZIP files with the same bytes for the same content."""

import zipfile
from pathlib import Path

_STORED = {".onnx", ".png", ".npy"}
"""File types that are already compressed."""


def zip_folder(folder: Path, out: Path) -> None:
    """Write the files of a folder, without subfolders, into a ZIP file, sorted by name and without times."""
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(folder.iterdir()):
            entry = zipfile.ZipInfo(path.name)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_STORED if path.suffix in _STORED else zipfile.ZIP_DEFLATED
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                while block := source.read(2**20):
                    target.write(block)
