"""The folder of a measurement: its files, and the tables in CSV and JSON.

``pandas.read_csv`` reads ``measures.csv`` as it is.
"""

import json
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from tomostain import __version__
from tomostain.config import Config
from tomostain.errors import InputError
from tomostain.io.atomic import write_text
from tomostain.io.csv_files import csv_text, read_csv
from tomostain.io.output_folder import check_contents, check_sources_outside, output_folder
from tomostain.measure.measures import Definition
from tomostain.measure.rows import COLUMNS, MeasureRow, Voxels
from tomostain.paths import StrPath

SETTINGS = "measure.yaml"
CSV = "measures.csv"
JSON = "measures.json"
LABELS = "labels.ome.zarr"
THICKNESS = "thickness.ome.zarr"
DISTANCE = "distance.ome.zarr"
LAYER = "layer.ome.zarr"
UNCERTAINTY = "uncertainty.ome.zarr"
PAGE = "report.html"
"""Names of the files in the folder of a measurement. The first is written first: it marks the folder."""
_FORMAT = 1
_NUMBERS = ("value", "sd_model", "sd_registration")
_KEY = ("specimen", "source", "measure", "region", "voxels")


def begin_output(
    out: StrPath,
    config: Config | None = None,
    *,
    sources: Iterable[StrPath] = (),
    overwrite: bool = False,
) -> Path:
    """Check and create the folder of a measurement, and write its options to ``measure.yaml``.

    The files of an earlier measurement in it are removed, and of one that was interrupted.

    Parameters
    ----------
    out : str or os.PathLike
        The folder.
    config : Config, optional
        The options.
    sources : iterable of str or os.PathLike
        The input, which must not lie in the folder.
    overwrite : bool
        Replace a complete measurement.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If the folder holds a complete measurement and `overwrite` is False, or anything else.
    """
    out = check_output(out, sources=sources, overwrite=overwrite)
    if out.is_dir():
        for file in sorted(out.iterdir(), key=lambda each: each.name == SETTINGS):  # the marker last
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / SETTINGS, "{}\n" if config is None else config.to_yaml())
    return out


def check_output(out: StrPath, *, sources: Iterable[StrPath] = (), overwrite: bool = False) -> Path:
    """Check the folder of a measurement as `begin_output` does, and change nothing."""
    out = Path(out)
    check_sources_outside(out, "measurement", sources)
    if output_folder(out, "measurement", SETTINGS, overwrite=overwrite, resume=not (out / JSON).is_file()):
        check_contents(out, "measurement", _is_known)
    return out


def _is_known(name: str) -> bool:
    """Return whether a file belongs to the folder of a measurement, also one whose writing was interrupted."""
    names = (SETTINGS, CSV, JSON, LABELS, THICKNESS, DISTANCE, LAYER, UNCERTAINTY, PAGE)
    hidden = name.startswith(".") and any(name[1:].startswith(each) for each in (*names, "member-", "partial"))
    return name in names or hidden


