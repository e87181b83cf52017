"""Stained volumes: valid OME-Zarr 0.5, pyramid means, resuming after an interruption, and invalid input."""

import errno
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tomostain.errors import InputError
from tomostain.io import StainedWriter, check_stained, create_ome_zarr, create_stained, open_stained, open_volume
from tomostain.io.locks import lock
from tomostain.io.ome_zarr import verify
from tomostain.io.ome_zarr.pyramid import halve, halve_nonzero, level_scales, pyramid_shapes, reduce

SHAPE = (19, 70, 300)
VOXEL_UM = (10.0, 5.0, 5.0)
PROVENANCE = {"model": "abc", "input": "def", "options": {"stride_px": 64, "blend": "mean"}}


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)


def _create(path: Path, *, shape: tuple[int, int, int] = SHAPE, z_chunk: int = 8, **options: object) -> StainedWriter:
    return create_stained(path, shape, VOXEL_UM, z_chunk=z_chunk, **{"provenance": PROVENANCE, **options})  # type: ignore[arg-type]


def _write_all(writer: StainedWriter, rgb: np.ndarray) -> None:
    for z0, z1 in writer.pending():
        writer.write(z0, rgb[z0:z1])
    writer.finish()


def test_a_stained_volume_comes_back(tmp_path: Path, rgb: np.ndarray) -> None:
    writer = _create(tmp_path / "a.zarr")
    assert writer.pending() == [(0, 8), (8, 16), (16, 19)]
    _write_all(writer, rgb)
    stained = open_stained(tmp_path / "a.zarr")
    assert (stained.shape, stained.voxel_um, stained.provenance) == (SHAPE, VOXEL_UM, PROVENANCE)
    assert stained.levels == ((SHAPE, VOXEL_UM), ((10, 35, 150), (20.0, 10.0, 10.0)))
    assert repr(stained).endswith("a.zarr', 19 x 70 x 300 voxels of 10 x 5 x 5 µm (z, y, x), 2 levels)")
    np.testing.assert_array_equal(stained.read(0, 19), rgb)
    np.testing.assert_array_equal(stained.read(7, 9), rgb[7:9])
    truth = rgb[:18].reshape(9, 2, 35, 2, 150, 2, 3).mean(axis=(1, 3, 5))
    assert np.abs(stained.read(0, 9, level=1) - truth).max() <= 0.5
    assert not (tmp_path / "a.zarr" / ".tomostain-progress").exists()


def test_it_is_valid_ome_zarr_with_one_shard_for_each_z_chunk(tmp_path: Path, rgb: np.ndarray) -> None:
    from ome_zarr_models.v05 import Image

    _write_all(_create(tmp_path / "a.zarr"), rgb)
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    image = Image.from_zarr(group)
    assert [axis.name for axis in image.attributes.ome.multiscales[0].axes] == ["c", "z", "y", "x"]
    assert [channel["color"] for channel in group.attrs["ome"]["omero"]["channels"]] == ["FF0000", "00FF00", "0000FF"]
    array = group["0"]
    assert isinstance(array, zarr.Array)
    assert array.chunks == (3, 8, 64, 64)
    assert array.shards == (3, 8, 128, 320)
    shards = [
        p.relative_to(tmp_path / "a.zarr" / "0" / "c").as_posix()
        for p in (tmp_path / "a.zarr/0/c").rglob("*")
        if p.is_file()
    ]
    assert sorted(shards) == ["0/0/0/0", "0/1/0/0", "0/2/0/0"]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=st.tuples(st.integers(1, 9), st.integers(1, 70), st.integers(1, 70)), z_chunk=st.integers(1, 12))
def test_any_shape_and_z_chunk(tmp_path: Path, shape: tuple[int, int, int], z_chunk: int) -> None:
    volume = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    _write_all(_create(tmp_path / "a.zarr", shape=shape, z_chunk=z_chunk, overwrite=True), volume)
    np.testing.assert_array_equal(open_stained(tmp_path / "a.zarr").read(0, shape[0]), volume)


