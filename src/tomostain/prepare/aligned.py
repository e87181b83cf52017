"""Datasets from images that are already aligned: two folders with the same file names, or two single images."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from tomostain.dataset.dataset import Dataset, load_dataset
from tomostain.dataset.folds import SplitConfig, make_folds
from tomostain.dataset.pair import Pair
from tomostain.dataset.writer import DatasetWriter, new_dataset
from tomostain.errors import InputError
from tomostain.imaging.colour import estimate_histology_levels, normalise_histology
from tomostain.imaging.correspondence_mask import correspondence_mask
from tomostain.imaging.intensity import check_ct, estimate_reference, normalise_ct
from tomostain.io.images import read_image
from tomostain.prepare.aligned_files import as_grey, as_rgb, find_images, find_partners, full_range
from tomostain.progress import Progress, silent, track


class AlignedConfig(SplitConfig):
    """How aligned images become pairs. The keys of `SplitConfig` say how the pairs are divided.

    Attributes
    ----------
    voxel_um : float or None
        Pixel size, µm. It must be given: such images rarely carry one, and it is never guessed.
    normalise : {"auto", "range", "none"}
        "auto": as paper section 2.5, regions of interest found in each image. "range": the full range of the µCT's type
        becomes the networks' window [0, 40000], the histology stays as it is. "none": both are normalised already.
    mask : "auto", "none" or a folder
        "auto": as paper section 2.8. "none": everything corresponds. A folder: masks of the same names, not 0 inside.
    subject_regex : str or None
        Matched at the start of the file name without its ending; the first group is the subject. None: each pair is
        its own subject.
    invert_histology : bool
        The histology is stored as a negative.
    halves : bool
        Cut each pair in the middle of its columns: `<id>-left` is for training, `<id>-right` for testing.
    implant, stain : str
        Written into the records.
    weeks : int or None
        Likewise.
    """

    voxel_um: float | None = Field(default=None, gt=0)
    normalise: Literal["auto", "range", "none"] = "auto"
    mask: str = "auto"
    subject_regex: str | None = None
    invert_histology: bool = False
    halves: bool = False
    implant: str = "unknown"
    stain: str = "unknown"
    weeks: int | None = None

    @field_validator("subject_regex")
    @classmethod
    def _has_a_group(cls, value: str | None) -> str | None:
        try:
            groups = 1 if value is None else re.compile(value).groups
        except re.error as error:
            raise ValueError(f"not a regular expression ({error})") from None
        if groups < 1:
            raise ValueError("needs a group in round brackets that holds the subject, as in '(.+)\\d{3}'")
        return value


def prepare_aligned(
    x: Path,
    y: Path,
    out: Path,
    config: AlignedConfig,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Dataset:
    """Make a dataset of aligned images.

    Parameters
    ----------
    x, y : Path
        Folders of µCT and of histology images with the same file names (endings may differ), or one image each.
    out : Path
        The dataset's folder.
    config : AlignedConfig
    overwrite : bool
        Replace a dataset at `out`, carrying its hand-drawn `exclude.tif` files over.
    progress : Progress
        Told of each pair.

    Returns
    -------
    Dataset

    Raises
    ------
    InputError
        If `config.voxel_um` is missing, a name has no partner, two images of a pair differ in shape, or an image is
        not what its domain asks for. The message names the files.
    """
    if config.voxel_um is None:
        raise InputError("voxel_um: not given, and aligned images carry no pixel size; give it in µm (--voxel-um)")
    if config.halves and (config.test_subjects or config.test_ids):
        raise InputError("halves: the right halves are the test set; leave test_subjects and test_ids away")
    partners = find_partners(Path(x), Path(y))
    masks = find_images(Path(config.mask)) if config.mask not in ("auto", "none") else None
    parts = ("-left", "-right") if config.halves else ("",)
    ids = [stem + part for stem in partners for part in parts]
    subjects = {stem: _subject(stem, config) for stem in partners}
    with new_dataset(out, ids, overwrite=overwrite, sources=(x, y)) as writer:
        for stem, files in track(partners.items(), "preparing pairs", progress, len(partners)):
            pair, details = _aligned_pair(stem, *files, masks, config, subjects[stem])
            _add_parts(writer, pair, details, config.halves)
        _divide_and_finish(writer, config)
    return load_dataset(out)


def _divide_and_finish(writer: DatasetWriter, config: AlignedConfig) -> None:
    """Write the index: right halves, or the test set that the configuration asks for, are kept out."""
    if not config.halves:
        test, folds = make_folds(writer.records, config)
        writer.finish(test=test, folds=folds, config=config)
        return
    left = [record for record in writer.records if record["id"].endswith("-left")]
    test = tuple(record["id"] for record in writer.records if record["id"].endswith("-right"))
    folds = make_folds(left, config.model_copy(update={"test_fraction": 0.0}))[1]
    writer.finish(test=test, folds=folds, halves=True, config=config)


def _add_parts(writer: DatasetWriter, pair: Pair, details: Mapping[str, Any], halves: bool) -> None:
    """Add the pair, or its two halves."""
    if not halves:
        writer.add(pair, details)
        return
    middle = pair.ct.shape[1] // 2
    for part, columns in (("left", slice(0, middle)), ("right", slice(middle, None))):
        half = Pair(
            f"{pair.id}-{part}",
            pair.ct[:, columns],
            pair.histology[:, columns],
            pair.mask[:, columns],
            pair.voxel_um,
            specimen=pair.specimen,
            subject=pair.subject,
            implant=pair.implant,
            weeks=pair.weeks,
            stain=pair.stain,
        )
        writer.add(half, {**details, "columns": [columns.start, columns.stop or pair.ct.shape[1]]})


def _aligned_pair(
    stem: str, x: Path, y: Path, masks: Mapping[str, Path] | None, config: AlignedConfig, subject: str
) -> tuple[Pair, dict[str, Any]]:
    """Read, check, normalise and mask one pair."""
    ct, histology = as_grey(read_image(x), x), as_rgb(read_image(y), y)
    if ct.shape != histology.shape[:2]:
        raise InputError(
            f"{x} and {y}: shapes {ct.shape} and {histology.shape[:2]} differ; aligned images must be of one size"
        )
    check_ct(ct, str(x))
    if config.invert_histology:
        histology = 255 - histology
    levels: dict[str, Any] = {}
    if config.normalise == "auto":
        ct_levels = estimate_reference(ct, str(x))
        histology_levels = estimate_histology_levels(histology, source=str(y))
        levels = {"ct": ct_levels.to_dict(), "histology": histology_levels.to_dict()}
        ct, histology = normalise_ct(ct, ct_levels), normalise_histology(histology, histology_levels)
    elif config.normalise == "range":
        ct = full_range(ct, x)
    elif ct.dtype != np.uint16:
        raise InputError(f"{x}: is {ct.dtype}, but with normalise 'none' it must be uint16; use 'auto' or 'range'")
    mask = _mask(stem, ct, histology, masks, config.mask)
    pair = Pair(
        stem,
        ct,
        histology,
        mask,
        float(config.voxel_um or 0),
        specimen=stem,
        subject=subject,
        implant=config.implant,
        weeks=config.weeks,
        stain=config.stain,
    )
    return pair, {"levels": levels, "normalise": config.normalise, "source": {"ct": str(x), "histology": str(y)}}


def _mask(
    stem: str,
    ct: NDArray[np.uint16],
    histology: NDArray[np.uint8],
    masks: Mapping[str, Path] | None,
    choice: str,
) -> NDArray[np.bool_]:
    """Return the mask that the configuration asks for."""
    if choice == "none":
        return np.ones(ct.shape, dtype=bool)
    if masks is None:
        return correspondence_mask(ct, histology, source=f"pair '{stem}'")
    if stem not in masks:
        raise InputError(f"{choice}: no mask for '{stem}'; name the masks as the images")
    image = read_image(masks[stem])
    mask = np.asarray((image if image.ndim == 2 else image[..., :3].max(axis=2)) != 0)
    if mask.shape != ct.shape:
        raise InputError(f"{masks[stem]}: shape {mask.shape} is not that of the pair, {ct.shape}; use the same grid")
    if not mask.any():
        raise InputError(f"{masks[stem]}: the mask of pair '{stem}' excludes everything; mark what corresponds, not 0")
    return mask


def _subject(stem: str, config: AlignedConfig) -> str:
    """Return the subject that the file name tells."""
    if config.subject_regex is None:
        return stem
    match = re.match(config.subject_regex, stem)
    if match is None or not match.group(1):
        raise InputError(
            f"subject_regex '{config.subject_regex}': finds no subject in the name '{stem}'; mend one of them"
        )
    return match.group(1)
