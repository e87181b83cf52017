"""Locks between processes: exclusive, shared, and released when the holder ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tomostain.errors import InputError
from tomostain.io import locks
from tomostain.io.locks import SharedLock, is_unlocked, lock


def test_a_shared_lock_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "presence.lock"
    code = f"from tomostain.io.locks import SharedLock\nheld = SharedLock({str(path)!r})\n"
    code += "print('held', flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert not is_unlocked(path)
        holder.kill()
        holder.wait()
    assert is_unlocked(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_does_not_release_the_lock_of_its_parent(tmp_path: Path) -> None:
    shared = SharedLock(tmp_path / "presence.lock")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            shared.release()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert not is_unlocked(tmp_path / "presence.lock")
    shared.release()
    assert list(tmp_path.iterdir()) == []


def test_no_folder_is_created(tmp_path: Path) -> None:
    # The folder of progress must not be created again for a finished volume.
    with pytest.raises(FileNotFoundError), lock(tmp_path / "none" / "lock"):
        pass
    with pytest.raises(FileNotFoundError):
        SharedLock(tmp_path / "none" / "lock")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_writable_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="is not writable"), lock(tmp_path / "lock"):
        pass


def test_the_older_name_works_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match="claim is now lock"):
        assert locks.claim is lock


def test_windows_closes_a_lock_file_before_it_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: set[int] = set()
    real_open, real_close, real_unlink = os.open, os.close, Path.unlink

    def record(*args: object, **options: object) -> int:
        descriptor = real_open(*args, **options)  # type: ignore[arg-type]
        opened.add(descriptor)
        return descriptor

    def close(descriptor: int) -> None:
        opened.discard(descriptor)
        real_close(descriptor)

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if opened:  # as Windows does
            raise PermissionError(13, "The process cannot access the file", str(path))
        real_unlink(path, missing_ok)

    path = tmp_path / "lock"
    with monkeypatch.context() as windows:
        windows.setattr(os, "open", record)
        windows.setattr(os, "close", close)
        windows.setattr(Path, "unlink", unlink)
        descriptor = locks.acquire(path, wait=False)
        windows.setattr(os, "name", "nt")
        assert descriptor is not None
        locks.release_file(path, descriptor)
    assert list(tmp_path.iterdir()) == []