@settings(max_examples=25, deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(st.just(3), *[st.integers(1, 4).map(lambda n: 2 * n)] * 3)))
def test_halving_is_the_mean_of_eight(volume: np.ndarray) -> None:
    _, z, y, x = volume.shape
    mean = volume.reshape(3, z // 2, 2, y // 2, 2, x // 2, 2).mean(axis=(2, 4, 6))
    np.testing.assert_array_equal(halve(volume), np.floor(mean + 0.5))


def test_halving_keeps_a_constant_for_any_shape() -> None:
    for shape in ((1, 1, 1), (3, 2, 5), (7, 7, 7)):
        half = halve(np.full((3, *shape), 201, np.uint8))
        assert half.shape == (3, *((n + 1) // 2 for n in shape))
        assert (half == 201).all()


def test_levels_have_the_same_position() -> None:
    # A ramp along each axis: the grey value is the position in µm, so the values of a level equal its voxel positions.
    shapes = pyramid_shapes((4, 260, 8))
    assert shapes == [(4, 260, 8), (2, 130, 4)]
    (_, _), (scale, first) = level_scales(shapes, (1.0, 1.0, 1.0))
    for axis in range(3):
        ramp = np.indices((4, 250, 8))[axis].astype(np.uint8)
        half = halve(ramp[None])[0]
        places = first[axis] + np.indices(half.shape)[axis] * scale[axis]
        assert np.abs(half - places).max() <= 0.5


def test_levels_of_nearest_voxels_are_placed_at_the_sampled_voxels() -> None:
    # The grey value is the position in µm, also of the third level.
    ramp = np.indices((1, 600, 1))[1].astype(np.uint16)
    shapes = pyramid_shapes((1, 600, 1))
    scales = level_scales(shapes, (1.0, 0.5, 1.0), reduction="nearest")
    assert len(scales) == 3
    level = ramp[None]
    for scale, first in scales:
        np.testing.assert_array_equal(level[0, 0, :, 0] * 0.5, first[1] + np.arange(level.shape[2]) * scale[1])
        level = reduce(level, "nearest")


@pytest.mark.parametrize("reduction", ["nearest", "mean_nonzero"])
def test_an_edge_is_at_the_right_place_on_average(tmp_path: Path, reduction: str) -> None:
    displaced = []
    for edge in range(20, 24):
        values = np.zeros((1, 300, 4), np.uint8)
        values[:, edge:] = 7
        path = tmp_path / f"{edge}.zarr"
        writer = create_ome_zarr(path, values.shape, 1.0, provenance={}, reduction=reduction)
        writer.write(0, values)
        writer.finish()
        group = zarr.open_group(path, mode="r")
        image = group.attrs["ome"]["multiscales"][0]
        (_, scale), (_, first) = (tuple(each.values()) for each in image["datasets"][1]["coordinateTransformations"])
        index = int(np.argmax(np.asarray(group["1"])[0, 0, :, 0] > 0))
        displaced.append(first[2] + (index - 0.5) * scale[2] - (edge - 0.5))
    assert image["type"] == {"nearest": "nearest", "mean_nonzero": "mean of non-zero 2×2×2"}[reduction]
    expected = {"nearest": [-0.5, 0.5], "mean_nonzero": [0.0, -1.0]}  # the latter keeps all that is not 0
    assert displaced == 2 * expected[reduction]


@settings(max_examples=25, deadline=None)
@given(hnp.arrays(np.uint16, st.tuples(st.just(1), *[st.integers(1, 5)] * 3), elements=st.integers(0, 3)))
def test_halving_without_zeros_is_the_mean_of_the_others(volume: np.ndarray) -> None:
    for values in (volume, volume.astype(np.float32)):
        half = halve_nonzero(values)
        assert half.dtype == values.dtype
        for place in np.ndindex(half.shape):
            block = values[(0, *(slice(2 * n, 2 * n + 2) for n in place[1:]))]
            mean = block[block > 0].mean() if block.any() else 0.0
            assert half[place] == (np.floor(mean + 0.5) if values is volume else pytest.approx(mean, rel=1e-6))


def test_a_thickness_map_keeps_its_values_in_coarser_levels(tmp_path: Path) -> None:
    # A plate of one voxel: the mean would make it an eighth of the thickness after three levels.
    values = np.zeros((9, 600, 5), np.float32)
    values[:, 301] = 20.0
    path = tmp_path / "thickness.ome.zarr"
    options = {"dtype": "float32", "z_chunk": 4, "provenance": {}, "reduction": "mean_nonzero"}
    writer = create_ome_zarr(path, values.shape, 20.0, **options)
    for start, stop in writer.z_chunks():
        writer.write(start, values[start:stop])
    writer.finish()
    for name in ("1", "2"):
        level = np.asarray(zarr.open_group(path, mode="r")[name])
        assert set(np.unique(level)) == {0.0, 20.0}
        assert (level.max(axis=2) == 20).all()
    assert create_ome_zarr(path, values.shape, 20.0, resume=True, **options).complete


def test_a_broken_run_is_continued(tmp_path: Path, rgb: np.ndarray) -> None:
    path = tmp_path / "a.zarr"
    writer = _create(path)
    writer.write(8, rgb[8:16])
    with pytest.raises(InputError, match="staining was not finished; run the same command again to continue"):
        open_stained(path)
    with pytest.raises(InputError, match=r"2 of 3 z chunks are not stained yet \(the first begins at slice 0\)"):
        writer.finish()
    again = _create(path, resume=True)
    assert again.pending() == [(0, 8), (16, 19)]
    _write_all(again, rgb)
    np.testing.assert_array_equal(open_stained(path).read(0, 19), rgb)


def test_a_pyramid_that_broke_off_is_continued(tmp_path: Path, rgb: np.ndarray) -> None:
    path = tmp_path / "a.zarr"
    writer = _create(path)
    for z0, z1 in writer.pending():
        writer.write(z0, rgb[z0:z1])

    def interrupt(label: str, done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writer.finish(interrupt)
    with pytest.raises(InputError, match="not finished"):
        open_stained(path)
    seen: list[tuple[int, int]] = []
    _create(path, resume=True).finish(lambda label, done, total: seen.append((done, total)))
    assert seen == [(0, 2), (1, 2), (2, 2)]
    truth = rgb[:18].reshape(9, 2, 35, 2, 150, 2, 3).mean(axis=(1, 3, 5))
    assert np.abs(open_stained(path).read(0, 9, level=1) - truth).max() <= 0.5


def test_a_complete_volume_has_nothing_pending(tmp_path: Path, rgb: np.ndarray) -> None:
    path = tmp_path / "a.zarr"
    _write_all(_create(path), rgb)
    before = {p: p.stat().st_mtime_ns for p in path.rglob("*")}
    again = _create(path, resume=True)
    assert again.complete
    assert again.pending() == []
    again.finish()
    assert {p: p.stat().st_mtime_ns for p in path.rglob("*")} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"provenance": {**PROVENANCE, "model": "xyz"}}, "model was 'abc' and is now 'xyz'"),
        ({"provenance": {**PROVENANCE, "options": {"stride_px": 32}}}, "options.stride_px was 64 and is now 32"),
        ({"z_chunk": 4}, "z_chunk was 8 and is now 4"),
        ({"shape": (19, 70, 301)}, r"shape was \[19, 70, 300\] and is now \[19, 70, 301\]"),
    ],
)
def test_another_provenance_is_not_continued(tmp_path: Path, rgb: np.ndarray, change: dict, message: str) -> None:
    path = tmp_path / "a.zarr"
    _create(path)
    with pytest.raises(
        InputError, match=f"a.zarr: cannot be continued, {message}; give another name, or add `overwrite=True`"
    ):
        _create(path, **{"resume": True, **change})
    assert _create(path, **{"resume": True, "overwrite": True, **change}).pending() != []


