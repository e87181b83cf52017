"""A full disk and too little memory are explained; other errors pass."""

import errno
import tempfile
from pathlib import Path

import pytest
import torch

from tomostain.errors import InputError
from tomostain.train.failures import explain_failures

FULL = OSError(errno.ENOSPC, "No space left on device")
GPU = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has less")


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        (
            Path("run"),
            FULL,
            "run: the disk or your quota is full; the last complete checkpoint is preserved. Free some space and "
            "continue with `resume=True`",
        ),
        (
            None,
            FULL,
            f"the temporary folder {tempfile.gettempdir()}: the disk or your quota is full; give `run`, a folder on "
            "another disk, or set the environment variable TMPDIR",
        ),
        (
            Path("run"),
            GPU,
            "run: not enough memory for this training (CUDA out of memory); lower batch or patch_px of the recipe, or "
            "set accumulate or checkpoint_activations. The last complete checkpoint is preserved",
        ),
        (
            None,
            MemoryError(),
            "not enough memory for this training (MemoryError); lower batch or patch_px of the recipe, or set "
            "accumulate or checkpoint_activations",
        ),
    ],
)
def test_the_message_says_what_to_do(run, error, message):
    with pytest.raises(InputError) as caught, explain_failures(run):
        raise error
    assert str(caught.value) == message
    assert caught.value.parameter == ("run" if run is None and error is FULL else None)


@pytest.mark.parametrize(
    "error", [OSError(errno.EACCES, "Permission denied"), RuntimeError("shapes do not match"), KeyError("l1")]
)
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as caught, explain_failures(Path("run")):
        raise error
    assert caught.value is error


def test_nothing_happens_without_an_error():
    with explain_failures(None):
        value = 3
    assert value == 3
