"""Beginning an OME-Zarr volume, or continuing one whose writing was interrupted."""

import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Required, TypedDict, Unpack

import numpy as np
from numpy.typing import DTypeLike

from tomostain.deprecation import renamed_parameters
from tomostain.errors import InputError
from tomostain.io.atomic import TEMPORARY, make_parent, refuse_existing, remove_leftovers
from tomostain.io.locks import is_unlocked, lock
from tomostain.io.metadata.placement import Placement
from tomostain.io.metadata.units import check_pixels, check_voxel_um
from tomostain.io.ome_zarr.metadata import LabelStyle
from tomostain.io.ome_zarr.plan import PROGRESS, begin, difference, make_plan, stored_plan, unfinished
from tomostain.io.ome_zarr.pyramid import Reduction, Shape
from tomostain.io.ome_zarr.writer import IN_USE, OmeZarrWriter, StainedWriter
from tomostain.io.output_folder import check_folder_name, check_sources_outside
from tomostain.io.outputs import FolderKind, check_own_folder
from tomostain.paths import StrPath

_VOLUME = FolderKind(
    "stained volume",
    rf"zarr\.json|\d+/(zarr\.json|SHA256SUMS|c(/\d+)*)|{re.escape(PROGRESS)}/.+",
    is_zarr=True,
)


class OmeZarrOptions(TypedDict, total=False):
    """Keyword arguments of `create_stained` and `create_ome_zarr`."""

    z_chunk: int
    provenance: Required[Mapping[str, Any]]
    overwrite: bool
    resume: bool
    dtype: DTypeLike
    origin_um: Sequence[float]
    placement: Placement | None
    reduction: Reduction
    labels: Sequence[LabelStyle]


@renamed_parameters(slab="z_chunk")
def create_stained(
    path: StrPath,
    shape: Shape,
    voxel_um: float | Sequence[float],
    **options: Unpack[OmeZarrOptions],
) -> StainedWriter:
    """Begin a stained volume, or continue one whose writing was interrupted.

    Parameters
    ----------
    path : str or os.PathLike
        The OME-Zarr folder.
    shape : tuple of int
        (Z, Y, X), voxels.
    voxel_um : float or sequence of float
        Voxel size, or (z, y, x), µm.
    z_chunk : int
        Slices that are written at a time: the thickness of a shard. Writing takes about 7 bytes per voxel of such a
        z chunk in addition to the chunk itself, finishing 13 (measured with 32 × 700 × 700 voxels of noise).
    provenance : mapping
        What the volume is made of (model hash, input fingerprint, resolved options), as JSON can hold. A run is
        continued only if it is the same, so it must not hold anything that changes from run to run (a date, a
        duration).
    overwrite : bool
        Remove an existing volume and start again (unless `resume` finds it unfinished and of the same provenance).
    resume : bool
        Continue an unfinished volume. A complete one has nothing pending and is left as it is.

    Returns
    -------
    StainedWriter

    Raises
    ------
    InputError
        If the folder exists and neither option allows for it, is not a stained volume, was made of something else (the
        message names the difference), or is to be replaced while another process writes it.
    """
    return create_ome_zarr(path, (*shape, 3), voxel_um, **options)


@renamed_parameters(slab="z_chunk")
def create_ome_zarr(
    path: StrPath,
    shape: Sequence[int],
    voxel_um: float | Sequence[float],
    **options: Unpack[OmeZarrOptions],
) -> OmeZarrWriter:
    """Begin a volume of one or three channels, or continue one; see `create_stained`.

    Parameters
    ----------
    path, voxel_um
        As for `create_stained`.
    shape : sequence of int
        (Z, Y, X) for a grey volume, (Z, Y, X, 3) for a stained one.
    **options
        ``z_chunk``, ``provenance``, ``overwrite`` and ``resume`` as for `create_stained`. ``dtype``: uint8 (default),
        uint16 or float32. ``origin_um``: centre of the first voxel (z, y, x) in the coordinates of another volume, µm,
        for viewers; by default 0. ``placement``: where the volume lies in the coordinates of its file, instead of
        ``origin_um``; the position is written as the translation, which OME-Zarr can hold, and all of it in the
        attributes of tomostain. ``reduction``: how coarser levels are computed: "mean" (default), "nearest" for labels,
        or "mean_nonzero" for maps in which 0 means that there is no value. ``labels``: name and colour of each value,
        which make it a label volume for viewers.

    Returns
    -------
    OmeZarrWriter
    """
    if unknown := options.keys() - OmeZarrOptions.__annotations__.keys():
        raise TypeError(f"create_ome_zarr() got an unexpected keyword argument '{min(unknown)}'")
    if "provenance" not in options:
        raise TypeError("create_ome_zarr() missing 1 required keyword-only argument: 'provenance'")
    path, z_chunk = Path(path), options.get("z_chunk", 32)
    check_folder_name(path, "volume", is_zarr=True)
    if len(shape) not in (3, 4) or min(shape) < 1 or z_chunk < 1:
        raise ValueError(
            f"shape {tuple(shape)} or z_chunk {z_chunk}: give positive numbers, and (Z, Y, X) or (Z, Y, X, 3)"
        )
    check_pixels(path, shape[1:3])
    storage: dict[str, object] = {}
    if (dtype := np.dtype(options.get("dtype", "uint8"))) != np.uint8:  # older plans state neither
        storage["dtype"] = dtype.name
    if any(origin := tuple(options.get("origin_um", ()))):
        storage["origin_um"] = list(origin)
    placement = options.get("placement")
    if placement is not None and not placement.is_default:
        storage["placement"] = placement.to_dict()
    if options.get("reduction", "mean") != "mean":
        storage["reduction"] = options["reduction"]
    if "labels" in options:
        storage["labels"] = list(options["labels"])
    size = check_voxel_um(voxel_um, "voxel_um")
    plan = make_plan(shape, size, min(z_chunk, shape[0]), options["provenance"], **storage)
    make_parent(path)
    # If several processes start together, one creates the arrays and the others open them.
    with lock(path.with_name(f".{path.name}.lock"), wait=True):
        return _begin_or_continue(path, plan, options.get("overwrite", False), options.get("resume", False))


