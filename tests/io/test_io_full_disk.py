"""A full disk: what is said, also when it happened in another process."""

import errno
import pickle
from pathlib import Path

import pytest

from tomostain.errors import InputError
from tomostain.io.full_disk import FullDiskError, naming_full_disk
from tomostain.progress import AGAIN, CONTINUE, how_to_continue


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("next_step", [AGAIN, CONTINUE, how_to_continue(overwrite=True)])
def test_the_message_names_output_and_next_step(number: int, next_step: str) -> None:
    with pytest.raises(InputError) as error, naming_full_disk(Path("out.zarr"), next_step):
        raise OSError(number, "full")
    assert str(error.value) == f"out.zarr: the disk or your quota is full; make room and {next_step}"


def test_the_outer_work_knows_the_next_step() -> None:
    where = "out.zarr: the disk is full at slice 8"
    outer = naming_full_disk(Path("out"), how_to_continue(overwrite=True))
    with pytest.raises(FullDiskError) as error, outer, naming_full_disk(Path("part")):
        raise FullDiskError(where)
    assert str(error.value) == f"{where}; make room and run the same command again without `overwrite=True` to continue"


def test_other_errors_pass() -> None:
    with pytest.raises(PermissionError), naming_full_disk(Path("out")):
        raise PermissionError(errno.EACCES, "denied")


def test_an_error_of_another_process_is_the_same() -> None:
    error = FullDiskError("out.zarr: the disk is full at slice 8", CONTINUE)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.what, copy.parameter) == (FullDiskError, str(error), error.what, None)
