"""What tells two inputs apart, and what must not."""

import shutil

import numpy as np

from tomostain.io import write_stack
from tomostain.register.inputs import digest


def test_a_copy_is_the_same_and_a_change_is_not(tmp_path):
    values = np.random.default_rng(0).integers(0, 60000, (9, 20, 20)).astype(np.uint16)
    write_stack(tmp_path / "a", values, voxel_um=(5.0,) * 3)
    shutil.copytree(tmp_path / "a", tmp_path / "moved" / "b")
    assert digest(tmp_path / "a") == digest(tmp_path / "moved" / "b")
    # Another scan of the same size, and one slice less.
    write_stack(tmp_path / "c", values[::-1].copy() // 2, voxel_um=(5.0,) * 3)
    next(iter(sorted((tmp_path / "moved" / "b").glob("*.tif")))).unlink()
    assert len({digest(path) for path in (tmp_path / "a", tmp_path / "moved" / "b", tmp_path / "c")}) == 3


def test_of_a_long_file_both_ends_and_the_length_count(tmp_path):
    data = bytearray(5_000_000)
    seen = set()
    for name, change in (("a", None), ("first", 0), ("last", -1)):
        copy = bytearray(data)
        if change is not None:
            copy[change] = 1
        (tmp_path / name).write_bytes(copy)
        seen.add(digest(tmp_path / name))
    (tmp_path / "longer").write_bytes(bytes(data) + b"\0")
    assert len(seen | {digest(tmp_path / "longer")}) == 4
