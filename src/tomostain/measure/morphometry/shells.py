"""Bone, new bone, soft tissue and void in shells around the implant, and their profile over the distance to it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.measure.classes import CLASSES, IMPLANT, MINERALISED, TissueClass
from tomostain.measure.label_source import LabelSource
from tomostain.measure.measures import Measure, define
from tomostain.measure.morphometry.distance import DISTANCE_BYTES, ImplantDistance
from tomostain.measure.morphometry.fields import region_note
from tomostain.measure.morphometry.implant import Implant
from tomostain.measure.morphometry.z_blocks import BLOCK_BYTES, z_blocks
from tomostain.progress import Progress, silent

MAX_METAL = 0.01
"""Largest share of metal and degradation layer in a volume without an implant that needs no note."""
METAL_IN_TISSUE = "metal and degradation layer count as tissue"

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
SHELL_EDGES_UM = (0.0, 100.0, 200.0, 300.0, 500.0)
"""Edges of the shells unless others are given, µm from the surface of the implant."""
PROFILE_STEP_UM = 20.0
"""Width of the bins of the profile, µm; at least one voxel."""
TISSUES = (TissueClass.VOID, TissueClass.SOFT, TissueClass.BONE, TissueClass.NEW_BONE)
"""The classes of the tissue volume TV: everything that was measured, apart from the implant."""

_DEMPSTER = "Dempster et al. 2013, doi:10.1002/jbmr.1805; Bouxsein et al. 2010, doi:10.1002/jbmr.141"
BV_TV = define(
    "bv_tv",
    symbol="BV/TV",
    title="bone volume fraction",
    unit="%",
    dimension=3,
    method="shells-1",
    text=f"""Voxels of bone and new bone divided by all measured voxels of the region except the implant. The region is
    a shell of distances to the surface of the implant (Euclidean distance of voxel centres). {_DEMPSTER}.""",
)
NB_V_TV = define(
    "nb_v_tv",
    symbol="NB.V/TV",
    title="new-bone volume fraction",
    unit="%",
    dimension=3,
    method="shells-1",
    text=f"""Voxels of new woven bone divided by all measured voxels of the region except the implant. Region as for
    BV/TV. {_DEMPSTER}.""",
)
SOFT_V_TV = define(
    "soft_v_tv",
    symbol="ST.V/TV",
    title="soft-tissue volume fraction",
    unit="%",
    dimension=3,
    method="shells-1",
    text="Voxels of soft tissue and marrow divided by all measured voxels of the region except the implant.",
)
VOID_V_TV = define(
    "void_v_tv",
    symbol="Vd.V/TV",
    title="void volume fraction",
    unit="%",
    dimension=3,
    method="shells-1",
    text="Voxels of void (air, gas) divided by all measured voxels of the region except the implant.",
)
BV = define(
    "bv",
    symbol="BV",
    title="bone volume",
    unit="mm³",
    dimension=3,
    method="shells-1",
    text=f"Voxels of bone and new bone in the region, multiplied by the volume of a voxel. {_DEMPSTER}.",
)
NB_V = define(
    "nb_v",
    symbol="NB.V",
    title="new-bone volume",
    unit="mm³",
    dimension=3,
    method="shells-1",
    text="Voxels of new woven bone in the region, multiplied by the volume of a voxel.",
)
TV = define(
    "tv",
    symbol="TV",
    title="tissue volume",
    unit="mm³",
    dimension=3,
    method="shells-1",
    text=f"Measured voxels of the region except the implant, multiplied by the volume of a voxel. {_DEMPSTER}.",
)


@dataclass(frozen=True)
class Profile:
    """Voxels of each class over the distance to the implant. Made by `distance_profile`.

    Attributes
    ----------
    edges_um : ndarray of float64, shape (n + 1,)
        Edges of the bins, µm.
    counts : ndarray of int64, shape (n, 256)
        Voxels outside the implant, of each value of `TissueClass`.
    cell_um : float
        Volume of a voxel, µm³; of a plane, area of a pixel, µm².
    """

    edges_um: Float
    counts: NDArray[np.int64]
    cell_um: float

    def voxels(self, *classes: TissueClass) -> NDArray[np.int64]:
        """Return the voxels of some classes in each bin, shape (n,)."""
        return np.asarray(self.counts[:, list(classes)].sum(axis=1))

    @property
    def tissue(self) -> NDArray[np.int64]:
        """Measured voxels in each bin, which is the tissue volume TV."""
        return self.voxels(*CLASSES)

    def share(self, *classes: TissueClass) -> Float:
        """Return the share of some classes in each bin, %; NaN where nothing was measured."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(100 * self.voxels(*classes) / self.tissue)

    def regroup(self, edges_um: Sequence[float] | Float) -> "Profile":
        """Return the same counts in wider bins, so that one pass over the volume is enough for shells and profile.

        Parameters
        ----------
        edges_um : sequence of float
            Some of the edges of this profile, in order.

        Raises
        ------
        InputError
            If an edge is not one of this profile.
        """
        edges = check_edges(edges_um)
        at = np.searchsorted(self.edges_um, edges)
        if at[-1] >= len(self.edges_um) or (self.edges_um[at] != edges).any():
            raise InputError(f"the edges {list(edges)} µm are not among those of the profile")
        counts = np.stack([self.counts[first:last].sum(axis=0) for first, last in pairwise(at)])
        return Profile(edges, counts, self.cell_um)


