"""The results of a measurement: measures, rows of the tables, and what the page shows in addition."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomostain.io import StainedVolume
from tomostain.measure.classes import Labels
from tomostain.measure.config import MeasureConfig
from tomostain.measure.measures import Measure
from tomostain.measure.rows import MeasureRow

Array = NDArray[np.float64]


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
    out : Path or None
        The folder of the results; None if nothing was written.
    specimen : str
    measures : list of Measure
        From the main source, with all voxels.
    rows : list of MeasureRow
        From all sources, with and without refused voxels: ``pandas.DataFrame(result.rows)``.
    voxel_um : tuple of float
        Voxel size (z, y, x) of the labels, µm.
    labels_path : Path or None
        The label volume that was written or, if the user gave one, that one.
    stained : Path, StainedVolume or None
        The stained volume, for pictures.
    labels : ndarray of uint8, shape (Z, Y, X), or None
        The labels, if nothing was written.
    maps : dict of str to ndarray, shape (Z, Y, X)
        ``thickness``, ``distance`` and ``layer``, µm, and ``uncertainty``, 0 to 255, if nothing was written. See
        `tomostain.measure.measurement.MAPS`.
    figures : FigureData
    notes : list of str
        Sentences about the whole measurement, such as a partial field of view.
    provenance : dict of str to str
        What was measured, and with which classifier.
    config : MeasureConfig, optional
        The options of the measurement.
    """

    out: Path | None
    specimen: str
    measures: list[Measure]
    rows: list[MeasureRow]
    voxel_um: tuple[float, float, float] = (1.0, 1.0, 1.0)
    labels_path: Path | None = None
    stained: Path | StainedVolume | None = None
    figures: FigureData = field(default_factory=FigureData)
    notes: list[str] = field(default_factory=list)
    provenance: dict[str, str] = field(default_factory=dict)
    labels: Labels | None = None
    maps: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    config: MeasureConfig | None = None


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
    out : Path or None
        The folder of the results; None if nothing was written.
    specimen : str
        Name of the pair.
    measures : dict of str to list of Measure
        By source: ``real section`` and ``virtual section``.
    rows : list of MeasureRow
        The same as rows.
    images : dict of str to SectionImage
        By source, all on one grid.
    pixel_um : float
        Size of a pixel of the images, µm.
    figures : FigureData
    notes : list of str
    provenance : dict of str to str
    config : MeasureConfig, optional
        The options of the measurement.
    """

    out: Path | None
    specimen: str
    measures: dict[str, list[Measure]]
    rows: list[MeasureRow]
    images: dict[str, SectionImage]
    pixel_um: float
    figures: FigureData = field(default_factory=FigureData)
    notes: list[str] = field(default_factory=list)
    provenance: dict[str, str] = field(default_factory=dict)
    config: MeasureConfig | None = None
