"""Errors of checkpoints that cannot be written or read."""

import pytest
import torch

from tomostain.errors import InputError
from tomostain.train import checkpoint
from tomostain.train.checkpoint import read_checkpoint


def test_an_error_of_torch_that_is_not_of_the_file_passes_and_leaves_nothing(tmp_path, monkeypatch):
    def fail(values, file):
        file.write(b"beginning")
        file.flush()
        raise RuntimeError("a tensor cannot be written")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(RuntimeError, match="a tensor cannot be written"):
        checkpoint._write(tmp_path / "last", {"step": 1})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "last: no such checkpoint; the run has not reached it yet, or this is not a run"),
        ([1, 2], "last: not a checkpoint of tomostain"),
        ({"step": 1}, "last: not a checkpoint of tomostain"),
    ],
)
def test_other_files_are_not_checkpoints(tmp_path, values, message):
    if values is not None:
        torch.save(values, tmp_path / "last")
    with pytest.raises(InputError, match=message):
        read_checkpoint(tmp_path / "last")
