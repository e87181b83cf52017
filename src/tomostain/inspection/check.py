"""What a file or folder is, and whether it is complete and undamaged."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tomostain.errors import InputError
from tomostain.input_files import refuse_special_file, suggest_path
from tomostain.inspection.results import find_result
from tomostain.io.metadata.units import format_sides
from tomostain.models import builtin_folder, is_builtin, suggest_builtin
from tomostain.paths import StrPath
from tomostain.progress import Progress, silent, track

if TYPE_CHECKING:
    from tomostain.io import Slide, Volume

_Z_CHUNK = 8
_MAX_SLIDE_BYTES = 2**29


@dataclass(frozen=True)
class CheckOptions:
    """What a file does not state.

    Attributes
    ----------
    voxel_um : float or sequence of float, optional
        Voxel size (z, y, x) of a volume, µm.
    pixel_um : float, optional
        Pixel size of a slide, µm; by default `voxel_um`, if it is one number.
    dataset : str, optional
        Path of the volume in an HDF5 file.
    allow_missing : bool
        Read a volume although data are missing.
    """

    voxel_um: float | Sequence[float] | None = None
    pixel_um: float | None = None
    dataset: str | None = None
    allow_missing: bool = False


@dataclass(frozen=True)
class Inspection:
    """The result of `check_path`.

    Parameters
    ----------
    path : Path
    kind : str
        "volume", "slide", "pair", "dataset", "run", "model", "stained volume", "uncertainty volume", "phantom
        specimen", "export", "exported model", "film", "evaluation", "demo", "registration candidates",
        "registrations" or "figures".
    summary : str
        Size and resolution of a volume or slide, else empty.
    details : tuple of str
        More facts, each in one line.
    """

    path: Path
    kind: str
    summary: str = ""
    details: tuple[str, ...] = ()

    def describe(self) -> list[str]:
        """Return the description as lines."""
        first = f"{self.path}: {self.kind}{', ' if self.summary else ''}{self.summary}"
        return [first, *(f"  {line}" for line in self.details)]

    def to_dict(self) -> dict[str, object]:
        """Return the description with the keys ``path``, ``kind``, ``summary`` and ``details``."""
        return {"path": str(self.path), "kind": self.kind, "summary": self.summary, "details": list(self.details)}


def check_path(
    path: StrPath,
    *,
    voxel_um: float | Sequence[float] | None = None,
    pixel_um: float | None = None,
    dataset: str | None = None,
    allow_missing: bool = False,
    progress: Progress = silent,
) -> Inspection:
    """Find out what a file or folder is, and verify it.

    Everything is read: all slices of a volume, all shards of a stained volume, all pictures of a folder. Only of a
    slide above 500 MB a coarser level is read, and the result says so.

    Parameters
    ----------
    path : path
        A volume, a slide, anything that this software writes, or ``builtin:NAME``.
    voxel_um : float or sequence of float, optional
        Voxel size (z, y, x) of a volume or pixel size of a slide, µm, if the file does not state it.
    pixel_um : float, optional
        Pixel size of a slide, µm.
    dataset : str, optional
        Path of the volume in an HDF5 file.
    allow_missing : bool
        Describe a volume although data are missing.
    progress : Progress
        Called for each part that is read.

    Returns
    -------
    Inspection

    Raises
    ------
    InputError
        If the path does not exist, is not a supported file or folder, or is damaged.
    """
    path = builtin_folder(str(path)) if is_builtin(path) else Path(path)
    refuse_special_file(path)
    if not path.exists():
        advice = suggest_builtin(path) or suggest_path(path)
        raise InputError(f"{path}: no such file or folder{advice}", parameter="path")
    options = CheckOptions(voxel_um, pixel_um, dataset, allow_missing)
    if dataset is None and (result := _own_result(path, progress)) is not None:
        return result
    return _image(path, options, progress)


def _own_result(path: Path, progress: Progress) -> Inspection | None:
    """Check what this software wrote; None for other files and folders."""
    if (path / "dataset.yaml").is_file():
        return Inspection(path, "dataset", details=_dataset(path, progress))
    if (path / "metrics.csv").is_file() or (path / "run.yaml").is_file():
        return Inspection(path, "run", details=_run(path))
    if (path / "model.yaml").is_file():
        return Inspection(path, "model", details=_model(path))
    if (path / "specimen.yaml").is_file():
        return Inspection(path, "phantom specimen", details=_phantom(path, progress))
    if (path / "demo.yaml").is_file():
        return Inspection(path, "demo", details=_demo(path, progress))
    if (result := find_result(path)) is not None:
        kind, check = result
        return Inspection(path, kind, details=check(path, progress))
    return _stained(path, progress) if _is_stained(path) else None


def _dataset(path: Path, progress: Progress) -> tuple[str, ...]:
    from tomostain.dataset.dataset import load_dataset

    dataset = load_dataset(path)
    lines = []
    for pair_id in track(list(dataset.ids), "reading", progress):
        pair = dataset.load(pair_id)
        rows, columns = pair.ct.shape[:2]
        lines.append(f"{pair_id}: {rows} x {columns} px, {pair.implant}, mask {pair.mask.mean():.0%}")
    test = ", ".join(dataset.test) or "none"
    return (*lines, f"voxel size {dataset.voxel_um:g} µm, {len(dataset.folds)} folds, for testing: {test}")


def _run(path: Path) -> tuple[str, ...]:
    if not (path / "metrics.csv").is_file():
        return ("no step is recorded yet; model: not yet",)
    rows = (path / "metrics.csv").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    has_model = (path / "model").is_dir()
    first = f"{len(rows) - 1} rows in metrics.csv; model: {'yes' if has_model else 'not yet'}"
    return (first, *_model(path / "model")) if has_model else (first,)


def _model(path: Path) -> tuple[str, ...]:
    from tomostain.io import load_model

    spec = load_model(path).spec
    size = f"voxel size {spec.voxel_um:g} µm"
    return (f"checksums agree; recipe {spec.recipe}, {spec.steps} steps, {size}, {spec.stain}",)


def _phantom(path: Path, progress: Progress) -> tuple[str, ...]:
    """Check volume, slide and truth of a synthetic specimen."""
    parts = [check_path(path / name, progress=progress) for name in ("volume", "slide.ome.tif")]
    names = sorted(entry.name for entry in (path / "truth").glob("*"))
    if "section.yaml" not in names:
        raise InputError(f"{path / 'truth' / 'section.yaml'}: is missing; make the phantom again, or copy all of it")
    return (*(f"{part.path.name}: {part.summary}" for part in parts), f"truth: {', '.join(names)}")


def _demo(path: Path, progress: Progress) -> tuple[str, ...]:
    """Check all results in the folder of a demo."""
    lines = []
    for entry in sorted(path.iterdir()):
        if entry.is_dir() and (result := _own_result(entry, progress)) is not None:
            lines.append(f"{entry.name}: {result.kind}, complete")
    return (*lines, f"page: {'yes' if any(path.glob('*.html')) else 'not yet'}")


def _is_stained(path: Path) -> bool:
    """Return whether a path is an OME-Zarr of three 8-bit channels that this package wrote."""
    from tomostain.io import open_stained
    from tomostain.io.ome_zarr.plan import channels_of, stored_plan

    plan = stored_plan(path)
    if plan is not None:
        return channels_of(plan) > 1
    if not (path / ".zgroup").is_file():
        return False
    try:
        open_stained(path)
    except InputError:
        return False
    return True


def _stained(path: Path, progress: Progress) -> Inspection:
    """Compare the shards of a stained volume with their checksums."""
    from tomostain.io import check_stained, open_stained

    stained = open_stained(path)
    size = f"{format_sides(stained.shape)} voxels of {format_sides(stained.voxel_um)} µm (z, y, x)"
    kind = "uncertainty volume" if "doubt" in stained.provenance else "stained volume"
    if (path / ".zgroup").is_file():
        size += ", OME-Zarr 0.4"
    bad = check_stained(path, progress)
    if bad:
        names = ", ".join(bad[:3]) + (", …" if len(bad) > 3 else "")
        raise InputError(
            f"{path}: {len(bad)} damaged shard(s): {names}; run the same stain command again to repair them"
        )
    state = "complete; checksums agree"
    if bad is None:
        for z in track(list(range(0, stained.shape[0], _Z_CHUNK)), "reading", progress):
            stained.read(z, min(z + _Z_CHUNK, stained.shape[0]))
        state = "all slices were read; it has no checksums (0/SHA256SUMS), so altered colours cannot be detected"
    return Inspection(path, kind, details=(size, state))


def _image(path: Path, options: CheckOptions, progress: Progress) -> Inspection:
    """Read a volume, or a slide if it is not a volume."""
    from tomostain.io import open_slide, open_volume
    from tomostain.io.itk_checks import MHA_SUFFIXES, NIFTI_SUFFIXES
    from tomostain.io.nrrd_files import NRRD_SUFFIXES
    from tomostain.io.volumes.hdf5 import HDF5_SUFFIXES
    from tomostain.io.volumes.opening import find_reader

    only_volumes = (*MHA_SUFFIXES, *NIFTI_SUFFIXES, *NRRD_SUFFIXES, *HDF5_SUFFIXES)
    try:
        if options.pixel_um is not None:
            raise InputError(f"{path}: `pixel_um` is for slides")
        volume = open_volume(
            path, voxel_um=options.voxel_um, dataset=options.dataset, allow_missing=options.allow_missing
        )
    except InputError as not_volume:
        if path.is_dir() or options.dataset is not None or path.name.lower().endswith(only_volumes):
            raise
        voxel_um = options.voxel_um
        pixel_um = options.pixel_um or (voxel_um[1] if isinstance(voxel_um, Sequence) else voxel_um)
        try:
            return _slide(open_slide(path, pixel_um=pixel_um))
        except InputError as not_slide:
            if options.pixel_um is not None or find_reader(path) is None:
                raise
            raise InputError(f"{not_volume}; as a slide: {not_slide}") from None
    return Inspection(path, "volume", volume.describe(), (_read_all(volume, progress),))


def _read_all(volume: "Volume", progress: Progress) -> str:
    """Read all slices, so that a truncated or damaged one is found; return the range of the grey values."""
    low, high, total = float("inf"), float("-inf"), 0.0
    depth = volume.shape[0]
    for z in track(list(range(0, depth, _Z_CHUNK)), "reading", progress):
        slices = volume.read(z, min(z + _Z_CHUNK, depth))
        low, high = min(low, float(slices.min())), max(high, float(slices.max()))
        total += float(slices.sum(dtype="float64"))
    mean = total / math.prod(volume.shape)
    return f"all {depth} slices were read: min {low:g}, mean {mean:.5g}, max {high:g}"


def _slide(slide: "Slide") -> Inspection:
    """Read the finest level of a slide that is not too large, and state which it is."""
    summary = f"{format_sides(slide.shape)} px of {slide.pixel_um:g} µm, {len(slide.levels)} level(s)"
    small = (number for number, (shape, _) in enumerate(slide.levels) if math.prod(shape) * 3 <= _MAX_SLIDE_BYTES)
    index = next(small, None)
    if index is None:
        return Inspection(slide.path, "slide", summary, ("checked: the header only; every level is too large to read",))
    slide.read(slide.levels[index][1])
    state = (
        f"level {index} was read ({format_sides(slide.levels[index][0])} px); finer levels are too large and were not"
    )
    return Inspection(slide.path, "slide", summary, (state if index else "all pixels were read",))
