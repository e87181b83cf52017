"""The measures of an implant in a plane: contact of the outline, areas in bands around it, areas of the implant.

They are separate measures: their names and symbols differ from those in 3D, as do their values.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.errors import InputError
from tomostain.integers import to_integers
from tomostain.measure.classes import CLASSES, IMPLANT, MINERALISED, TITLES, Labels, TissueClass
from tomostain.measure.label_source import check_classes
from tomostain.measure.measures import Definition, Measure, define
from tomostain.measure.morphometry.contact import RULE_TEXT, Contact, ContactRule
from tomostain.measure.morphometry.fields import is_seen, region_note, surface_note
from tomostain.measure.morphometry.shells import SHELL_EDGES_UM, Profile, by_region, check_edges

Mask = NDArray[np.bool_]
Float = NDArray[np.float64]
PixelSize = tuple[float, float]

MIN_PIXELS = 16
"""An implant of fewer pixels is refused."""
MIN_PART = 0.05
"""Connected parts of at least this share of the largest one belong to the implant: a plane can cut a screw in parts."""
MAX_HOLE = 0.01
"""Holes of at most this share of the implant are filled. A larger one can be a slot that is open in 3D."""
SMOOTHING = 1.0
"""Standard deviation of the Gaussian that smooths the implant before its outline is drawn, pixels."""

_SOURCE = "Dempster et al. 2013, doi:10.1002/jbmr.1805."


def _define(id: str, symbol: str, title: str, unit: str, text: str, method: str = "bands-1") -> Definition:
    return define(id, symbol=symbol, title=title, unit=unit, dimension=2, method=method, text=text)


BIC_PLANE = _define(
    "bic_plane",
    "BIC (2D)",
    "bone-implant contact of the outline in a plane",
    "%",
    f"""Share of the length of the outline of the implant (metal with degradation layer) that is in contact with bone.
    The outline is the level 0.5 of the implant smoothed by a Gaussian of one pixel (marching squares), and an element
    is a piece of it within a pixel. {RULE_TEXT} Pixels of the size of a voxel have the default lengths of 3D.""",
    "bic-plane-1",
)
_BAND = "The region is a band of distances to the outline of the implant (Euclidean distance of pixel centres)"
B_AR_T_AR = _define(
    "b_ar_t_ar",
    "B.Ar/T.Ar",
    "bone area fraction",
    "%",
    f"Pixels of bone and new bone divided by all measured pixels of the region except the implant. {_BAND}. {_SOURCE}",
)
NB_AR_T_AR = _define(
    "nb_ar_t_ar",
    "NB.Ar/T.Ar",
    "new-bone area fraction",
    "%",
    f"Pixels of new woven bone divided by all measured pixels of the region except the implant. {_BAND}. {_SOURCE}",
)
ST_AR_T_AR = _define(
    "st_ar_t_ar",
    "ST.Ar/T.Ar",
    "soft-tissue area fraction",
    "%",
    f"Pixels of soft tissue and marrow divided by all measured pixels of the region except the implant. {_BAND}.",
)
VD_AR_T_AR = _define(
    "vd_ar_t_ar",
    "Vd.Ar/T.Ar",
    "void area fraction",
    "%",
    f"Pixels of void (air, gas) divided by all measured pixels of the region except the implant. {_BAND}.",
)
B_AR = _define("b_ar", "B.Ar", "bone area", "mm²", f"Area of bone and new bone in the region. {_BAND}. {_SOURCE}")
NB_AR = _define("nb_ar", "NB.Ar", "new-bone area", "mm²", f"Area of new woven bone in the region. {_BAND}.")
T_AR = _define(
    "t_ar", "T.Ar", "tissue area", "mm²", f"Measured area of the region except the implant. {_BAND}. {_SOURCE}"
)
DL_AR = _define(
    "dl_ar",
    "DL.Ar",
    "area of the degradation layer",
    "mm²",
    "Area of the degradation layer of the implant in the plane. Layer that is not connected to it does not count.",
    "implant-plane-1",
)
IM_AR = _define(
    "im_ar",
    "Im.Ar",
    "area of residual metal",
    "mm²",
    "Area of the metal of the implant in the plane. Metal that is not connected to it does not count.",
    "implant-plane-1",
)


@dataclass(frozen=True)
class PlaneImplant:
    """The implant in a plane. Made by `find_plane_implant`.

    Attributes
    ----------
    labels : ndarray of uint8, shape (Y, X)
        Values of `TissueClass`; `NOT_MEASURED` outside the mask.
    pixel_um : tuple of float
        Pixel size (y, x), µm.
    mask : ndarray of bool, shape (Y, X)
        Metal and degradation layer.
    """

    labels: Labels
    pixel_um: PixelSize
    mask: Mask

    @property
    def pixel_um2(self) -> float:
        """Area of a pixel, µm²."""
        return self.pixel_um[0] * self.pixel_um[1]


def find_plane_implant(
    labels: Labels, pixel_um: float | PixelSize, *, mask: NDArray[np.bool_] | None = None
) -> PlaneImplant:
    """Find the implant in a plane.

    It consists of the connected parts of metal and degradation layer that have at least 5 % of the area of the largest
    one, with holes of up to 1 % of it filled.

    Parameters
    ----------
    labels : ndarray of uint8, shape (Y, X)
        Values of `TissueClass`.
    pixel_um : float or tuple of float
        Pixel size, or (y, x), µm.
    mask : ndarray of bool, shape (Y, X), optional
        The pixels that are valid; the others become `NOT_MEASURED`.

    Returns
    -------
    PlaneImplant

    Raises
    ------
    InputError
        If the labels are no (Y, X) array of uint8 with values of `TissueClass`, the mask has another shape, the pixel
        size is not positive, or the implant has fewer than 16 connected pixels.
    """
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise InputError(f"`labels`: {labels.dtype} of shape {labels.shape}; give uint8 of shape (Y, X)")
    check_classes(labels, "`labels`")
    sizes = (pixel_um, pixel_um) if isinstance(pixel_um, int | float) else tuple(pixel_um)
    if len(sizes) != 2 or not all(np.isfinite(size) and size > 0 for size in sizes):
        raise InputError(f"`pixel_um` is {pixel_um}; give one positive number or two, µm", parameter="pixel_um")
    if mask is not None:
        if mask.shape != labels.shape:
            raise InputError(f"`mask` has the shape {mask.shape}, the labels {labels.shape}", parameter="mask")
        labels = np.where(mask, labels, TissueClass.NOT_MEASURED).astype(np.uint8)
    return PlaneImplant(labels, (float(sizes[0]), float(sizes[1])), _implant_mask(labels))


def _implant_mask(labels: Labels) -> Mask:
    parts, n = ndimage.label(np.isin(labels, IMPLANT))
    sizes = np.bincount(parts.reshape(-1), minlength=n + 1)
    sizes[0] = 0
    if sizes.max() < MIN_PIXELS:
        listed = ", ".join(TITLES[TissueClass(int(value))] for value in np.unique(labels))
        raise InputError(
            f"the plane contains no implant: at most {sizes.max()} connected pixels of metal and degradation layer, "
            f"and at least {MIN_PIXELS} are needed; the classes are {listed}"
        )
    mask = (sizes >= MIN_PART * sizes.max())[parts]
    holes, n = ndimage.label(~mask)
    areas = np.bincount(holes.reshape(-1), minlength=n + 1)
    open_holes = np.zeros(n + 1, bool)
    for side in (holes[0], holes[-1], holes[:, 0], holes[:, -1]):
        open_holes[side] = True
    fill = ~open_holes & (areas <= MAX_HOLE * mask.sum())
    fill[0] = False
    return np.asarray(mask | fill[holes], dtype=bool)


def plane_contact(implant: PlaneImplant, rule: ContactRule) -> Contact:
    """Measure the contact of bone with the outline of the implant in a plane.

    Parameters
    ----------
    implant : PlaneImplant
    rule : ContactRule

    Returns
    -------
    Contact
        Lengths, µm. Where the image cuts the implant there is no outline.
    """
    points, normals, lengths = _outline(implant)
    distances = rule.distances_um(implant.pixel_um)
    positions = points[:, None] + distances[:, None] * normals[:, None]
    index = to_integers(positions / implant.pixel_um, np.intp, "positions")
    inside = ((index >= 0) & (index < implant.labels.shape)).all(axis=-1)
    samples = np.full(inside.shape, TissueClass.NOT_MEASURED, np.uint8)
    samples[inside] = implant.labels[tuple(index[inside].T)]
    visible = is_seen(samples)
    touching = visible & rule.is_contact(samples, distances)
    return Contact(float(lengths.sum()), float(lengths[visible].sum()), float(lengths[touching].sum()))


def _outline(implant: PlaneImplant) -> tuple[Float, Float, Float]:
    """Return the middle (µm), the outward normal and the length (µm) of each piece of the outline."""
    from skimage.measure import find_contours

    smooth = ndimage.gaussian_filter(implant.mask.astype(np.float64), SMOOTHING, mode="nearest")
    pieces = [np.zeros((0, 2, 2))]
    # Contours run with the implant on their right-hand side, seen with rows downwards.
    for contour in find_contours(smooth, 0.5):
        pieces.append(np.stack([contour[:-1], contour[1:]], axis=1))
    ends = np.concatenate(pieces) * implant.pixel_um
    along = ends[:, 1] - ends[:, 0]
    lengths = np.linalg.norm(along, axis=1)
    keep = lengths > 0
    normals = np.stack([-along[:, 1], along[:, 0]], axis=1)[keep] / lengths[keep, None]
    return ends.mean(axis=1)[keep], normals, lengths[keep]


def plane_profile(implant: PlaneImplant, edges_um: Sequence[float]) -> Profile:
    """Count the pixels of each class outside the implant, by their distance to it.

    Parameters
    ----------
    implant : PlaneImplant
    edges_um : sequence of float
        Increasing edges of the bins from 0 on, µm.

    Returns
    -------
    Profile

    Raises
    ------
    InputError
        If the edges are not finite, not increasing, or negative.
    """
    edges = check_edges(edges_um)
    distance = ndimage.distance_transform_edt(~implant.mask, implant.pixel_um) - min(implant.pixel_um) / 4
    outside = ~implant.mask
    bins = np.searchsorted(edges, distance[outside], side="right")
    counts = np.bincount(bins * 256 + implant.labels[outside], minlength=(len(edges) + 1) * 256)
    return Profile(edges, counts.reshape(-1, 256)[1:-1], implant.pixel_um2)


def plane_measures(
    implant: PlaneImplant, *, rule: ContactRule | None = None, edges_um: Sequence[float] = SHELL_EDGES_UM
) -> list[Measure]:
    """Return all measures of an implant in a plane.

    Parameters
    ----------
    implant : PlaneImplant
    rule : ContactRule, optional
        Gap tolerance and depth. None: `ContactRule.default` for the pixel size.
    edges_um : sequence of float
        Edges of the bands, µm from the outline of the implant.

    Returns
    -------
    list of Measure
        BIC (2D) and the areas of degradation layer and metal (region ``all``); B.Ar/T.Ar, NB.Ar/T.Ar, soft tissue,
        void, B.Ar, NB.Ar and T.Ar of each band, and of all bands together.

    Raises
    ------
    InputError
        If the edges are not increasing from 0 on.
    """
    rule = rule or ContactRule.default(implant.pixel_um)
    contact = plane_contact(implant, rule)
    notes = [rule.note, surface_note("BIC", contact.seen, contact.total).replace("surface", "outline")]
    result = [Measure(BIC_PLANE, contact.percent, note="; ".join(note for note in notes if note))]
    for definition, tissue in ((DL_AR, TissueClass.DEGRADATION), (IM_AR, TissueClass.METAL)):
        pixels = int(np.count_nonzero(implant.mask & (implant.labels == tissue)))
        result.append(Measure(definition, pixels * implant.pixel_um2 * 1e-6))
    profile = plane_profile(implant, edges_um)
    for region, counts in by_region(profile):
        result += _of_band(counts, region, profile.cell_um)
    return result


def _of_band(counts: NDArray[np.int64], region: str, pixel_um2: float) -> list[Measure]:
    tissue = int(counts[list(CLASSES)].sum())
    note = region_note(tissue, int(counts.sum())) if tissue else "nothing is measured in this region"
    pixels = {
        B_AR_T_AR: counts[list(MINERALISED)].sum(),
        NB_AR_T_AR: counts[TissueClass.NEW_BONE],
        ST_AR_T_AR: counts[TissueClass.SOFT],
        VD_AR_T_AR: counts[TissueClass.VOID],
    }
    result = [
        Measure(each, 100 * int(n) / tissue if tissue else float("nan"), region, note=note)
        for each, n in pixels.items()
    ]
    areas = {B_AR: pixels[B_AR_T_AR], NB_AR: pixels[NB_AR_T_AR], T_AR: tissue}
    return result + [Measure(each, int(n) * pixel_um2 * 1e-6, region, note=note) for each, n in areas.items()]
