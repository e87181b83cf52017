"""The dataset on disk: `dataset.yaml` and `pairs/<id>/`, read pair by pair."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tomostain.config import read_yaml
from tomostain.dataset.pair import Pair, check_id, load_pair
from tomostain.errors import InputError


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

    def load(self, pair_id: str, ct_slices: int = 1) -> Pair:
        """Read one pair; its mask is without what its `exclude.tif` marks.

        Parameters
        ----------
        pair_id : str
        ct_slices : int
            Slices of µCT that are needed (`Pair.seen`); 1: only the one of the section.

        Raises
        ------
        InputError
            If the dataset has no such pair, its files are broken or disagree, or it holds fewer slices.
        """
        if pair_id not in self.ids:
            raise InputError(f"{self.path}: no pair '{pair_id}'; known: {', '.join(self.ids)}")
        pair = load_pair(self.folder(pair_id), ct_slices)
        pair.seen(ct_slices)  # else said only when they are used
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