def write_results(
    out: StrPath,
    rows: Sequence[MeasureRow],
    definitions: Iterable[Definition],
    *,
    notes: Sequence[str] = (),
    provenance: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> tuple[Path, Path]:
    """Write ``measures.csv`` and ``measures.json``.

    Parameters
    ----------
    out : str or os.PathLike
        The folder.
    rows : sequence of MeasureRow
    definitions : iterable of Definition
        Of the measures that occur; they are written into the JSON.
    notes : sequence of str
    provenance : mapping of str to str, optional
    overwrite : bool
        Replace the files of an earlier measurement.

    Returns
    -------
    tuple of Path
        The CSV and the JSON.

    Raises
    ------
    InputError
        If a file exists and `overwrite` is False, or two rows are the same measure of the same specimen.
    """
    out = Path(out)
    _check_unique(rows, str(out))
    text = results_json(rows, definitions, notes=notes, provenance=provenance)
    # With the JSON, the measurement is complete: it is written last.
    write_text(out / CSV, rows_text(rows), overwrite=overwrite)
    write_text(out / JSON, text, overwrite=overwrite)
    return out / CSV, out / JSON


def rows_text(rows: Sequence[MeasureRow]) -> str:
    """Return the text of ``measures.csv``."""
    cells = [{name: _cell(row[name]) for name in COLUMNS} for row in rows]  # type: ignore[literal-required]
    return csv_text(COLUMNS, cells)


def results_json(
    rows: Sequence[MeasureRow],
    definitions: Iterable[Definition],
    *,
    notes: Sequence[str] = (),
    provenance: Mapping[str, str] | None = None,
) -> str:
    """Return the text of ``measures.json``: format, version, provenance, notes, definitions and measures."""
    definition_of = {each.id: asdict(each) for each in definitions}
    content = {
        "format": _FORMAT,
        "tomostain": __version__,
        "provenance": dict(provenance or {}),
        "notes": list(notes),
        "definitions": definition_of,
        "measures": [{name: _null(value) for name, value in row.items()} for row in rows],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_rows(path: StrPath) -> list[MeasureRow]:
    """Read the measures of a folder, or of its CSV or JSON file.

    Parameters
    ----------
    path : str or os.PathLike
        The folder of a measurement, ``measures.csv`` or ``measures.json``.

    Returns
    -------
    list of MeasureRow

    Raises
    ------
    InputError
        If it is none of these, a column is missing, a number is not a number, or a measure occurs twice.
    """
    path = Path(path)
    file = path / CSV if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{path}: holds no {CSV}; give the folder that 'tomostain measure' wrote")
    records: Sequence[Mapping[str, object]] = _json_records(file) if file.suffix == ".json" else read_csv(file).rows
    rows = [_row(record, f"{file}, measure {number}") for number, record in enumerate(records, start=1)]
    _check_unique(rows, str(file))
    return rows


def _json_records(file: Path) -> list[dict[str, object]]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        records = content["measures"]
        form, records = content["format"], [dict(record) for record in records]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{file}: is not a file of measures; give the one that 'tomostain measure' wrote") from None
    if form != _FORMAT:
        raise InputError(f"{file}: has the format {form}; this version of tomostain reads {_FORMAT}")
    return records


def _row(record: Mapping[str, object], source: str) -> MeasureRow:
    missing = [name for name in COLUMNS if name not in record]
    if missing:
        raise InputError(f"{source}: the column '{missing[0]}' is missing")
    values = {name: str(record[name]) for name in COLUMNS}
    if values["voxels"] not in get_args(Voxels):
        raise InputError(f"{source}: voxels is '{values['voxels']}'; expected one of {', '.join(get_args(Voxels))}")
    if values["dimension"] not in ("2", "3"):
        raise InputError(f"{source}: dimension is '{values['dimension']}'; expected 2 or 3")
    numbers = {name: _number(record[name], f"{source}: {name}") for name in _NUMBERS}
    return MeasureRow(**(values | numbers | {"dimension": int(values["dimension"])}))  # type: ignore[typeddict-item]


def _number(value: object, source: str) -> float:
    if value is None or value == "":
        return math.nan
    try:
        return float(str(value))
    except ValueError:
        raise InputError(f"{source} is '{value}', not a number") from None


def _check_unique(rows: Iterable[MeasureRow], source: str) -> None:
    keys = set()
    for row in rows:
        key = tuple(row[name] for name in _KEY)  # type: ignore[literal-required]
        if key in keys:
            raise InputError(
                f"{source}: the measure '{row['measure']}' of the region '{row['region']}' of specimen "
                f"'{row['specimen']}' occurs twice (source {row['source']}, {row['voxels']} voxels)"
            )
        keys.add(key)


def _null(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: object) -> object:
    """Return a cell: empty for NaN, and numbers such that reading them returns the same bits."""
    return repr(value) if isinstance(value, float) and math.isfinite(value) else _null(value)