def test_nothing_is_replaced_unasked(tmp_path: Path, rgb: np.ndarray) -> None:
    path = tmp_path / "a.zarr"
    _write_all(_create(path), rgb)
    with pytest.raises(InputError, match="the stained volume exists already"):
        _create(path)
    assert len(_create(path, overwrite=True).pending()) == 3
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").touch()
    with pytest.raises(InputError, match="is not a stained volume, so it is not replaced"):
        _create(tmp_path / "thesis", overwrite=True, resume=True)
    assert (tmp_path / "thesis" / "chapter").exists()


def test_a_full_disk_at_the_beginning_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zarr, "open_group", full)
    with pytest.raises(OSError, match="No space"):
        _create(tmp_path / "a.zarr")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_in_a_z_chunk_leaves_it_pending(
    tmp_path: Path, rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = _create(tmp_path / "a.zarr")
    writer.write(0, rgb[:8])
    with monkeypatch.context() as patch:

        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr("tomostain.io.ome_zarr.shard_file.ShardLayout.write", full)
        with pytest.raises(InputError, match="the disk is full at slice 8; make room and run the same command again"):
            writer.write(8, rgb[8:16])
    assert _create(tmp_path / "a.zarr", resume=True).pending() == [(8, 16), (16, 19)]


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_zarr_lists_the_group_without_a_warning(tmp_path: Path, rgb: np.ndarray) -> None:
    _write_all(_create(tmp_path / "a.zarr"), rgb)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sorted(name for name, _ in zarr.open_group(tmp_path / "a.zarr", mode="r").members()) == ["0", "1"]


def test_checksums_are_those_of_sha256sum(tmp_path: Path, rgb: np.ndarray) -> None:
    _write_all(_create(tmp_path / "a.zarr"), rgb)
    process = subprocess.run(
        ["sha256sum", "--check", "0/SHA256SUMS"], cwd=tmp_path / "a.zarr", capture_output=True, text=True
    )
    shards = [f"0/c/0/{n}/0/0" for n in range(3)] + [f"1/c/0/{n}/0/0" for n in range(2)]
    assert process.stdout.splitlines() == [f"{name}: OK" for name in shards]


@pytest.mark.parametrize("how", ["changed", "cut short", "lost"])
@pytest.mark.parametrize("shard", ["0/c/0/1/0/0", "1/c/0/0/0/0"])
def test_a_damaged_shard_is_found_and_written_again(tmp_path: Path, rgb: np.ndarray, shard: str, how: str) -> None:
    path = tmp_path / "a.zarr"
    _write_all(_create(path), rgb)
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    bad = path / shard
    {"changed": damage, "cut short": lambda p: p.write_bytes(p.read_bytes()[:-1]), "lost": Path.unlink}[how](bad)
    assert check_stained(path) == [shard]
    writer = _create(path, resume=True)
    assert writer.repair() == [shard]
    assert writer.pending() == ([(8, 16)] if shard[0] == "0" else [])
    with pytest.raises(InputError, match="not finished"):
        open_stained(path)
    _write_all(writer, rgb)
    assert check_stained(path) == []
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before
    assert writer.repair() == []


def test_damage_before_the_end_is_found(tmp_path: Path, rgb: np.ndarray) -> None:
    writer = _create(tmp_path / "a.zarr")
    writer.write(0, rgb[:8])
    writer.write(8, rgb[8:16])
    damage(tmp_path / "a.zarr" / "0/c/0/0/0/0")
    assert _create(tmp_path / "a.zarr", resume=True).repair(only=[8, 16]) == []  # belongs to another job
    again = _create(tmp_path / "a.zarr", resume=True)
    assert again.repair() == ["0/c/0/0/0/0"]
    assert again.pending() == [(0, 8), (16, 19)]


def test_black_z_chunks_are_not_stored_and_not_missed(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    _write_all(_create(path), np.zeros((*SHAPE, 3), np.uint8))
    assert check_stained(path) == []
    assert _create(path, resume=True).repair() == []


def test_a_process_compares_a_shard_once_unless_it_changes(
    tmp_path: Path, rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write_all(_create(tmp_path / "a.zarr"), rgb)
    read, checksum = [], verify.shard_checksum
    monkeypatch.setattr(verify, "shard_checksum", lambda path: read.append(path.parts[-3]) or checksum(path))
    for _ in range(2):
        open_stained(tmp_path / "a.zarr").block((0, 0, 0), (9, 4, 4))
    assert read == ["0", "1"]
    shard = tmp_path / "a.zarr/0/c/0/1/0/0"
    shard.write_bytes(bytes(shard.stat().st_size))
    os.utime(shard, (1000, 1000))
    with pytest.raises(InputError, match="shard 0/c/0/1/0/0 is damaged"):
        open_stained(tmp_path / "a.zarr").block((0, 0, 0), (9, 4, 4))
    shard.unlink()
    with pytest.raises(InputError, match="shard 0/c/0/1/0/0 is missing"):
        open_stained(tmp_path / "a.zarr").block((0, 0, 0), (9, 4, 4))


def test_a_volume_without_checksums_cannot_be_checked(tmp_path: Path, rgb: np.ndarray) -> None:
    path = tmp_path / "a.zarr"
    _write_all(_create(path), rgb)
    (path / "0" / "SHA256SUMS").write_text("nonsense")
    with pytest.raises(InputError, match="the line 'nonsense' is not a checksum; restore the file or remove it"):
        check_stained(path)
    (path / "0" / "SHA256SUMS").unlink()
    assert check_stained(path) is None


def test_a_z_chunk_has_one_writer(tmp_path: Path, rgb: np.ndarray) -> None:
    one, other = _create(tmp_path / "a.zarr"), _create(tmp_path / "a.zarr", resume=True)
    with one.lock(8) as ours, other.lock(8) as theirs, other.lock(0) as another:
        assert (ours, theirs, another) == (True, False, True)
        one.write(8, rgb[8:16])
    with other.lock(8) as theirs:
        assert not theirs  # already written
    _write_all(one, rgb)
    with other.lock(0) as theirs:
        assert not theirs  # all parts are finished


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = f"from tomostain.io.locks import lock\nwith lock(__import__('pathlib').Path({str(tmp_path / 'lock')!r})):"
    code += "\n print('mine', flush=True)\n input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"mine\n"
        with lock(tmp_path / "lock") as ours:
            assert not ours
        holder.kill()
        holder.wait()
        with lock(tmp_path / "lock") as ours:
            assert ours
    assert not (tmp_path / "lock").exists()


def test_without_locks_the_volume_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    with lock(tmp_path / "lock") as one, lock(tmp_path / "lock") as other:
        assert (one, other) == (True, True)


def test_z_chunks_of_a_wrong_type_are_an_error(tmp_path: Path, rgb: np.ndarray) -> None:
    writer = _create(tmp_path / "a.zarr")
    with pytest.raises(ValueError, match="is not one of those to write"):
        writer.write(4, rgb[4:12])
    with pytest.raises(ValueError, match="expected uint8"):
        writer.write(0, rgb[:7])
    with pytest.raises(ValueError, match="expected uint8"):
        writer.write(0, rgb[:8].astype(np.float32))


def test_folders_that_are_not_a_stained_volume(tmp_path: Path, rgb: np.ndarray) -> None:
    with pytest.raises(InputError, match="no such folder"):
        open_stained(tmp_path / "none.zarr")
    (tmp_path / "file.zarr").write_text("a file")
    with pytest.raises(InputError, match="is a file, not a folder; a stained volume is an OME-Zarr"):
        open_stained(tmp_path / "file.zarr")
    with pytest.raises(InputError, match="is a file, not a folder; a Zarr is a folder"):
        open_volume(tmp_path / "file.zarr")
    with pytest.raises(InputError, match="is not a stained volume"):
        open_stained(tmp_path)
    _write_all(_create(tmp_path / "a.zarr"), rgb)
    sums = tmp_path / "a.zarr/0/SHA256SUMS"
    sums.rename(tmp_path / "sums")
    sums.symlink_to("SHA256SUMS")
    with pytest.raises(InputError, match="the shards cannot be checked"):
        open_stained(tmp_path / "a.zarr")[0]
    (tmp_path / "sums").replace(sums)
    shard = tmp_path / "a.zarr/0/c/0/1/0/0"
    shard.write_bytes(shard.read_bytes()[:100])
    stained = open_stained(tmp_path / "a.zarr")
    with pytest.raises(InputError, match="shard 0/c/0/1/0/0 is damaged"):
        stained.read(8, 16)
    with pytest.raises(ValueError, match="of level 2 requested"):
        stained.read(0, 1, level=2)


@pytest.mark.parametrize("provenance", ["text", ["a", "b"], 3])
def test_a_provenance_that_is_not_a_mapping_is_named(tmp_path: Path, rgb: np.ndarray, provenance: object) -> None:
    _write_all(_create(tmp_path / "a.zarr"), rgb)
    path = tmp_path / "a.zarr" / "zarr.json"
    values = json.loads(path.read_text())
    values["attributes"]["tomostain"]["provenance"] = provenance
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"a.zarr: its provenance is (str|list|int), not a mapping"):
        open_stained(tmp_path / "a.zarr")


def test_a_grey_volume_has_one_channel(tmp_path: Path, rgb: np.ndarray) -> None:
    grey, path = rgb[..., 0], tmp_path / "a.zarr"
    writer = create_ome_zarr(path, SHAPE, VOXEL_UM, z_chunk=8, provenance={})
    with pytest.raises(ValueError, match="expected uint8"):
        writer.write(0, rgb[:8])
    for z0, z1 in writer.pending():
        writer.write(z0, grey[z0:z1])
    writer.finish()
    volume = open_volume(path)
    assert volume.voxel_um == open_volume(path, voxel_um=VOXEL_UM).voxel_um
    np.testing.assert_array_equal(volume.read(0, SHAPE[0]), grey)
    group = zarr.open_group(path, mode="r")
    assert [array.shape[0] for _, array in sorted(group.arrays())] == [1, 1]
    assert [channel["label"] for channel in group.attrs["ome"]["omero"]["channels"]] == ["grey"]
    with pytest.raises(InputError, match="not three 8-bit channels"):
        open_stained(path)
    assert create_ome_zarr(path, SHAPE, VOXEL_UM, z_chunk=8, provenance={}, resume=True).complete
    with pytest.raises(InputError, match="channels was 1 and is now None"):
        create_stained(path, SHAPE, VOXEL_UM, z_chunk=8, provenance={}, resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["ome"]["multiscales"][0].update(datasets=[]), "it has no levels"),
        (lambda v: v["tomostain"].update(shape=[18, 70, 300]), "was written with the shape"),
    ],
)
def test_changed_metadata_of_a_stained_volume(tmp_path: Path, rgb: np.ndarray, change, message: str) -> None:
    _write_all(_create(tmp_path / "a.zarr"), rgb)
    values = json.loads((tmp_path / "a.zarr/zarr.json").read_text())
    change(values["attributes"])
    (tmp_path / "a.zarr/zarr.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=message):
        open_stained(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"provenance": {}, "size": 3}, TypeError, "unexpected keyword argument 'size'"),
        ({}, TypeError, "missing 1 required keyword-only argument: 'provenance'"),
        ({"provenance": {}, "z_chunk": 0}, ValueError, "z_chunk 0: give positive numbers"),
        ({"provenance": {}, "shape": (0, 4, 4)}, ValueError, "give positive numbers"),
        ({"provenance": {}, "shape": (4, 4)}, ValueError, "give positive numbers"),
    ],
)
def test_wrong_arguments_write_nothing(tmp_path: Path, options: dict, error: type[Exception], message: str) -> None:
    shape = options.pop("shape", (4, 4, 4))
    with pytest.raises(error, match=message):
        create_ome_zarr(tmp_path / "a.zarr", shape, VOXEL_UM, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_volume_is_not_replaced_while_another_process_stains_it(tmp_path: Path, rgb: np.ndarray) -> None:
    writer = _create(tmp_path / "a.zarr")
    with pytest.raises(InputError, match="another process is staining it"):
        _create(tmp_path / "a.zarr", overwrite=True, provenance={"model": "other"})
    _write_all(writer, rgb)
    del writer
    np.testing.assert_array_equal(open_stained(tmp_path / "a.zarr").read(0, 19), rgb)


def test_remains_of_a_kill_before_the_plan_are_removed(tmp_path: Path, rgb: np.ndarray) -> None:
    writer = _create(tmp_path / "whole.zarr")
    progress = next(path for path in (tmp_path / "whole.zarr").iterdir() if path.name.startswith("."))
    (tmp_path / "a.zarr" / progress.name).mkdir(parents=True)
    _write_all(_create(tmp_path / "a.zarr"), rgb)
    np.testing.assert_array_equal(open_stained(tmp_path / "a.zarr").read(0, 19), rgb)
    (tmp_path / "b.zarr" / progress.name).mkdir(parents=True)
    (tmp_path / "b.zarr" / progress.name / "notes.txt").write_text("of the user")
    with pytest.raises(InputError):
        _create(tmp_path / "b.zarr")
    assert (tmp_path / "b.zarr" / progress.name / "notes.txt").read_text() == "of the user"
    del writer


@pytest.mark.parametrize(("how", "state"), [("missing", "is missing"), ("altered", "is damaged")])
def test_a_shard_is_compared_before_its_file_is_served(tmp_path: Path, rgb: np.ndarray, how: str, state: str) -> None:
    path = tmp_path / "a.zarr"
    _write_all(_create(path), rgb)
    shards = sorted(str(file.relative_to(path)) for file in path.glob("0/c/**/0") if file.is_file())
    arrays = [zarr.open_array(path / "0", mode="r")]
    whole = verify.ShardVerifier(path, arrays, ["0"])
    whole.verify_present()
    whole.verify_file("zarr.json")  # not a shard
    for name in shards:
        whole.verify_file(name)
    if how == "missing":
        (path / shards[1]).unlink()
    else:
        damage(path / shards[1])
    verifier = verify.ShardVerifier(path, arrays, ["0"])
    verifier.verify_file(shards[0])
    with pytest.raises(InputError, match=f"shard {shards[1]} {state}"):
        verifier.verify_file(shards[1])
    if how == "missing":
        with pytest.raises(InputError, match=f"shard {shards[1]} is missing"):
            verifier.verify_present()


def test_a_block_of_a_coarser_level_equals_its_slices(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (8, 300, 310, 3), dtype=np.uint8)
    writer = create_stained(tmp_path / "a.zarr", rgb.shape[:3], 5.0, z_chunk=4, provenance={})
    for start, stop in writer.z_chunks():
        writer.write(start, rgb[start:stop])
    writer.finish()
    stained = open_stained(tmp_path / "a.zarr")
    assert len(stained.levels) > 1
    block = stained.block((1, 20, 30), (3, 50, 90), level=1)
    np.testing.assert_array_equal(block, stained.read(1, 3, level=1)[:, 20:50, 30:90])
