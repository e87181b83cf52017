"""Degradation of the implant: volume and thickness of the layer, residual metal, volume loss and rate."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.measure.classes import TissueClass
from tomostain.measure.measures import Measure, define
from tomostain.measure.morphometry.implant import Implant
from tomostain.measure.morphometry.initial_geometry import InitialGeometry
from tomostain.measure.morphometry.squared_distances import Metric, squared_distances
from tomostain.measure.morphometry.z_blocks import BLOCK_BYTES, z_blocks
from tomostain.progress import Progress, silent

OnBlock = Callable[[int, NDArray[np.float32]], None]
Mask = NDArray[np.bool_]

DAYS_PER_YEAR = 365.25
PERMANENT = ("Ti", "PEEK")
"""Materials that do not degrade."""
MAX_LAYER_UM = 600.0
"""Layers thicker than this count as this thick."""
_BYTES_PER_VOXEL = 24.0
_GAP_VOXELS = 0.25

DL_V = define(
    "degradation_layer_volume",
    symbol="DL.V",
    title="volume of the degradation layer",
    unit="mm³",
    dimension=3,
    method="voxel-count-1",
    text="Volume of the voxels of the degradation layer that belong to the implant, in the field of view.",
)
DL_TH = define(
    "degradation_layer_thickness",
    symbol="DL.Th",
    title="thickness of the degradation layer",
    unit="µm",
    dimension=3,
    method="surface-distance-1",
    text="""Mean over the outer surface of the implant of the distance to the nearest metal; 0 where metal is bare. The
    outer surface consists of the voxel faces between implant and surrounding in the field of view. A quarter of the
    voxel size across the face is subtracted, because distances end in centres of voxels. Of layers from 1.2 to 8 cubic
    voxels the error is then below 0.15 voxels, on average over directions; a layer with flat faces along the grid is
    0.25 voxels too thick. In voxels that are not cubic, the largest side counts.""",
)
DL_TH_SD = define(
    "degradation_layer_thickness_sd",
    symbol="DL.Th.SD",
    title="standard deviation of the thickness of the degradation layer",
    unit="µm",
    dimension=3,
    method="surface-distance-1",
    text="Standard deviation of the thickness (see DL.Th) over the outer surface of the implant.",
)
IM_V = define(
    "residual_metal_volume",
    symbol="Im.V",
    title="residual metal volume",
    unit="mm³",
    dimension=3,
    method="voxel-count-1",
    text="Volume of the voxels of metal that belong to the implant, in the field of view.",
)
VL = define(
    "implant_volume_loss",
    symbol="VL",
    title="volume loss of the implant",
    unit="%",
    dimension=3,
    method="initial-volume-1",
    text="""100 (V0 - V) / V0. V is the residual metal volume and V0 that of the new implant, both in the field of
    view.""",
)
DR = define(
    "degradation_rate",
    symbol="DR",
    title="degradation rate",
    unit="mm/year",
    dimension=3,
    method="initial-volume-1",
    text="""(V0 - V) / (A0 t). V is the residual metal volume, V0 and A0 are volume and surface of the new implant in
    the field of view, and t is the time since implantation, with 365.25 days per year.""",
)


@dataclass(frozen=True)
class LayerThickness:
    """Thickness of the degradation layer over the outer surface of the implant.

    Attributes
    ----------
    mean_um, sd_um : float
        NaN if no surface is in the field of view, or the implant contains no metal.
    capped : float
        Share of the surface that is farther than `MAX_LAYER_UM` from metal.
    """

    mean_um: float
    sd_um: float
    capped: float


def degradation_measures(
    implant: Implant,
    *,
    initial: InitialGeometry | None = None,
    weeks: float | None = None,
    material: str | None = None,
    on_block: OnBlock | None = None,
    progress: Progress = silent,
    max_bytes: int = BLOCK_BYTES,
) -> list[Measure]:
    """Measure degradation layer, residual metal, volume loss and degradation rate.

    Parameters
    ----------
    implant : Implant
    initial : InitialGeometry, optional
        The new implant. None: volume loss and rate are left out.
    weeks : float, optional
        Time since implantation. None: the rate is left out.
    material : str, optional
        ``Ti`` and ``PEEK`` do not degrade; their loss gets a note.
    on_block : callable, optional
        ``on_block(start, map)`` receives the thickness map of the layer; see `layer_thickness`.
    progress : Progress
    max_bytes : int
        Memory of a z block; see `layer_thickness`.

    Returns
    -------
    list of Measure

    Raises
    ------
    InputError
        If `weeks` is not positive.
    """
    if weeks is not None and not (weeks > 0 and math.isfinite(weeks)):
        raise InputError(f"`weeks` is {weeks}; give the time since implantation, above 0", parameter="weeks")
    layer_voxels = _layer_voxels(implant, max_bytes)
    voxel_um3 = float(np.prod(implant.voxel_um))
    metal_um3 = implant.metal_voxels * voxel_um3
    thickness = layer_thickness(implant, on_block=on_block, progress=progress, max_bytes=max_bytes)
    cut = "part of the implant lies outside of the field of view" if implant.touches else ""
    notes = [cut] if cut else []
    if not implant.metal_voxels:
        notes.append("the implant contains no metal, from which the thickness is measured")
    elif thickness.capped:
        notes.append(f"{thickness.capped:.1%} of the surface is farther than {MAX_LAYER_UM:g} µm from metal")
    note = "; ".join(notes)
    measures = [
        Measure(DL_V, layer_voxels * voxel_um3 * 1e-9, note=cut),
        Measure(DL_TH, thickness.mean_um, note=note),
        Measure(DL_TH_SD, thickness.sd_um, note=note),
        Measure(IM_V, metal_um3 * 1e-9, note=cut),
    ]
    if initial is not None:
        measures += loss_measures(metal_um3, initial, weeks=weeks, material=material)
    return measures


def loss_measures(
    metal_um3: float, initial: InitialGeometry, *, weeks: float | None = None, material: str | None = None
) -> list[Measure]:
    """Return volume loss and, if the weeks are known, degradation rate.

    Parameters
    ----------
    metal_um3 : float
        Residual metal volume, µm³.
    initial : InitialGeometry
    weeks : float, optional
    material : str, optional

    Returns
    -------
    list of Measure
        They are negative if the metal is larger than the new implant.

    Examples
    --------
    >>> from tomostain.measure.morphometry.initial_geometry import given_geometry
    >>> loss = loss_measures(9e8, given_geometry(1.0, 5.0), weeks=365.25 / 7)
    >>> [(each.definition.symbol, round(each.value, 6)) for each in loss]
    [('VL', 10.0), ('DR', 0.02)]
    """
    lost = initial.volume_um3 - metal_um3
    notes = [initial.note] if initial.note else []
    if material in PERMANENT:
        notes.append(f"{material} does not degrade: the value is the error of the measurement")
    note = "; ".join(notes)
    measures = [Measure(VL, 100 * lost / initial.volume_um3, note=note)]
    if weeks is not None:
        years = weeks * 7 / DAYS_PER_YEAR
        if math.isnan(initial.area_um2):
            note = f"{note}; the initial surface is not known"
        measures.append(Measure(DR, lost / initial.area_um2 / years * 1e-3, note=note))
    return measures


def layer_thickness(
    implant: Implant, *, on_block: OnBlock | None = None, progress: Progress = silent, max_bytes: int = BLOCK_BYTES
) -> LayerThickness:
    """Measure the thickness of the degradation layer from its outer surface to the metal, block by block.

    Parameters
    ----------
    implant : Implant
    on_block : callable, optional
        ``on_block(start, map)`` receives a map of the slices from `start` on, µm, float32: in each voxel of the implant
        that is not metal the sum of its distances to metal and to the outside, less half of the smallest side of a
        voxel. 0 elsewhere.
    progress : Progress
    max_bytes : int
        Memory of a z block, 24 bytes per voxel. It is exceeded where nine slices with their overlap need more: the
        overlap is `MAX_LAYER_UM` on both sides.

    Returns
    -------
    LayerThickness
    """
    metric = Metric.of(implant.voxel_um)
    limit = (MAX_LAYER_UM / metric.unit_um + 1) ** 2
    reach = metric.reach(0, limit) + 2
    sums = _Sums()
    budget = max(max_bytes, int((9 + 2 * reach) * np.prod(implant.shape[1:]) * _BYTES_PER_VOXEL))
    window = tuple(
        slice(max(side.start - 1, 0), min(side.stop + 1, length))
        for side, length in zip(implant.box[1:], implant.shape[1:], strict=True)
    )
    for block in z_blocks(implant.shape, overlap=reach, bytes_per_voxel=_BYTES_PER_VOXEL, max_bytes=budget):
        progress("measuring the degradation layer", block.start, implant.shape[0])
        thickness_map = np.zeros((block.stop - block.start, *implant.shape[1:]), np.float32)
        if block.start < implant.box[0].stop and block.stop > implant.box[0].start:
            everything = (slice(None), *window)
            inside = implant.read(block.first, block.last)[everything]
            metal = implant.metal(block.first, block.last)[everything]
            unknown = (implant.labels.read(block.first, block.last) == TissueClass.NOT_MEASURED)[everything] & ~inside
            distance = np.sqrt(squared_distances(~metal, metric, limit), dtype=np.float32)
            distance *= np.float32(metric.unit_um)
            _over_faces(distance, (inside, unknown), implant.voxel_um, block.inner, sums)
            if on_block is not None:
                outward = np.sqrt(squared_distances(inside | unknown, metric, limit), dtype=np.float32)
                local = distance + (outward - np.float32(2 * _GAP_VOXELS)) * np.float32(metric.unit_um)
                thickness_map[everything] = np.where(inside & ~metal, local, np.float32(0))[block.inner]
        if on_block is not None:
            on_block(block.start, thickness_map)
    progress("measuring the degradation layer", implant.shape[0], implant.shape[0])
    return sums.summary() if implant.metal_voxels else LayerThickness(math.nan, math.nan, 0.0)


class _Sums:
    """Area-weighted sums over the outer surface."""

    def __init__(self) -> None:
        self.area = self.total = self.square = self.far = 0.0

    def add(self, values: NDArray[np.float32], area: float) -> None:
        """Add the thickness at faces of one size."""
        self.area += area * len(values)
        self.total += area * float(values.sum(dtype=np.float64))
        self.square += area * float((values.astype(np.float64) ** 2).sum())
        self.far += area * float((values >= MAX_LAYER_UM).sum())

    def summary(self) -> LayerThickness:
        """Return mean and standard deviation."""
        if not self.area:
            return LayerThickness(math.nan, math.nan, 0.0)
        mean = self.total / self.area
        return LayerThickness(mean, math.sqrt(max(self.square / self.area - mean**2, 0)), self.far / self.area)


def _over_faces(
    distance: NDArray[np.float32],
    masks: tuple[Mask, Mask],
    voxel_um: tuple[float, float, float],
    inner: slice,
    sums: _Sums,
) -> None:
    """Add the thickness at the outer faces of implant voxels in the slices `inner`.

    The distance of a face from metal is the mean of those of its two voxels. `masks`: implant, not measured.
    """
    inside, unknown = masks
    outside = ~inside & ~unknown
    body = np.zeros_like(inside)
    body[inner] = inside[inner]
    for axis in range(3):
        low, high = [slice(None)] * 3, [slice(None)] * 3
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        area, gap = float(np.prod(voxel_um) / voxel_um[axis]), np.float32(_GAP_VOXELS * voxel_um[axis])
        for first, second in ((tuple(low), tuple(high)), (tuple(high), tuple(low))):
            face = body[first] & outside[second]
            within, beyond = distance[first][face], distance[second][face]
            sums.add(np.where(within > 0, (within + beyond) / 2 - gap, np.float32(0)), area)


def _layer_voxels(implant: Implant, max_bytes: int) -> int:
    """Count the voxels of the implant that are degradation layer."""
    count = 0
    for block in z_blocks(implant.shape, bytes_per_voxel=4.0, max_bytes=max_bytes):
        layer = implant.labels.read(block.start, block.stop) == TissueClass.DEGRADATION
        count += int(np.count_nonzero(layer & implant.read(block.start, block.stop)))
    return count
