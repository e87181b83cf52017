"""Work on all cores: order, errors, nested calls, and volumes that one thread reads."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
import zarr

from tomostain.io import Volume, open_volume, parallel, write_stack
from tomostain.io.parallel import in_parallel, in_pool, iterate_in_parallel
from tomostain.io.volumes.base import read_each

PATIENCE_S = 120
RUNS = [in_parallel, lambda function, items: list(iterate_in_parallel(function, items))]


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    """A pool of eight threads: that of the process has as many as this machine has cores."""
    with ThreadPoolExecutor(8, parallel._NAME) as pool:
        monkeypatch.setattr(parallel, "available_cores", lambda: 8)
        monkeypatch.setattr(parallel, "_pool", lambda: pool)
        yield


def waiting_for_others(count):
    """Return a function whose calls wait until this number of threads has called it."""
    threads, all_here = set(), threading.Event()

    def call():
        threads.add(threading.get_ident())
        if len(threads) >= count:
            all_here.set()
        assert all_here.wait(PATIENCE_S)

    return call


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_results_are_in_order(run, count):
    assert run(lambda n: (time.sleep(0.001 * (n % 3)), n)[1], range(count)) == list(range(count))


@pytest.mark.parametrize("run", RUNS)
def test_the_first_error_is_raised_after_all_calls_have_ended(run):
    running, lock = set(), threading.Lock()

    def call(n):
        with lock:
            running.add(n)
        time.sleep(0.002)
        with lock:
            running.discard(n)
        if n in (2, 5):
            raise RuntimeError(f"item {n}")
        return n

    with pytest.raises(RuntimeError, match="item 2"):
        run(call, range(200))
    assert not running


def test_calls_use_several_threads_and_may_be_nested():
    wait = waiting_for_others(3)

    def inner(pair):
        wait()
        return pair

    def outer(n):
        return in_parallel(inner, [(n, m) for m in range(6)])

    assert in_parallel(outer, range(20)) == [[(n, m) for m in range(6)] for n in range(20)]
    assert not in_pool()


@pytest.mark.parametrize("at_once", [1, 3])
def test_no_more_than_stated_run_at_the_same_time(at_once):
    running, most, lock = [], [], threading.Lock()

    def call(n):
        with lock:
            running.append(n)
            most.append(len(running))
        time.sleep(0.002)
        with lock:
            running.remove(n)

    in_parallel(call, range(40), at_once=at_once)
    assert 1 <= max(most) <= at_once


def test_an_interrupt_in_this_thread_is_raised():
    main, interrupted = threading.get_ident(), threading.Event()

    def call(n):
        if threading.get_ident() == main:
            interrupted.set()
            raise KeyboardInterrupt
        assert interrupted.wait(PATIENCE_S)  # otherwise the pool could take all items before this thread
        return n

    with pytest.raises(KeyboardInterrupt):
        in_parallel(call, range(4))


def test_one_core_calls_in_this_thread(monkeypatch):
    monkeypatch.setattr("tomostain.io.parallel.available_cores", lambda: 1)
    for run in RUNS:
        assert set(run(lambda _: threading.get_ident(), range(9))) == {threading.get_ident()}


class Array:
    """An array of other software that only one thread may read."""

    dtype, ndim = np.dtype(np.uint8), 3
    shape = (12, 4, 4)

    def __init__(self):
        self.threads = set()

    def __getitem__(self, index):
        self.threads.add(threading.get_ident())
        time.sleep(0.001)
        return np.zeros(self.shape, self.dtype)[index]


def test_arrays_of_other_software_are_read_by_one_thread():
    array = Array()
    volume = Volume.from_array(array, 5.0)
    for each in (volume, volume.region((2, 0, 0), (9, 4, 4))):
        assert not each.is_concurrent
        assert len(read_each(each, range(7))) == 7
    assert array.threads == {threading.get_ident()}
    assert Volume.from_array(np.zeros((2, 2, 2), np.uint8), 5.0).is_concurrent


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_pages_of_one_tiff_are_decoded_in_several_threads(tmp_path, monkeypatch, compression):
    values = np.random.default_rng(0).integers(0, 4000, (24, 130, 70)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, compression=compression, tile=(64, 64), metadata=None)
    volume, wait = open_volume(tmp_path / "a.tif", voxel_um=5.0), waiting_for_others(3)
    decode = tifffile.TiffPage.asarray

    def together(page, **options):
        wait()
        return decode(page, **options)

    monkeypatch.setattr(tifffile.TiffPage, "asarray", together)
    np.testing.assert_array_equal(volume.read(3, 23), values[3:23])


@pytest.mark.parametrize(
    ("name", "is_concurrent"), [("tiff", True), ("folder", True), ("memory", True), ("region", True), ("zarr", False)]
)
def test_which_volumes_are_read_by_several_threads(tmp_path, name, is_concurrent):
    """A slice of a Zarr array takes all chunks that it lies in, so reading several at once would take much memory."""
    values = np.random.default_rng(0).integers(0, 99, (5, 6, 7)).astype(np.uint16)
    if name == "tiff":
        tifffile.imwrite(tmp_path / "a.tif", values, metadata=None)
        volume = open_volume(tmp_path / "a.tif", voxel_um=5.0)
    elif name == "folder":
        write_stack(tmp_path / "a", values, voxel_um=5.0)
        volume = open_volume(tmp_path / "a")
    elif name == "zarr":
        zarr.create_array(tmp_path / "a.zarr", data=values)
        volume = open_volume(tmp_path / "a.zarr", voxel_um=5.0)
    else:
        volume = Volume.from_array(values, 5.0)
        volume = volume.region((0, 0, 0), (5, 6, 7)) if name == "region" else volume
    assert volume.is_concurrent == is_concurrent
    np.testing.assert_array_equal(np.stack(read_each(volume, range(5))), values)
