"""New datasets, in a folder or in memory: pair by pair. Exclusions that the user drew are never overwritten."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from shutil import copy2
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from tomostain import __version__
from tomostain.config import Config
from tomostain.dataset.dataset import Dataset, load_dataset
from tomostain.dataset.exclusion import load_exclude, warn_of_moved_exclusion
from tomostain.dataset.loaded import LoadedDataset
from tomostain.dataset.pair import Pair, save_pair
from tomostain.dataset.qc_figure import write_qc
from tomostain.errors import InputError
from tomostain.input_files import is_there
from tomostain.io.atomic import atomic_folder, write_text
from tomostain.io.outputs import FolderKind, check_output
from tomostain.paths import StrPath

_DATASET = FolderKind(
    "dataset",
    r"dataset\.yaml|prepare\.yaml|pairs/[^/]+/((ct|histology|mask|ct-slices|exclude)\.tif|pair\.yaml|qc\.png)",
    "dataset.yaml",
)


class DatasetBuilder(ABC):
    """Takes the pairs of a new dataset one by one. Created by `new_dataset`.

    `DatasetWriter` writes them to a folder, `DatasetCollector` collects them in memory.
    """

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.voxel_um: float | None = None
        self.finished = False

    def add(
        self, pair: Pair, details: Mapping[str, Any] | None = None, exclude: NDArray[np.bool_] | None = None
    ) -> None:
        """Add one pair.

        Parameters
        ----------
        pair : Pair
            Its mask does not include `exclude` yet.
        details : mapping, optional
            More keys for `pair.yaml`.
        exclude : ndarray of bool, shape (Y, X), optional
            Exclusion for a pair for which the user has drawn none.

        Raises
        ------
        InputError
            If the voxel size of the pair differs from the others, the old exclusion has another shape, or the mask is
            empty.
        """
        if self.voxel_um is None:
            self.voxel_um = float(pair.voxel_um)
        if not np.isclose(pair.voxel_um, self.voxel_um):
            raise InputError(
                f"pair '{pair.id}': its voxel size is {pair.voxel_um:g} µm, but that of the other pairs is "
                f"{self.voxel_um:g} µm; create one dataset per voxel size"
            )
        drawn = self._drawn(pair)
        exclude = drawn if drawn is not None else exclude
        remaining = pair.mask if exclude is None else pair.mask & ~exclude
        if not remaining.any():
            raise InputError(
                f"pair '{pair.id}': its mask excludes everything; correct its exclusion or use other images"
            )
        self._store(pair, details or {}, exclude, remaining)
        self.records.append(pair.record())

    def _drawn(self, pair: Pair) -> NDArray[np.bool_] | None:
        """Return the exclusion that the user drew for this pair, if there is one."""
        return None

    @abstractmethod
    def _store(
        self,
        pair: Pair,
        details: Mapping[str, Any],
        exclude: NDArray[np.bool_] | None,
        remaining: NDArray[np.bool_],
    ) -> None:
        """Store a pair that was checked. `remaining` is its mask without the exclusion."""

    @abstractmethod
    def finish(
        self,
        *,
        test: Sequence[str] = (),
        folds: Sequence[Sequence[str]] = (),
        halves: bool = False,
        config: Config | None = None,
    ) -> None:
        """Complete the dataset with its test set and folds.

        Parameters
        ----------
        test : sequence of str
            Ids of the held-out pairs.
        folds : sequence of sequence of str
            Validation ids of each fold.
        halves : bool
            See `tomostain.dataset.dataset.Dataset`.
        config : Config, optional
            The resolved configuration. A folder gets it as `prepare.yaml`.
        """

    @abstractmethod
    def result(self) -> Dataset:
        """Return the dataset, after the block of `new_dataset`."""


class DatasetCollector(DatasetBuilder):
    """Collects the pairs of a new dataset in memory. No file is written."""

    def __init__(self) -> None:
        super().__init__()
        self._pairs: list[Pair] = []
        self._details: dict[str, Mapping[str, Any]] = {}
        self._dataset: LoadedDataset | None = None

    def _store(
        self,
        pair: Pair,
        details: Mapping[str, Any],
        exclude: NDArray[np.bool_] | None,
        remaining: NDArray[np.bool_],
    ) -> None:
        self._pairs.append(replace(pair, mask=remaining))
        self._details[pair.id] = details

    def finish(
        self,
        *,
        test: Sequence[str] = (),
        folds: Sequence[Sequence[str]] = (),
        halves: bool = False,
        config: Config | None = None,
    ) -> None:
        """Make the dataset in memory; see `DatasetBuilder.finish`."""
        dataset = LoadedDataset.from_pairs(self._pairs, test=test, folds=folds, halves=halves)
        self._dataset = replace(dataset, details=self._details)
        self.finished = True

    def result(self) -> LoadedDataset:
        """Return the dataset in memory."""
        assert self._dataset is not None
        return self._dataset


class DatasetWriter(DatasetBuilder):
    """Writes the pairs of a new dataset to a folder, each with its `qc.png`.

    An `exclude.tif` of the dataset that is replaced is copied.
    """

    def __init__(self, folder: StrPath, old: StrPath) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.old = Path(old)

    def _drawn(self, pair: Pair) -> NDArray[np.bool_] | None:
        folder = self.old / "pairs" / pair.id
        drawn = load_exclude(folder, pair.mask.shape)
        warn_of_moved_exclusion(folder, pair.section, pair.mask.shape)
        return drawn

    def _store(
        self,
        pair: Pair,
        details: Mapping[str, Any],
        exclude: NDArray[np.bool_] | None,
        remaining: NDArray[np.bool_],
    ) -> None:
        folder = self.folder / "pairs" / pair.id
        drawn = self.old / "pairs" / pair.id / "exclude.tif"
        if is_there(drawn):
            folder.mkdir(parents=True)
            copy2(drawn, folder / "exclude.tif")
        save_pair(pair, folder, details=details, exclude=exclude)
        write_qc(folder / "qc.png", pair.ct, pair.histology, remaining, pair.voxel_um)

    def finish(
        self,
        *,
        test: Sequence[str] = (),
        folds: Sequence[Sequence[str]] = (),
        halves: bool = False,
        config: Config | None = None,
    ) -> None:
        """Write `dataset.yaml`, and the resolved configuration as `prepare.yaml`; see `DatasetBuilder.finish`."""
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

    def result(self) -> Dataset:
        """Return the dataset of the folder."""
        return load_dataset(self.old)


@contextmanager
def new_dataset(
    out: StrPath | None,
    ids: Sequence[str],
    *,
    overwrite: bool = False,
    sources: Iterable[StrPath] = (),
) -> Iterator[DatasetBuilder]:
    """Yield a builder. The dataset appears at `out` when the block ends without an error.

    Parameters
    ----------
    out : path, optional
        Folder of the dataset. None: the dataset is collected in memory.
    ids : sequence of str
        The pairs that will be added.
    overwrite : bool
        Replace the dataset at `out`. Its `exclude.tif` files are copied.
    sources : iterable of Path
        Files and folders that are read. They must not lie in a folder that is replaced.

    Raises
    ------
    InputError
        If `out` exists and may not be replaced, is not a dataset, holds one of the sources, or has an `exclude.tif`
        of a pair that the new dataset lacks; or if two pairs share an id.
    """
    is_replaced = out is not None and check_dataset_output(out, sources, overwrite=overwrite)
    duplicates = [pair_id for pair_id, count in Counter(ids).items() if count > 1]
    if duplicates:
        raise InputError(f"pair '{duplicates[0]}': the name occurs twice; each pair needs a unique name")
    if out is None:
        builder: DatasetBuilder = DatasetCollector()
        yield builder
        _check_finished(builder)
        return
    out = Path(out)
    if is_replaced:
        _check_exclusions(out, ids)
    with atomic_folder(out, overwrite) as temporary:
        builder = DatasetWriter(temporary, out)
        yield builder
        _check_finished(builder)


def _check_finished(builder: DatasetBuilder) -> None:
    if not builder.finished:
        raise RuntimeError("the dataset was not finished: call DatasetBuilder.finish")


def check_dataset_output(out: StrPath, sources: Iterable[StrPath] = (), *, overwrite: bool = False) -> bool:
    """Check the folder of a dataset before anything is read; see `tomostain.io.outputs.check_output`."""
    return check_output(out, _DATASET, sources, overwrite=overwrite)


def _check_exclusions(out: Path, ids: Sequence[str]) -> None:
    """Raise if replacing the folder `out` would lose exclusions that the user drew."""
    unmatched = [path for path in sorted(out.glob("pairs/*/exclude.tif")) if path.parent.name not in ids]
    if unmatched:
        raise InputError(f"{unmatched[0]}: the new dataset has no such pair; move this file to another folder first")


def save_dataset(
    out: StrPath,
    pairs: Iterable[Pair] | Dataset,
    *,
    test: Sequence[str] = (),
    folds: Sequence[Sequence[str]] = (),
    overwrite: bool = False,
) -> Dataset:
    """Write pairs from memory as a dataset.

    Parameters
    ----------
    out : path
        Folder of the dataset.
    pairs : iterable of Pair, or Dataset
        All with the same voxel size. A dataset, such as `tomostain.prepare_specimens` returns it without `out`, is
        written with its own test set and folds.
    test : sequence of str
        Ids of the held-out pairs.
    folds : sequence of sequence of str
        Validation ids of each fold (`tomostain.prepare.make_folds`).
    overwrite : bool
        Replace a dataset. Its `exclude.tif` files are copied.

    Raises
    ------
    InputError
        See `new_dataset` and `load_dataset`.
    """
    halves, details, sources = False, {}, []
    if isinstance(pairs, Dataset):
        dataset, pairs = pairs, [pairs.load(pair_id) for pair_id in pairs.ids]
        test, folds, halves = test or dataset.test, folds or dataset.folds, dataset.halves
        if isinstance(dataset, LoadedDataset):
            details = dict(dataset.details)
        if not (isinstance(dataset, LoadedDataset) and dataset.in_memory):
            sources.append(dataset.path)
    pairs = list(pairs)
    with new_dataset(out, [pair.id for pair in pairs], overwrite=overwrite, sources=sources) as builder:
        for pair in pairs:
            builder.add(pair, details.get(pair.id))
        builder.finish(test=test, folds=folds, halves=halves)
    return builder.result()
