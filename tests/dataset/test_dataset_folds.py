"""Folds and test set: properties that hold for any set of specimens, and the numbers of the paper."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomostain.dataset.folds import SplitConfig, implant_class, make_folds
from tomostain.errors import InputError

IMPLANTS = st.sampled_from(["Mg-5Gd", "Mg-10Gd", "Ti", "PEEK", "ceramic"])


def records(implants, subjects=None):
    subjects = subjects or [f"subject {n}" for n in range(len(implants))]
    return [
        {"id": f"p{n}", "subject": subject, "implant": implant}
        for n, (implant, subject) in enumerate(zip(implants, subjects, strict=True))
    ]


@given(st.lists(st.tuples(IMPLANTS, st.integers(0, 9)), min_size=1, max_size=40), st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_folds_partition_the_pairs_and_no_subject_is_split(drawn, seed):
    pairs = records([implant for implant, _ in drawn], [str(subject) for _, subject in drawn])
    test, folds = make_folds(pairs, SplitConfig(seed=seed, test_fraction=0.2))
    groups = [test, *folds]
    home = {pair_id: number for number, group in enumerate(groups) for pair_id in group}
    assert sum(map(len, groups)) == len(home)
    subjects = {pair["subject"] for pair in pairs}
    training = {pair["subject"] for pair in pairs if pair["id"] not in test}
    assert len(folds) == (min(5, len(training)) if len(training) > 1 else 0)
    assert bool(test) == (len(subjects) > 1)
    if folds:
        assert set(home) == {pair["id"] for pair in pairs}
        assert all(folds)
    for subject in subjects:
        assert len({home.get(pair["id"]) for pair in pairs if pair["subject"] == subject}) == 1


@given(st.lists(IMPLANTS, min_size=10, max_size=60), st.integers(2, 6), st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_single_specimen_subjects_keep_proportions_within_one(implants, k, seed):
    pairs = records(implants)
    _, folds = make_folds(pairs, SplitConfig(folds=k, seed=seed, test_fraction=0))
    kind = {pair["id"]: implant_class(pair["implant"]) for pair in pairs}
    whole = Counter(kind.values())
    for fold in folds:
        counts = Counter(kind[pair_id] for pair_id in fold)
        assert all(abs(counts[name] - count / k) < 1 for name, count in whole.items())
    assert max(map(len, folds)) - min(map(len, folds)) <= 1


@pytest.mark.parametrize(("number", "fraction", "expected"), [(10, 0.26, 3), (10, 0.24, 2), (16, 0.1, 2), (14, 0.1, 1)])
def test_the_test_set_has_the_nearest_whole_number_of_pairs(number, fraction, expected):
    test, _ = make_folds(records(["Ti"] * number), SplitConfig(test_fraction=fraction))
    assert len(test) == expected


def test_a_large_test_fraction_leaves_a_subject_for_training():
    test, _ = make_folds(records(["Ti"] * 3), SplitConfig(test_fraction=0.95))
    assert len(test) == 2


def test_a_tenth_is_for_testing_unless_stated():
    assert len(make_folds(records(["Ti"] * 40), SplitConfig())[0]) == 4


def test_no_fold_stays_empty_however_the_subjects_differ():
    """Large subjects are divided first; the last subjects fill the folds that are still empty."""
    subjects = ["a"] * 6 + ["b"] * 5 + ["c"] * 4 + ["d", "e"]
    for seed in range(5):
        _, folds = make_folds(records(["Ti"] * 17, subjects), SplitConfig(folds=5, test_fraction=0, seed=seed))
        assert sorted(map(len, folds)) == [1, 1, 4, 5, 6]


def test_the_papers_numbers():
    """Paper section 2.4: 38 Mg, 5 Ti, 10 PEEK; 3 for testing (2 Mg, 1 PEEK); five folds of 10 at about 7:1:2."""
    pairs = records(["Mg-10Gd"] * 38 + ["Ti"] * 5 + ["PEEK"] * 10)
    test, folds = make_folds(pairs, SplitConfig(test_fraction=3 / 53))
    kind = {pair["id"]: implant_class(pair["implant"]) for pair in pairs}
    assert Counter(kind[i] for i in test) == {"Mg": 2, "PEEK": 1}
    assert [len(fold) for fold in folds] == [10] * 5
    for fold in folds:
        counts = Counter(kind[i] for i in fold)
        assert counts["Ti"] == 1
        assert counts["Mg"] in (7, 8)
        assert counts["PEEK"] in (1, 2)


def test_the_same_seed_gives_the_same_split_and_another_another():
    pairs = records(["Ti"] * 30)
    splits = [make_folds(pairs, SplitConfig(seed=seed)) for seed in (1, 1, 2)]
    assert splits[0] == splits[1]
    assert splits[0] != splits[2]
    assert make_folds(pairs, SplitConfig()) == make_folds(pairs, SplitConfig(seed=0))


def test_a_test_set_by_name():
    pairs = records(["Ti"] * 5, ["a", "a", "b", "c", "d"])
    assert make_folds(pairs, SplitConfig(test_subjects=("a",)))[0] == ("p0", "p1")
    assert make_folds(pairs, SplitConfig(test_ids=("p2",)))[0] == ("p2",)
    with pytest.raises(InputError, match="test_subjects: no 'aa' in this dataset"):
        make_folds(pairs, SplitConfig(test_subjects=("aa",)))
    with pytest.raises(InputError, match="test_ids: no 'p9' in this dataset"):
        make_folds(pairs, SplitConfig(test_ids=("p9",)))
    with pytest.raises(InputError, match="subject 'a' would be split; add its pair 'p1'"):
        make_folds(pairs, SplitConfig(test_ids=("p0",)))
    with pytest.raises(InputError, match="none remains for training"):
        make_folds(pairs, SplitConfig(test_subjects=("a", "b", "c", "d")))


def test_options_out_of_range_are_named():
    with pytest.raises(InputError, match="folds = 1"):
        SplitConfig.from_dict({"folds": 1})
    with pytest.raises(InputError, match="test_fraction = 1"):
        SplitConfig.from_dict({"test_fraction": 1.0})
    with pytest.raises(InputError, match="did you mean 'test_fraction'"):
        SplitConfig.from_dict({"test_fractoin": 0.1})


@pytest.mark.parametrize(("pairs", "fraction", "expected"), [(7, 0.25, 2), (9, 0.3, 3), (16, 0.1, 2), (14, 0.1, 1)])
def test_the_number_of_test_pairs_is_rounded_to_the_nearest(pairs, fraction, expected):
    test, _ = make_folds(records(["Ti"] * pairs), SplitConfig(test_fraction=fraction))
    assert len(test) == expected
