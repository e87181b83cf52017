"""The label volume that a path names: itself, or that in a folder of measures."""

from contextlib import suppress
from pathlib import Path

from tomostain.errors import InputError

_LABELS = "labels.ome.zarr"


def label_volume(path: Path) -> Path:
    """Return the label volume in a folder of measures, or the path itself.

    Raises
    ------
    InputError
        If the folder holds none.
    """
    with suppress(OSError):
        if (path / "measure.yaml").is_file():
            if not (path / _LABELS).is_dir():
                raise InputError(f"{path}: holds no {_LABELS}; give the folder of a measured volume, or a label volume")
            return path / _LABELS
    return path