def check_edges(edges_um: Sequence[float] | Float) -> Float:
    """Return the edges of shells as float64.

    Raises
    ------
    InputError
        If they are fewer than two, not finite, not increasing, or negative.
    """
    edges = np.asarray(edges_um, np.float64)
    if edges.ndim != 1 or len(edges) < 2 or not np.isfinite(edges).all() or (np.diff(edges) <= 0).any() or edges[0] < 0:
        raise InputError(
            f"`shell_um` is {list(edges_um)}; give at least two increasing distances from 0 on, µm",
            parameter="shell_um",
        )
    return edges


def count_by_distance(
    implant: Implant,
    edges_um: Sequence[float] | Float,
    *,
    write: Callable[[int, Float32], None] | None = None,
    max_bytes: int = DISTANCE_BYTES,
    progress: Progress = silent,
) -> Profile:
    """Count the voxels of each class outside the implant, by their distance to it.

    Metal and degradation layer that are not connected to the implant count as tissue, so that a speck of them
    does not hide.

    Parameters
    ----------
    implant : Implant
    edges_um : sequence of float
        Increasing edges of the bins, µm, at least two. The first bin with a lower edge of 0 begins at the surface.
    write : callable, optional
        Called with the first slice of each block and its signed distances, as by
        `tomostain.measure.morphometry.distance.write_distances`, up to one voxel beyond the last edge. So one pass is
        enough for the map and the counts. Without it, the distances inside the implant are not computed.
    max_bytes : int
        Memory of a z block with its overlap, which is the last edge on both sides. It is exceeded if eight slices with
        their overlap need more, up to 2 GB; see `ImplantDistance.z_blocks`.
    progress : Progress

    Returns
    -------
    Profile

    Raises
    ------
    InputError
        If the edges are not finite, not increasing, or negative.
    """
    edges = check_edges(edges_um)
    # Beyond the last edge only one thing matters: that it is beyond.
    distance = ImplantDistance(implant, float(edges[-1]) + max(implant.voxel_um), inside=write is not None)
    counts = np.zeros((len(edges) + 1) * 256, np.int64)
    parts = distance.z_blocks(max_bytes=distance.budget(max_bytes))
    for number, block in enumerate(parts):
        values_um = distance.read(block.start, block.stop)
        if write is not None:
            write(block.start, values_um)
        labels = implant.labels.read(block.start, block.stop)
        for z in range(block.stop - block.start):  # Bins and positions of a whole block would take 30 bytes per voxel.
            outside = ~implant.read(block.start + z, block.start + z + 1)[0]
            bins = np.searchsorted(edges, values_um[z][outside], side="right")
            counts += np.bincount(bins * 256 + labels[z][outside], minlength=len(counts))
        progress("shells", number + 1, len(parts))
    table = counts.reshape(-1, 256)[1:-1]
    return Profile(edges, table, float(np.prod(implant.voxel_um)))


