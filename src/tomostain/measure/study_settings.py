"""How the specimens of a study were measured: the settings that must be the same for all."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tomostain.errors import InputError
from tomostain.measure.config import MeasureConfig
from tomostain.measure.label_files import SIZE_TOLERANCE, open_labels
from tomostain.measure.result_files import JSON, LABELS, SETTINGS
from tomostain.measure.results import MeasureResult, SectionResult
from tomostain.measure.rows import MeasureRow

Setting = str | tuple[float, ...]

_CONTACT = re.compile(r"gap tolerance ([0-9.e+-]+) µm, depth ([0-9.e+-]+) µm")
"""What `tomostain.measure.morphometry.contact.ContactRule` writes into the note of a contact."""


@dataclass(frozen=True)
class _Stated:
    """A setting of one specimen."""

    value: Setting
    specimen: str


class SameSettings:
    """Compares the settings of specimens with those of the first one that states them.

    Parameters
    ----------
    table : str
        Name of the table of the study, for the error message.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self._first: dict[str, _Stated] = {}

    def check(self, settings: Mapping[str, Setting], specimen: str) -> None:
        """Raise if a setting differs from that of an earlier specimen.

        Raises
        ------
        InputError
            The message names both specimens, the setting and its two values.
        """
        for name, value in settings.items():
            first = self._first.setdefault(name, _Stated(value, specimen))
            if not _is_same(first.value, value):
                raise InputError(
                    f"{self._table}: the {name} is {_text(first.value)} of specimen '{first.specimen}' and "
                    f"{_text(value)} of '{specimen}'; measure all with the same settings"
                )


def measured_with(path: Path, rows: Sequence[MeasureRow]) -> dict[str, Setting]:
    """Return how a specimen was measured.

    Parameters
    ----------
    path : Path
        The folder of a measurement, or a table in it.
    rows : sequence of MeasureRow
        Its measures of one source. Their notes state the gap tolerance and the depth that were used.

    Returns
    -------
    dict of str to str or tuple of float
        Lengths in µm. Values that no file states are missing.

    Raises
    ------
    InputError
        If ``measure.yaml`` or ``measures.json`` is damaged.
    """
    folder = path if path.is_dir() else path.parent
    provenance = _provenance(folder / JSON)
    config = MeasureConfig.from_yaml(folder / SETTINGS) if (folder / SETTINGS).is_file() else None
    return _settings(config, rows, provenance, _voxel_size(folder))


def settings_of(result: MeasureResult | SectionResult, rows: Sequence[MeasureRow]) -> dict[str, Setting]:
    """Return how a specimen was measured, from the result in memory. See `measured_with`."""
    size = result.voxel_um if isinstance(result, MeasureResult) else None
    return _settings(result.config, rows, result.provenance, size)


def _settings(
    config: MeasureConfig | None,
    rows: Sequence[MeasureRow],
    provenance: Mapping[str, str],
    size: tuple[float, ...] | None,
) -> dict[str, Setting]:
    settings: dict[str, Setting] = {} if config is None else _of_config(config)
    for row in rows:
        if match := _CONTACT.search(row["note"]):
            settings |= {"gap tolerance": (float(match[1]),), "depth of the contact": (float(match[2]),)}
            break
    if "classifier" in provenance:
        settings["tissue classifier"] = provenance["classifier"]
    if size is not None:
        settings["voxel size"] = size
    return settings


def _of_config(config: MeasureConfig) -> dict[str, Setting]:
    """Return the settings that change values. A length that is a number of voxels by default may be missing."""
    settings: dict[str, Setting] = {"list of shells": config.shell_um, "surface": config.surface}
    if config.gap_um is not None:
        settings["gap tolerance"] = (config.gap_um,)
    if config.depth_um is not None:
        settings["depth of the contact"] = (config.depth_um,)
    return settings


def _provenance(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    try:
        stated = json.loads(file.read_text(encoding="utf-8"))["provenance"]
        return {str(name): str(value) for name, value in stated.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{file}: is not a file of measures; give the one that 'tomostain measure' wrote") from None


def _voxel_size(folder: Path) -> tuple[float, ...] | None:
    """Return the voxel size of the labels that were written, if they are still there."""
    try:
        return open_labels(folder / LABELS).voxel_um
    except InputError:
        return None


def _is_same(first: Setting, other: Setting) -> bool:
    if isinstance(first, str) or isinstance(other, str):
        return first == other
    close = (math.isclose(a, b, rel_tol=SIZE_TOLERANCE, abs_tol=1e-9) for a, b in zip(first, other, strict=False))
    return len(first) == len(other) and all(close)


def _text(value: Setting) -> str:
    if isinstance(value, str):
        return f"'{value}'"
    return f"{', '.join(f'{each:g}' for each in value)} µm"
