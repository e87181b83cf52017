"""The dataset on disk: `dataset.yaml` and `pairs/<id>/`, read pair by pair and written whole or not at all."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copy2
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from tomostain import __version__
from tomostain.config import Config, read_yaml
from tomostain.errors import InputError
from tomostain.io.atomic import atomic_folder, refuse_existing, write_text
from tomostain.prepare.pair import Pair, check_id, load_exclude, load_pair, save_pair
from tomostain.prepare.qc import write_qc


@dataclass(frozen=True)
class Split:
    """Which pairs are for training, validation and testing.

    Attributes
    ----------
    train, validation, test : tuple of str
        Pair ids.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """The pairs of a dataset folder, its folds and its held-out test set.

    Attributes
    ----------
    path : Path
        The folder.
    voxel_um : float
        Pixel size of every pair, µm.
    ids : tuple of str
        All pairs.
    test : tuple of str
        Pairs kept out of training and of every fold.
    folds : tuple of tuple of str
        The validation pairs of each fold. Empty where there are too few subjects for two folds.
    records : dict
        What `dataset.yaml` says of each pair, by id: specimen, subject, implant, weeks, stain.
    halves : bool
        True if each image was cut in two, one half for training and one for testing: then, and only then, a
        subject stands on both sides.
    """

    path: Path
    voxel_um: float
    ids: tuple[str, ...]
    test: tuple[str, ...] = ()
    folds: tuple[tuple[str, ...], ...] = ()
    records: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    halves: bool = False

    def folder(self, pair_id: str) -> Path:
        """Return the folder of a pair."""
        return self.path / "pairs" / pair_id

    def load(self, pair_id: str) -> Pair:
        """Read one pair; its mask is without what its `exclude.tif` marks.

        Raises
        ------
        InputError
            If the dataset has no such pair, or its files are broken or disagree.
        """
        if pair_id not in self.ids:
            raise InputError(f"{self.path}: no pair '{pair_id}'; known: {', '.join(self.ids)}")
        pair = load_pair(self.folder(pair_id))
        if not np.isclose(pair.voxel_um, self.voxel_um):
            raise InputError(
                f"pair '{pair_id}': voxel_um is {pair.voxel_um:g}, in dataset.yaml it is {self.voxel_um:g}; "
                "all pairs of a dataset share one voxel size"
            )
        return pair

    def split(self, fold: int | None = None) -> Split:
        """Return the pairs for training, validation and testing.

        Parameters
        ----------
        fold : int or None
            Which fold validates. None: every pair that is not for testing trains, and nothing validates. A dataset
            too small for folds treats fold 0 as None.

        Raises
        ------
        InputError
            If there is no such fold.
        """
        validation: tuple[str, ...] = ()
        if fold is not None and (self.folds or fold != 0):
            if not 0 <= fold < len(self.folds):
                raise InputError(f"fold {fold}: {self.path} has {len(self.folds)} folds, counted from 0")
            validation = self.folds[fold]
        aside = {*validation, *self.test}
        return Split(tuple(i for i in self.ids if i not in aside), validation, self.test)


def load_dataset(path: Path) -> Dataset:
    """Read `dataset.yaml` (the images are read later, pair by pair).

    Parameters
    ----------
    path : Path
        The dataset's folder, or its `dataset.yaml`.

    Raises
    ------
    InputError
        If it is not a dataset, a pair has no folder, or the folds or the test set split a subject, overlap or name
        unknown pairs.
    """
    path = Path(path)
    folder = path.parent if path.name == "dataset.yaml" else path
    index = folder / "dataset.yaml"
    if not index.is_file():
        raise InputError(f"{folder}: not a dataset (it has no dataset.yaml); make one with 'tomostain prepare'")
    values = read_yaml(index)
    try:
        records = {check_id(str(record["id"])): dict(record) for record in values["pairs"]}
        dataset = Dataset(
            folder,
            float(values["voxel_um"]),
            tuple(records),
            tuple(map(str, values.get("test") or ())),
            tuple(tuple(map(str, fold)) for fold in values.get("folds") or ()),
            records,
            bool(values.get("halves", False)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{index}: not a dataset's index ({type(error).__name__}: {error})") from None
    if not dataset.ids or len(dataset.ids) != len(values["pairs"]):
        raise InputError(f"{index}: 'pairs' is empty or names a pair twice; each pair needs its own id")
    _check_split(dataset, index)
    for pair_id in dataset.ids:
        if not dataset.folder(pair_id).is_dir():
            raise InputError(f"{dataset.folder(pair_id)}: no such folder, but {index} names the pair")
    return dataset


def _check_split(dataset: Dataset, index: Path) -> None:
    """Raise if test set and folds overlap, name unknown pairs or split a subject."""
    groups = [dataset.test, *dataset.folds]
    counts = Counter(pair_id for group in groups for pair_id in group)
    for pair_id, count in counts.items():
        if pair_id not in dataset.records:
            raise InputError(f"{index}: 'folds' or 'test' names '{pair_id}', which is not among its pairs")
        if count > 1:
            raise InputError(
                f"{index}: pair '{pair_id}' stands in more than one of folds and test set; leave it in one"
            )
    if dataset.halves:
        return
    home: dict[str, int] = {}
    place = {pair_id: number for number, group in enumerate(groups) for pair_id in group}
    for pair_id in dataset.ids:
        subject = str(dataset.records[pair_id].get("subject", pair_id))
        number = place.get(pair_id, -1)
        if home.setdefault(subject, number) != number:
            raise InputError(
                f"{index}: subject '{subject}' is split between folds and test set; keep all its pairs together"
            )


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
