"""Folds and test set (paper section 2.4): stratified by implant. A subject is never split."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from tomostain.config import Config, suggest
from tomostain.errors import InputError


class SplitConfig(Config):
    """How pairs are divided into folds and a test set.

    Attributes
    ----------
    folds : int
        Folds of the cross-validation (the paper: 5). At most the number of subjects.
    test_fraction : float
        Fraction of the pairs in the test set, as whole subjects. At least one subject if above 0 (the paper: 3 of 53).
    test_subjects, test_ids : tuple of str
        The test set by name. `test_fraction` is then ignored.
    seed : int
        Seed of the random choice.
    """

    folds: int = Field(default=5, ge=2)
    test_fraction: float = Field(default=0.1, ge=0, lt=1)
    test_subjects: tuple[str, ...] = ()
    test_ids: tuple[str, ...] = ()
    seed: int = Field(default=0, ge=0)


Record = Mapping[str, Any]


def implant_class(implant: str) -> str:
    """Return the class for stratification: all Mg alloys count as Mg, all Ti alloys as Ti.

    Examples
    --------
    >>> [implant_class(name) for name in ("Mg-5Gd", "Mg-10Gd", "Ti6Al4V", "PEEK", "ceramic")]
    ['Mg', 'Mg', 'Ti', 'PEEK', 'ceramic']
    """
    return next((known for known in ("Mg", "Ti", "PEEK") if implant.startswith(known)), implant)


def make_folds(records: Sequence[Record], config: SplitConfig) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Choose the test set and divide the rest into folds.

    Parameters
    ----------
    records : sequence of mapping
        One per pair, with the keys id, subject and implant.
    config : SplitConfig

    Returns
    -------
    test : tuple of str
        Ids of the test pairs.
    folds : tuple of tuple of str
        Ids of the validation pairs of each fold: `config.folds` folds, or as many as there are remaining subjects. No
        folds if fewer than two subjects remain.

    Raises
    ------
    InputError
        If a test subject or id is unknown, the ids split a subject, or no subject remains for training.

    Examples
    --------
    >>> pairs = [{"id": f"{n}", "subject": f"rat {n}", "implant": "Ti"} for n in range(4)]
    >>> make_folds(pairs, SplitConfig(folds=2, test_subjects=("rat 3", "rat 2")))[0]
    ('2', '3')
    """
    rng = np.random.default_rng(config.seed)
    subjects: dict[str, list[Record]] = {}
    for record in records:
        subjects.setdefault(str(record["subject"]), []).append(record)
    held_out = _named_test(subjects, config)
    if held_out is None:
        held_out = _drawn_test(subjects, config.test_fraction, rng)
    if records and held_out == set(subjects):
        raise InputError("test set: it contains every subject, so none remains for training; name fewer")
    remaining = {name: members for name, members in subjects.items() if name not in held_out}
    order = {str(record["id"]): position for position, record in enumerate(records)}
    groups = _divide(remaining, min(config.folds, len(remaining)), rng) if len(remaining) > 1 else []
    test = [str(record["id"]) for name in held_out for record in subjects[name]]
    return tuple(sorted(test, key=order.__getitem__)), tuple(
        tuple(sorted(group, key=order.__getitem__)) for group in groups
    )


def _named_test(subjects: Mapping[str, Sequence[Record]], config: SplitConfig) -> set[str] | None:
    """Return the subjects that the configuration names for the test set, or None if it names none."""
    if not config.test_subjects and not config.test_ids:
        return None
    subject_of_pair = {str(record["id"]): name for name, members in subjects.items() for record in members}
    for what, names, choices in (
        ("test_subjects", config.test_subjects, list(subjects)),
        ("test_ids", config.test_ids, list(subject_of_pair)),
    ):
        for name in names:
            if name not in choices:
                raise InputError(f"{what}: no '{name}' in this dataset{suggest(name, choices)}")
    chosen = set(config.test_subjects) | {subject_of_pair[pair_id] for pair_id in config.test_ids}
    for pair_id, name in subject_of_pair.items():
        if name in chosen and name not in config.test_subjects and pair_id not in config.test_ids:
            raise InputError(f"test_ids: subject '{name}' would be split; add its pair '{pair_id}'")
    return chosen


def _drawn_test(subjects: Mapping[str, Sequence[Record]], fraction: float, rng: np.random.Generator) -> set[str]:
    """Draw subjects until the fraction is reached. Each time the one that fits the proportions best is chosen."""
    if fraction == 0 or len(subjects) < 2:
        return set()
    counts = {name: _classes(members) for name, members in subjects.items()}
    whole = sum(counts.values(), Counter[str]())
    target = {key: fraction * count for key, count in whole.items()}
    target_number = max(1, round(fraction * whole.total()))
    remaining = [list(subjects)[i] for i in rng.permutation(len(subjects))]
    chosen: list[str] = []
    drawn: Counter[str] = Counter()

    def distance(name: str) -> float:
        return sum((drawn[key] + counts[name][key] - target[key]) ** 2 for key in target)

    while drawn.total() < target_number and len(remaining) > 1:
        best = min(remaining, key=distance)
        remaining.remove(best)
        chosen.append(best)
        drawn += counts[best]
    return set(chosen)


def _divide(subjects: Mapping[str, Sequence[Record]], k: int, rng: np.random.Generator) -> list[list[str]]:
    """Assign subjects to k groups, large ones first: to the group with fewest of its implants, then the smallest."""
    counts = {name: _classes(members) for name, members in subjects.items()}
    shuffled = [list(subjects)[i] for i in rng.permutation(len(subjects))]
    shuffled.sort(key=lambda name: (-counts[name].total(), counts[name].most_common(1)[0][0]))
    groups: list[list[str]] = [[] for _ in range(k)]
    contents: list[Counter[str]] = [Counter() for _ in range(k)]
    for name in shuffled:
        empty = sum(not group for group in groups)
        waiting = len(shuffled) - sum(map(len, groups))
        allowed = [i for i in range(k) if not groups[i]] if waiting <= empty else list(range(k))
        best = min(
            rng.permutation(allowed),
            key=lambda i: (sum(contents[i][key] * n for key, n in counts[name].items()), contents[i].total()),
        )
        groups[best].append(name)
        contents[best] += counts[name]
    return [[str(record["id"]) for name in group for record in subjects[name]] for group in groups]


def _classes(members: Sequence[Record]) -> Counter[str]:
    """Count the implant classes of a subject's pairs."""
    return Counter(implant_class(str(record["implant"])) for record in members)
