"""The images of one exported section, all on the same pixel grid."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tomostain.dataset.pair import Pair
from tomostain.errors import InputError
from tomostain.geometry.sampling import Blending, sample_nearest, sample_section
from tomostain.geometry.surfaces import Cut, section_cut
from tomostain.integers import to_integers
from tomostain.io import Volume
from tomostain.io.ome_zarr.reader import StainedVolume
from tomostain.measure.classes import Labels, TissueClass
from tomostain.measure.label_files import LabelVolume
from tomostain.measure.virtual_section import RGB, Mask, section_of
from tomostain.progress import Progress, silent
from tomostain.view.qupath.planes import Plane
from tomostain.view.sections import cut_of, section_of_ct

_WHITE = np.float32(255)


@dataclass(frozen=True)
class Sources:
    """What the sections are cut from.

    Attributes
    ----------
    volume : StainedVolume
    ct : Volume, optional
        The µCT that was stained.
    labels : LabelVolume, optional
        Tissue classes of the stained volume.
    thickness_um : float
        Thickness that is averaged in the virtual section and in the µCT, µm. 0: one layer. Labels are those of the
        middle layer.
    pixel_um : float, optional
        Pixel size of planes, µm. Default: the smallest side of a voxel. A pair has its own.
    blending : str
        See `sample_section`.
    """

    volume: StainedVolume
    ct: Volume | None = None
    labels: LabelVolume | None = None
    thickness_um: float = 0.0
    pixel_um: float | None = None
    blending: Blending = "density"


@dataclass(frozen=True)
class SectionImages:
    """The images of a section.

    Attributes
    ----------
    name : str
    cut : Cut
        Where the pixels lie in the volume.
    virtual : ndarray of uint8, shape (rows, columns, 3)
        Virtual section. White outside the volume.
    inside : ndarray of bool, shape (rows, columns)
        The pixels in the stained volume.
    ct : ndarray of uint8, uint16 or float32, shape (rows, columns), or None
        µCT; of a pair the normalised one.
    slide : ndarray of uint8, shape (rows, columns, 3), or None
        Registered slide of a pair, with normalised colours.
    labels : ndarray of uint8, shape (rows, columns), or None
        Values of `TissueClass`.
    mask : ndarray of bool, shape (rows, columns), or None
        Correspondence mask of a pair.
    about : dict
        Source of the section, for `sections.yaml`.
    """

    name: str
    cut: Cut
    virtual: RGB
    inside: Mask
    ct: NDArray[np.uint8 | np.uint16 | np.float32] | None = None
    slide: RGB | None = None
    labels: Labels | None = None
    mask: Mask | None = None
    about: dict[str, object] = field(default_factory=dict)

    @property
    def labels_inside(self) -> Labels | None:
        """The labels, with `NOT_MEASURED` outside the volume."""
        if self.labels is None:
            return None
        return np.where(self.inside, self.labels, np.uint8(TissueClass.NOT_MEASURED))


def plane_images(plane: Plane, sources: Sources, progress: Progress = silent) -> SectionImages:
    """Cut a plane.

    Raises
    ------
    InputError
        If it does not cross the volume, or is too large.
    """
    points = np.asarray(plane.points_um, dtype=np.float64)
    cut = cut_of(sources.volume, points, plane.normal, curved=plane.curved, pixel_um=sources.pixel_um)
    reports = _named(plane.name, progress)
    virtual, inside = _virtual(sources, cut, reports)
    grey = None if sources.ct is None else _grey(sources.ct, sources, cut, reports)
    return SectionImages(
        name=plane.name,
        cut=cut,
        virtual=virtual,
        inside=inside,
        ct=grey,
        labels=_labels(sources, cut, reports),
        about={"curved": plane.curved, "thickness_um": sources.thickness_um},
    )


def pair_images(pair: Pair, sources: Sources, progress: Progress = silent) -> SectionImages:
    """Cut the section of a pair from the stained volume, on the pixel grid of the pair.

    Raises
    ------
    InputError
        If the pair does not state its section, or the section does not cross the volume.
    """
    section = section_of(pair)
    if section is None:
        raise InputError(
            f"pair '{pair.id}': does not state where its section lies in a volume; give a pair that "
            "`register` or `prepare` made from a volume",
            parameter="pair",
        )
    offset_um = sources.volume.offset_from(section.volume_origin_um, section.region_um, section.volume_voxel_um)
    cut = section_cut(section, pair.ct.shape, pair.voxel_um).moved(-np.asarray(offset_um))
    reports = _named(pair.id, progress)
    virtual, inside = _virtual(sources, cut, reports)
    if not inside.any():
        raise InputError(
            f"{sources.volume.path}: the section of pair '{pair.id}' does not cross this volume; give the volume that "
            "the slide was registered to, stained",
            parameter="pair",
        )
    return SectionImages(
        name=pair.id,
        cut=cut,
        virtual=virtual,
        inside=inside,
        ct=pair.ct,
        slide=pair.histology,
        labels=_labels(sources, cut, reports),
        mask=pair.mask,
        about={"curved": False, "thickness_um": sources.thickness_um, "pair": pair.id, "stain": pair.stain},
    )


def _virtual(sources: Sources, cut: Cut, progress: Progress) -> tuple[RGB, Mask]:
    volume = sources.volume
    colours = sample_section(
        volume.block, volume.shape, volume.voxel_um, cut, sources.thickness_um, sources.blending, progress
    )
    inside: Mask = np.asarray(np.isfinite(colours).all(axis=-1), dtype=bool)
    filled = np.broadcast_to(np.where(inside[..., None], colours, _WHITE), (*inside.shape, 3))
    return to_integers(filled, np.uint8, "colours of the section", clip=True), inside


def _grey(ct: Volume, sources: Sources, cut: Cut, progress: Progress) -> NDArray[np.uint8 | np.uint16 | np.float32]:
    """Return the µCT of a section in the type of the volume. Outside it has the lowest value of the section."""
    values = section_of_ct(ct, sources.volume, cut, sources.thickness_um, progress)[..., 0]
    finite = np.isfinite(values)
    lowest = values[finite].min() if finite.any() else np.float32(0)
    filled = np.where(finite, values, lowest)
    if ct.dtype.kind == "f":
        return filled.astype(np.float32)
    return to_integers(filled, ct.dtype, "grey values of the section", clip=True)


def _labels(sources: Sources, cut: Cut, progress: Progress) -> Labels | None:
    labels = sources.labels
    if labels is None:
        return None
    # Where the voxel sizes differ, the outer faces of both volumes coincide.
    origin_um = (np.asarray(labels.voxel_um) - sources.volume.voxel_um) / 2
    return sample_nearest(labels.read, labels.shape, labels.voxel_um, cut.moved(-origin_um), progress)[0]


def _named(name: str, progress: Progress) -> Progress:
    """Return a listener that puts the name of the section before each label."""

    def report(label: str, done: int, total: int) -> None:
        progress(f"{name}: {label}", done, total)

    return report
