"""Datasets from images that are already aligned: two folders with the same file names, single images, or arrays."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from tomostain.dataset.dataset import Dataset
from tomostain.dataset.folds import SplitConfig, make_folds
from tomostain.dataset.loaded import LoadedDataset
from tomostain.dataset.pair import Pair
from tomostain.dataset.writer import DatasetBuilder, new_dataset
from tomostain.errors import InputError, SplitWarning, warn_user
from tomostain.imaging.colour import estimate_colour_reference, normalise_histology
from tomostain.imaging.correspondence_mask import correspondence_mask
from tomostain.imaging.intensity import check_ct, normalise_ct
from tomostain.imaging.intensity_estimation import estimate_reference
from tomostain.io.images import read_mask
from tomostain.paths import StrPath
from tomostain.prepare.aligned_files import (
    AlignedImage,
    AlignedImages,
    find_images,
    full_range,
    match_images,
    open_image,
)
from tomostain.progress import Progress, silent, track

SECTION_OF_SUBJECT = r"(.*\d)[\s_-]+\D*\d+$"
"""A file name like rat1_s03: the number of a section after a subject that has a number itself."""
_WAY_OUT = "set `normalise=range`, or normalise the images and set `normalise=none`"


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


@overload
def prepare_aligned(
    x: AlignedImages,
    y: AlignedImages,
    out: None = None,
    config: AlignedConfig | None = None,
    *,
    overwrite: bool = ...,
    progress: Progress = ...,
) -> LoadedDataset: ...
@overload
def prepare_aligned(
    x: AlignedImages,
    y: AlignedImages,
    out: StrPath,
    config: AlignedConfig | None = None,
    *,
    overwrite: bool = ...,
    progress: Progress = ...,
) -> Dataset: ...
def prepare_aligned(
    x: AlignedImages,
    y: AlignedImages,
    out: StrPath | None = None,
    config: AlignedConfig | None = None,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Dataset:
    """Create a dataset from aligned images, in a folder or in memory.

    Parameters
    ----------
    x, y : path, ndarray, sequence of ndarray, or mapping of str to ndarray
        µCT and histology. Folders of images with the same file names (suffixes may differ), or one image each; or
        arrays of shape (Y, X) and (Y, X, 3), one, several in the same order, or several by name. Without names the
        pairs are ``pair-1``, ``pair-2``, …
    out : path, optional
        Folder of the dataset. None: nothing is written, and the dataset is in memory.
    config : AlignedConfig
        Its `voxel_um` is required.
    overwrite : bool
        Replace a dataset at `out`. Its `exclude.tif` files are copied.
    progress : Progress
        Called for each pair.

    Returns
    -------
    Dataset
        A `LoadedDataset` without `out`; `tomostain.save_dataset` writes it.

    Raises
    ------
    InputError
        If `config.voxel_um` is missing, an image has no partner, two images of a pair differ in shape, or an image has
        the wrong type for its domain. The message names the files.

    Examples
    --------
    >>> ct = np.arange(96, dtype=np.uint16).reshape(8, 12)
    >>> histology = np.full((8, 12, 3), 255, np.uint8)
    >>> config = AlignedConfig(voxel_um=5, normalise="range", mask="none")
    >>> dataset = prepare_aligned({"a": ct}, {"a": histology}, config=config)
    >>> dataset.load("a").ct.shape, dataset.in_memory
    ((8, 12), True)
    """
    config = config or AlignedConfig()
    if config.voxel_um is None:
        raise InputError(
            "voxel_um: missing, and aligned images state no pixel size; give `voxel_um` in µm", parameter="voxel_um"
        )
    if config.halves and (config.test_subjects or config.test_ids):
        raise InputError("halves: the right halves are the test set; remove test_subjects and test_ids")
    partners = match_images(x, y)
    masks = find_images(Path(config.mask)) if config.mask not in ("auto", "none") else None
    parts = ("-left", "-right") if config.halves else ("",)
    ids = [stem + part for stem in partners for part in parts]
    subjects = {stem: _subject(stem, config) for stem in partners}
    if config.subject_regex is None and not config.halves:
        _warn_of_sections(list(partners))
    sources = [path for path in (x, y) if isinstance(path, str | os.PathLike)]
    with new_dataset(out, ids, overwrite=overwrite, sources=sources) as builder:
        for stem, images in track(partners.items(), "preparing pairs", progress, len(partners)):
            pair, details = _aligned_pair(stem, *images, masks, config, subjects[stem])
            _add_parts(builder, pair, details, config.halves)
        _divide_and_finish(builder, config)
    return builder.result()


def _divide_and_finish(builder: DatasetBuilder, config: AlignedConfig) -> None:
    """Write the index. The test set is the right halves, or as configured."""
    if not config.halves:
        test, folds = make_folds(builder.records, config)
        builder.finish(test=test, folds=folds, config=config)
        return
    left_halves = [record for record in builder.records if record["id"].endswith("-left")]
    test = tuple(record["id"] for record in builder.records if record["id"].endswith("-right"))
    folds = make_folds(left_halves, config.model_copy(update={"test_fraction": 0.0}))[1]
    builder.finish(test=test, folds=folds, halves=True, config=config)


def _add_parts(builder: DatasetBuilder, pair: Pair, details: Mapping[str, Any], halves: bool) -> None:
    """Add the pair, or its two halves."""
    if not halves:
        builder.add(pair, details)
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
        builder.add(half, {**details, "columns": [columns.start, columns.stop or pair.ct.shape[1]]})


def _aligned_pair(
    stem: str,
    x: AlignedImage,
    y: AlignedImage,
    masks: Mapping[str, Path] | None,
    config: AlignedConfig,
    subject: str,
) -> tuple[Pair, dict[str, Any]]:
    """Read, check, normalise and mask one pair."""
    x_name, y_name = (
        str(each) if isinstance(each, Path) else f"{name} '{stem}'" for each, name in ((x, "x"), (y, "y"))
    )
    ct_picture, histology_picture = open_image(x, x_name), open_image(y, y_name)
    ct, histology = ct_picture.grey(), histology_picture.rgb()
    if ct.shape != histology.shape[:2]:
        raise InputError(
            f"{x_name} and {y_name}: shapes {ct.shape} and {histology.shape[:2]} differ; aligned images must have the "
            "same size"
        )
    check_ct(ct, x_name)
    if config.invert_histology:
        histology = 255 - histology
    references: dict[str, Any] = {}
    if config.normalise == "auto":
        ct_reference = estimate_reference(ct, x_name, way_out=_WAY_OUT)
        histology_reference = estimate_colour_reference(histology, source=y_name)
        references = {"ct": ct_reference.to_dict(), "histology": histology_reference.to_dict()}
        ct, histology = normalise_ct(ct, ct_reference), normalise_histology(histology, histology_reference)
    elif config.normalise == "range":
        ct = full_range(ct, x_name, ct_picture.bits, ct_picture.samples.dtype)
    elif ct.dtype != np.uint16:
        raise InputError(
            f"{x_name}: is {ct_picture.samples.dtype}, but with normalise 'none' it must be uint16; use 'auto' or "
            "'range'"
        )
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
    details = {
        "levels": references,
        "normalise": config.normalise,
        "slide_colours": histology_picture.colours,
        "source": {"ct": x_name, "histology": y_name},
    }
    return pair, details


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


def _warn_of_sections(stems: Sequence[str]) -> None:
    """Warn if the names look like several sections of each subject, which count as subjects of their own."""
    matches = [match for stem in stems if (match := re.match(SECTION_OF_SUBJECT, stem)) is not None]
    counts = Counter(match.group(1) for match in matches)
    if len(matches) < len(stems) or len(counts) < 2 or max(counts.values()) < 2:
        return
    names = ", ".join(list(counts)[:3]) + (", …" if len(counts) > 3 else "")
    warn_user(
        f"the {len(stems)} images may be sections of {len(counts)} subjects by their names ({names}), but each counts "
        "as a subject, so that a specimen may be in training and test set; give "
        f"`subject_regex='{SECTION_OF_SUBJECT}'` for the subjects in these names, or '(.+)' if each image has its own",
        SplitWarning,
    )


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
