"""Bone-implant contact (BIC) in 3D, by voxel faces and by a sub-voxel surface, block by block.

Where metal, or its degradation layer, meets soft tissue, a voxel in between can have the grey value and the stain of
bone. Classifiers therefore put a rim of false bone, about one voxel thick, around the implant, or a rim of false soft
tissue. A contact that looks at the first voxel only measures this rim. Here the tissue within the gap tolerance does
not count, and at least half of the depth that follows must be bone. On phantoms whose labels were given such rims, the
bias of this rule was about 1 percentage point or less; that of the first voxel was 24 to 63 (`studies.measure.rims`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.integers import to_integers
from tomostain.measure.classes import IMPLANT, MINERALISED, Labels, TissueClass
from tomostain.measure.measures import Definition, Measure, define
from tomostain.measure.morphometry.fields import cut_note, is_seen, surface_note
from tomostain.measure.morphometry.implant import Implant
from tomostain.measure.morphometry.surface import (
    BYTES_PER_VOXEL,
    Kind,
    Surface,
    implant_surface,
    smoothing_slices,
)
from tomostain.measure.morphometry.z_blocks import BLOCK_BYTES, z_blocks
from tomostain.progress import Progress, silent

Float = NDArray[np.float64]
SAMPLES_PER_VOXEL = 4
CHUNK = 200_000
"""Surface elements whose samples are held at once."""
SURFACES: dict[str, Kind] = {"bic_voxel": "faces", "bic_surface": "triangles"}

RULE_TEXT = """An element is in contact if at least half of the tissue between `gap_um` and `gap_um` + `depth_um` from
it, along its outward normal, is bone or new bone (nearest voxel; implant and voxels that were not measured do not
count). So a rim of wrong voxels within the gap tolerance has no effect. With a depth of 0: if bone occurs anywhere
within the gap tolerance. An element is seen if at least half of its samples are in the volume and measured; only
elements that are seen count. Default gap: the diagonal of a voxel; default depth: two voxels."""
BIC_VOXEL = define(
    "bic_voxel",
    symbol="BIC",
    title="bone-implant contact, by voxel faces",
    unit="%",
    dimension=3,
    method="bic-voxel-1",
    text=f"""Share of the faces between implant (metal with degradation layer) and other voxels that are in contact with
    bone. The stepped surface of voxels is up to 73 % larger than the true one, depending on its direction; each face
    is weighted by its projection onto the surface, whose normal is the gradient of the smoothed implant (Flin et al.
    2005, doi:10.1109/TIP.2005.846021). {RULE_TEXT}""",
)
BIC_SURFACE = define(
    "bic_surface",
    symbol="BIC (surface)",
    title="bone-implant contact, by sub-voxel surface",
    unit="%",
    dimension=3,
    method="bic-surface-1",
    text=f"""Share of the area of the implant (metal with degradation layer) that is in contact with bone. The surface
    is the level 0.5 of the implant smoothed by a Gaussian of one voxel (marching cubes). {RULE_TEXT}""",
)
AREA = define(
    "im_s",
    symbol="Im.S",
    title="surface area of the implant that is seen",
    unit="mm²",
    dimension=3,
    method="bic-surface-1",
    text="""Area of the sub-voxel surface of metal with degradation layer, where it is seen: the denominator of the
    bone-implant contact by sub-voxel surface.""",
)


@dataclass(frozen=True)
class ContactRule:
    """When bone touches the implant.

    Attributes
    ----------
    gap_um : float
        Gap tolerance, µm: tissue this near to the surface does not count.
    depth_um : float
        Beyond the gap, at least half of this depth must be bone, µm. 0: bone anywhere within the gap counts.
    """

    gap_um: float
    depth_um: float

    def __post_init__(self) -> None:
        for name in ("gap_um", "depth_um"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise InputError(f"`{name}` is {value}; give a length of 0 or more, µm", parameter=name)
        if self.gap_um + self.depth_um == 0:
            raise InputError("`gap_um` and `depth_um` are both 0; one of them must be positive", parameter="gap_um")

    @classmethod
    def default(
        cls, voxel_um: tuple[float, ...], *, gap_um: float | None = None, depth_um: float | None = None
    ) -> "ContactRule":
        """Return the rule for a voxel size (or pixel size), µm. A length that is None has its default.

        Examples
        --------
        >>> ContactRule.default((20.0, 20.0, 20.0))
        ContactRule(gap_um=34.6, depth_um=40.0)
        """
        diagonal = float(f"{np.sqrt(3) * np.linalg.norm(voxel_um) / np.sqrt(len(voxel_um)):.3g}")
        depth = 2 * max(voxel_um)
        return cls(diagonal if gap_um is None else gap_um, depth if depth_um is None else depth_um)

    @property
    def note(self) -> str:
        """The lengths in words."""
        return f"gap tolerance {self.gap_um:g} µm, depth {self.depth_um:g} µm"

    def distances_um(self, voxel_um: tuple[float, ...]) -> Float:
        """Return the distances from the surface at which the tissue is sampled, µm: four in each voxel.

        A depth of less than a voxel has its own samples, so that at least one lies beyond the gap.
        """
        reach, size = self.gap_um + self.depth_um, min(voxel_um)
        if self.gap_um > 0 and 0 < self.depth_um < size:
            in_gap, beyond = (int(np.ceil(SAMPLES_PER_VOXEL * each / size)) for each in (self.gap_um, self.depth_um))
            depths = self.gap_um + (np.arange(beyond) + 0.5) * self.depth_um / beyond
            # A depth that rounding would lose is still beyond the gap.
            depths = np.maximum(depths, np.nextafter(self.gap_um, np.inf))
            return np.concatenate([(np.arange(in_gap) + 0.5) * self.gap_um / in_gap, depths])
        count = max(SAMPLES_PER_VOXEL, int(np.ceil(SAMPLES_PER_VOXEL * reach / size)))
        return np.asarray((np.arange(count) + 0.5) * reach / count)

    def is_contact(self, samples: Labels, distances_um: Float) -> NDArray[np.bool_]:
        """Return which elements touch bone.

        Parameters
        ----------
        samples : ndarray of uint8, shape (n, k)
            Classes along the normals of the elements.
        distances_um : ndarray of float64, shape (k,)
            Their distances from the surface.

        Returns
        -------
        ndarray of bool, shape (n,)
        """
        bone = np.isin(samples, MINERALISED)
        if self.depth_um == 0:
            return np.asarray(bone.any(axis=1), dtype=bool)
        beyond = distances_um > self.gap_um
        tissue = ~np.isin(samples[:, beyond], (*IMPLANT, TissueClass.NOT_MEASURED))
        n_bone = bone[:, beyond].sum(axis=1)
        return np.asarray((n_bone > 0) & (2 * n_bone >= tissue.sum(axis=1)), dtype=bool)


@dataclass(frozen=True)
class Contact:
    """Areas of a surface, or lengths of an outline.

    Attributes
    ----------
    total, seen, contact : float
        All of it; where it is seen; where it is seen and touches bone. µm² or µm.
    """

    total: float = 0.0
    seen: float = 0.0
    contact: float = 0.0

    def __add__(self, other: "Contact") -> "Contact":
        return Contact(self.total + other.total, self.seen + other.seen, self.contact + other.contact)

    @property
    def percent(self) -> float:
        """Bone-implant contact, %; NaN if nothing is seen."""
        return 100 * self.contact / self.seen if self.seen > 0 else float("nan")


def measure_contact(
    implant: Implant, rule: ContactRule, kind: Kind, *, max_bytes: int = BLOCK_BYTES, progress: Progress = silent
) -> Contact:
    """Measure the contact of bone with the implant, block by block.

    Parameters
    ----------
    implant : Implant
    rule : ContactRule
    kind : {"faces", "triangles"}
        Surface of weighted voxel faces, or sub-voxel surface.
    max_bytes : int
        Memory of a z block: 24 bytes per voxel, with an overlap of gap and depth on both sides. In addition, the
        samples of 200 000 elements are held.
    progress : Progress
        Called for every block.

    Returns
    -------
    Contact
        Areas, µm². They do not depend on the blocks.
    """
    distances = rule.distances_um(implant.voxel_um)
    overlap = int(np.ceil(distances[-1] / implant.voxel_um[0])) + 1
    sides = max(overlap, smoothing_slices(kind))
    parts = list(z_blocks(implant.shape, overlap=sides, bytes_per_voxel=BYTES_PER_VOXEL, max_bytes=max_bytes))
    result = Contact()
    for number, block in enumerate(parts):
        surface = implant_surface(implant, block, kind)
        if len(surface):
            labels = implant.labels.read(block.first, block.last)
            for part, samples in _along_normals(surface, labels, block.first, implant.voxel_um, distances):
                areas, visible = surface.areas_um2[part], is_seen(samples)
                touching = visible & rule.is_contact(samples, distances)
                result += Contact(float(areas.sum()), float(areas[visible].sum()), float(areas[touching].sum()))
        progress("contact", number + 1, len(parts))
    return result


def _along_normals(
    surface: Surface, labels: Labels, first: int, voxel_um: tuple[float, float, float], distances: Float
) -> Iterator[tuple[slice, Labels]]:
    """Yield parts of the elements, and the classes along their normals; `NOT_MEASURED` outside the volume."""
    origin = np.array([first, 0, 0])
    for start in range(0, len(surface), CHUNK):
        part = slice(start, start + CHUNK)
        points, normals = surface.points_um[part], surface.normals[part]
        samples = np.full((len(points), len(distances)), TissueClass.NOT_MEASURED, np.uint8)
        for column, distance in enumerate(distances):
            index = to_integers((points + distance * normals) / voxel_um, np.intp, "positions") - origin
            inside = ((index >= 0) & (index < labels.shape)).all(axis=1)
            samples[inside, column] = labels[tuple(index[inside].T)]
        yield part, samples


def contact_measures(
    implant: Implant,
    rule: ContactRule | None = None,
    *,
    methods: tuple[Literal["bic_voxel", "bic_surface"], ...] = ("bic_voxel", "bic_surface"),
    max_bytes: int = BLOCK_BYTES,
    progress: Progress = silent,
) -> list[Measure]:
    """Return the bone-implant contact, %, and the area of the implant that is seen, mm².

    Parameters
    ----------
    implant : Implant
        With its labels.
    rule : ContactRule, optional
        Gap tolerance and depth. None: `ContactRule.default` for the voxel size.
    methods : tuple of {"bic_voxel", "bic_surface"}
        Which surfaces; the area is measured with the sub-voxel surface.
    max_bytes : int
        Memory of a z block; see `measure_contact`.
    progress : Progress

    Returns
    -------
    list of Measure
        Their notes state the rule, the share of the surface that is seen, and where the implant leaves the volume. NaN
        if nothing is seen.
    """
    rule = rule or ContactRule.default(implant.voxel_um)
    definitions: dict[str, Definition] = {each.id: each for each in (BIC_VOXEL, BIC_SURFACE)}
    result = []
    for method in methods:
        contact = measure_contact(implant, rule, SURFACES[method], max_bytes=max_bytes, progress=progress)
        notes = [rule.note, surface_note("BIC", contact.seen, contact.total), cut_note(implant.touches)]
        note = "; ".join(each for each in notes if each)
        result.append(Measure(definitions[method], contact.percent, note=note))
        if method == "bic_surface":
            result.append(Measure(AREA, contact.seen * 1e-6, note="; ".join(each for each in notes[1:] if each)))
    return result
