"""The files of a folder of slices: their order, and which are missing."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import gcd
from pathlib import Path

from tomostain.errors import InputError
from tomostain.input_files import check_is_folder, is_file_entry, is_folder_entry
from tomostain.io.content import is_dicom
from tomostain.io.tiff import TIFF_SUFFIXES
from tomostain.io.volumes.missing import NOTHING_MISSING, MissingData, ranges_of

BMP_SUFFIXES = (".bmp",)
SLICE_SUFFIXES = (TIFF_SUFFIXES, BMP_SUFFIXES)
"""Formats of slices, by preference: a folder of TIFF slices may hold a preview in BMP."""

_OTHER_IMAGES = (".png", ".jpg", ".jpeg", ".jp2", ".webp", ".dcm", ".raw", ".vol")
# Names of files that are being copied, or were compressed one by one.
_UNFINISHED = re.compile(
    r"^(?P<hidden>\.)?(?P<name>.+\.(?:tiff?|btf|tf8|bmp))"
    r"(?P<end>\.(?:part|partial|crdownload|download|filepart|tmp|temp|icloud|aria2|gz|bz2|xz|zst|zip)|(?(hidden)\.\w{6}|$^))$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class SliceFiles:
    """The slices of a folder.

    Attributes
    ----------
    files : tuple
        A path for each slice, in order; None for a slice that is missing.
    missing : MissingData
    step : int
        Difference of the numbers of two slices that follow one another: more than 1 if a program saved every second or
        tenth slice, or if so many were removed.
    """

    files: tuple[Path | None, ...]
    missing: MissingData = NOTHING_MISSING
    step: int = 1

    @property
    def present(self) -> list[Path]:
        """The files that exist, in order."""
        return [file for file in self.files if file is not None]


def natural_slices(folder: Path) -> list[Path]:
    """Return the slices of a folder, sorted by the number in which their names differ.

    Parameters
    ----------
    folder : Path
        See `list_slices`.

    Returns
    -------
    list of Path

    Raises
    ------
    InputError
        As `list_slices`, and if a slice is missing.
    """
    slices = list_slices(folder)
    if slices.missing:
        raise InputError(f"{folder}: {slices.missing.reason}; restore it, or renumber the slices")
    if slices.step > 1:
        raise InputError(f"{folder}: its slices are numbered in steps of {slices.step}; renumber them")
    return slices.present


def list_slices(folder: Path) -> SliceFiles:
    """List the slices of a folder and find those that are missing.

    Parameters
    ----------
    folder : Path
        With TIFF slices or, if there are none, BMP slices. Hidden files, other formats, and the previews ``*_spr.*`` of
        Bruker's NRecon are ignored.

    Returns
    -------
    SliceFiles
        Links whose target is not there, files of which the copy is incomplete, and gaps in the numbers are missing
        slices.

    Raises
    ------
    InputError
        If there is no slice, the names differ in more than one number, two slices have one number, or a slice is a
        folder, pipe or device.
    """
    check_is_folder(folder, "give the folder of the slices")
    with os.scandir(folder) as listing:  # states which entries are files, without a further call for each
        entries = {entry.name: entry for entry in listing}
    suffixes = _suffixes_in(folder, entries)
    names = sorted(name for name in entries if _is_slice(name, suffixes))
    unfinished = {match["name"]: name for name in entries if (match := _unfinished(name, suffixes))}
    absent = {
        name: f"{unfinished_name} is compressed, or its copy is not complete"
        for name, unfinished_name in unfinished.items()
        if name not in names
    }
    for name in names:
        problem = _absence(entries[name])
        if problem:
            absent[name] = problem
    files = [folder / name for name in sorted({*names, *absent})]
    if len(absent) == len(files):
        raise InputError(f"{folder}: {absent[files[0].name]}; copy the slices again")
    if len(files) == 1:
        return SliceFiles((files[0],))
    return _in_order(folder, files, absent)


def _suffixes_in(folder: Path, entries: Mapping[str, "os.DirEntry[str]"]) -> tuple[str, ...]:
    """Return the suffixes of the slices in a folder.

    Raises
    ------
    InputError
        If there are none; the message says what is there.
    """
    names = [entry.name for entry in entries.values() if entry.is_symlink() or not is_folder_entry(entry)]
    counts = [sum(_is_slice(name, suffixes) for name in names) for suffixes in SLICE_SUFFIXES]
    tiff, bmp = counts
    if tiff and bmp > 1 and 2 * bmp > tiff:  # fewer BMP files are previews or screenshots
        raise InputError(
            f"{folder}: holds {tiff} TIFF and {bmp} BMP files, and it is ambiguous which are the slices; "
            "keep only one of them in the folder"
        )
    for suffixes, count in zip(SLICE_SUFFIXES, counts, strict=True):
        if count:
            return suffixes
    if "attributes.json" in entries:
        raise InputError(
            f"{folder}: is N5, which is not read; save the volume as TIFF slices or OME-Zarr (Fiji: File > Import > "
            "N5, then File > Save As > Image Sequence)"
        )
    if any(name.lower().endswith((".dcm", ".ima")) or is_dicom(folder / name) for name in ["DICOMDIR", *names][:9]):
        raise InputError(
            f"{folder}: holds DICOM files, which are not read; convert the series to NIfTI or NRRD (dcm2niix, or 3D "
            "Slicer)"
        )
    others = Counter(Path(name).suffix.lower() for name in names if name.lower().endswith(_OTHER_IMAGES))
    if others:
        suffix, count = others.most_common(1)[0]
        raise InputError(
            f"{folder}: no TIFF slices in this folder; it holds {count} {suffix} files, which are not read as a "
            "volume; save them as TIFF slices (Fiji: File > Import > Image Sequence, then Save As > Image Sequence)"
        )
    inside = sorted(name for name, entry in entries.items() if is_folder_entry(entry))[:3]
    hint = (
        f"it has the folder(s) {', '.join(inside)}; give one of them" if inside else "give the folder that holds them"
    )
    raise InputError(f"{folder}: no TIFF slices in this folder; {hint}")


def _is_slice(name: str, suffixes: tuple[str, ...]) -> bool:
    lower = name.lower()
    return lower.endswith(suffixes) and not lower.startswith(".") and not Path(lower).stem.endswith("_spr")


def _unfinished(name: str, suffixes: tuple[str, ...]) -> "re.Match[str] | None":
    match = _UNFINISHED.match(name)
    return match if match and _is_slice(match["name"], suffixes) else None


def _absence(entry: "os.DirEntry[str]") -> str:
    """Return why a slice cannot be read: "" if it can.

    Raises
    ------
    InputError
        If it is neither a file nor a link to one.
    """
    if is_file_entry(entry):
        return ""
    file = Path(entry.path)
    if not file.exists():
        return f"{file.name} is a link to a file that is not there ({file.readlink()})"
    kind = "a folder" if file.is_dir() else "a pipe or device"
    raise InputError(f"{file}: is {kind}, but a slice is a file; remove or restore it")


def _in_order(folder: Path, files: list[Path], absent: dict[str, str]) -> SliceFiles:
    """Sort slices by their number, and add None where one is missing."""
    numbered: dict[int, Path] = {}
    for file, number in zip(files, slice_numbers(files), strict=True):
        if number in numbered:
            raise InputError(f"{file}: has the same slice number {number} as {numbered[number].name}; remove one")
        numbered[number] = file
    order = sorted(numbered)
    step = _numbering_step(order)
    gaps = [(number, following) for number, following in pairwise(order) if following != number + step]
    length = order[-1] - order[0] + 1
    if length > 100 * len(order) + 1000:
        raise InputError(
            f"{folder}: the numbers of {len(order)} slices go from {order[0]} to {order[-1]}; keep only the slices of "
            "one volume in the folder"
        )
    reasons = [absent[numbered[number].name] for number in order if numbered[number].name in absent]
    for number, following in gaps:
        missing = (
            f"slice number {number + step} is"
            if following == number + 2 * step
            else (f"slice numbers {number + step} to {following - step} are")
        )
        between = f"({numbered[number].name} is followed by {numbered[following].name})"
        reasons.append(f"{missing} missing {between}")
    present = {number: file for number, file in numbered.items() if file.name not in absent}
    slices = tuple(present.get(number) for number in range(order[0], order[-1] + 1, step))
    if not reasons:
        return SliceFiles(slices, step=step)
    count = sum(file is None for file in slices)
    more = f"; {count} slices are missing in all" if len(reasons) > 1 else ""
    missing_slices = ranges_of(index for index, file in enumerate(slices) if file is None)
    missing_data = MissingData(missing_slices, reasons[0] + more, "restore it, or renumber the slices")
    return SliceFiles(slices, missing_data, step)


def _numbering_step(numbers: Sequence[int]) -> int:
    """Return the step of a numbering: 1 unless most numbers follow one another at a larger step, of which all are.

    Examples
    --------
    >>> _numbering_step([0, 2, 4, 6]), _numbering_step([0, 10, 20, 40, 50]), _numbering_step([0, 1, 2, 4])
    (2, 10, 1)
    >>> _numbering_step([0, 2]), _numbering_step([0, 2, 5, 7])
    (1, 1)
    """
    differences = [following - number for number, following in pairwise(numbers)]
    if len(differences) < 2:
        return 1
    step = gcd(*differences)
    return step if 2 * differences.count(step) > len(differences) else 1


def slice_numbers(files: Sequence[Path]) -> list[int]:
    """Return the numbers in which the names differ.

    Raises
    ------
    InputError
        If a name differs in its text, or the names differ in more than one number.
    """
    # macOS and Linux write letters such as "é" differently: as one character, or as a letter and an accent.
    parts = [re.split(r"(\d+)", unicodedata.normalize("NFC", file.stem)) for file in files]
    counts = Counter(tuple(p[::2]) for p in parts)
    usual = max(counts, key=lambda texts: (counts[texts], len(texts) > 1))  # of two, the one with a number
    for file, part in zip(files, parts, strict=True):
        if tuple(part[::2]) != usual:
            if [text.rstrip("-") for text in part[::2]] == [text.rstrip("-") for text in usual]:
                raise InputError(f"{file}: its number has a minus sign; number the slices from 0")
            pattern = "#".join(usual) + (", where # is a number" if len(usual) > 1 else "")
            raise InputError(
                f"{file}: its name differs from the others' ({pattern}); keep only the slices in the folder"
            )
    varying = [i for i in range(1, len(parts[0]), 2) if len({int(part[i]) for part in parts}) > 1]
    if len(varying) > 1:
        first, last = files[0].name, files[-1].name
        raise InputError(
            f"{files[0].parent}: the names differ in more than one number ({first} … {last}); name the slices by one"
        )
    if len(parts[0]) < 3:
        raise InputError(f"{files[0].parent}: {files[0].name} and {files[1].name} have no number; number the slices")
    # Names that differ by leading zeros only (1, 01) are the same number: the caller reports the duplicate.
    index = varying[0] if varying else len(parts[0]) - 2
    return [int(part[index]) for part in parts]
