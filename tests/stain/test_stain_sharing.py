"""A volume is stained to the same bits in parts, by several processes, after a kill, a resume or a repair."""

import errno
import multiprocessing
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from tests.support.toys import LEVELS, contents, grey_values, toy_model
from tomostain.cli.main import run
from tomostain.errors import DamagedDataWarning, InputError, InterruptedRunError
from tomostain.interrupts import listen_for_interrupt
from tomostain.io import check_stained, open_stained, open_volume, write_stack
from tomostain.io.ome_zarr.create import chunks_left
from tomostain.io.ome_zarr.plan import PROGRESS
from tomostain.io.ome_zarr.shard_file import ShardLayout
from tomostain.stain import StainConfig, StainRequest, stain_on_workers, stain_volume
from tomostain.stain.cluster import _threads_per_worker
from tomostain.stain.volume import part_of

OPTIONS = {"config": StainConfig(patch_px=32, stride_px=16, z_chunk=3), "intensity": LEVELS}
SLICES = 26
KILLS = 12
PATIENCE_S = 600
# Children begin as copies of a process that has loaded all modules but has no threads.
FRESH = multiprocessing.get_context("forkserver")
FRESH.set_forkserver_preload(["tomostain.stain", "tomostain.stain.volume", "zarr"])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return toy_model(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes") / "volume"
    write_stack(folder, grey_values((SLICES, 36, 41)), voxel_um=5.0)
    return folder


@pytest.fixture(scope="module")
def whole(model, volume, tmp_path_factory):
    return stain_volume(model, volume, tmp_path_factory.mktemp("whole") / "out.ome.zarr", **OPTIONS)


def in_a_child(model, volume, out, slow_s, written, part=(1, 1), started=None, **options):
    """Run in a child; write the first slice of every recorded z chunk, and create `started`."""
    from tomostain.io.ome_zarr.writer import StainedWriter

    torch.set_num_threads(1)
    write = StainedWriter.write

    def write_down(self, z0, rgb):
        time.sleep(slow_s)
        write(self, z0, rgb)
        with Path(written).open("a") as file:
            file.write(f"{z0}\n")

    def tell(label, done, total):
        if started and label == "staining":
            Path(started).touch()

    StainedWriter.write = write_down
    stain_volume(model, volume, out, part=part, progress=tell, **OPTIONS | options)


def start(*arguments, **keywords):
    child = FRESH.Process(target=in_a_child, args=arguments, kwargs=keywords)
    child.start()
    return child


def test_parts_hold_everything_once():
    chunks = [(z, z + 1) for z in range(17)]
    for parts in (1, 2, 5, 16, 17, 40):
        shares = [part_of(chunks, number, parts) for number in range(1, parts + 1)]
        assert [chunk for share in shares for chunk in share] == chunks
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("order", [(1, 2, 3, 4), (4, 2, 1, 3)])
def test_parts_in_any_order_give_the_same_bits(model, volume, whole, tmp_path, order):
    out = tmp_path / "out.ome.zarr"
    left = []
    for number in order:
        stain_volume(model, volume, out, part=(number, 4), **OPTIONS)
        left.append(chunks_left(out))
    assert left[-1] == 0
    assert left[:-1] == sorted(left[:-1], reverse=True)
    assert left[-2] > 0
    assert contents(out) == contents(whole)


@pytest.mark.parametrize("processes", [3])
def test_processes_that_begin_at_once_share_the_work(model, volume, whole, tmp_path, processes):
    out, written = tmp_path / "out.ome.zarr", tmp_path / "written"
    children = [start(model, volume, out, 0.02, written) for _ in range(processes)]
    for child in children:
        child.join(PATIENCE_S)
    assert [child.exitcode for child in children] == [0] * processes
    assert contents(out) == contents(whole)
    done = list(map(int, written.read_text().split()))
    assert sorted(done) == list(range(0, SLICES, 3))  # each z chunk once
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def markers(out):
    """Return the files that state which z chunks are done; none if the volume is finished."""
    try:
        return list((out / PROGRESS).glob("0-*.done"))
    except FileNotFoundError:  # it was finished in this moment
        return []


def test_killed_at_any_moment_it_resumes_to_the_same_bits(model, volume, tmp_path):
    """SIGKILL at random moments of one staining; finished z chunks are not written again."""
    out, written, started, finished = tmp_path / "out.ome.zarr", tmp_path / "written", tmp_path / "started", {}
    options = {"config": OPTIONS["config"].model_copy(update={"z_chunk": 1})}
    written.touch()
    rng, kills = np.random.default_rng(0), 0
    for _ in range(200):
        started.unlink(missing_ok=True)
        child = start(model, volume, out, 0.15, written, started=started, **options)
        if kills >= KILLS:
            child.join(PATIENCE_S)
        elif kills % 4 == 0:  # while it checks the existing output
            child.join(float(rng.uniform(0.0, 0.3)))
        else:  # while it reads, computes and writes, one of three times after another z chunk
            done = len(markers(out)) + (kills % 4 == 3)
            while child.is_alive() and not (started.exists() and len(markers(out)) >= done):
                time.sleep(0.005)
            child.join(float(rng.uniform(0.0, 0.3)))
        if child.exitcode is not None:
            break
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        kills += 1
        for marker in markers(out):  # 0-000006.done states that the z chunk from slice 6 on is done
            shard = out / f"0/c/0/{int(marker.stem[2:])}/0/0"
            finished.setdefault(shard, shard.stat())
    assert child.exitcode == 0
    assert kills >= KILLS // 2  # a fast machine may finish before
    whole = stain_volume(model, volume, tmp_path / "whole" / "out.ome.zarr", **OPTIONS | options)
    assert contents(out) == contents(whole)
    done = list(map(int, written.read_text().split()))
    # A kill may fall between the writing and its record by the child, never between two records of one z chunk.
    assert len(done) == len(set(done))
    assert len(finished) >= kills // 4  # the kills fell between z chunks
    for shard, then in finished.items():
        assert (shard.stat().st_ino, shard.stat().st_mtime_ns) == (then.st_ino, then.st_mtime_ns)


def stain_until(label, done, *arguments, **options):
    """Stain until a signal to end arrives, as the command line does: at some progress, SIGTERM to this process."""

    def progress(current, so_far, total):
        if (current, so_far) == (label, done):
            signal.raise_signal(signal.SIGTERM)

    with listen_for_interrupt() as stop_requested:
        return stain_volume(*arguments, progress=progress, should_stop=stop_requested.is_set, **options)


@pytest.mark.parametrize("left", [[], [".tomostain-0a1b2c3d-plan.json", ".tomostain-0a1b2c3d-plan.json.lock"]])
def test_a_volume_that_was_killed_before_its_plan_was_written_begins_again(model, volume, whole, tmp_path, left):
    out = tmp_path / "out.ome.zarr"
    (out / PROGRESS).mkdir(parents=True)
    for name in left:
        (out / PROGRESS / name).touch()
    stain_volume(model, volume, out, **OPTIONS)
    assert contents(out) == contents(whole)


def test_a_folder_with_files_of_the_user_is_not_written_to(model, volume, tmp_path):
    out = tmp_path / "out.ome.zarr"
    (out / PROGRESS).mkdir(parents=True)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not a stained volume, so it is not replaced"):
        stain_volume(model, volume, out, **OPTIONS)
    assert (out / "notes.txt").read_text() == "mine"


def test_a_stop_signal_takes_effect_after_the_z_chunk(model, volume, tmp_path):
    out = tmp_path / "out.ome.zarr"
    with pytest.raises(InterruptedRunError, match="6 of 26 slices are stained"):
        stain_until("staining", 4, model, volume, out, **OPTIONS)
    assert chunks_left(out) == 7


def test_a_stop_signal_takes_effect_in_every_stage(model, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    source, out = tmp_path / "volume", tmp_path / "out.ome.zarr"
    write_stack(source, np.random.default_rng(0).integers(0, 1000, (12, 20, 270)).astype(np.uint16), voxel_um=5.0)
    options = OPTIONS | {"config": OPTIONS["config"].model_copy(update={"planes": "zyx"})}
    for label, done, message in (
        ("turning", 0, "turning: 0 of 1 are done; run the same command again"),
        ("staining along y", 0, "staining along y: 0 of 1 are done"),
        ("staining along x", 2, "staining along x: 2 of 9 are done"),
        ("staining", 0, "0 of 12 slices are stained"),
        ("staining", 2, "3 of 12 slices are stained"),
        ("checking", 0, "checking: 0 of 1 are done"),
        # In the last z chunk: nothing is left to stain, so the next stage gets the signal.
        ("staining", 11, "pyramid: 0 of 2 are done"),
        ("pyramid", 1, "pyramid: 1 of 2 are done"),
    ):
        with pytest.raises(InterruptedRunError, match=message):
            stain_until(label, done, model, source, out, **options)
    stain_volume(model, source, out, **options)
    whole = stain_volume(model, source, tmp_path / "whole" / "out.ome.zarr", **options)
    assert contents(out) == contents(whole)
    assert signal.getsignal(signal.SIGTERM) is before


def test_damaged_chunks_are_stained_again(model, volume, whole, tmp_path):
    out = tmp_path / "out.ome.zarr"
    shutil.copytree(whole, out)
    (out / "0/c/0/4/0/0").write_bytes(b"rust")
    assert check_stained(out) == ["0/c/0/4/0/0"]
    with pytest.warns(
        DamagedDataWarning, match=r"1 damaged shard\(s\) are stained again \(0/c/0/4/0/0\); check the disk"
    ):
        stain_volume(model, volume, out, **OPTIONS)
    assert contents(out) == contents(whole)


def test_check_names_the_damage(whole, tmp_path, capsys):
    out = tmp_path / "out.ome.zarr"
    shutil.copytree(whole, out)
    assert run(["check", str(out)]) == 0
    assert "complete; checksums agree" in capsys.readouterr().out
    (out / "0/c/0/4/0/0").unlink()
    assert run(["check", str(out)]) == 2
    assert "1 damaged shard(s): 0/c/0/4/0/0; run the same stain command again" in capsys.readouterr().err


def test_a_slice_that_disappears_or_is_cut_short_is_named(model, volume, tmp_path):
    for how in ("gone", "cut short"):
        source, out = tmp_path / how, tmp_path / f"{how}.ome.zarr"
        shutil.copytree(volume, source)
        victim = sorted(source.glob("*.tif"))[20]

        def vandalise(label, done, total, victim=victim, how=how):
            if label == "staining" and done == 5 and victim.exists():
                victim.unlink() if how == "gone" else victim.write_bytes(victim.read_bytes()[:200])

        with pytest.raises(InputError, match=victim.name):
            stain_volume(model, source, out, progress=vandalise, **OPTIONS)
        assert chunks_left(out) == 3  # earlier results stay
        with pytest.raises(InputError, match="slice number 20 is missing" if how == "gone" else "truncated"):
            stain_volume(model, source, out, **OPTIONS)
        shutil.copy(volume / victim.name, victim)
        stain_volume(model, source, out, **OPTIONS)
        assert check_stained(out) == []


def test_workers_of_this_machine_give_the_same_bits(model, volume, whole, tmp_path):
    pytest.importorskip("distributed")
    out, reports, variables = tmp_path / "out.ome.zarr", [], dict(os.environ)
    stain_on_workers(
        StainRequest(model, volume, out, **OPTIONS), workers=2, progress=lambda *what: reports.append(what)
    )
    assert dict(os.environ) == variables  # Dask sets OMP_NUM_THREADS and others for its workers
    assert contents(out) == contents(whole)
    assert reports[0] == ("staining", 0, 9)
    assert reports[-1] == ("staining", 9, 9)
    (out / "0/c/0/2/0/0").unlink()
    with pytest.warns(DamagedDataWarning, match="1 damaged shard"):
        # The older call.
        stain_on_workers(model, volume, out, workers=2, **OPTIONS)
    assert contents(out) == contents(whole)


@pytest.mark.parametrize(("threads", "workers", "each"), [(1, 1, 1), (1, 3, 1), (2, 1, 2), (4, 2, 2), (4, 3, 1)])
def test_workers_share_the_threads_of_this_process(monkeypatch, threads, workers, each):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert _threads_per_worker(workers) == each


@pytest.fixture
def own_environment():
    """Put the environment variables back that Dask sets in this process for the workers of a `LocalCluster`."""
    with mock.patch.dict(os.environ):
        yield


@pytest.mark.usefixtures("own_environment")
def test_the_workers_of_a_scheduler_give_the_same_bits(model, volume, whole, tmp_path, capsys):
    distributed = pytest.importorskip("distributed")
    out, config = tmp_path / "out.ome.zarr", tmp_path / "stain.yaml"
    config.write_text("{patch_px: 32, stride_px: 16, slab: 3}")
    levels = ["--background", "100", "--bone", "900"]
    command = ["stain", str(model), str(volume), str(out), "--config", str(config), *levels]
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        assert run([*command, "--scheduler", cluster.scheduler_address]) == 0
        assert contents(out) == contents(whole)
        assert run([*command, "--scheduler", cluster.scheduler_address, "--part", "1/2"]) == 2
        assert "leave it out, or --workers and --scheduler" in capsys.readouterr().err


def die_once(folder, z0):
    """Let this process be killed when it writes a z chunk, but not the process that follows it."""
    from tomostain.io.ome_zarr.writer import StainedWriter

    write = StainedWriter.write

    def write_or_die(self, z, rgb):
        if z == z0 and not (folder / "died").exists():
            (folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, z, rgb)

    StainedWriter.write = write_or_die


@pytest.mark.usefixtures("own_environment")
def test_workers_that_die_are_reported_and_the_work_continues(model, volume, whole, tmp_path):
    distributed = pytest.importorskip("distributed")
    import dask

    out = tmp_path / "out.ome.zarr"
    local = {"n_workers": 1, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0, "temporary-directory": str(tmp_path / "dask")}),
        distributed.LocalCluster(**local) as cluster,
    ):
        with distributed.Client(cluster) as client:
            client.run(die_once, tmp_path, 12)
        with pytest.raises(
            InputError, match=r"died one after the other at the same z chunks.*run the same command again to continue"
        ):
            stain_on_workers(StainRequest(model, volume, out, **OPTIONS), scheduler=cluster.scheduler_address)
        assert 0 < chunks_left(out) < 9
        cluster.wait_for_workers(1)  # its parent starts another one
        stain_on_workers(StainRequest(model, volume, out, **OPTIONS), scheduler=cluster.scheduler_address)
    assert contents(out) == contents(whole)


