"""Cavities in bone: osteocyte lacunae (number and volume) and canals (volume fraction).

Cavities are what is not mineralised bone and has the label of soft tissue or void. A lacuna is a closed cavity whose
volume is within a range. A canal is a cavity that is narrower than a stated diameter, larger than a lacuna, and bounded
by bone almost everywhere; it may be open.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.measure.label_source import LabelSource
from tomostain.measure.measures import Measure, define
from tomostain.measure.morphometry.cavity_voxels import (
    CavityOptions,
    Mask,
    bone_mask,
    cavity_mask,
    count_bone,
    surface_shares,
)
from tomostain.measure.morphometry.components import Components, find_components
from tomostain.measure.morphometry.squared_distances import Metric, squared_distances

MAX_LACUNA_VOXEL_UM = 4.0
"""Lacunae, about 5 to 15 µm long, are not resolved by larger voxels."""
MAX_CANAL_VOXEL_UM = 20.0
"""Canals, about 20 to 60 µm wide, are not resolved by larger voxels."""
_UNCERTAIN_CANAL_VOXEL_UM = 10.0

_LACUNA_TEXT = """A lacuna is a connected component (through faces) of voxels that are not bone, with a volume of 100 to
1000 µm³ unless stated otherwise (for volumes of osteocyte lacunae see Dong et al. 2014, Bone 60, 172, and Mader et al.
2013, Bone 57, 142). Cavities next to the implant or to voxels that are not measured do not count."""

N_LC = define(
    "lacunar_number_density",
    symbol="N.Lc/BV",
    title="number of lacunae per bone volume",
    unit="1/mm³",
    dimension=3,
    method="closed-cavities-1",
    text=f"""Number of lacunae divided by the volume of mineralised bone. {_LACUNA_TEXT} A component at the border of
    the volume counts half, because it would be counted on both sides of the border.""",
)
LC_V = define(
    "lacunar_volume",
    symbol="Lc.V",
    title="mean volume of lacunae",
    unit="µm³",
    dimension=3,
    method="closed-cavities-1",
    text=f"Mean volume of the lacunae that do not reach the border of the volume. {_LACUNA_TEXT}",
)
LC_FRACTION = define(
    "lacunar_volume_fraction",
    symbol="Lc.V/BV",
    title="volume of lacunae per bone volume",
    unit="%",
    dimension=3,
    method="closed-cavities-1",
    text=f"N.Lc/BV times Lc.V, in per cent. {_LACUNA_TEXT}",
)
CA_V = define(
    "canal_volume_fraction",
    symbol="Ca.V/BV",
    title="volume of canals per bone volume",
    unit="%",
    dimension=3,
    method="narrow-cavities-1",
    text="""Volume of canals divided by the volume of mineralised bone. The volume that is not bone is opened with a
    sphere of 100 µm diameter unless stated otherwise (which closes the bone). What of soft tissue and void is lost is
    narrow. A canal is a connected component of it of at least 10 000 µm³ whose surface is bone by at least 92 %.""",
)


@dataclass(frozen=True)
class Lacunae:
    """Lacunae of a volume.

    Attributes
    ----------
    number : float
        Those inside, and half of those at the border.
    volumes_um3 : ndarray of float64
        Volumes of those inside, µm³.
    """

    number: float
    volumes_um3: NDArray[np.float64]


_CANAL_ARRAYS = 3
"""Memory of the canals of a z block, in that of its components: distances, and the surface of each component."""


def cavity_measures(labels: LabelSource, *, options: CavityOptions | None = None) -> list[Measure]:
    """Measure lacunae and canals.

    Parameters
    ----------
    labels : LabelSource
    options : CavityOptions, optional

    Returns
    -------
    list of Measure
        NaN with a note where there is no bone, or the voxels are too large.
    """
    options = options or CavityOptions()
    bone_um3 = count_bone(labels, options) * float(np.prod(labels.voxel_um))
    return [*_lacuna_measures(labels, bone_um3, options), _canal_measure(labels, bone_um3, options)]


def find_lacunae(labels: LabelSource, options: CavityOptions | None = None) -> Lacunae:
    """Find lacunae by their volume, block by block. A lacuna that is cut by blocks counts once.

    Parameters
    ----------
    labels : LabelSource
    options : CavityOptions, optional

    Returns
    -------
    Lacunae
    """
    options = options or CavityOptions()

    def not_bone(start: int, stop: int) -> Mask:
        return ~bone_mask(labels.read(start, stop))

    parts = find_components(not_bone, labels.shape, max_bytes=options.max_bytes)
    volumes = parts.voxels * float(np.prod(labels.voxel_um))
    low, high = options.lacuna_um3
    inside = ~parts.at_border & (volumes >= low) & (volumes <= high)
    # Of a cut lacuna, on average half is in the volume.
    cut = parts.at_border & (volumes >= low / 2) & (volumes <= high)
    excluded = _not_a_cavity(labels, parts, cut | inside)
    inside, cut = inside & ~excluded, cut & ~excluded
    return Lacunae(float(inside.sum() + 0.5 * cut.sum()), np.sort(volumes[inside]))


def canal_volume(labels: LabelSource, options: CavityOptions | None = None) -> float:
    """Return the volume of canals, µm³, block by block.

    Parameters
    ----------
    labels : LabelSource
    options : CavityOptions, optional

    Returns
    -------
    float
    """
    options = options or CavityOptions()
    parts = narrow_cavities(labels, options)
    return float(parts.voxels[canals(labels, parts, options)].sum() * np.prod(labels.voxel_um))


def narrow_cavities(labels: LabelSource, options: CavityOptions) -> Components:
    """Return the components of soft tissue and void that are narrower than the largest diameter of a canal."""
    metric = Metric.of(labels.voxel_um)
    squared_radius = (options.canal_um / 2 / metric.unit_um) ** 2
    reach = metric.reach(0, squared_radius) + 1

    def narrow(start: int, stop: int) -> Mask:
        first, last = max(start - 2 * reach, 0), min(stop + 2 * reach, labels.shape[0])
        tissue = labels.read(first, last)
        not_bone = ~bone_mask(tissue)
        limit = math.ceil(squared_radius) + 1
        centres = squared_distances(not_bone, metric, limit) >= squared_radius
        wide = squared_distances(~centres, metric, limit) < squared_radius
        inner = slice(start - first, stop - first)
        return cavity_mask(tissue[inner]) & ~wide[inner]

    return find_components(narrow, labels.shape, max_bytes=options.max_bytes // _CANAL_ARRAYS)


def canals(labels: LabelSource, parts: Components, options: CavityOptions) -> Mask:
    """Return which narrow cavities are canals: large enough, and bounded by bone."""
    volumes = parts.voxels * float(np.prod(labels.voxel_um))
    large = (volumes >= options.canal_um3) & (volumes > options.lacuna_um3[1])
    bone, total = surface_shares(labels, parts)
    return np.asarray(large & (bone >= options.enclosed * total) & (total > 0))


def _lacuna_measures(labels: LabelSource, bone_um3: float, options: CavityOptions) -> list[Measure]:
    size = max(labels.voxel_um)
    if size > MAX_LACUNA_VOXEL_UM or not bone_um3:
        note = (
            f"voxels of {size:g} µm do not resolve lacunae; at most {MAX_LACUNA_VOXEL_UM:g} µm"
            if bone_um3
            else "no bone"
        )
        return [Measure(each, math.nan, note=note) for each in (N_LC, LC_V, LC_FRACTION)]
    lacunae = find_lacunae(labels, options)
    low, high = options.lacuna_um3
    notes = [] if (low, high) == CavityOptions.lacuna_um3 else [f"lacunae of {low:g} to {high:g} µm³"]
    voxels = low / float(np.prod(labels.voxel_um))
    if voxels < 8:
        notes.append(f"the smallest lacunae have {voxels:.1f} voxels: number and volume are uncertain")
    note = "; ".join(notes)
    density = lacunae.number / bone_um3
    if not len(lacunae.volumes_um3):
        empty = "no lacunae" if not note else f"no lacunae; {note}"
        return [
            Measure(N_LC, density * 1e9, note=empty),
            Measure(LC_V, math.nan, note=empty),
            Measure(LC_FRACTION, 0.0, note=empty),
        ]
    mean = float(lacunae.volumes_um3.mean())
    return [
        Measure(N_LC, density * 1e9, note=note),
        Measure(LC_V, mean, note=note),
        Measure(LC_FRACTION, 100 * density * mean, note=note),
    ]


def _canal_measure(labels: LabelSource, bone_um3: float, options: CavityOptions) -> Measure:
    size = max(labels.voxel_um)
    if not bone_um3:
        return Measure(CA_V, math.nan, note="no bone")
    if size > MAX_CANAL_VOXEL_UM:
        note = f"voxels of {size:g} µm do not resolve canals; at most {MAX_CANAL_VOXEL_UM:g} µm"
        return Measure(CA_V, math.nan, note=note)
    notes = [] if options.canal_um == CavityOptions.canal_um else [f"cavities narrower than {options.canal_um:g} µm"]
    if size > _UNCERTAIN_CANAL_VOXEL_UM:
        notes.append("canals are one to three voxels wide; narrow marrow spaces may be among them")
    return Measure(CA_V, 100 * canal_volume(labels, options) / bone_um3, note="; ".join(notes))


def _not_a_cavity(labels: LabelSource, parts: Components, selected: Mask) -> Mask:
    """Return which selected components contain voxels that are neither soft tissue nor void."""
    result = np.zeros(len(parts.voxels), bool)
    for block, table in zip(parts.blocks, parts.tables, strict=True):
        local, _ = ndimage.label(parts.read_mask(block.start, block.stop))
        other = local[~cavity_mask(labels.read(block.start, block.stop))]
        numbers = table[np.unique(other)]
        result[numbers[numbers >= 0]] = True
    return result & selected
