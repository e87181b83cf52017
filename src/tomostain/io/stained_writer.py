"""Writing a stained volume as OME-Zarr 0.5, slab by slab, so that it can be continued after a break.

One shard is one z-slab: the unit of work, of resuming and of a cluster job. While the volume is being written, a folder
``.tomostain-progress`` in it holds the plan and one empty file a finished slab (so that several writers need not share
a file); it goes when the pyramid is complete. A volume that has it is not finished and is not opened.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError
from tomostain.io.atomic import refuse_existing, write_text
from tomostain.io.pyramid import Shape, halve, level_scales, pyramid_shapes
from tomostain.io.sizes import check_pixels, check_voxel_um
from tomostain.io.stained_metadata import ome_metadata
from tomostain.progress import Progress, silent

PROGRESS = ".tomostain-progress"
_PLAN = "plan.json"
_INNER = 64


def create_stained(
    path: Path,
    shape: Shape,
    voxel_um: float | Sequence[float],
    *,
    slab: int = 32,
    provenance: Mapping[str, Any],
    overwrite: bool = False,
    resume: bool = False,
) -> "StainedWriter":
    """Begin a stained volume, or go on with one that was broken off.

    Parameters
    ----------
    path : Path
        The OME-Zarr folder.
    shape : tuple of int
        (Z, Y, X), voxels.
    voxel_um : float or sequence of float
        Voxel size, or (z, y, x), µm.
    slab : int
        Slices written at a time: the thickness of a shard. Writing takes about 7 bytes a voxel
        of a slab beside the slab itself, finishing 13 (measured with 32 × 700 × 700 voxels of noise).
    provenance : mapping
        What the volume was made of (model hash, input fingerprint, resolved options), as JSON can hold. A run is
        continued only if it is the same, so it must hold nothing that changes from run to run (no date, no duration).
    overwrite : bool
        Remove a volume that is there and begin anew (unless `resume` finds it unfinished and of the same provenance).
    resume : bool
        Go on with an unfinished volume; one that is already complete has nothing pending and is left as it is.

    Returns
    -------
    StainedWriter

    Raises
    ------
    InputError
        If the folder exists and neither option allows for it, is no stained volume, or was made of something else (the
        message says what differs).
    """
    path = Path(path)
    check_pixels(path, shape[1:])
    if min(shape) < 1 or slab < 1:
        raise ValueError(f"shape {shape} and slab {slab} must be positive")
    plan = _plan(shape, check_voxel_um(voxel_um, "voxel_um"), min(slab, shape[0]), provenance)
    if path.is_dir() and any(path.iterdir()):
        found = _found_plan(path)
        differs = _difference(found, plan) if found is not None else "it is no stained volume"
        if resume and differs is None and not (overwrite and not _unfinished(path)):
            return StainedWriter(path, plan)
        if not overwrite:
            if resume:
                raise InputError(
                    f"{path}: cannot be continued, {differs}; give another name, or --overwrite to begin anew"
                )
            refuse_existing(path, overwrite, "stained volume")
        if found is None:
            raise InputError(f"{path}: is no stained volume, so it is not replaced; give another name, or remove it")
        shutil.rmtree(path)
    else:
        refuse_existing(path, overwrite, "stained volume")
        if path.is_file():
            path.unlink()
    _begin(path, plan)
    return StainedWriter(path, plan)


def _plan(shape: Shape, voxel_um: Sequence[float], slab: int, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return what defines the work, in the form JSON gives back."""
    plan = {"shape": list(shape), "voxel_um": list(voxel_um), "slab": slab, "provenance": dict(provenance)}
    return dict(json.loads(json.dumps(plan)))


def _begin(path: Path, plan: dict[str, Any]) -> None:
    """Make the progress folder, the group and the empty arrays of all levels, or, if that fails, nothing."""
    try:
        # The progress folder comes first: from here on the volume is known to be unfinished.
        write_text(path / PROGRESS / _PLAN, json.dumps(plan, indent=1))
        _make_arrays(path, plan)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise


def _make_arrays(path: Path, plan: dict[str, Any]) -> None:
    import zarr
    from zarr.codecs import ZstdCodec

    group = zarr.open_group(path, mode="a", zarr_format=3)
    shapes = pyramid_shapes(tuple(plan["shape"]))
    for level, shape in enumerate(shapes):
        inner, shard = _chunking(shape, plan["slab"])
        group.create_array(
            str(level),
            shape=(3, *shape),
            chunks=(3, *inner),
            shards=(3, *shard),
            dtype="uint8",
            compressors=ZstdCodec(level=3),
            fill_value=0,
            dimension_names=("c", "z", "y", "x"),
            overwrite=True,
        )
    scales = level_scales(shapes, tuple(plan["voxel_um"]))
    group.attrs.update({"ome": ome_metadata(path.name, scales), "tomostain": {**plan, "complete": False}})


