"""Writing of a specimen (µCT volume, slide, truth), and its reconstruction from `specimen.yaml` to the same bits."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy import ndimage

from tomostain import __version__
from tomostain.config import read_yaml
from tomostain.errors import InputError
from tomostain.geometry.section import Section
from tomostain.io import Slide, Volume, write_image, write_slide, write_stack
from tomostain.io.atomic import atomic_folder
from tomostain.io.outputs import FolderKind, check_output
from tomostain.paths import StrPath
from tomostain.phantom.anatomy import Anatomy, grow_anatomy
from tomostain.phantom.config import PhantomConfig
from tomostain.phantom.histology import is_tissue, stain_section, to_rgb
from tomostain.phantom.laboratory import PhantomSlide, make_slide
from tomostain.phantom.pose import section_through_screw
from tomostain.phantom.tomography import tomograph
from tomostain.progress import Progress, silent

SPECIMEN = "specimen.yaml"
_SPECIMEN_FOLDER = FolderKind(
    "phantom specimen",
    rf"{SPECIMEN}|slide\.ome\.tif|volume/slice_\d+\.tif|truth/\w+\.(tif|yaml)",
    SPECIMEN,
    "tomostain_version:",
)


@dataclass(frozen=True)
class Specimen:
    """A specimen with its options.

    Attributes
    ----------
    id : str
    config : PhantomConfig
    anatomy : Anatomy
    """

    id: str
    config: PhantomConfig
    anatomy: Anatomy


class PhantomImages(NamedTuple):
    """µCT and slide of a phantom in memory.

    Attributes
    ----------
    volume : Volume
    slide : Slide
    section : Section
        The true position of the slide in the volume.
    """

    volume: Volume
    slide: Slide
    section: Section


def make_images(
    config: PhantomConfig | None = None, name: str = "phantom", *, progress: Progress = silent
) -> PhantomImages:
    """Make the µCT volume and the slide of a specimen in memory: the same values as those of `write_specimen`.

    Parameters
    ----------
    config : PhantomConfig, optional
    name : str
        Of volume and slide, in messages and in provenance.
    progress : Progress
        Called for every part of the scan.

    Examples
    --------
    >>> config = PhantomConfig(shape=(12, 32, 32), voxel_um=150, pixel_um=100)
    >>> volume, slide, section = make_images(config)
    >>> volume.shape, slide.pixel_um
    ((12, 32, 32), 100.0)
    """
    config = config or PhantomConfig()
    volume, _, slide = _images(config, progress)
    return PhantomImages(
        Volume.from_array(volume, config.voxel_um, name),
        Slide.from_array(slide.rgb, config.pixel_um, f"{name} (slide)"),
        slide.section,
    )


def _images(config: PhantomConfig, progress: Progress) -> tuple[NDArray[np.uint16], NDArray[np.uint8], PhantomSlide]:
    """Return the volume, its labels and the slide of a specimen."""
    anatomy = grow_anatomy(config)
    volume, labels = tomograph(anatomy, progress)
    section, shape = section_through_screw(config, anatomy.pose)
    return volume, labels, make_slide(anatomy, section, shape)


def write_specimen(
    config: PhantomConfig, out: StrPath, *, overwrite: bool = False, progress: Progress = silent
) -> Path:
    """Make a specimen, its µCT volume and its slide, and write them as one folder, completely or not at all.

    Parameters
    ----------
    config : PhantomConfig
    out : str or os.PathLike
        Folder of ``volume/slice_0000.tif …``, ``slide.ome.tif``, ``specimen.yaml`` and ``truth/``: ``section.yaml``
        (the pose of the section), ``labels.tif`` and ``slide_labels.tif`` (`Label` of every voxel and slide pixel),
        ``histology_ideal.tif``, ``damaged.tif`` and ``shift_um.tif`` (rows, then columns).
    overwrite : bool
        Replace an existing specimen.
    progress : Progress
        Called for every part of the scan.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    InputError
        If `out` exists and `overwrite` is False.
    """
    out = Path(out)
    check_output(out, _SPECIMEN_FOLDER, overwrite=overwrite)
    with atomic_folder(out, overwrite) as folder:
        volume, labels, slide = _images(config, progress)
        sizes = (config.voxel_um,) * 3
        write_stack(folder / "volume", volume, voxel_um=sizes)
        write_slide(folder / "slide.ome.tif", slide.rgb, config.pixel_um)
        _write_truth(folder / "truth", slide, labels, config)
        (folder / SPECIMEN).write_text(_describe(out.name, config), encoding="utf-8")
    return out


def _write_truth(folder: Path, slide: PhantomSlide, labels: NDArray[np.uint8], config: PhantomConfig) -> None:
    """Write the truth of volume and slide."""
    import tifffile

    folder.mkdir()
    text = yaml.safe_dump(slide.section.to_dict() | {"pixel_um": config.pixel_um}, sort_keys=False)
    (folder / "section.yaml").write_text(text, encoding="utf-8")
    for name, stack in (("labels", labels), ("shift_um", np.moveaxis(slide.shift_um, -1, 0))):
        tifffile.imwrite(folder / f"{name}.tif", stack, compression="zlib", photometric="minisblack")
    write_image(folder / "slide_labels.tif", slide.labels)
    write_image(folder / "histology_ideal.tif", slide.ideal)
    write_image(folder / "damaged.tif", slide.damaged.astype(np.uint8) * 255)


def _describe(name: str, config: PhantomConfig) -> str:
    """Return `specimen.yaml`."""
    facts = {
        "id": name,
        "subject": name,
        "implant": config.material,
        "weeks": config.weeks,
        "stain": config.stain,
        "voxel_um": config.voxel_um,
        "pixel_um": config.pixel_um,
        "tomostain_version": __version__,
        "config": config.model_dump(mode="json"),
    }
    return yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)


def load_specimen(folder: StrPath) -> Specimen:
    """Make a specimen again from its `specimen.yaml`, for example to sample it in other planes.

    Raises
    ------
    InputError
        If the folder contains no specimen.
    """
    path = Path(folder) / SPECIMEN
    values = read_yaml(path)
    if not isinstance(values.get("config"), dict):
        raise InputError(f"{path}: key 'config' is missing; give the specimen.yaml of a phantom")
    config = PhantomConfig.from_dict(values["config"], source=str(path))
    return Specimen(str(values.get("id", Path(folder).name)), config, grow_anatomy(config))


def truth_section(
    specimen: Specimen, section: Section, shape: tuple[int, int], pixel_um: float
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return an ideal stained section in any plane, and a mask of the specimen.

    Parameters
    ----------
    specimen : Specimen
    section : Section
    shape : tuple of int
        (rows, columns).
    pixel_um : float

    Returns
    -------
    rgb : ndarray of uint8, shape (rows, columns, 3)
        Background near 255, as in normalised histology.
    mask : ndarray of bool, shape (rows, columns)
        The specimen with filled pores.
    """
    transmission, labels = stain_section(specimen.anatomy, section, shape, pixel_um)
    # Padded, because closing would treat the border of the image as an edge of the specimen.
    closed = ndimage.binary_closing(np.pad(is_tissue(labels), 2), iterations=2)[2:-2, 2:-2]
    mask = ndimage.binary_fill_holes(closed)
    return to_rgb(transmission, white=255.0), np.asarray(mask, dtype=bool)


def truth_slice(specimen: Specimen, z: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return `truth_section` for slice `z` of the µCT volume, on its voxels."""
    config = specimen.config
    origin = np.array([z * config.voxel_um, 0.0, 0.0])
    section = Section(origin, np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]))
    return truth_section(specimen, section, config.shape[1:], config.voxel_um)
