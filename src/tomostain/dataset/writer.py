"""New datasets: written pair by pair, whole or not at all, and never over what was drawn by hand."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import copy2
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from tomostain import __version__
from tomostain.config import Config
from tomostain.dataset.dataset import Dataset, load_dataset
from tomostain.dataset.pair import Pair, load_exclude, save_pair
from tomostain.errors import InputError
from tomostain.imaging.qc_figure import write_qc
from tomostain.io.atomic import atomic_folder, refuse_existing, write_text


class DatasetWriter:
    """Writes the pairs of a new dataset one by one; made by `new_dataset`."""

    def __init__(self, folder: Path, old: Path) -> None:
        self.folder = folder
        self.old = old
        self.records: list[dict[str, Any]] = []
        self.voxel_um: float | None = None
        self.finished = False

    def add(
        self, pair: Pair, details: Mapping[str, Any] | None = None, exclude: NDArray[np.bool_] | None = None
    ) -> None:
        """Write one pair and its `qc.png`; an `exclude.tif` of the dataset that is replaced is carried over.

        Parameters
        ----------
        pair : Pair
            Its mask does not yet heed `exclude`.
        details : mapping, optional
            More keys for `pair.yaml`.
        exclude : ndarray of bool, shape (Y, X), optional
            Exclusion for a pair that has no hand-drawn one yet.

        Raises
        ------
        InputError
            If the pair's voxel size is not that of the others, the old exclusion has another shape, or nothing is
            left of the mask.
        """
        if self.voxel_um is None:
            self.voxel_um = float(pair.voxel_um)
        if not np.isclose(pair.voxel_um, self.voxel_um):
            raise InputError(
                f"pair '{pair.id}': its voxels are {pair.voxel_um:g} µm, those before {self.voxel_um:g} µm; "
                "make one dataset per voxel size"
            )
        folder = self.folder / "pairs" / pair.id
        drawn = load_exclude(self.old / "pairs" / pair.id, pair.mask.shape)
        if drawn is not None:
            folder.mkdir(parents=True)
            copy2(self.old / "pairs" / pair.id / "exclude.tif", folder / "exclude.tif")
        exclude = drawn if drawn is not None else exclude
        left = pair.mask if exclude is None else pair.mask & ~exclude
        if not left.any():
            raise InputError(
                f"pair '{pair.id}': its mask excludes everything; correct its exclusion or give other images"
            )
        save_pair(pair, folder, details=details, exclude=exclude)
        write_qc(folder / "qc.png", pair.ct, pair.histology, left, pair.voxel_um)
        self.records.append(pair.record())

    def finish(
        self,
        *,
        test: Sequence[str] = (),
        folds: Sequence[Sequence[str]] = (),
        halves: bool = False,
        config: Config | None = None,
    ) -> None:
        """Write `dataset.yaml`, and `prepare.yaml` with the resolved configuration."""
        values = {
            "tomostain_version": __version__,
            "voxel_um": self.voxel_um,
            "halves": halves,
            "pairs": self.records,
            "folds": [list(fold) for fold in folds],
            "test": list(test),
        }
        write_text(self.folder / "dataset.yaml", yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
        if config is not None:
            write_text(self.folder / "prepare.yaml", config.to_yaml())
        load_dataset(self.folder)
        self.finished = True


@contextmanager
def new_dataset(
    out: Path, ids: Sequence[str], *, overwrite: bool = False, sources: Iterable[Path] = ()
) -> Iterator[DatasetWriter]:
    """Yield a writer of a dataset that appears at `out` when the block ends without an error.

    Parameters
    ----------
    out : Path
        The dataset's folder.
    ids : sequence of str
        The pairs that will be added.
    overwrite : bool
        Replace the dataset at `out`. Its hand-drawn `exclude.tif` files are carried over.
    sources : iterable of Path
        Files and folders that are read, and so must not lie in a folder that is replaced.

    Raises
    ------
    InputError
        If `out` exists and may not be replaced, is not a dataset, holds one of the sources, or has an `exclude.tif`
        of a pair that the new dataset lacks; or if two pairs share an id.
    """
    out = Path(out)
    refuse_existing(out, overwrite, "dataset")
    twice = [pair_id for pair_id, count in Counter(ids).items() if count > 1]
    if twice:
        raise InputError(f"pair '{twice[0]}': the name occurs twice; each pair needs its own")
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        _check_replaceable(out, ids, sources)
    with atomic_folder(out, overwrite) as temporary:
        writer = DatasetWriter(temporary, out)
        yield writer
        if not writer.finished:
            raise RuntimeError("the dataset was not finished: call DatasetWriter.finish")


def _check_replaceable(out: Path, ids: Sequence[str], sources: Iterable[Path]) -> None:
    """Raise if replacing the folder `out` would lose what is not ours or cannot be made again."""
    if not (out / "dataset.yaml").is_file():
        raise InputError(f"{out}: not a dataset, so it is not replaced; give another name")
    for source in sources:
        if Path(source).resolve().is_relative_to(out.resolve()):
            raise InputError(f"{source}: lies in {out}, which would be replaced; give the dataset another name")
    lost = [path for path in sorted(out.glob("pairs/*/exclude.tif")) if path.parent.name not in ids]
    if lost:
        raise InputError(f"{lost[0]}: the new dataset has no such pair; move this hand-drawn file away first")


def save_dataset(
    out: Path,
    pairs: Iterable[Pair],
    *,
    test: Sequence[str] = (),
    folds: Sequence[Sequence[str]] = (),
    overwrite: bool = False,
) -> Dataset:
    """Write pairs that are in memory as a dataset.

    Parameters
    ----------
    out : Path
        The dataset's folder.
    pairs : iterable of Pair
        All of one voxel size.
    test : sequence of str
        Ids of the held-out pairs.
    folds : sequence of sequence of str
        Validation ids of each fold (`tomostain.prepare.make_folds`).
    overwrite : bool
        Replace a dataset, carrying its `exclude.tif` files over.

    Raises
    ------
    InputError
        See `new_dataset` and `load_dataset`.
    """
    pairs = list(pairs)
    with new_dataset(out, [pair.id for pair in pairs], overwrite=overwrite) as writer:
        for pair in pairs:
            writer.add(pair)
        writer.finish(test=test, folds=folds)
    return load_dataset(out)
