"""Datasets of pairs in memory follow the rules of those on disk."""

import numpy as np
import pytest

from tomostain.dataset.loaded import LoadedDataset
from tomostain.dataset.pair import Pair
from tomostain.errors import InputError


def pair(name: str, subject: str | None = None) -> Pair:
    images = np.full((8, 8), 10000, np.uint16), np.full((8, 8, 3), 255, np.uint8), np.ones((8, 8), bool)
    return Pair(name, *images, voxel_um=5.0, subject=subject)


RATS = [pair("a1", "rat 1"), pair("a2", "rat 1"), pair("b1", "rat 2"), pair("b2", "rat 2")]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"test": ["a2"]}, "pairs: subject 'rat 1' is split between folds and test set; keep all its pairs together"),
        ({"folds": [["a1"], ["a2", "b1", "b2"]]}, "subject 'rat 1' is split"),
        ({"folds": [["a1", "a2"], ["b1"]]}, "subject 'rat 2' is split"),
        ({"test": ["a1", "a2"], "folds": [["a1", "a2"]]}, "pair 'a1' is in more than one of the folds"),
        ({"test": ["zz"]}, "'zz', which is not the id of a pair"),
    ],
)
def test_a_subject_is_in_one_group(groups, message):
    with pytest.raises(InputError, match=message):
        LoadedDataset.from_pairs(RATS, **groups)


def test_groups_of_whole_subjects_are_accepted():
    dataset = LoadedDataset.from_pairs(RATS, folds=[["a1", "a2"], ["b1", "b2"]])
    assert dataset.split(1).train == ("a1", "a2")
    assert LoadedDataset.from_pairs(RATS, test=["b1", "b2"]).split().train == ("a1", "a2")


def test_pairs_without_a_subject_are_their_own():
    dataset = LoadedDataset.from_pairs([pair("a"), pair("b")], test=["b"])
    assert dataset.subjects(["a", "b"]) == ("a", "b")