def _chunking(shape: Shape, slab: int) -> tuple[Shape, Shape]:
    """Return the inner chunk and the shard (z, y, x): all three channels in one chunk, one z-slab in one shard."""
    _, rows, columns = shape
    inner_z = slab if slab <= _INNER else next(n for n in range(_INNER, 0, -1) if slab % n == 0)
    inner_y, inner_x = min(_INNER, rows), min(_INNER, columns)
    return (inner_z, inner_y, inner_x), (slab, -(-rows // inner_y) * inner_y, -(-columns // inner_x) * inner_x)


def _unfinished(path: Path) -> bool:
    return (path / PROGRESS).is_dir()


def _found_plan(path: Path) -> dict[str, Any] | None:
    """Return the plan of a volume that is there, finished or not; None if it is not one of ours."""
    try:
        if _unfinished(path):
            found = json.loads((path / PROGRESS / _PLAN).read_text(encoding="utf-8"))
        else:
            found = json.loads((path / "zarr.json").read_text(encoding="utf-8"))["attributes"]["tomostain"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, dict) else None


def _difference(found: Mapping[str, Any], plan: Mapping[str, Any]) -> str | None:
    """Say in what two plans differ, first things first; None if they are the same."""
    before, now = _flat(found), _flat(plan)
    before.pop("complete", None)
    for key in [*now, *before]:
        if before.get(key) != now.get(key):
            return f"{key.removeprefix('provenance.')} was {before.get(key)!r} and is now {now.get(key)!r}"
    return None


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted keys, so that a message names the one option that differs."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


class StainedWriter:
    """Writes a stained volume slab by slab; made by `create_stained`.

    Attributes
    ----------
    path : Path
        The OME-Zarr folder.
    shape : tuple of int
        (Z, Y, X), voxels.
    """

    def __init__(self, path: Path, plan: Mapping[str, Any]) -> None:
        import zarr

        self.path = path
        self.shape: Shape = tuple(plan["shape"])
        self._slab = int(plan["slab"])
        self._plan = dict(plan)
        if not (path / "zarr.json").is_file() or "tomostain" not in zarr.open_group(path, mode="r").attrs:
            _begin(path, self._plan)  # broken off before the arrays were all there
        self._group: Any = zarr.open_group(path, mode="r+")

    @property
    def complete(self) -> bool:
        """Whether `finish` has been done."""
        return not _unfinished(self.path)

    def slabs(self, level: int = 0) -> list[tuple[int, int]]:
        """Return the half-open slice ranges of all slabs of a level."""
        depth = pyramid_shapes(self.shape)[level][0]
        return [(z, min(z + self._slab, depth)) for z in range(0, depth, self._slab)]

    def pending(self) -> list[tuple[int, int]]:
        """Return the slabs (z0, z1) that are not written yet."""
        return [] if self.complete else [s for s in self.slabs() if not self._marker(0, s[0]).exists()]

    def write(self, z0: int, rgb: NDArray[np.uint8]) -> None:
        """Write one slab and then record it as done.

        Parameters
        ----------
        z0 : int
            First slice of a slab, as `pending` names it.
        rgb : ndarray of uint8, shape (z, Y, X, 3)
            All slices of the slab.
        """
        z1 = dict(self.slabs()).get(z0)
        if self.complete or z1 is None:
            raise ValueError(f"slab at slice {z0} is not one of those to write: {self.pending()[:4]}")
        if rgb.dtype != np.uint8 or rgb.shape != (z1 - z0, *self.shape[1:], 3):
            raise ValueError(f"slab is {rgb.dtype} {rgb.shape}, expected uint8 {(z1 - z0, *self.shape[1:], 3)}")
        self._group["0"][:, z0:z1] = np.moveaxis(rgb, -1, 0)
        self._marker(0, z0).touch()

    def finish(self, progress: Progress = silent) -> None:
        """Build the coarser levels slab by slab (continuing where a break left them) and mark the volume complete.

        Raises
        ------
        InputError
            If slabs are still pending.
        """
        if self.complete:
            return
        pending = self.pending()
        if pending:
            raise InputError(
                f"{self.path}: {len(pending)} of {len(self.slabs())} slabs are not stained yet (the first begins at "
                f"slice {pending[0][0]}); run the same command again to continue"
            )
        work = [(level, z0, z1) for level in range(1, len(pyramid_shapes(self.shape))) for z0, z1 in self.slabs(level)]
        for done, (level, z0, z1) in enumerate(work):
            progress("pyramid", done, len(work))
            if not self._marker(level, z0).exists():
                self._group[str(level)][:, z0:z1] = self._coarser(level, z0, z1)
                self._marker(level, z0).touch()
        progress("pyramid", len(work), len(work))
        self._group.attrs.update({"tomostain": {**self._plan, "complete": True}})
        # One rename ends it; the removal file by file may break off without harm.
        finished = (self.path / PROGRESS).rename(self.path / ".tomostain-finished")
        shutil.rmtree(finished, ignore_errors=True)

    def _coarser(self, level: int, z0: int, z1: int) -> NDArray[np.uint8]:
        """Return the slices z0 to z1 of a level from the one below, one fine slab in memory at a time."""
        half = max(1, self._slab // 2)
        parts = []
        for z in range(z0, z1, half):
            fine = np.asarray(self._group[str(level - 1)][:, 2 * z : 2 * min(z + half, z1)])
            # Few slices at a time: the sums take two bytes a voxel.
            parts += [halve(fine[:, i : i + 8]) for i in range(0, fine.shape[1], 8)]
        return np.concatenate(parts, axis=1)

    def _marker(self, level: int, z0: int) -> Path:
        return self.path / PROGRESS / f"{level}-{z0:06d}.done"
