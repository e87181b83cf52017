"""The results of a measurement: measures as tidy rows, in CSV and JSON, and what the page shows in addition.

A tidy table has one row per number: specimen, source, measure, region. `pandas.read_csv` reads it as it is.
"""

import json
import math
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, TypedDict, get_args

import numpy as np
from numpy.typing import NDArray

from tomostain import __version__
from tomostain.config import Config
from tomostain.errors import InputError
from tomostain.io.atomic import write_text
from tomostain.io.csv_files import csv_text, read_csv
from tomostain.io.output_folder import check_contents, check_sources_outside, output_folder
from tomostain.measure.classes import Labels
from tomostain.measure.measures import Definition, Dimension, Measure

Array = NDArray[np.float64]
Voxels = Literal["all", "without refused"]
"""Whether the voxels with a high uncertainty were measured, or refused (`NOT_MEASURED`)."""

SETTINGS, CSV, JSON, LABELS, THICKNESS, DISTANCE, PAGE = (
    "measure.yaml",
    "measures.csv",
    "measures.json",
    "labels.ome.zarr",
    "thickness.ome.zarr",
    "distance.ome.zarr",
    "report.html",
)
"""Names of the files in the folder of a measurement. The first is written first: it marks the folder."""
_FORMAT = 1


class MeasureRow(TypedDict):
    """One row of ``measures.csv``. A number that cannot be measured is NaN here, and an empty cell or null on disk."""

    specimen: str
    source: str
    measure: str
    symbol: str
    title: str
    region: str
    dimension: Dimension
    value: float
    unit: str
    sd_model: float
    sd_registration: float
    voxels: Voxels
    method: str
    version: str
    note: str


COLUMNS: tuple[str, ...] = tuple(MeasureRow.__annotations__)
_NUMBERS = ("value", "sd_model", "sd_registration")
_KEY = ("specimen", "source", "measure", "region", "voxels")


def measure_rows(
    measures: Iterable[Measure], *, specimen: str, source: str, voxels: Voxels = "all"
) -> list[MeasureRow]:
    """Return measures as rows of the table.

    Parameters
    ----------
    measures : iterable of Measure
    specimen : str
    source : str
        What was measured: ``stained``, ``ct``, ``both``, ``labels``, ``real section`` or ``virtual section``.
    voxels : {"all", "without refused"}

    Returns
    -------
    list of MeasureRow
    """
    return [
        MeasureRow(
            specimen=specimen,
            source=source,
            measure=each.definition.id,
            symbol=each.definition.symbol,
            title=each.definition.title,
            region=each.region,
            dimension=each.definition.dimension,
            value=float(each.value),
            unit=each.definition.unit,
            sd_model=float(each.sd_model),
            sd_registration=float(each.sd_registration),
            voxels=voxels,
            method=each.definition.method,
            version=__version__,
            note=each.note,
        )
        for each in measures
    ]


@dataclass(frozen=True)
class Curve:
    """Curves over one abscissa, for the page: a profile over the distance from the implant, or values by shell.

    Attributes
    ----------
    x : ndarray of float, shape (N,)
    series : mapping of str to ndarray of float, shape (N,)
        Name of a source, such as ``stained``, and its values.
    x_label, y_label : str
        With the unit.
    """

    x: Array
    series: Mapping[str, Array]
    x_label: str
    y_label: str


@dataclass(frozen=True)
class Bars:
    """Values by name, for the page: BV/TV by shell.

    Attributes
    ----------
    names : tuple of str
    series : mapping of str to ndarray of float, shape (number of names,)
        Name of a source and its values.
    y_label : str
        With the unit.
    """

    names: tuple[str, ...]
    series: Mapping[str, Array]
    y_label: str


@dataclass(frozen=True)
class Histogram:
    """A distribution, for the page: trabecular thickness by volume.

    Attributes
    ----------
    edges : ndarray of float, shape (N + 1,)
    series : mapping of str to ndarray of float, shape (N,)
        Name of a structure, such as ``trabeculae``, and the share of its volume in each interval, %.
    x_label : str
        With the unit.
    """

    edges: Array
    series: Mapping[str, Array]
    x_label: str


