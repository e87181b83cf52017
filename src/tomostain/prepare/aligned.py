"""Datasets from images that are already aligned: two folders with the same file names, or two single images."""

import os
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
from tomostain.imaging.colour import estimate_colour_reference, normalise_histology
from tomostain.imaging.correspondence_mask import correspondence_mask
from tomostain.imaging.intensity import check_ct, estimate_reference, normalise_ct
from tomostain.io.images import read_mask, read_picture, read_rgb
from tomostain.prepare.aligned_files import find_images, find_partners, full_range
from tomostain.progress import Progress, silent, track


class AlignedConfig(SplitConfig):
    """How aligned images become pairs. The keys of `SplitConfig` say how the pairs are divided.

    Attributes
    ----------
    voxel_um : float or None
        Pixel size, µm. Required: such images rarely state one, and it is never assumed.
    normalise : {"auto", "range", "none"}
        "auto": as paper section 2.5, with regions of interest found in each image. "range": the full range of the µCT's
        data type becomes the grey values 0 to 40000; the histology is unchanged. "none": both are normalised
        already.
    mask : "auto", "none" or a folder
        "auto": as paper section 2.8. "none": all pixels correspond. A folder: masks with the same names, not 0 inside.
    subject_regex : str or None
        Matched at the start of the file name without its suffix. The first group is the subject. None: each pair is its
        own subject.
    invert_histology : bool
        The histology is stored inverted.
    halves : bool
        Cut each pair at its middle column: `<id>-left` is for training, `<id>-right` for testing.
    implant, stain : str
        Written into the records.
    weeks : int or None
        Healing time, written into the records.
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
        if re.search(r"[*+}][?+]?\)[*+{]", value or ""):  # the time would double with each character of a name
            raise ValueError(
                "repeats a group that repeats itself, which may never end; write '(.+)' instead of '(.+)+'"
            )
        return value


def prepare_aligned(
    x: str | os.PathLike[str],
    y: str | os.PathLike[str],
    out: str | os.PathLike[str],
    config: AlignedConfig,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Dataset:
    """Create a dataset from aligned images.

    Parameters
    ----------
    x, y : path
        Folders of µCT and of histology images with the same file names (suffixes may differ), or one image each.
    out : path
        Folder of the dataset.
    config : AlignedConfig
    overwrite : bool
        Replace a dataset at `out`. Its `exclude.tif` files are copied.
    progress : Progress
        Called for each pair.

    Returns
    -------
    Dataset

    Raises
    ------
    InputError
        If `config.voxel_um` is missing, a file has no partner, two images of a pair differ in shape, or an image has
        the wrong type for its domain. The message names the files.
    """
    if config.voxel_um is None:
        raise InputError(
            "voxel_um: missing, and aligned images state no pixel size; give `voxel_um` in µm", parameter="voxel_um"
        )
    if config.halves and (config.test_subjects or config.test_ids):
        raise InputError("halves: the right halves are the test set; remove test_subjects and test_ids")
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
    """Write the index. The test set is the right halves, or as configured."""
    if not config.halves:
        test, folds = make_folds(writer.records, config)
        writer.finish(test=test, folds=folds, config=config)
        return
    left_halves = [record for record in writer.records if record["id"].endswith("-left")]
    test = tuple(record["id"] for record in writer.records if record["id"].endswith("-right"))
    folds = make_folds(left_halves, config.model_copy(update={"test_fraction": 0.0}))[1]
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
    ct_picture, histology = read_picture(x), read_rgb(y)
    ct = ct_picture.grey()
    if ct.shape != histology.shape[:2]:
        raise InputError(
            f"{x} and {y}: shapes {ct.shape} and {histology.shape[:2]} differ; aligned images must have the same size"
        )
    check_ct(ct, str(x))
    if config.invert_histology:
        histology = 255 - histology
    references: dict[str, Any] = {}
    if config.normalise == "auto":
        ct_reference = estimate_reference(ct, str(x))
        histology_reference = estimate_colour_reference(histology, source=str(y))
        references = {"ct": ct_reference.to_dict(), "histology": histology_reference.to_dict()}
        ct, histology = normalise_ct(ct, ct_reference), normalise_histology(histology, histology_reference)
    elif config.normalise == "range":
        ct = full_range(ct, x, ct_picture.bits)
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
    return pair, {"levels": references, "normalise": config.normalise, "source": {"ct": str(x), "histology": str(y)}}


def _mask(
    stem: str,
    ct: NDArray[np.uint16],
    histology: NDArray[np.uint8],
    masks: Mapping[str, Path] | None,
    choice: str,
) -> NDArray[np.bool_]:
    """Return the mask as configured."""
    if choice == "none":
        return np.ones(ct.shape, dtype=bool)
    if masks is None:
        return correspondence_mask(ct, histology, source=f"pair '{stem}'")
    if stem not in masks:
        raise InputError(f"{choice}: no mask for '{stem}'; give the masks the names of the images")
    mask = read_mask(masks[stem])
    if mask.shape != ct.shape:
        raise InputError(
            f"{masks[stem]}: shape {mask.shape} is not the shape of the pair, {ct.shape}; use the same grid"
        )
    if not mask.any():
        raise InputError(
            f"{masks[stem]}: the mask of pair '{stem}' is empty; mark corresponding pixels with values above 0"
        )
    return mask


def _subject(stem: str, config: AlignedConfig) -> str:
    """Return the subject in the file name."""
    if config.subject_regex is None:
        return stem
    match = re.match(config.subject_regex, stem)
    if match is None or not match.group(1):
        raise InputError(
            f"subject_regex '{config.subject_regex}': finds no subject in the name '{stem}'; correct one of them"
        )
    return match.group(1)
