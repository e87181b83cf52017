"""Temporary arrays: a chunk is written once, and content is reused only for the same plan."""

from pathlib import Path

import numpy as np
import pytest

from tomostain.errors import InputError
from tomostain.io.ome_zarr.scratch import Scratch
from tomostain.io.ome_zarr.shards import ABSENT, read_shard_sums, shard_checksum, write_shard_sums
from tomostain.io.output_folder import check_contents, check_sources_outside, output_folder

PLAN = {"model": "abc", "stride_px": 64}
VALUES = np.random.default_rng(0).integers(0, 65536, (10, 6, 7), np.uint16)


def scratch(path: Path, plan: dict | None = None, *, z_chunk: int = 4) -> Scratch:
    return Scratch(path / "deep/array", VALUES.shape, np.uint16, z_chunk, plan or PLAN)


def test_values_come_back_and_chunks_are_recorded(tmp_path: Path) -> None:
    first = scratch(tmp_path)
    assert first.z_chunks() == first.pending() == [(0, 4), (4, 8), (8, 10)]
    first.write(4, VALUES[4:8])
    assert first.pending() == [(0, 4), (8, 10)]
    for start, stop in first.pending():
        first.write(start, VALUES[start:stop])
    assert first.pending() == []
    np.testing.assert_array_equal(first.read(slice(1, 9), slice(2, 5)), VALUES[1:9, 2:5])


def test_the_same_plan_continues_and_another_begins_again(tmp_path: Path) -> None:
    scratch(tmp_path).write(0, VALUES[:4])
    assert scratch(tmp_path).pending() == [(4, 8), (8, 10)]
    np.testing.assert_array_equal(scratch(tmp_path).read(slice(0, 4)), VALUES[:4])
    assert scratch(tmp_path, {"model": "def", "stride_px": 64}).pending() == [(0, 4), (4, 8), (8, 10)]
    assert not scratch(tmp_path, {"model": "def", "stride_px": 64}).read(slice(0, 4)).any()


def test_a_damaged_plan_begins_again(tmp_path: Path) -> None:
    scratch(tmp_path).write(0, VALUES[:4])
    (tmp_path / "deep/array/plan.json").write_text('{"shape": ')
    assert scratch(tmp_path).pending() == [(0, 4), (4, 8), (8, 10)]
    assert list((tmp_path / "deep").glob("*.lock")) == []


def test_a_chunk_has_one_writer(tmp_path: Path) -> None:
    array = scratch(tmp_path)
    with array.lock(4) as mine:
        assert mine
        with scratch(tmp_path).lock(4) as other, scratch(tmp_path).lock(8) as third:
            assert (other, third) == (False, True)
        array.write(4, VALUES[4:8])
    with array.lock(4) as mine:
        assert not mine, "it is written"


def test_a_chunk_larger_than_the_array_is_cut(tmp_path: Path) -> None:
    assert scratch(tmp_path, z_chunk=100).z_chunks() == [(0, 10)]


def test_checksums_of_shards(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    assert read_shard_sums(tmp_path) is None
    assert shard_checksum(tmp_path / "0") == shard_checksum(tmp_path / "gone") == ABSENT
    (tmp_path / "0/shard").write_bytes(b"abc")
    sums = {"0/shard": shard_checksum(tmp_path / "0/shard"), "0/black": ABSENT}
    assert sums["0/shard"].startswith("ba7816bf8f01cfea")
    write_shard_sums(tmp_path, sums)
    assert read_shard_sums(tmp_path) == {"0/shard": sums["0/shard"]}
    (tmp_path / "0/SHA256SUMS").unlink()
    (tmp_path / "0/SHA256SUMS").symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match="not a regular file"):
        read_shard_sums(tmp_path)


def test_a_shard_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path) -> str:
        raise OSError(5, "Input/output error")

    (tmp_path / "shard").write_bytes(b"abc")
    monkeypatch.setattr("tomostain.io.ome_zarr.shards.sha256", fails)
    with pytest.raises(InputError, match=r"shard: cannot be read \(Input/output error\); copy the volume again"):
        shard_checksum(tmp_path / "shard")


def test_folders_with_files_of_the_user_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "pair.yaml").touch()
    check_contents(tmp_path, "pair", lambda name: name == "pair.yaml")
    check_sources_outside(tmp_path / "pair", "pair", [tmp_path / "scan", tmp_path / "pair2/slide.tif"])
    with pytest.raises(InputError, match="which would be replaced; choose another name for the pair"):
        check_sources_outside(tmp_path / "pair", "pair", [tmp_path / "scan", tmp_path / "pair/../pair/slide.tif"])
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"notes\.txt: is not a file of a pair"):
        check_contents(tmp_path, "pair", lambda name: name == "pair.yaml")


def test_a_folder_is_recognised_by_its_marker(tmp_path: Path) -> None:
    assert not output_folder(tmp_path / "run", "run", "run.yaml")
    (tmp_path / "other").touch()
    with pytest.raises(InputError, match=r"exists and is not an evaluation \(no scores\.csv\)"):
        output_folder(tmp_path, "evaluation", "scores.csv")
    (tmp_path / "run.yaml").touch()
    assert output_folder(tmp_path, "run", "run.yaml", resume=True)
    with pytest.raises(InputError, match="exists"):
        output_folder(tmp_path, "run", "run.yaml")