@dataclass(frozen=True)
class FigureData:
    """What the page draws. None where it was not measured.

    Attributes
    ----------
    new_bone_profile : Curve
        Share of new bone against the distance from the implant.
    bone_by_shell : Bars
        BV/TV in shells around the implant.
    thickness : Histogram
    confusion : ndarray of int, shape (6, 6)
        Voxels of each class of the truth (rows) that were classified as each class (columns), in the order of
        `tomostain.measure.classes.CLASSES`; where the truth is known.
    """

    new_bone_profile: Curve | None = None
    bone_by_shell: Bars | None = None
    thickness: Histogram | None = None
    confusion: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class MeasureResult:
    """The measures of one volume.

    Attributes
    ----------
    out : Path
        The folder of the results.
    specimen : str
    measures : list of Measure
        From the main source, with all voxels.
    rows : list of MeasureRow
        From all sources, with and without refused voxels: ``pandas.DataFrame(result.rows)``.
    labels_path : Path or None
        The label volume that was written or, if the user gave one, that one.
    stained : Path or None
        The stained volume, for pictures.
    figures : FigureData
    notes : list of str
        Sentences about the whole measurement, such as a partial field of view.
    provenance : dict of str to str
        What was measured, with which classifier and configuration.
    """

    out: Path
    specimen: str
    measures: list[Measure]
    rows: list[MeasureRow]
    labels_path: Path | None = None
    stained: Path | None = None
    figures: FigureData = field(default_factory=FigureData)
    notes: list[str] = field(default_factory=list)
    provenance: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SectionImage:
    """One section of a pair, with its labels.

    Attributes
    ----------
    colours : ndarray of uint8, shape (Y, X, 3)
    labels : ndarray of uint8, shape (Y, X)
        Values of `TissueClass`.
    """

    colours: NDArray[np.uint8]
    labels: Labels


@dataclass(frozen=True)
class SectionResult:
    """The measures in the plane of a histological section, on the real and on the virtual one.

    Attributes
    ----------
    out : Path
        The folder of the results.
    specimen : str
        Name of the pair.
    measures : dict of str to list of Measure
        By source: ``real section``, ``virtual section``, and ``stained`` for a volume.
    rows : list of MeasureRow
        The same as rows.
    images : dict of str to SectionImage
        By source, all on one grid.
    pixel_um : float
        Size of a pixel of the images, µm.
    figures : FigureData
    notes : list of str
    provenance : dict of str to str
    """

    out: Path
    specimen: str
    measures: dict[str, list[Measure]]
    rows: list[MeasureRow]
    images: dict[str, SectionImage]
    pixel_um: float
    figures: FigureData = field(default_factory=FigureData)
    notes: list[str] = field(default_factory=list)
    provenance: dict[str, str] = field(default_factory=dict)


def begin_output(
    out: str | os.PathLike[str],
    config: Config | None = None,
    *,
    sources: Iterable[str | os.PathLike[str]] = (),
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


def check_output(
    out: str | os.PathLike[str], *, sources: Iterable[str | os.PathLike[str]] = (), overwrite: bool = False
) -> Path:
    """Check the folder of a measurement as `begin_output` does, and change nothing."""
    out = Path(out)
    if output_folder(out, "measurement", SETTINGS, overwrite=overwrite, resume=not (out / JSON).is_file()):
        check_contents(out, "measurement", _is_known)
        check_sources_outside(out, "measurement", sources)
    return out


def _is_known(name: str) -> bool:
    """Return whether a file belongs to the folder of a measurement, also one whose writing was interrupted."""
    known = (SETTINGS, CSV, JSON, LABELS, THICKNESS, DISTANCE, PAGE)
    return name in known or name.startswith((".", "labels-")) or Path(name).suffix == ".png"


def write_results(
    out: str | os.PathLike[str],
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
    cells = [{name: _cell(row[name]) for name in COLUMNS} for row in rows]  # type: ignore[literal-required]
    # With the JSON, the measurement is complete: it is written last.
    write_text(out / CSV, csv_text(COLUMNS, cells), overwrite=overwrite)
    write_text(out / JSON, text, overwrite=overwrite)
    return out / CSV, out / JSON


def results_json(
    rows: Sequence[MeasureRow],
    definitions: Iterable[Definition],
    *,
    notes: Sequence[str] = (),
    provenance: Mapping[str, str] | None = None,
) -> str:
    """Return the text of ``measures.json``: format, version, provenance, notes, definitions and measures."""
    known = {each.id: asdict(each) for each in definitions}
    content = {
        "format": _FORMAT,
        "tomostain": __version__,
        "provenance": dict(provenance or {}),
        "notes": list(notes),
        "definitions": known,
        "measures": [{name: _null(value) for name, value in row.items()} for row in rows],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_rows(path: str | os.PathLike[str]) -> list[MeasureRow]:
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
    seen = set()
    for row in rows:
        key = tuple(row[name] for name in _KEY)  # type: ignore[literal-required]
        if key in seen:
            raise InputError(
                f"{source}: the measure '{row['measure']}' of the region '{row['region']}' of specimen "
                f"'{row['specimen']}' occurs twice (source {row['source']}, {row['voxels']} voxels)"
            )
        seen.add(key)


def _null(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: object) -> object:
    """Return a cell: empty for NaN, and numbers such that reading them returns the same bits."""
    return repr(value) if isinstance(value, float) and math.isfinite(value) else _null(value)