def check_zarr_output(
    path: StrPath,
    sources: Iterable[StrPath] = (),
    *,
    overwrite: bool = False,
    resume: bool = True,
) -> None:
    """Check an OME-Zarr that is to be written, before anything is read or written.

    Parameters
    ----------
    path : path
    sources : iterable of path
        Files and folders that are read.
    overwrite : bool
        Whether an earlier volume may be replaced.
    resume : bool
        Whether it may be continued.

    Raises
    ------
    InputError
        If it is, contains or lies in an input; or if it exists, and is no volume of tomostain, or neither option allows
        for it, or it is to be replaced and has another file.
    """
    path = Path(path)
    check_folder_name(path, "volume", is_zarr=True)
    check_sources_outside(path, "volume", sources)
    if not os.path.lexists(path) or (path.is_dir() and not any(path.iterdir())):
        return
    if not (overwrite or resume):
        refuse_existing(path, overwrite, "stained volume")
    if path.is_dir() and _is_unbegun(path):
        return
    if not path.is_dir() or stored_plan(path) is None:
        remove_leftovers(path.parent)
        raise InputError(f"{path}: is not a stained volume, so it is not replaced; give another name, or remove it")
    if overwrite:
        check_own_folder(path, _VOLUME)


def _begin_or_continue(path: Path, plan: dict[str, Any], overwrite: bool, resume: bool) -> OmeZarrWriter:
    """Begin or continue a volume while no other process does so."""
    complete_plan = plan
    _remove_unbegun(path)
    if path.is_dir() and any(path.iterdir()):
        stored = stored_plan(path)
        plan = _as_older_version(plan, stored or {})
        differs = difference(stored, plan) if stored is not None else "it is not a stained volume"
        if resume and differs is None and not (overwrite and not unfinished(path)):
            return OmeZarrWriter(path, plan)
        if not overwrite:
            if resume:
                raise InputError(
                    f"{path}: cannot be continued, {differs}; give another name, or add `overwrite=True` to start again"
                )
            refuse_existing(path, overwrite, "stained volume")
        check_zarr_output(path, overwrite=True)
        if not is_unlocked(path / PROGRESS / IN_USE):
            raise InputError(
                f"{path}: another process is staining it; wait until it ends or stop it, or give another name"
            )
        shutil.rmtree(path)
        plan = complete_plan
    else:
        refuse_existing(path, False, "stained volume")
    begin(path, plan)
    return OmeZarrWriter(path, plan)


def _as_older_version(plan: dict[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plan without the placement and the region, where an older version did not store them."""
    if "placement" not in stored:
        plan = {key: value for key, value in plan.items() if key != "placement"}
    provenance = stored.get("provenance")
    if isinstance(provenance, Mapping) and "region" not in provenance:
        plan = plan | {"provenance": {key: value for key, value in plan["provenance"].items() if key != "region"}}
    return plan


def _remove_unbegun(path: Path) -> None:
    """Remove what a process left that was killed before it had written the plan: a progress folder and nothing else."""
    if _is_unbegun(path):
        shutil.rmtree(path / PROGRESS)


def _is_unbegun(path: Path) -> bool:
    """Return whether a folder has nothing but the progress of a volume whose plan was not written."""
    progress = path / PROGRESS
    if not progress.is_dir() or [each.name for each in path.iterdir()] != [PROGRESS]:
        return False
    return all(each.name.startswith(TEMPORARY) for each in progress.iterdir())


def chunks_left(path: StrPath) -> int:
    """Return the number of z chunks of a volume that are not written yet; 0 if it is finished."""
    path = Path(path)
    plan = stored_plan(path)
    return len(OmeZarrWriter(path, plan).pending()) if plan is not None and unfinished(path) else 0