def profile_edges(implant: Implant, end_um: float, *, step_um: float = PROFILE_STEP_UM) -> Float:
    """Return the edges of the bins of a profile, 0 to at least `end_um`: of `step_um`, but at least one voxel, µm."""
    step = max(step_um, *implant.voxel_um)
    return np.asarray(np.arange(int(np.ceil(end_um / step - 1e-9)) + 1) * step, dtype=np.float64)


def shell_measures(profile: Profile) -> list[Measure]:
    """Return the measures of each shell, and of all of them together.

    Parameters
    ----------
    profile : Profile
        Of the edges of the shells (`count_by_distance`).

    Returns
    -------
    list of Measure
        BV/TV, NB.V/TV, soft tissue, void (%), BV, NB.V and TV (mm³), with the region such as ``0-100 µm``. A share is
        NaN, with a note, where nothing was measured.
    """
    result = []
    for region, counts in by_region(profile):
        result += _of_region(counts, region, profile.cell_um)
    return result


def whole_measures(labels: LabelSource, *, max_bytes: int = BLOCK_BYTES) -> list[Measure]:
    """Return the same measures of a whole volume without an implant, with the region ``all``.

    Parameters
    ----------
    labels : LabelSource
    max_bytes : int
        Memory of a z block, one byte per voxel.

    Returns
    -------
    list of Measure
        TV contains all measured voxels. Metal and degradation layer count as tissue that is not bone; a note says so if
        they are more than 1 % of it.

    Examples
    --------
    >>> from tomostain.measure.label_source import LabelArray
    >>> volume = np.full((4, 4, 4), TissueClass.SOFT, np.uint8)
    >>> volume[:1] = TissueClass.BONE
    >>> whole_measures(LabelArray(volume, 10.0))[0].value
    25.0
    """
    counts = np.zeros(256, np.int64)
    for block in z_blocks(labels.shape, bytes_per_voxel=2.0, max_bytes=max_bytes):
        for labels_of_slice in labels.read(block.start, block.stop):
            counts += np.bincount(labels_of_slice.reshape(-1), minlength=256)
    measures = _of_region(counts, "all", float(np.prod(labels.voxel_um)))
    share = counts[list(IMPLANT)].sum() / max(counts[: TissueClass.NOT_MEASURED].sum(), 1)
    if share <= MAX_METAL:
        return measures
    return [each.with_note(f"{METAL_IN_TISSUE}: {share:.0%} of TV") for each in measures]


def by_region(profile: Profile) -> list[tuple[str, NDArray[np.int64]]]:
    """Return the name and the counts (256) of each shell, and of all of them together if there are several."""
    edges = profile.edges_um
    shells = [(low, high, slice(n, n + 1)) for n, (low, high) in enumerate(pairwise(edges))]
    if len(shells) > 1:
        shells.append((edges[0], edges[-1], slice(0, len(edges))))
    return [(f"{low:g}-{high:g} µm", profile.counts[rows].sum(axis=0)) for low, high, rows in shells]


def _of_region(counts: NDArray[np.int64], region: str, voxel_um3: float) -> list[Measure]:
    tissue = int(counts[list(CLASSES)].sum())
    note = region_note(tissue, int(counts.sum())) if tissue else "nothing is measured in this region"
    bone, new = int(counts[list(MINERALISED)].sum()), int(counts[TissueClass.NEW_BONE])
    soft, void = int(counts[TissueClass.SOFT]), int(counts[TissueClass.VOID])

    def share(voxels: int) -> float:
        return 100 * voxels / tissue if tissue else float("nan")

    shares = {BV_TV: share(bone), NB_V_TV: share(new), SOFT_V_TV: share(soft), VOID_V_TV: share(void)}
    volumes = {each: voxels * voxel_um3 * 1e-9 for each, voxels in ((BV, bone), (NB_V, new), (TV, tissue))}
    return [Measure(each, value, region, note=note) for each, value in {**shares, **volumes}.items()]
