"""What a file or folder is, and whether it is complete and undamaged."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tomostain.errors import InputError
from tomostain.input_files import refuse_special_file
from tomostain.models import builtin_folder, is_builtin, suggest_builtin
from tomostain.progress import Progress, silent

if TYPE_CHECKING:
    from tomostain.io import Slide

_READ_PIXELS = 2**26
"""Pixels of a level of a slide that is read by `check_path`."""

Kind = Literal["volume", "slide", "dataset", "run", "model", "stained volume"]


@dataclass(frozen=True)
class Inspection:
    """The result of `check_path`.

    Parameters
    ----------
    path : Path
    kind : {"volume", "slide", "dataset", "run", "model", "stained volume"}
    summary : str
        Size and resolution of a volume or slide, else empty.
    details : tuple of str
        More facts, each in one line.
    """

    path: Path
    kind: Kind
    summary: str = ""
    details: tuple[str, ...] = ()

    def describe(self) -> list[str]:
        """Return the description as lines."""
        first = f"{self.path}: {self.kind}{', ' if self.summary else ''}{self.summary}"
        return [first, *(f"  {line}" for line in self.details)]


def check_path(
    path: str | os.PathLike[str],
    *,
    voxel_um: float | Sequence[float] | None = None,
    allow_missing: bool = False,
    progress: Progress = silent,
) -> Inspection:
    """Find out what a file or folder is, and verify it.

    Parameters
    ----------
    path : path
        A volume, slide, dataset, run, model, ``builtin:NAME`` or stained volume.
    voxel_um : float or sequence of float, optional
        Voxel size (z, y, x) of a volume or pixel size of a slide, µm, where the file does not say.
    allow_missing : bool
        Describe a volume although data are missing.
    progress : Progress
        Called while the checksums of a stained volume are computed.

    Returns
    -------
    Inspection

    Raises
    ------
    InputError
        If the path does not exist, is nothing of the kind, or is damaged.
    """
    path = builtin_folder(str(path)) if is_builtin(path) else Path(path)
    refuse_special_file(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder{suggest_builtin(path)}", parameter="path")
    if (path / "dataset.yaml").is_file():
        return Inspection(path, "dataset", details=_dataset(path))
    if (path / "metrics.csv").is_file():
        return Inspection(path, "run", details=_run(path))
    if (path / "model.yaml").is_file():
        return Inspection(path, "model", details=_model(path))
    if path.name.endswith(".zarr") and _is_stained(path):
        return Inspection(path, "stained volume", details=_stained(path, progress))
    return _image(path, voxel_um, allow_missing)


def check_against(
    model: str | os.PathLike[str],
    volumes: Iterable[str | os.PathLike[str]],
    *,
    voxel_um: float | Sequence[float] | None = None,
    resample: bool = False,
    allow_missing: bool = False,
) -> Iterator[str]:
    """Compare µCT volumes with the training data of a model. No network is run.

    Parameters
    ----------
    model : path
        A model folder, a run that has one, or ``builtin:NAME``.
    volumes : iterable of path
        µCT volumes. Their grey values of background and bone are estimated, as before staining.
    voxel_um : float or sequence of float, optional
        Voxel size (z, y, x), µm, where the files do not say.
    resample : bool
        Compare the volumes as they are stained with `resample=True`: with the voxel size of the model.
    allow_missing : bool
        Fill slices of which data are missing with zeros.

    Yields
    ------
    str
        One line per volume: grey-value distance and novel share with their limits, and the verdict.

    Raises
    ------
    InputError
        If `model` is not a model, stores nothing of its training data, or a volume cannot be opened.
    """
    from tomostain.imaging.intensity import volume_reference
    from tomostain.imaging.resampling import resample_volume
    from tomostain.io import load_model, open_volume
    from tomostain.io.models import SEEN
    from tomostain.ood import ModelReference, TrainingReference, check_volume

    loaded = load_model(model)
    training = None if loaded.seen is None else TrainingReference.from_arrays(loaded.seen, str(loaded.path / SEEN))
    reference = ModelReference(loaded.spec.greys, training)
    if training is None and not reference.grey_values:
        raise InputError(
            f"{loaded.path}: the model stores nothing of its training data (exported by an older version); export it "
            "again"
        )
    for path in volumes:
        volume = open_volume(Path(path), voxel_um=voxel_um, allow_missing=allow_missing)
        compared = resample_volume(volume, loaded.spec.voxel_um) if resample else volume
        try:
            intensity = volume_reference(volume, source=str(path))
        except InputError as error:
            yield f"{error}; not compared"
            continue
        yield check_volume(reference, compared, intensity, str(path)).summary


def _dataset(path: Path) -> tuple[str, ...]:
    from tomostain.dataset.dataset import load_dataset

    dataset = load_dataset(path)
    lines = []
    for pair_id in dataset.ids:
        pair = dataset.load(pair_id)
        rows, columns = pair.ct.shape[:2]
        lines.append(f"{pair_id}: {rows} x {columns} px, {pair.implant}, mask {pair.mask.mean():.0%}")
    test = list(dataset.test)
    return (*lines, f"voxel size {dataset.voxel_um:g} µm, {len(dataset.folds)} folds, for testing: {test}")


def _run(path: Path) -> tuple[str, ...]:
    rows = (path / "metrics.csv").read_text(encoding="utf-8").strip().splitlines()
    has_model = (path / "model").is_dir()
    first = f"{len(rows) - 1} rows in metrics.csv; model: {'yes' if has_model else 'not yet'}"
    return (first, *_model(path / "model")) if has_model else (first,)


def _model(path: Path) -> tuple[str, ...]:
    from tomostain.io import load_model

    spec = load_model(path).spec
    size = f"voxel size {spec.voxel_um:g} µm"
    return (f"checksums agree; recipe {spec.recipe}, {spec.steps} steps, {size}, {spec.stain}",)


def _is_stained(path: Path) -> bool:
    """Return whether this package wrote the volume, with three channels."""
    from tomostain.io.ome_zarr.plan import channels_of, stored_plan

    plan = stored_plan(path)
    return plan is not None and channels_of(plan) > 1


def _stained(path: Path, progress: Progress) -> tuple[str, ...]:
    from tomostain.io import check_stained, open_stained

    stained = open_stained(path)
    size = f"{_times(stained.shape)} voxels of {_times(stained.voxel_um)} µm (z, y, x)"
    bad = check_stained(path, progress)
    if bad is None:
        return size, "complete; it has no checksums (0/SHA256SUMS), so damage cannot be detected"
    if bad:
        names = ", ".join(bad[:3]) + (", …" if len(bad) > 3 else "")
        raise InputError(f"{path}: {len(bad)} damaged shard(s): {names}; run the same stain command again to heal them")
    return size, "complete; checksums agree"


def _image(path: Path, voxel_um: float | Sequence[float] | None, allow_missing: bool) -> Inspection:
    """Describe a volume, or a slide if it is not a volume, and read a part of it."""
    from tomostain.io import open_slide, open_volume

    try:
        volume = open_volume(path, voxel_um=voxel_um, allow_missing=allow_missing)
    except InputError as not_volume:
        if path.is_dir():
            raise
        pixel_um = voxel_um[1] if isinstance(voxel_um, Sequence) else voxel_um
        try:
            slide = open_slide(path, pixel_um=pixel_um)
        except InputError as not_slide:
            raise InputError(f"{not_volume}; it is not a slide either: {not_slide}") from None
        summary = f"{_times(slide.shape)} px of {slide.pixel_um:g} µm, {len(slide.levels)} level(s)"
        return Inspection(path, "slide", summary, (_read_level(slide),))
    middle = volume.shape[0] // 2
    sample = volume.read(middle, middle + 1)
    grey = f"middle slice: min {sample.min():g}, mean {sample.mean():.5g}, max {sample.max():g}"
    ends = sorted({0, volume.shape[0] - 1} - {middle})
    for end in ends:  # the last slice of a truncated file cannot be read
        volume.read(end, end + 1)
    checked = "all values" if volume.shape[0] <= 3 else "sizes, and the values of the first, middle and last slice"
    return Inspection(path, "volume", volume.describe(), (grey, f"checked: {checked}"))


def _read_level(slide: "Slide") -> str:
    """Read the finest level of a slide that is not too large, and say which."""
    index = next((i for i, (shape, _) in enumerate(slide.levels) if shape[0] * shape[1] <= _READ_PIXELS), None)
    if index is None:
        return "checked: the header only; every level is too large to be read here"
    slide.read(slide.levels[index][1])
    return f"checked: all pixels of level {index}"


def _times(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)
