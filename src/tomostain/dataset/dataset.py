"""The dataset on disk: `dataset.yaml` and `pairs/<id>/`, read pair by pair."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tomostain.config import read_yaml
from tomostain.dataset.pair import Pair, check_id, load_pair
from tomostain.errors import InputError, SplitWarning, warn_user
from tomostain.input_files import is_there
from tomostain.paths import StrPath


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
        Pairs that are excluded from training and from every fold.
    folds : tuple of tuple of str
        The validation pairs of each fold. Empty if there are too few subjects for two folds.
    records : dict
        The record of each pair in `dataset.yaml`, by id: specimen, subject, implant, weeks, stain.
    halves : bool
        True if each image was cut in two, one half for training and one for testing. Only then can a subject be in
        both sets.
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
        """Read one pair. Its mask is without the pixels that its `exclude.tif` marks.

        Parameters
        ----------
        pair_id : str
        ct_slices : int
            Slices of µCT that are needed (`Pair.context`). With 1, only the section itself.

        Raises
        ------
        InputError
            If the dataset has no such pair, its files are broken or inconsistent, or it holds fewer slices.
        """
        if pair_id not in self.ids:
            raise InputError(f"{self.path}: no pair '{pair_id}'; known: {', '.join(self.ids)}")
        pair = load_pair(self.folder(pair_id), ct_slices)
        pair.context(ct_slices)  # raise here, not when the slices are used
        if not np.isclose(pair.voxel_um, self.voxel_um):
            raise InputError(
                f"pair '{pair_id}': voxel_um is {pair.voxel_um:g}, but dataset.yaml states {self.voxel_um:g}; "
                "all pairs of a dataset share one voxel size"
            )
        return pair

    def subject(self, pair_id: str) -> str:
        """Return the subject of a pair; without one its specimen, or the pair itself."""
        record = self.records.get(pair_id, {})
        stated = (record.get("subject"), record.get("specimen"))
        return next((str(name) for name in stated if name not in (None, "")), pair_id)  # a subject may be number 0

    def subjects(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Return the subjects of some pairs, each once, in order."""
        return tuple(dict.fromkeys(self.subject(pair_id) for pair_id in ids))

    def split(self, fold: int | None = None) -> Split:
        """Return the pairs for training, validation and testing.

        Parameters
        ----------
        fold : int or None
            The fold used for validation. None: all pairs except the test set are for training, and none for validation.
            A dataset too small for folds treats fold 0 as None.

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
        held_out = {*validation, *self.test}
        return Split(tuple(i for i in self.ids if i not in held_out), validation, self.test)


def load_dataset(path: StrPath) -> Dataset:
    """Read `dataset.yaml`. The images are read later, pair by pair.

    Parameters
    ----------
    path : path
        Folder of the dataset, or its `dataset.yaml`.

    Raises
    ------
    InputError
        If it is not a dataset, a pair has no folder, or the folds or the test set split a subject, overlap or name
        unknown pairs.
    """
    path = Path(path)
    folder = path.parent if path.name == "dataset.yaml" else path
    index = folder / "dataset.yaml"
    if is_there(folder) and not folder.is_dir():
        raise InputError(f"{folder}: is a file, but a dataset is a folder; give the folder that has dataset.yaml")
    if not index.is_file():
        raise InputError(
            f"{folder}: not a dataset (it has no dataset.yaml); create one with 'tomostain prepare', or in Python with "
            "tomostain.save_dataset or tomostain.prepare_specimens"
        )
    values = read_yaml(index)
    _check_lists(values, index)
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
    except InputError:  # a ValueError itself
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{index}: not the index of a dataset ({type(error).__name__}: {error})") from None
    if not dataset.ids or len(dataset.ids) != len(values["pairs"]):
        raise InputError(f"{index}: 'pairs' is empty or names a pair twice; each pair needs a unique id")
    check_split(dataset, str(index))
    for pair_id in dataset.ids:
        if not dataset.folder(pair_id).is_dir():
            raise InputError(f"{dataset.folder(pair_id)}: no such folder, but {index} names the pair")
    return dataset


def _check_lists(values: Mapping[str, Any], index: Path) -> None:
    """Raise unless the folds are lists of names, and the test set is one."""
    folds, test = values.get("folds") or (), values.get("test") or ()
    if not isinstance(folds, list | tuple) or not all(isinstance(names, list) for names in folds):
        raise InputError(f"{index}: 'folds' is {str(folds)[:40]!r}, not a list of lists of pairs; correct it")
    if not isinstance(test, list | tuple):
        raise InputError(f"{index}: 'test' is {str(test)[:40]!r}, not a list of pairs; correct it")


def check_split(dataset: Dataset, name: str) -> None:
    """Raise if test set and folds overlap, name unknown pairs or split a subject; warn if they split a specimen.

    Parameters
    ----------
    dataset : Dataset
    name : str
        Name of the dataset in messages.

    Raises
    ------
    InputError
        As above.

    Warns
    -----
    SplitWarning
        If pairs without a subject are of one specimen, and in different groups. Datasets of earlier versions have them.
    """
    groups = [dataset.test, *dataset.folds]
    counts = Counter(pair_id for group in groups for pair_id in group)
    for pair_id, count in counts.items():
        if pair_id not in dataset.records:
            raise InputError(f"{name}: 'folds' or 'test' names '{pair_id}', which is not among its pairs")
        if count > 1:
            raise InputError(
                f"{name}: pair '{pair_id}' is in more than one of the folds and the test set; keep it in one"
            )
    if dataset.halves:
        return
    group_of_pair = {pair_id: number for number, group in enumerate(groups) for pair_id in group}
    group_of: dict[tuple[str, str], int] = {}
    split: dict[str, list[str]] = {"subject": [], "specimen": []}
    for pair_id in dataset.ids:
        kind = "specimen" if dataset.records[pair_id].get("subject") in (None, "") else "subject"
        number, value = group_of_pair.get(pair_id, -1), dataset.subject(pair_id)
        if group_of.setdefault((kind, value), number) != number and value not in split[kind]:
            split[kind].append(value)
    if split["subject"]:
        raise InputError(
            f"{name}: subject '{split['subject'][0]}' is split between folds and test set; keep all its pairs together"
        )
    if specimens := split["specimen"]:
        more = f" (and {len(specimens) - 1} more)" if len(specimens) > 1 else ""
        warn_user(
            f"{name}: specimen '{specimens[0]}'{more} is split between folds and test set, so scores are too good; "
            "keep all its pairs together, or state another `subject` for each",
            SplitWarning,
        )
