"""Measures as tidy rows: one row per number, with specimen, source, measure and region."""

from collections.abc import Iterable
from typing import Literal, TypedDict

from tomostain import __version__
from tomostain.measure.measures import Dimension, Measure

Voxels = Literal["all", "without refused"]
"""Whether the voxels with a high uncertainty were measured, or refused (`NOT_MEASURED`)."""


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
