"""Datasets in memory: pairs that are read from a folder at most once, or given as arrays."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np

from tomostain.dataset.dataset import Dataset, check_split, load_dataset
from tomostain.dataset.pair import Pair
from tomostain.errors import InputError
from tomostain.input_files import refuse_special_file
from tomostain.paths import StrPath

PairSource: TypeAlias = StrPath | Dataset | Sequence[Pair]
"""A dataset folder, a loaded dataset, or pairs in memory."""


@dataclass(frozen=True)
class LoadedDataset(Dataset):
    """A dataset that keeps the pairs that it has read.

    Attributes
    ----------
    pairs : dict of str to Pair
        The pairs in memory, by id.
    in_memory : bool
        Whether all pairs were given as arrays, without a folder.
    details : mapping of str to mapping
        Of pairs that were prepared in memory: what `pair.yaml` states in addition, by id (the intensity references).
    """

    pairs: dict[str, Pair] = field(default_factory=dict, repr=False)
    in_memory: bool = False
    details: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, source: PairSource) -> Self:
        """Return the pairs of a folder, a loaded dataset or a list.

        Raises
        ------
        InputError
            If the folder is not a dataset, or pairs of a list have the same id or different pixel sizes.
        """
        if isinstance(source, cls):
            return source
        if isinstance(source, Dataset):
            return cls(**{item.name: getattr(source, item.name) for item in fields(Dataset)})
        if isinstance(source, str | os.PathLike):
            return cls.open(load_dataset(Path(source)))
        return cls.from_pairs(source)

    @classmethod
    def from_pairs(
        cls,
        pairs: Sequence[Pair],
        *,
        test: Sequence[str] = (),
        folds: Sequence[Sequence[str]] = (),
        halves: bool = False,
    ) -> Self:
        """Return a dataset of pairs in memory.

        Parameters
        ----------
        pairs : sequence of Pair
        test : sequence of str
            Ids of the pairs that neither train nor validate.
        folds : sequence of sequence of str
            Ids of the pairs that validate in each fold.
        halves : bool
            The pairs are halves of images: one half of a subject may train and the other one test.

        Raises
        ------
        InputError
            If there are no pairs, an id occurs twice or is unknown, the pixel sizes differ, or the folds and the test
            set overlap or split a subject.

        Examples
        --------
        >>> ct, histology = np.full((8, 8), 10000, np.uint16), np.full((8, 8, 3), 255, np.uint8)
        >>> pair = Pair("a", ct, histology, np.ones((8, 8), bool), voxel_um=5.0)
        >>> LoadedDataset.from_pairs([pair]).split(0).train
        ('a',)
        """
        by_id = {pair.id: pair for pair in pairs}
        if not pairs:
            raise InputError("pairs: the list is empty; give at least one Pair")
        if len(by_id) < len(pairs):
            raise InputError("pairs: an id occurs twice; each pair needs its own `id`")
        unknown = sorted({*test, *(pair_id for fold in folds for pair_id in fold)} - by_id.keys())
        if unknown:
            raise InputError(f"test and folds name '{unknown[0]}', which is not the id of a pair")
        voxel_um = pairs[0].voxel_um
        for pair in pairs:
            if not np.isclose(pair.voxel_um, voxel_um):
                raise InputError(
                    f"pair '{pair.id}': voxel_um is {pair.voxel_um:g}, that of '{pairs[0].id}' is {voxel_um:g}; all "
                    "pairs of a training share one voxel size"
                )
        records = {pair.id: pair.record() for pair in pairs}
        groups = tuple(tuple(fold) for fold in folds)
        where = Path("pairs in memory")
        dataset = cls(where, voxel_um, tuple(by_id), tuple(test), groups, records, halves, pairs=by_id, in_memory=True)
        check_split(dataset, "pairs")
        return dataset

    def load(self, pair_id: str, ct_slices: int = 1) -> Pair:
        """Return one pair; read it from its folder if it is not in memory. See `Dataset.load`."""
        pair = self.pairs.get(pair_id)
        if pair is None or (pair.slices is None and ct_slices > 1 and not self.in_memory):
            pair = self.pairs[pair_id] = super().load(pair_id, ct_slices)
        pair.context(ct_slices)  # raises if the pair holds fewer slices
        return pair

    def fingerprint(self, fold: int | None) -> str:
        """Return a sha256 over the images that train and validate. A resumed run needs the same images."""
        split = self.split(fold)
        digest = hashlib.sha256()
        for pair_id in (*split.train, *split.validation):
            digest.update(pair_id.encode())
            if self.in_memory:
                pair = self.pairs[pair_id]
                for array in (pair.ct, pair.histology, pair.mask, pair.slices):
                    if array is not None:
                        digest.update(f"{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
                continue
            for path in sorted(self.folder(pair_id).glob("*.tif")):
                refuse_special_file(path)
                digest.update(path.name.encode() + path.read_bytes())
        return digest.hexdigest()