def test_an_error_of_a_worker_is_reported_by_the_main_process(model, volume, tmp_path):
    pytest.importorskip("distributed")
    source, out = tmp_path / "volume", tmp_path / "out.ome.zarr"
    with pytest.raises(InputError, match="voxel size"):
        stain_on_workers(StainRequest(model, volume, out, voxel_um=50.0, **OPTIONS))
    assert not out.exists()
    values = open_volume(volume).read(0, SLICES).astype(np.float32)
    values[20, 3, 4] = np.nan
    write_stack(source, values, voxel_um=5.0)
    with pytest.raises(InputError, match="NaN or infinite values in slice 20"):
        stain_on_workers(StainRequest(model, source, out, **OPTIONS), workers=1)
    assert chunks_left(out) > 0  # it had started


def test_no_workers_no_scheduler_no_extra(model, volume, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    out = tmp_path / "out.ome.zarr"
    with pytest.raises(InputError, match="workers 0: give 1 or more"):
        stain_on_workers(StainRequest(model, volume, out, **OPTIONS), workers=0)
    monkeypatch.setattr("tomostain.stain.cluster._ANSWER", "1s")
    with pytest.raises(InputError, match=r"scheduler tcp://127\.0\.0\.1:9: does not answer"):
        stain_on_workers(StainRequest(model, volume, out, **OPTIONS), scheduler="tcp://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match="need the extra 'cluster'"):
        stain_on_workers(StainRequest(model, volume, out, **OPTIONS))


def test_parts_that_make_no_sense(model, volume, tmp_path, capsys):
    out = tmp_path / "out.ome.zarr"
    with pytest.raises(InputError, match="part 5/4: parts are counted from 1 to 4"):
        stain_volume(model, volume, out, part=(5, 4), **OPTIONS)
    with pytest.raises(InputError, match="would remove the others' work; remove it first"):
        stain_volume(model, volume, out, part=(1, 4), overwrite=True, **OPTIONS)
    assert run(["stain", str(model), str(volume), str(out), "--part", "3of4"]) == 2
    assert "--part 3of4: give K/N, such as 3/16" in capsys.readouterr().err


def test_a_job_reports_that_others_are_not_done(model, volume, tmp_path, capsys):
    out = tmp_path / "out.ome.zarr"
    config = tmp_path / "stain.yaml"
    config.write_text("{patch_px: 32, stride_px: 16, slab: 3}")
    command = [
        "stain",
        str(model),
        str(volume),
        str(out),
        "--config",
        str(config),
        "--background",
        "100",
        "--bone",
        "900",
    ]
    assert run([*command, "--part", "1/2"]) == 0
    assert "5 z chunks are left to the other jobs" in capsys.readouterr().out
    assert run([*command, "--part", "2/2"]) == 0
    assert "tomostain view" in capsys.readouterr().out
    assert open_stained(out).shape == open_volume(volume).shape


def test_a_full_disk_of_work_that_replaces_a_volume_says_how_to_continue(model, volume, whole, tmp_path, monkeypatch):
    out, real = tmp_path / "out.ome.zarr", ShardLayout.write
    stain_volume(model, volume, out, **OPTIONS)

    def full(self, path, values):
        if int(path.parts[-3]) > 1:  # the third z chunk
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, path, values)

    with monkeypatch.context() as patch:
        patch.setattr(ShardLayout, "write", full)
        with pytest.raises(InputError, match=r"full at slice .* the same command again without `overwrite=True` to"):
            stain_volume(model, volume, out, overwrite=True, **OPTIONS)
    left = chunks_left(out)
    assert 0 < left < 9
    reports = []
    stain_volume(model, volume, out, progress=lambda *what: reports.append(what), **OPTIONS)
    assert min(done for label, done, _ in reports if label == "staining") > 0  # not from the start
    assert contents(out) == contents(whole)


def test_a_full_disk_is_reported_and_the_work_can_be_resumed(model, volume, whole, tmp_path, monkeypatch):
    out = tmp_path / "out.ome.zarr"

    def full(path, *_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("zarr.storage._local._put", full)
        with pytest.raises((InputError, OSError)):
            stain_volume(model, volume, out, **OPTIONS)
    stain_volume(model, volume, out, **OPTIONS)
    assert contents(out) == contents(whole)
