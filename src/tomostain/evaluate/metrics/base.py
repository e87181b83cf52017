"""The registry of metrics. Each metric is one object; a decorator registers it, or an entry point of another package.

Tables, CSV files, figures, protocols and the page of an evaluation read this registry, so a new metric is one function:

>>> @register_metric("mae", label="MAE", larger_is_better=False, digits=1, unit="grey levels")
... def mae(stained, real):
...     '''Return the mean absolute error.'''
...     return float(np.abs(stained.astype(float) - real).mean())
>>> get_metric("mae").heading
'MAE / grey levels ↓'
>>> REGISTRY.pop("mae").scope
'patch'

Another package declares an entry point in the group ``tomostain.metrics``, whose object is such a function, or a module
that registers metrics when it is imported.
"""

import importlib.metadata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, Required, TypedDict, TypeVar, Unpack

import numpy as np
from numpy.typing import NDArray

from tomostain.config import suggest
from tomostain.errors import InputError

RGB = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Value = float | Mapping[str, float]
Scope = Literal["patch", "image", "set", "volume"]
SCOPES: tuple[Scope, ...] = ("patch", "image", "set", "volume")
ENTRY_POINTS = "tomostain.metrics"


@dataclass(frozen=True, eq=False)
class ImageSample:
    """A stained image, the real image, and data about them: the input of metrics of scope "image".

    Attributes
    ----------
    id : str
        Name of the pair.
    stained, real : ndarray of uint8, shape (Y, X, 3)
        RGB images. For training samples, `stained` is the real image.
    mask : ndarray of bool, shape (Y, X)
        True where the two correspond.
    pixel_um : float
        Pixel size, µm.
    labels : ndarray of int, shape (Y, X), or None
        Tissue of each pixel, `tomostain.phantom.tissue.Label`, if the pair's folder has a ``labels.tif``.
    ct : ndarray of uint16, shape (Y, X), or None
        The µCT that was stained, normalised as in a dataset.
    """

    id: str
    stained: RGB
    real: RGB
    mask: Mask
    pixel_um: float
    labels: NDArray[np.integer] | None = None
    ct: NDArray[np.uint16] | None = None

    def require_labels(self, metric: str) -> NDArray[np.integer]:
        """Return the labels.

        Raises
        ------
        InputError
            If the sample has none; the message names the metric.
        """
        if self.labels is None:
            raise InputError(
                f"metric '{metric}': pair '{self.id}' has no labels.tif (tissue of each pixel, as phantoms have); "
                "choose another metric",
                parameter="metrics",
            )
        return self.labels

    def require_ct(self, metric: str) -> NDArray[np.uint16]:
        """Return the µCT.

        Raises
        ------
        InputError
            If the sample has none; the message names the metric.
        """
        if self.ct is None:
            raise InputError(f"metric '{metric}': sample '{self.id}' has no µCT; give `ct`", parameter="metrics")
        return self.ct


@dataclass(frozen=True)
class Metric:
    """A metric of a stained image or volume.

    Attributes
    ----------
    name : str
        Key in files and on the command line.
    compute : callable
        By `scope`:

        - "patch": ``compute(stained, real) -> float`` of two uint8 RGB images (Y, X, 3);
        - "image": ``compute(sample) -> float``, or a mapping of parts to floats, of an `ImageSample`;
        - "set": ``compute(stained, real) -> float`` of two sequences of uint8 RGB images, with the background filled;
        - "volume": ``compute(stained, ct) -> float`` of two `tomostain.io.VolumeLike`.

        NaN where the metric is not defined.
    label : str
        Heading in tables and figures.
    larger_is_better : bool
    digits : int
        Digits after the decimal point in tables.
    unit : str
        Shown after the label.
    scope : {"patch", "image", "set", "volume"}
        What one value describes.
    min_side_px : int
        Metrics of scope "patch" are NaN for smaller patches.
    default : bool
        Computed in every evaluation. Other metrics are computed on request.
    fit : callable, optional
        For scope "image": ``fit(samples) -> compute``, with the training samples as an iterable. Called once per
        evaluation; its result replaces `compute`.
    check : callable, optional
        Called before anything is stained. Raises `InputError` if the metric cannot be computed here, for example
        because an optional package is missing.
    summary : str
        First line of the documentation.
    """

    name: str
    compute: Callable[..., Value]
    label: str
    larger_is_better: bool
    digits: int = 3
    unit: str = ""
    scope: Scope = "patch"
    min_side_px: int = 1
    default: bool = False
    fit: Callable[[Iterable[ImageSample]], Callable[[ImageSample], Value]] | None = None
    check: Callable[[], None] | None = None
    summary: str = ""

    @property
    def heading(self) -> str:
        """The label with its unit and an arrow towards better values."""
        unit = f" / {self.unit}" if self.unit else ""
        return f"{self.label}{unit} {'↑' if self.larger_is_better else '↓'}"

    def of_patch(self, stained: RGB, real: RGB) -> float:
        """Return the value of a patch; NaN if the patch is smaller than `min_side_px`."""
        if min(real.shape[:2]) < self.min_side_px:
            return float("nan")
        value = self.compute(stained, real)
        assert not isinstance(value, Mapping)
        return float(value)


