"""Losses that stay on the device until they are read."""

import pytest
import torch

from tests.support.operators import count_operators
from tomostain.train.step_losses import SKIPPED, StepLosses, read_together


def losses(step=1):
    return StepLosses(step, {"l1": [torch.tensor(0.1), torch.tensor(0.5)], "total": [torch.tensor(2.0)]})


def test_they_are_a_mapping_of_means_over_the_parts():
    one = losses()
    assert list(one) == ["l1", "total"]
    assert len(one) == 2
    assert one["l1"] == pytest.approx(0.3)
    assert {**one} == {"l1": one["l1"], "total": 2.0}
    assert one == losses()
    assert repr(one) == f"StepLosses({dict(one)})"


def test_nothing_is_read_before_it_is_asked_for():
    assert count_operators(lambda: len(losses())).synchronisations == 0


def test_several_steps_are_read_by_one_copy():
    steps = [losses(step) for step in range(5)]
    counted = count_operators(lambda: read_together(steps))
    assert counted.operators["aten.stack.default"] + counted.operators["aten.cat.default"] == 1
    again = count_operators(lambda: [dict(each) for each in steps])
    assert again.total == 0
    assert all(each["total"] == 2.0 for each in steps)


def test_means_over_processes_replace_the_numbers():
    one = losses()
    one.read()
    one.replace({"l1": 1.0, "total": 3.0})
    assert dict(one) == {"l1": 1.0, "total": 3.0}


def test_steps_that_were_left_out_are_no_losses():
    for number, expected in ((0.0, []), (1.0, ["generators"])):
        parts = {"l1": [torch.tensor(2.0)], SKIPPED["generators"]: [torch.tensor(number)]}
        one = StepLosses(1, parts | {SKIPPED["discriminators"]: [torch.tensor(0.0)]})
        assert one.skipped == expected
        assert dict(one) == {"l1": 2.0}
        assert len(one) == 1
