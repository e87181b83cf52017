"""Shards have the bytes that Zarr writes, and the coarser levels are made without reading a chunk again."""

import threading
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tomostain.errors import InputError
from tomostain.io import create_ome_zarr, create_stained, open_stained
from tomostain.io.checksums import sha256
from tomostain.io.ome_zarr.shard_file import ShardLayout
from tomostain.io.ome_zarr.shards import ABSENT

SHAPE = (19, 300, 310)


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    """Noise, with inner chunks that are black."""
    values = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    values[:, :130, 60:200] = 0
    return values


def files(path: Path) -> dict[str, bytes]:
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def writer_of(path: Path, z_chunk: int = 4, **options: object):
    return create_stained(path, SHAPE, 5.0, z_chunk=z_chunk, provenance={}, **options)  # type: ignore[arg-type]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the shards that Zarr reads."""
    names: list[str] = []
    get = zarr.storage.LocalStore.get

    async def counting(self: zarr.storage.LocalStore, key: str, *args: object, **options: object) -> object:
        if "/c/" in key:
            names.append(key)
        return await get(self, key, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(zarr.storage.LocalStore, "get", counting)
    return names


def as_zarr_writes_it(path: Path, volume: np.ndarray, z_chunk: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a volume with the codecs of Zarr, and all coarser levels from the disk."""
    with monkeypatch.context() as patch:
        patch.setattr(ShardLayout, "of", classmethod(lambda cls, *_: None))
        patch.setattr("tomostain.io.ome_zarr.coarser.CoarserLevels.add", lambda *_: None)
        write = create_stained if volume.ndim == 4 else create_ome_zarr
        writer = write(path, volume.shape[:3], 5.0, z_chunk=z_chunk, provenance={}, dtype=volume.dtype)
        for z0, z1 in writer.pending():
            writer.write(z0, volume[z0:z1])
        writer.finish()
    return path


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.integers(1, 11), st.sampled_from([3, 64, 129, 270]), st.sampled_from([5, 130, 300])),
    z_chunk=st.integers(1, 6),
    dtype=st.sampled_from(["rgb", "uint8", "uint16", "float32"]),
)
def test_every_file_is_the_one_that_zarr_writes(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, int, int],
    z_chunk: int,
    dtype: str,
) -> None:
    folder, rng = tmp_path_factory.mktemp("volumes"), np.random.default_rng(3)
    volume = rng.integers(0, 200, (*shape, 3) if dtype == "rgb" else shape).astype("uint8" if dtype == "rgb" else dtype)
    volume[:, :70, :80] = 0
    expected = files(as_zarr_writes_it(folder / "a.zarr", volume, z_chunk, monkeypatch))
    create = create_stained if dtype == "rgb" else create_ome_zarr
    writer = create(folder / "b" / "a.zarr", shape, 5.0, z_chunk=z_chunk, provenance={}, dtype=volume.dtype)
    for z0, z1 in writer.pending():
        writer.write(z0, volume[z0:z1])
    writer.finish()
    assert files(folder / "b" / "a.zarr") == expected


def test_memory_with_the_channels_first_gives_the_same_files(tmp_path: Path, rgb: np.ndarray) -> None:
    planar = np.moveaxis(np.ascontiguousarray(np.moveaxis(rgb, -1, 0)), 0, -1)
    for name, values in (("a", rgb), ("b", planar)):
        writer = writer_of(tmp_path / name / "s.zarr")
        for z0, z1 in writer.pending():
            writer.write(z0, values[z0:z1])
        writer.finish()
    assert files(tmp_path / "a") == files(tmp_path / "b")


@pytest.mark.parametrize("order", [(0, 4, 8, 12, 16), (16, 8, 0, 12, 4), (4, 16, 12, 8, 0)])
def test_finishing_reads_nothing_that_this_process_wrote(
    tmp_path: Path, rgb: np.ndarray, reads: list[str], monkeypatch: pytest.MonkeyPatch, order: tuple[int, ...]
) -> None:
    writer = writer_of(tmp_path / "a.zarr")
    for z0 in order:
        writer.write(z0, rgb[z0 : z0 + 4])
    assert sorted(p.name for p in (tmp_path / "a.zarr").rglob("1-*.done")) == [f"1-{z:06d}.done" for z in (0, 4, 8)]
    writer.finish()
    assert reads == []
    monkeypatch.undo()
    assert files(tmp_path / "a.zarr") == files(as_zarr_writes_it(tmp_path / "b" / "a.zarr", rgb, 4, monkeypatch))


def test_chunks_of_other_processes_are_read_once(
    tmp_path: Path, rgb: np.ndarray, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One writes chunks 0, 1 and 3, and another 2 and 4: only the second pair has to be read."""
    one, other = writer_of(tmp_path / "a.zarr"), writer_of(tmp_path / "a.zarr", resume=True)
    for writer, z0 in ((one, 0), (other, 8), (one, 4), (other, 16), (one, 12)):
        writer.write(z0, rgb[z0 : z0 + 4])
    one.finish()
    assert {name for name in reads if name.startswith("0/")} == {"0/c/0/2/0/0", "0/c/0/3/0/0"}
    monkeypatch.undo()
    assert files(tmp_path / "a.zarr") == files(as_zarr_writes_it(tmp_path / "b" / "a.zarr", rgb, 4, monkeypatch))


def test_chunks_are_written_from_several_threads(
    tmp_path: Path, rgb: np.ndarray, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    writer = writer_of(tmp_path / "a.zarr", z_chunk=2)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda chunk: writer.write(chunk[0], rgb[slice(*chunk)]), writer.pending()))
    writer.finish()
    assert reads == []
    monkeypatch.undo()
    assert files(tmp_path / "a.zarr") == files(as_zarr_writes_it(tmp_path / "b" / "a.zarr", rgb, 2, monkeypatch))


def test_a_chunk_is_recorded_after_what_it_completes(
    tmp_path: Path, rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise another process could finish the volume while this one still writes a coarser level."""
    writer, store = writer_of(tmp_path / "a.zarr"), ShardLayout.write
    writer.write(0, rgb[:4])

    def full(self: ShardLayout, path: Path, values: np.ndarray) -> str:
        if "/1/c/" in path.as_posix():
            raise OSError(28, "No space left on device")
        return store(self, path, values)

    with monkeypatch.context() as patch:
        patch.setattr(ShardLayout, "write", full)
        with pytest.raises(InputError, match="the disk is full at slice 0 of level 1"):
            writer.write(4, rgb[4:8])
    assert writer.pending()[0] == (4, 8)
    for z0, z1 in writer.pending():
        writer.write(z0, rgb[z0:z1])
    writer.finish()
    np.testing.assert_array_equal(open_stained(tmp_path / "a.zarr").read(0, SHAPE[0]), rgb)


def test_coarser_levels_are_written_while_the_finest_is_stored(
    tmp_path: Path, rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, store, coarser = writer_of(tmp_path / "a.zarr"), ShardLayout.write, threading.Event()
    writer.write(0, rgb[:4])

    def waiting(self: ShardLayout, path: Path, values: np.ndarray) -> str:
        checksum = store(self, path, values)
        if "/1/c/" in path.as_posix():
            coarser.set()
        else:
            assert coarser.wait(60)
        return checksum

    with monkeypatch.context() as patch:
        patch.setattr(ShardLayout, "write", waiting)
        writer.write(4, rgb[4:8])
    assert writer.pending()[0] == (8, 12)


def test_a_chunk_that_fails_after_its_coarser_level_is_written_again(
    tmp_path: Path, rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, store = writer_of(tmp_path / "a.zarr"), ShardLayout.write
    writer.write(0, rgb[:4])

    def interrupted(self: ShardLayout, path: Path, values: np.ndarray) -> str:
        if "/0/c/" in path.as_posix():
            raise KeyboardInterrupt
        return store(self, path, values)

    with monkeypatch.context() as patch:
        patch.setattr(ShardLayout, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writer.write(4, rgb[4:8])
    assert writer.pending()[0] == (4, 8)
    with pytest.raises(InputError, match="not finished"):
        open_stained(tmp_path / "a.zarr")
    writer = writer_of(tmp_path / "a.zarr", resume=True)
    for z0, z1 in writer.pending():
        writer.write(z0, rgb[z0:z1])
    writer.finish()
    assert files(tmp_path / "a.zarr") == files(as_zarr_writes_it(tmp_path / "b" / "a.zarr", rgb, 4, monkeypatch))


def test_a_write_that_breaks_off_leaves_the_older_shard(tmp_path: Path) -> None:
    layout = ShardLayout((1, 2, 64, 64), (1, 2, 32, 32), np.dtype(np.uint8), 3)
    values = np.full((1, 2, 50, 64), 7, np.uint8)
    file = tmp_path / "0"
    assert layout.write(file, values) == sha256(file)
    before = file.read_bytes()
    with pytest.raises(TypeError):
        layout.write(file, np.full((1, 2, 50, 64), None))
    assert [p.name for p in tmp_path.iterdir()] == ["0"]
    assert file.read_bytes() == before
    assert layout.write(file, np.zeros_like(values)) == ABSENT
    assert not file.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [("fill_value", 1), ("chunk_key_encoding", {"name": "v2"}), ("codecs", [{"name": "bytes"}]), ("codecs", [])],
)
def test_arrays_with_another_storage_are_read_by_zarr(tmp_path: Path, key: str, value: object) -> None:
    writer_of(tmp_path / "a.zarr")
    metadata = zarr.open_group(tmp_path / "a.zarr", mode="r")["0"].metadata.to_dict()
    assert ShardLayout.of(metadata, np.dtype(np.uint8)) is not None
    assert ShardLayout.of({**metadata, key: value}, np.dtype(np.uint8)) is None


@pytest.mark.parametrize(("create", "level"), [(create_stained, 1), (create_ome_zarr, 3)])
def test_colours_are_compressed_fast_and_a_started_volume_keeps_its_level(tmp_path, create, level):
    path, options = tmp_path / "v.ome.zarr", {"provenance": {"n": 1}, "z_chunk": 2}
    create(path, (4, 20, 30), 5.0, **options).release()
    file = path / "0" / "zarr.json"
    assert f'"level": {level}' in file.read_text()
    if level == 1:
        file.write_text(file.read_text().replace('"level": 1', '"level": 3'))  # as older versions wrote it
        writer = create(path, (4, 20, 30), 5.0, **options, resume=True)
        assert ShardLayout.of(writer._array(0).metadata.to_dict(), writer.dtype).zstd_level == 3
        values = np.random.default_rng(0).integers(0, 256, (4, 20, 30, 3), np.uint8)
        for z0, z1 in writer.pending():
            writer.write(z0, values[z0:z1])
        writer.finish()
        np.testing.assert_array_equal(open_stained(path).read(0, 4), values)
