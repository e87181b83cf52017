"""The learning rate of fine-tuning."""

import pytest

from tomostain.train.fine_tune import FineTune


@pytest.mark.parametrize(
    ("options", "step", "rate"),
    [
        ({"warmup_steps": 4}, 0, 0.125),
        ({"warmup_steps": 4}, 3, 0.5),
        ({"warmup_steps": 4}, 10**6, 0.5),
        ({"learning_rate": 0.25, "warmup_steps": 0}, 0, 0.25),
        ({"learning_rate": 1.0, "warmup_steps": 2, "decay_steps": 10, "final": 0.2}, 2, 1.0),
        ({"learning_rate": 1.0, "warmup_steps": 2, "decay_steps": 10, "final": 0.2}, 7, 0.6),
        ({"learning_rate": 1.0, "warmup_steps": 2, "decay_steps": 10, "final": 0.2}, 12, 0.2),
        ({"learning_rate": 1.0, "warmup_steps": 2, "decay_steps": 10, "final": 0.2}, 99, 0.2),
    ],
)
def test_it_warms_up_and_decays_as_a_cosine(options, step, rate):
    assert FineTune(**options).rate(1.0, step) == pytest.approx(rate)
