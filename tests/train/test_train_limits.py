"""The end of a training, and its prediction."""

import pytest

from tomostain.train.limits import NO_LIMIT, Limits, Pace


@pytest.mark.parametrize(
    ("limits", "total"),
    [
        (Limits(), 500),
        (Limits(max_steps=700), 700),
        (Limits(max_steps=7, max_seconds=1), 7),
        (Limits(max_seconds=1), NO_LIMIT),
        (Limits(max_cpu_seconds=1), NO_LIMIT),
    ],
)
def test_the_epochs_end_a_training_only_without_limits(limits, total):
    assert limits.total_steps(500) == total


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        (Limits(), True),
        (Limits(max_seconds=10), True),
        (Limits(max_seconds=9), False),
        (Limits(max_cpu_seconds=20), False),
        (Limits(max_seconds=10, max_cpu_seconds=21), True),
    ],
)
def test_time_is_left_until_the_first_limit(limits, left):
    assert limits.time_left(9.0, 20.0) is left


@pytest.mark.parametrize(
    ("limits", "step", "seconds", "cpu_seconds", "expected"),
    [
        (Limits(max_seconds=100), 10, 20.0, 0.0, NO_LIMIT),  # nothing was done since the run was resumed
        (Limits(max_seconds=100), 30, 60.0, 0.0, 50),
        (Limits(max_seconds=100), 30, 20.0, 0.0, NO_LIMIT),  # the clock stood still
        (Limits(max_seconds=100), 30, 200.0, 0.0, 30),  # the time is over
        (Limits(max_seconds=100, max_cpu_seconds=40), 30, 60.0, 40.0, 30),
    ],
)
def test_the_last_step_is_predicted_from_the_pace(limits, step, seconds, cpu_seconds, expected):
    pace = Pace(limits, NO_LIMIT, step=10, seconds=20.0, cpu_seconds=0.0)
    assert pace.expected_total(step, seconds, cpu_seconds) == expected
