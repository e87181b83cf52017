"""Several processes write one OME-Zarr, and one of them finishes it while another one looks for work."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tomostain.io import StainedWriter, create_stained
from tomostain.io.chunk_progress import ChunkProgress
from tomostain.io.locks import is_unlocked
from tomostain.io.ome_zarr.plan import PLAN, PROGRESS

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