# In the order of tables: the metrics of the paper's Table 1 first.
REGISTRY: dict[str, Metric] = {}

F = TypeVar("F", bound=Callable[..., Value])


class MetricAttributes(TypedDict, total=False):
    """The attributes of `Metric` that `register_metric` takes."""

    label: Required[str]
    larger_is_better: Required[bool]
    digits: int
    unit: str
    scope: Scope
    min_side_px: int
    default: bool
    fit: Callable[[Iterable[ImageSample]], Callable[[ImageSample], Value]]
    check: Callable[[], None]


def register_metric(name: str, **attributes: Unpack[MetricAttributes]) -> Callable[[F], F]:
    """Register a function as a metric.

    Parameters
    ----------
    name : str
        Key in files and on the command line.
    **attributes
        The attributes of `Metric`, except `name`, `compute` and `summary`. `label` and `larger_is_better` are required.

    Returns
    -------
    callable
        A decorator that returns the function unchanged.

    Raises
    ------
    InputError
        If the name is taken by another function, or the scope is unknown.
    """

    def decorate(function: F) -> F:
        summary = (function.__doc__ or "").strip().splitlines()
        metric = Metric(name=name, compute=function, summary=summary[0] if summary else "", **attributes)
        if metric.scope not in SCOPES:
            raise InputError(f"metric '{name}': unknown scope '{metric.scope}'{suggest(metric.scope, list(SCOPES))}")
        existing = REGISTRY.get(name)
        if existing is not None and _origin(existing.compute) != _origin(function):
            raise InputError(f"metric '{name}': the name is already taken by {_origin(existing.compute)}")
        REGISTRY[name] = metric
        return function

    return decorate


def available_metrics() -> dict[str, Metric]:
    """Return all metrics by name in the order of tables, with those of other packages."""
    _load_entry_points()
    return dict(REGISTRY)


def get_metric(name: str) -> Metric:
    """Return a metric by its name.

    Raises
    ------
    InputError
        If there is no such metric.
    """
    metrics = available_metrics()
    name = name.replace("-", "_")
    if name not in metrics:
        raise InputError(f"metric '{name}': unknown{suggest(name, list(metrics))}", parameter="metrics")
    return metrics[name]


def select_metrics(names: Iterable[str] = (), scope: Scope | None = None) -> tuple[Metric, ...]:
    """Return the default metrics and those named, in the order of tables; optionally of one scope only."""
    requested = {get_metric(name).name for name in names}
    chosen = (m for m in available_metrics().values() if m.default or m.name in requested)
    return tuple(m for m in chosen if scope in (None, m.scope))


def columns_in(columns: Iterable[str]) -> tuple[Metric, ...]:
    """Return the metrics that have a column, in the order of tables.

    Examples
    --------
    >>> [metric.name for metric in columns_in(["model", "psnr", "ssim"])]
    ['ssim', 'psnr']
    """
    present = set(columns)
    return tuple(metric for metric in available_metrics().values() if metric.name in present)


def mean_of_parts(value: Value) -> float:
    """Return a value, or the mean of the parts that are not NaN.

    Examples
    --------
    >>> mean_of_parts({"bone": 0.5, "marrow": 1.0, "screw": float("nan")})
    0.75
    """
    if not isinstance(value, Mapping):
        return float(value)
    parts: Sequence[float] = [part for part in value.values() if not np.isnan(part)]
    return float(np.mean(parts)) if parts else float("nan")


def _origin(function: Callable[..., Value]) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', repr(function))}"


@cache
def _load_entry_points() -> None:
    for point in sorted(importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        try:
            point.load()
        except Exception as error:
            raise InputError(f"metric '{point.name}': cannot load {point.value}: {error}") from error
