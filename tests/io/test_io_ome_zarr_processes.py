"""Several processes write one OME-Zarr, and one of them finishes it while another one looks for work."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tomostain.errors import InputError
from tomostain.io import StainedWriter, create_stained
from tomostain.io.checksums import sha256
from tomostain.io.chunk_progress import ChunkProgress
from tomostain.io.locks import is_unlocked, lock
from tomostain.io.ome_zarr import repair, shards, writer
from tomostain.io.ome_zarr.plan import PLAN, PROGRESS
from tomostain.io.ome_zarr.shards import damaged_shards, shard_checksum

SHAPE = (10, 20, 30)


def writer_of(path: Path) -> StainedWriter:
    return create_stained(path, SHAPE, 5.0, z_chunk=4, provenance={"model": "abc"}, resume=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a volume of which all z chunks are written and which is not finished."""
    writer = writer_of(tmp_path / "a.zarr")
    for z0, z1 in writer.pending():
        writer.write(z0, np.full((z1 - z0, *SHAPE[1:], 3), z0 + 1, np.uint8))
    writer.release()
    return tmp_path / "a.zarr"


@pytest.fixture
def finish_at(path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function after which another process finishes the volume just before or after a function is called."""

    def replace(owner: Any, name: str, *, before: bool) -> None:
        real, finishing = getattr(owner, name), writer_of(path)

        def call(*arguments: object) -> object:
            monkeypatch.setattr(owner, name, real)
            if before:
                finishing.finish()
            result = real(*arguments)
            if not before:
                finishing.finish()
            assert not (path / PROGRESS).exists()
            return result

        monkeypatch.setattr(owner, name, call)

    return replace


def test_nothing_is_pending_in_a_volume_that_is_finished_meanwhile(path: Path, finish_at: Callable[..., None]) -> None:
    late = writer_of(path)
    finish_at(ChunkProgress, "pending", before=True)
    assert late.pending() == []
    late.finish()


def test_a_z_chunk_of_a_volume_that_is_finished_meanwhile_is_not_locked(
    path: Path, finish_at: Callable[..., None]
) -> None:
    late = writer_of(path)
    finish_at(ChunkProgress, "is_done", before=True)
    with late.lock(4) as is_locked:
        assert not is_locked


@pytest.mark.parametrize("name", ["is_done", "text"])
def test_a_volume_that_is_finished_while_it_is_checked_is_left_as_it_is(
    path: Path, finish_at: Callable[..., None], name: str
) -> None:
    late = writer_of(path)
    if name == "is_done":
        finish_at(ChunkProgress, "is_done", before=False)
        assert late.repair() == []
    else:

        def progress(label: str, done: int, total: int) -> None:
            if done == 1:
                writer_of(path).finish()

        assert late.repair(progress) == []
    assert late.complete
    assert (path / "0/c/0/1/0/0").is_file()


def test_a_volume_that_is_finished_while_its_plan_is_read_is_continued(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finishing, read_text = writer_of(path), Path.read_text

    def late(file: Path, **options: Any) -> str:
        if file == path / PROGRESS / PLAN:
            monkeypatch.setattr(Path, "read_text", read_text)
            finishing.finish()
        return read_text(file, **options)

    monkeypatch.setattr(Path, "read_text", late)
    assert writer_of(path).complete
    assert Path.read_text is read_text


def test_a_folder_that_is_removed_while_its_locks_are_listed_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def removed(*_: object) -> None:
        raise FileNotFoundError("the folder")

    monkeypatch.setattr(Path, "glob", removed)
    assert is_unlocked(tmp_path / "gone" / "presence.lock")


SHARDS = [f"0/c/0/{n}/0/0" for n in range(3)]


def damage(shard: Path) -> bytes:
    """Change a byte of a shard. Return what it was."""
    right = shard.read_bytes()
    shard.write_bytes(bytes([right[0] ^ 1]) + right[1:])
    return right


def write_pending(volume: StainedWriter) -> None:
    for z0, z1 in volume.pending():
        with volume.lock(z0) as is_locked:
            assert is_locked
            volume.write(z0, np.full((z1 - z0, *SHAPE[1:], 3), z0 + 1, np.uint8))


def test_a_shard_that_another_process_writes_again_during_a_repair_is_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, other, shard = writer_of(path), writer_of(path), path / SHARDS[1]
    right = damage(shard)

    def compare(file: Path) -> str:
        checksum = shard_checksum(file)
        if file == shard:  # `late` has found the damage: now another process repairs the shard and writes it again
            monkeypatch.setattr(repair, "shard_checksum", shard_checksum)
            assert other.repair() == [SHARDS[1]]
            write_pending(other)
        return checksum

    monkeypatch.setattr(repair, "shard_checksum", compare)
    assert late.repair() == []
    assert repair.shard_checksum is shard_checksum
    assert shard.read_bytes() == right
    assert late.pending() == []


def test_a_repair_waits_for_another_one_of_the_same_shard(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late, other, shard = writer_of(path), writer_of(path), path / SHARDS[1]
    right = damage(shard)
    found, results = threading.Event(), []

    def compare(file: Path) -> str:
        checksum = shard_checksum(file)
        if file == shard:
            found.set()
        return checksum

    monkeypatch.setattr(repair, "shard_checksum", compare)
    chunks = ChunkProgress(path / PROGRESS, SHAPE[0], 4, prefix="0-")
    thread = threading.Thread(target=lambda: results.append(late.repair()))
    with chunks.lock_written(4):  # as another process that repairs the shard
        thread.start()
        assert found.wait(300)
        shard.unlink()
        chunks.forget(4)
        other.write(4, np.full((4, *SHAPE[1:], 3), 5, np.uint8))
    thread.join(300)
    assert results == [[]]
    assert shard.read_bytes() == right
    assert late.pending() == []


def test_two_repairs_of_a_complete_volume_remove_a_shard_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer_of(path).finish()
    late, other, shard = writer_of(path), writer_of(path), path / SHARDS[1]
    right = damage(shard)

    def compare(*arguments: Any) -> list[str] | None:
        damaged = damaged_shards(*arguments)
        monkeypatch.setattr(writer, "damaged_shards", damaged_shards)
        assert other.repair() == [SHARDS[1]]
        write_pending(other)
        return damaged

    monkeypatch.setattr(writer, "damaged_shards", compare)
    assert late.repair() == []
    assert shard.read_bytes() == right
    other.finish()
    assert damaged_shards(path, SHARDS) == []


def test_a_damaged_shard_is_removed_before_others_see_that_it_is_pending(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer_of(path).finish()
    late, shard, rename = writer_of(path), path / SHARDS[1], Path.rename
    damage(shard)

    def reopened(folder: Path, target: Path) -> Path:
        result = rename(folder, target)
        write_pending(writer_of(path))  # another process writes the shard at once
        return result

    monkeypatch.setattr(Path, "rename", reopened)
    assert late.repair() == [SHARDS[1]]
    assert late.pending() == []
    assert shard.is_file()


def test_a_volume_that_is_finished_while_a_damaged_shard_is_compared_is_made_unfinished(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, other, shard, compared = writer_of(path), writer_of(path), path / SHARDS[1], []
    right = damage(shard)

    def compare(file: Path) -> str:
        checksum = shard_checksum(file)
        compared.extend([file] * (file == shard))
        if len(compared) == 2:  # `late` holds the lock of the chunk
            monkeypatch.setattr(repair, "shard_checksum", shard_checksum)
            other.finish()
        return checksum

    monkeypatch.setattr(repair, "shard_checksum", compare)
    assert late.repair() == [SHARDS[1]]
    assert not late.complete
    write_pending(late)
    late.finish()
    assert shard.read_bytes() == right
    assert damaged_shards(path, SHARDS) == []


def test_a_volume_is_not_finished_without_a_shard_that_is_removed_meanwhile(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repairing, finishing = writer_of(path), writer_of(path)
    damage(path / SHARDS[1])

    def late(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(writer, "lock", lock)
        assert repairing.repair() == [SHARDS[1]]
        return lock(*arguments, **options)

    monkeypatch.setattr(writer, "lock", late)
    with pytest.raises(InputError, match="1 of 3 z chunks are not stained yet"):
        finishing.finish()
    write_pending(finishing)
    finishing.finish()
    assert damaged_shards(path, SHARDS) == []


def test_a_repair_of_a_complete_volume_reads_each_right_shard_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer_of(path).finish()
    late, read = writer_of(path), []
    damage(path / SHARDS[1])

    def count(file: Path) -> str:
        read.append(file.relative_to(path).as_posix())
        return sha256(file)

    monkeypatch.setattr(shards, "sha256", count)
    assert late.repair() == [SHARDS[1]]
    # The damaged one is compared again while finish is locked: another process may have written it.
    assert sorted(read) == sorted([*SHARDS, SHARDS[1]])
    write_pending(late)
    late.finish()
    assert damaged_shards(path, SHARDS) == []


def test_damage_that_a_repair_did_not_look_at_is_found_by_the_next_one(path: Path) -> None:
    writer_of(path).finish()
    for shard in SHARDS[:2]:
        damage(path / shard)
    assert writer_of(path).repair(only=[0]) == [SHARDS[0]]
    assert writer_of(path).repair() == [SHARDS[1]]
