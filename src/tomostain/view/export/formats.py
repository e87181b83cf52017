"""Exports of a stained volume: TIFF stacks (Avizo, Dragonfly, Fiji), VTK (ParaView), NRRD (3D Slicer) and others."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import yaml
from numpy.typing import NDArray

from tomostain.config import check_keywords, suggest
from tomostain.deprecation import renamed
from tomostain.errors import InputError, OtherLevelWarning, warn_user
from tomostain.input_files import is_there
from tomostain.io.atomic import atomic_file, atomic_folder
from tomostain.io.images import write_stack
from tomostain.io.metadata.placement import Placement
from tomostain.io.ome_zarr.reader import StainedSource, StainedVolume, open_stained
from tomostain.io.output_folder import base_name, source_paths
from tomostain.io.outputs import FolderKind, check_output, check_output_file
from tomostain.io.stained_input import warn_of_other_input
from tomostain.io.volumes.opening import open_volume
from tomostain.io.volumes.slice_files import natural_slices
from tomostain.io.volumes.volume import Volume, VolumeSource
from tomostain.paths import StrPath
from tomostain.progress import Progress, silent
from tomostain.view.export.alpha import Alpha, open_alpha
from tomostain.view.export.ome_zarr_04 import OME_ZARR_04, write_ome_zarr_04
from tomostain.view.export.placed import describe_export, warn_of_lost_placement, write_nrrd, write_vti
from tomostain.view.render.film import require_film, write_mp4
from tomostain.view.render.flight import FILM_FRAMES, FILM_SIZE, SECONDS, fly_through, write_gif

__getattr__ = renamed(__name__, {"PathLike": "tomostain.paths:StrPath"})

FORMATS = ("rgba-tiff", "rgb-tiff", "ome-zarr-0.4", "vti", "nrrd", "gif", "mp4")
FLIGHTS = ("gif", "mp4")
_OTHER_FUNCTIONS = {
    "qupath": "tomostain.view.export_sections",
    "onnx": "tomostain.convert_model",
    "bioimageio": "tomostain.convert_model",
}
"""What writes the other formats of ``tomostain export``."""
MAX_WHOLE_BYTES = 4 * 2**30
"""Maximum size (as RGBA) of a volume that is written as one file: such writers hold the volume in memory."""
MAX_FLIGHT_BYTES = 2**27
"""Maximum size (as RGBA) of a volume for a fly-through: each frame renders the whole volume."""
_SLICES_AT_ONCE = 16
_DESCRIPTION = "export.yaml"
_FOLDERS = {
    "rgba-tiff": FolderKind("export to rgba-tiff", rf"[^/]+\.tiff?|{_DESCRIPTION}", _DESCRIPTION, "stained:"),
    "rgb-tiff": FolderKind("export to rgb-tiff", rf"[^/]+\.tiff?|{_DESCRIPTION}", _DESCRIPTION, "stained:"),
    "ome-zarr-0.4": OME_ZARR_04,
}
_log = logging.getLogger("tomostain.view")


class ExportKeywords(TypedDict, total=False):
    """The fields of `ExportOptions` as keyword arguments."""

    level: int
    alpha: str
    ct: VolumeSource | None
    voxel_um: float | Sequence[float] | None
    allow_missing: bool
    like: StrPath | None
    max_bytes: int


@dataclass(frozen=True)
class ExportOptions:
    """The exported part of a stained volume.

    Attributes
    ----------
    level : int
        Level of the pyramid; 0 is full size.
    alpha : str
        The rule for alpha: see `tomostain.view.export.alpha.open_alpha`. Its name and formula are written with the
        colours.
    ct : path, Volume or array, optional
        The µCT that was stained, for the rule ``ct``.
    voxel_um : float or sequence of float, optional
        Voxel size of the µCT if its files do not state it, µm.
    allow_missing : bool
        Fill slices of the µCT of which data are missing with zeros.
    like : path, optional
        Folder of TIFF slices, the input that was stained. The slices of a TIFF stack get the same names.
    max_bytes : int
        Maximum size of a volume that is written as one file, bytes as RGBA.
    """

    level: int = 0
    alpha: str = "paper"
    ct: VolumeSource | None = None
    voxel_um: float | Sequence[float] | None = None
    allow_missing: bool = False
    like: StrPath | None = None
    max_bytes: int = MAX_WHOLE_BYTES


def export(
    stained: "StainedSource",
    out: StrPath,
    to: str = "rgba-tiff",
    *,
    overwrite: bool = False,
    progress: Progress = silent,
    **options: Unpack[ExportKeywords],
) -> Path:
    """Write a stained OME-Zarr in a format that other software reads.

    Parameters
    ----------
    stained : path, StainedVolume or tuple (array, voxel_um)
        The stained volume. An array is uint8 (Z, Y, X, 3).
    out : path
        Folder for the TIFF stacks (one slice is in memory at a time) and OME-Zarr, file for ``vti``, ``nrrd``, ``gif``,
        ``mp4``.
    to : str
        ``rgba-tiff``, ``rgb-tiff``: one file per slice, with the voxel size as ImageJ stores it. ``ome-zarr-0.4``: the
        older OME-Zarr. ``vti``: VTK image data with RGBA point scalars, lengths in µm. ``nrrd``: an RGBA vector image,
        lengths in mm, as 3D Slicer expects. Both state their unit, and hold the position and directions of the µCT.
        ``gif``, ``mp4``: a fly-through; the MP4 is larger and smoother.
    overwrite : bool
        Replace an existing file or folder.
    progress : Progress
        Listener.
    **options
        The fields of `ExportOptions`.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    InputError
        If the format, level or rule is unknown, the output exists, the volume is too large for one file, the suffix of
        a file is wrong, `like` has another number of slices, a shard is missing or altered, or the library for the
        format is not installed.

    References
    ----------
    Irvine et al., J. Synchrotron Rad. 2026, section 2.11.
    """
    check_keywords("export", options, ExportKeywords.__annotations__)
    chosen = ExportOptions(**options)
    volume, out = open_stained(stained), Path(out)
    level = _level(volume, to, chosen.level)
    _check_options(volume, to, replace(chosen, level=level))
    _check_output(out, to, source_paths(stained, chosen.ct, chosen.like), overwrite)
    ct = _open_ct(chosen)
    if ct is not None:
        warn_of_other_input(ct, volume)
    rule = open_alpha(chosen.alpha, volume, level, ct)
    warn_of_lost_placement(volume, to, level)
    volume.verify(range(level, len(volume.levels)) if to == "ome-zarr-0.4" else [level], progress)
    if to.endswith("-tiff"):
        names = None if chosen.like is None else _names_like(Path(chosen.like), volume, level)
        _write_tiff_stack(volume, out, level, rule if to == "rgba-tiff" else None, names, overwrite, progress)
    elif to == "ome-zarr-0.4":
        write_ome_zarr_04(volume, out, level=level, overwrite=overwrite, progress=progress)
    else:
        _check_size(volume, to, level, min(chosen.max_bytes, MAX_FLIGHT_BYTES) if to in FLIGHTS else chosen.max_bytes)
        _write_file(volume, out, to, level, rule, overwrite, progress)
    _log.info("%s: %s", out, describe_export(volume, to, level))
    return out


def _check_output(out: Path, to: str, sources: Sequence[Path], overwrite: bool) -> None:
    """Raise if the name does not fit the format, or the output may not be written or replaced."""
    if to in _FOLDERS:
        check_output(out, _FOLDERS[to], sources, overwrite=overwrite)
        return
    if out.suffix.lower() != f".{to}":
        raise InputError(f"{out}: a {to} file must be named *.{to}")
    check_output_file(out, f"{to} file", sources, overwrite=overwrite)


def _level(volume: StainedVolume, to: str, level: int) -> int:
    """Return the level to export: for a film of a small volume the coarsest one, if the given one does not exist."""
    coarsest = len(volume.levels) - 1
    if to not in FLIGHTS or level <= coarsest:
        return level
    warn_user(f"{volume.path}: has no level {level}; the film shows level {coarsest}", OtherLevelWarning)
    return coarsest


def _open_ct(options: ExportOptions) -> Volume | None:
    if options.ct is None:
        return None
    return open_volume(options.ct, voxel_um=options.voxel_um, allow_missing=options.allow_missing)


def _check_options(volume: StainedVolume, to: str, options: ExportOptions) -> None:
    """Raise if the format is unknown, or the options do not fit the format or the volume."""
    if to not in FORMATS:
        if to in _OTHER_FUNCTIONS:
            raise InputError(f"`to` {to}: is written by `{_OTHER_FUNCTIONS[to]}`", parameter="to")
        raise InputError(f"`to` {to}: unknown format{suggest(to, list(FORMATS))}", parameter="to")
    if not 0 <= options.level < len(volume.levels):
        raise InputError(f"`level` {options.level}: {volume.path} has {_levels(volume)}", parameter="level")
    if to in ("rgb-tiff", "ome-zarr-0.4") and (options.alpha != "paper" or options.ct is not None):
        raise InputError(f"`to` {to}: has no alpha; omit `alpha` and `ct`, or choose another format", parameter="to")
    if to == "mp4":
        require_film()
    if options.like is not None and not to.endswith("-tiff"):
        raise InputError(
            f"`like` {options.like}: names the slices of a TIFF stack, and {to} has none; omit it", parameter="like"
        )


def _levels(volume: StainedVolume) -> str:
    coarsest = len(volume.levels) - 1
    return f"the levels 0 to {coarsest}" if coarsest else "only level 0, its full size; set `level=0`"


def _write_file(
    volume: StainedVolume, out: Path, to: str, level: int, rule: Alpha, overwrite: bool, progress: Progress
) -> None:
    """Write a whole level as one file."""
    voxel_um, note = volume.levels[level][1], f"{rule.rule}: {rule.formula}"
    placement = volume.placements[level] or Placement()
    with atomic_file(out, overwrite, refuse_changed=True) as temporary:
        colours = _whole(volume, level, rule, progress)
        if to == "vti":
            write_vti(temporary, colours, voxel_um, note, placement)
        elif to == "nrrd":
            write_nrrd(temporary, colours, voxel_um, note, placement)
        elif to == "mp4":
            pictures = fly_through(colours, voxel_um, frames=FILM_FRAMES, size=FILM_SIZE, progress=progress)
            write_mp4(temporary, pictures, FILM_FRAMES / SECONDS)
        else:
            write_gif(temporary, fly_through(colours, voxel_um, progress=progress))


def _names_like(folder: Path, volume: StainedVolume, level: int) -> list[str]:
    """Return the file names of a folder of slices, with the suffix ``.tif``. Their number must be that of the stack."""
    if level:
        raise InputError(f"`like` {folder}: its names belong to full size, not to `level` {level}; omit one of them")
    if not folder.is_dir():
        state = "is a file, not a folder" if is_there(folder) else "no such folder"
        raise InputError(f"`like` {folder}: {state}; give the folder of TIFF slices that was stained", parameter="like")
    files = natural_slices(folder)
    if len(files) != volume.shape[0]:
        raise InputError(
            f"`like` {folder}: has {len(files)} slices, but the stained volume has {volume.shape[0]}; state the folder "
            "that was stained"
        )
    names = [f"{base_name(file)}.tif" for file in files]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"`like` {folder}: has several slices of the name {base_name(twice[0])}; rename them")
    return names


def _write_tiff_stack(
    volume: StainedVolume,
    out: Path,
    level: int,
    rule: Alpha | None,
    names: Sequence[str] | None,
    overwrite: bool,
    progress: Progress,
) -> None:
    """Write one file per slice, and a description of the export."""
    (shape, voxel_um), placement = volume.levels[level], volume.placements[level]
    note = {
        "stained": str(volume.path),
        "to": "rgb-tiff" if rule is None else "rgba-tiff",
        "alpha": None if rule is None else {"rule": rule.rule, "formula": rule.formula},
        "level": level,
        "shape": list(shape),
        "voxel_um": list(voxel_um),
        **({} if placement is None else {"placement": placement.to_dict()}),
        "provenance": volume.provenance,
    }
    with atomic_folder(out, overwrite) as temporary:
        blocks = _blocks(volume, level, progress)
        slices = (image for z0, block in blocks for image in (block if rule is None else rule.add(block, z0)))
        write_stack(temporary, slices, names=names, voxel_um=voxel_um)
        text = yaml.safe_dump(note, sort_keys=False, allow_unicode=True)
        (temporary / _DESCRIPTION).write_text(text, encoding="utf-8")


def _blocks(volume: StainedVolume, level: int, progress: Progress) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Read a level in parts: the number of the first slice, and the slices."""
    depth = volume.levels[level][0][0]
    for z0 in range(0, depth, _SLICES_AT_ONCE):
        z1 = min(depth, z0 + _SLICES_AT_ONCE)
        yield z0, volume.read(z0, z1, level)
        progress("exporting slices", z1, depth)


def _whole(volume: StainedVolume, level: int, rule: Alpha, progress: Progress) -> NDArray[Any]:
    """Read a whole level as RGBA."""
    result = np.empty((*volume.levels[level][0], 4), dtype=np.uint8)
    for z0, block in _blocks(volume, level, progress):
        result[z0 : z0 + len(block)] = rule.add(block, z0)
    return result


def _check_size(volume: StainedVolume, to: str, level: int, max_bytes: int) -> None:
    """Raise if a level is too large for one file. The message names a level that is small enough."""
    sizes = [4 * int(np.prod(shape)) for shape, _ in volume.levels]
    if sizes[level] <= max_bytes:
        return
    fits = [number for number, size in enumerate(sizes) if size <= max_bytes]
    way_out = f"set `level={fits[0]}`, or `to=rgba-tiff`" if fits else "set `to=rgba-tiff`, which writes slices"
    raise InputError(
        f"{volume.path}: level {level} has {sizes[level] / 1e9:.2g} GB as RGBA, more than the maximum of {to} "
        f"({max_bytes / 1e9:.2g} GB); {way_out}"
    )
