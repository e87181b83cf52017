"""A small part of `studies.trust.mutants`: which places are changed, and that a changed module is imported."""

import ast
import importlib
import sys

from studies.trust.mutants import TARGETS, ChangedModule, Mutant, as_diff, mutants_of, places, report, sample

SOURCE = '''
"""A docstring with 3."""
@decorated(3)
def f(a: Literal[3], b=True):
    """Another 3."""
    if a < 3 or not b:
        raise ValueError(3)
    for x, y in zip(a, b, strict=True):
        g(x, -y, mode="area")
    return max(a, 2) + 1
'''


def test_operators_constants_arguments_and_names_are_changed_and_messages_are_not():
    texts = sorted(text for _, text, _ in places(ast.parse(SOURCE)))
    swapped = ["zip: first two arguments swapped", "g: first two arguments swapped"]
    values = ["3 → 4", "True → False", "1 → 2", "2 → 3", "area → nearest"]
    operators = ["Or → And", "Lt → LtE", "not x → x", "Add → Sub", "max → min", "-x → +x"]
    assert texts == sorted(swapped + values + operators)


def test_every_change_changes_the_module():
    for number in range(len(list(places(ast.parse(SOURCE))))):
        tree = ast.parse(SOURCE)
        list(places(tree))[number][2]()
        assert ast.unparse(ast.fix_missing_locations(tree)) != ast.unparse(ast.parse(SOURCE))


def test_a_changed_module_is_imported_instead_of_the_one_on_disk(tmp_path, monkeypatch):
    (tmp_path / "one_to_change.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    changed = ChangedModule("one_to_change", compile("VALUE = 2", "changed", "exec"), tmp_path / "one_to_change.py")
    monkeypatch.setattr(sys, "meta_path", [changed, *sys.meta_path])
    assert importlib.import_module("one_to_change").VALUE == 2


def test_the_targets_exist_and_a_sample_has_every_area():
    assert {mutant.area for mutant in sample(7, 0, list(TARGETS))} == set(TARGETS)
    mutant = mutants_of("folds", "dataset/folds.py")[0]
    assert as_diff(mutant).startswith(f"## dataset/folds.py:{mutant.line} {mutant.text}")


def test_the_report_counts_by_area():
    mutant = Mutant("folds", "dataset/folds.py", 0, 30, "0 → 1")
    text = report([(mutant, "killed"), (mutant, "survived"), (mutant, "timed out")], 1.0)
    assert "| folds | 3 | 1 | 1 | 1 | 67% |" in text
    assert "- dataset/folds.py:30 0 → 1" in text
