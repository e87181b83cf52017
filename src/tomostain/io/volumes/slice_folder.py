"""Volumes as a folder of slices: TIFF, or the BMP that Bruker's NRecon writes by default."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tomostain.errors import InputError
from tomostain.io.image_size import check_decoded_size
from tomostain.io.metadata.ome_files import OmeFiles, announced_files
from tomostain.io.metadata.sidecar_logs import missing_sections
from tomostain.io.metadata.units import Spacing, contradict, format_spacing
from tomostain.io.parallel import in_parallel
from tomostain.io.tiff import ome_spacing, opened_tiff
from tomostain.io.volumes.base import Source
from tomostain.io.volumes.missing import MissingData, format_slices, merged, ranges_of
from tomostain.io.volumes.registry import Reader
from tomostain.io.volumes.rescale import rescaled
from tomostain.io.volumes.slice_files import BMP_SUFFIXES, SliceFiles, list_slices, slice_numbers
from tomostain.io.volumes.slice_headers import Array, SliceHeader, bmp_header, read_bmp, read_tiff, tiff_header


def open_slice_folder(path: Path, dataset: str | None = None) -> Source:
    """Open a folder of slices. Every header is checked; no image data are read.

    Raises
    ------
    InputError
        As `tomostain.io.volumes.slice_files.list_slices`; also for colour or multi-page files, truncated files, and
        slices that differ in shape or type (the first odd file is named).
    """
    slices = _without_empty_files(path, list_slices(path))
    is_bmp = slices.present[0].name.lower().endswith(BMP_SUFFIXES)
    announced = None if is_bmp else _announced(slices.present[0])
    if announced is not None:
        slices = _as_announced(path, slices, announced)
    files = slices.present
    header, read_slice = (bmp_header, read_bmp) if is_bmp else (tiff_header, read_tiff)
    first = header(files[0])
    if announced is None or announced.depth == 1:
        slices = _as_logged(path, slices, first.shape)
    spacing = first.spacing
    if not is_bmp and spacing == (None, None, None):  # not compared: its OME-XML is long
        spacing = _ome_spacing(files[0], announced)
    conflict, bits = "", {first.bits}
    empty = [files[0]] if first.has_empty_parts else []
    stored = first.sizes[0]
    for file in files[1:]:
        other = header(file)
        if other[:2] != first[:2]:
            is_shape = other.shape != first.shape
            kind, value, usual = ("shape", other[0], first[0]) if is_shape else ("type", other[1], first[1])
            raise InputError(f"{file}: its {kind} is {value}, that of {files[0].name} is {usual}; all must be the same")
        empty += [file] if other.has_empty_parts else []
        stored = max(stored, other.sizes[0])
        if other.rescale != first.rescale:
            raise InputError(
                f"{file}: its grey values have another scale than those of {files[0].name}; keep only the slices "
                "of one volume in the folder"
            )
        if not conflict and contradict(first.spacing, other.spacing):
            size, usual_size = format_spacing(other.spacing), format_spacing(first.spacing)
            conflict = f"{file.name} states pixels of {size}, {files[0].name} of {usual_size}"
        bits.add(other.bits)
    # Empty slices at the ends of a volume are genuine if one of the others has content.
    check_decoded_size(files[0], first.shape[0] * first.shape[1], first.dtype.itemsize, stored, first.sizes[1])
    read = _reader(slices.files, first, read_slice)
    missing = _with_empty(slices, empty)
    source = Source(
        (len(slices.files), *first.shape),
        first.dtype,
        spacing,
        read,
        (files[0], files[-1]),
        missing=missing,
        bits=None if None in bits else max(each for each in bits if each is not None),
        conflict=conflict,
        unknown_unit=first.unit,
        numbering_step=slices.step,
        is_concurrent=True,
    )
    return rescaled(source, first.rescale)


SLICE_FOLDER = Reader(open_slice_folder, "a folder of TIFF slices")
"""The reader of folders that no other reader takes."""


def _reader(
    files: tuple[Path | None, ...], first: SliceHeader, read_slice: Callable[[Path, Array], None]
) -> Callable[[int, int], Array]:
    def read(start: int, stop: int) -> Array:
        block = np.empty((stop - start, *first.shape), first.dtype.newbyteorder("="))

        def decode(image_and_file: tuple[Array, Path | None]) -> None:
            image, file = image_and_file
            if file is None:
                image[...] = 0
            else:
                read_slice(file, image)

        in_parallel(decode, zip(block, files[start:stop], strict=True))
        return block

    return read


def _without_empty_files(folder: Path, slices: SliceFiles) -> SliceFiles:
    """Return the slices with empty files as missing."""
    empty = [file for file in slices.present if file.stat().st_size == 0]
    if not empty:
        return slices
    if len(empty) == len(slices.present):
        raise InputError(f"{empty[0]}: is empty, a truncated copy; copy the slices again")
    files = tuple(None if file in empty else file for file in slices.files)
    reason = f"{empty[0].name}: is empty, a truncated copy"
    missing = ranges_of(index for index, file in enumerate(files) if file is None)
    reasons = [slices.missing.reason] if slices.missing else []
    return SliceFiles(files, MissingData(missing, "; ".join([reason, *reasons])), slices.step)


def _with_empty(slices: SliceFiles, empty: list[Path]) -> MissingData:
    """Return the missing slices and those with strips or tiles that were never written."""
    if not empty:
        return slices.missing
    holes = ranges_of(slices.files.index(file) for file in empty)
    reason = f"strips or tiles of {empty[0].name} were never written (0 bytes; {format_slices(holes)})"
    parts = [part for part in (slices.missing.reason, reason) if part]
    return MissingData(merged([*slices.missing.slices, *holes]), ", and ".join(parts))


def _ome_spacing(first: Path, announced: OmeFiles | None) -> Spacing:
    """Return the voxel size of the OME-XML of a slice, or of the file with the metadata."""
    if announced is not None:
        return ome_spacing(announced.xml)
    with opened_tiff(first) as tif:
        return ome_spacing(tif.ome_metadata) if tif.is_ome and tif.ome_metadata else (None, None, None)


def _announced(first: Path) -> OmeFiles | None:
    """Return what the OME-XML of a slice says of the other slices."""
    with opened_tiff(first) as tif:
        return announced_files(first, tif.ome_metadata) if tif.is_ome and tif.ome_metadata else None


def _as_announced(folder: Path, slices: SliceFiles, announced: OmeFiles) -> SliceFiles:
    """Return the slices in the order that OME-XML states, with those that are missing."""
    if announced.others > 1:
        counts = {each: len(list(each.glob("*.tif*"))) for each in sorted(folder.iterdir()) if each.is_dir()}
        fullest = max(counts, key=lambda each: counts[each], default=folder)
        advice = f"; are the slices in {fullest}?" if counts.get(fullest) else ""
        raise InputError(
            f"{slices.present[0]}: its OME-XML states {announced.others} channels or time points; a µCT volume has "
            f"z, y, x only{advice}"
        )
    if announced.depth == 1:  # each slice describes only itself
        return slices
    present = {file.name: file for file in slices.present}
    if not announced.files & present.keys() or len(announced.files) == 1:
        # Files that were renamed are in the order of their numbers.
        if len(slices.files) >= announced.depth or slices.missing:
            return slices
        reason = f"{len(slices.files)} of {announced.depth} slices that its OME-XML announces are in the folder"
        return SliceFiles(slices.files, MissingData((), reason))
    unknown = sorted(present.keys() - announced.files)
    if unknown:
        raise InputError(
            f"{folder}: {unknown[0]} is not one of the {len(announced.files)} files that the OME-XML names; keep only "
            "the slices of one volume in the folder"
        )
    files = tuple(present.get(announced.names.get(z, "")) for z in range(announced.depth))
    if len(set(announced.names.values())) < len(announced.names):
        raise InputError(f"{folder}: a file of its OME-TIFF holds several slices; open one of the files instead")
    absent = [z for z, file in enumerate(files) if file is None]
    if not absent:
        return SliceFiles(files)
    names = [announced.names.get(z, "a file without a name") for z in absent]
    reason = (
        f"{len(present)} of {announced.depth} slices that its OME-XML announces are in the folder; "
        f"{', '.join(names[:3])}{', …' if len(names) > 3 else ''} {'is' if len(names) == 1 else 'are'} missing"
    )
    return SliceFiles(files, MissingData(ranges_of(absent), reason))


def _as_logged(folder: Path, slices: SliceFiles, plane: tuple[int, int]) -> SliceFiles:
    """Return the slices, and those as missing that a log states and the folder does not hold."""
    files = slices.present
    before = next(index for index, file in enumerate(slices.files) if file is not None)
    start = (slice_numbers(files)[0] if len(files) > 1 else before) - before * slices.step
    numbers = range(start, start + len(slices.files) * slices.step, slices.step)
    reason, absent = missing_sections(folder, files[0], plane, numbers)
    if not reason:
        return slices
    low, high = ([number for number in absent if side(number)] for side in (numbers[0].__gt__, numbers[-1].__lt__))
    if absent:
        extended: tuple[Path | None, ...] = (*(None for _ in low), *slices.files, *(None for _ in high))
        ranges = " and ".join(
            f"{part[0]} to {part[-1]}" if len(part) > 1 else f"{part[0]}" for part in (low, high) if part
        )
        names = f"slice number {ranges} is" if len(absent) == 1 else f"slice numbers {ranges} are"
        reason = f"{reason} ({names} missing)"
    else:
        extended = slices.files
    absent_slices = ranges_of(index for index, file in enumerate(extended) if file is None)
    earlier = [slices.missing.reason] if slices.missing else []
    remedy = (
        "copy them again, or, if no more are wanted, remove the log from the folder and give the size with `voxel_um`"
    )
    missing = MissingData(absent_slices if absent else slices.missing.slices, "; ".join([reason, *earlier]), remedy)
    return SliceFiles(extended, missing, slices.step)
