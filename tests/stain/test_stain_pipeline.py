"""Reading, computing and writing run at the same time and in order; every claim is released also after an error."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest

from tests.support.toys import LEVELS, colours, grey_values, toy_model
from tomostain.io import check_stained, write_stack
from tomostain.stain import StainConfig, StainJob, stain_volume
from tomostain.stain.chunk import begin_chunk
from tomostain.stain.pipeline import InFlight, overlapped, pieces_in_flight

PATIENCE_S = 120.0


class Work:
    """Five pieces of work that record their steps; `fails` names the step and piece that fails."""

    def __init__(self, fails=(), taken=()):
        self.fails, self.taken = fails, taken
        self.held, self.most, self.claimed, self.written, self.told = set(), 0, [], [], []

    @contextmanager
    def claim(self, piece):
        self.claimed.append(piece)
        self.held.add(piece)
        self.most = max(self.most, len(self.held))
        try:
            yield piece not in self.taken
        finally:
            self.held.discard(piece)

    def step(self, name, piece):
        if (name, piece) == self.fails:
            raise RuntimeError(f"{name} {piece}")

    def read(self, piece):
        self.step("read", piece)
        return [piece]

    def make(self, piece, values):
        self.step("make", piece)
        return [*values, "made"]

    def write(self, piece, made):
        assert piece in self.held
        self.step("write", piece)
        self.written.append((piece, made))

    def after(self, piece):
        self.step("after", piece)
        self.told.append(piece)

    def do(self, pieces=range(1, 6), **options):
        steps = {name: getattr(self, name) for name in ("claim", "read", "make", "write", "after")}
        overlapped(pieces, **steps, **options)


def made(*pieces):
    return [(piece, [piece, "made"]) for piece in pieces]


def test_every_piece_is_done_once_and_in_order():
    work = Work()
    work.do()
    assert work.written == made(1, 2, 3, 4, 5)
    assert work.told == work.claimed == [1, 2, 3, 4, 5]
    assert not work.held


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_pieces(count):
    work = Work()
    work.do(range(count))
    assert work.written == made(*range(count))


def test_while_one_is_made_the_next_is_read_and_the_last_written():
    """Each step of the middle waits until the other two have started. One after the other, they would never end."""
    work, begun = Work(), {name: threading.Event() for name in ("read", "make", "write")}
    piece_of = {"read": 3, "make": 2, "write": 1}
    where = {}

    def together(name, piece):
        if piece == piece_of.get(name):
            begun[name].set()
            assert all(event.wait(PATIENCE_S) for event in begun.values())
            where[name] = threading.current_thread()

    work.step = together
    work.do()
    assert len(set(where.values())) == 3
    assert where["make"] is threading.main_thread()
    assert work.written == made(1, 2, 3, 4, 5)
    assert work.most == 3  # no more are claimed from other processes


def test_locked_chunks_are_left_to_other_processes():
    work = Work(taken=(1, 3, 5))
    work.do()
    assert work.written == made(2, 4)
    assert work.told == [1, 2, 3, 4, 5]
    assert not work.held


@pytest.mark.parametrize("step", ["read", "make", "after"])
def test_results_before_an_error_are_written_and_no_lock_remains(step):
    work = Work(fails=(step, 3))
    with pytest.raises(RuntimeError, match=f"{step} 3") as caught:
        work.do()
    assert caught.traceback  # its frames are alive, but hold no references
    assert work.written == made(1, 2, 3) if step == "after" else made(1, 2)
    assert not work.held
    assert 5 not in work.claimed


@pytest.mark.parametrize("piece", [1, 4, 5])
def test_an_error_in_writing_is_not_lost(piece):
    work = Work(fails=("write", piece))
    with pytest.raises(RuntimeError, match=f"write {piece}") as caught:
        work.do()
    assert caught.traceback  # its frames are alive, but hold no references
    assert work.written[: piece - 1] == made(*range(1, piece))
    assert piece not in dict(work.written)
    assert not work.held


def test_several_are_read_and_written_at_the_same_time_and_no_more():
    """Pieces 4 and 5 are read while 3 is made and 1 and 2 are written: each step waits for the others."""
    together = {("read", 4), ("read", 5), ("make", 3), ("write", 1), ("write", 2)}
    work, begun = Work(), {step: threading.Event() for step in together}
    lock, in_memory, most = threading.Lock(), set(), []
    claim = work.claim

    @contextmanager
    def counting(piece):
        with claim(piece) as is_claimed:
            with lock:
                in_memory.add(piece)
                most.append(len(in_memory))
            try:
                yield is_claimed
            finally:
                with lock:
                    in_memory.discard(piece)

    def step(name, piece):
        if (name, piece) in together:
            begun[name, piece].set()
            assert all(event.wait(PATIENCE_S) for event in begun.values())

    work.step, work.claim = step, counting
    flight = InFlight(ahead=2, behind=2)
    work.do(range(1, 13), in_flight=flight)
    assert max(most) == flight.pieces == 5
    assert sorted(work.written) == made(*range(1, 13))
    assert work.told == list(range(1, 13))
    assert not in_memory


@pytest.mark.parametrize("step", ["read", "make", "write", "after"])
@pytest.mark.parametrize("piece", [1, 4, 9])
def test_an_error_with_several_in_flight_releases_all_and_writes_what_was_made(step, piece):
    work = Work(fails=(step, piece))
    with pytest.raises(RuntimeError, match=f"{step} {piece}"):
        work.do(range(1, 10), in_flight=InFlight(ahead=2, behind=3))
    assert not work.held
    done = sorted(dict(work.written))
    if step == "write":
        assert piece not in done
        assert set(range(1, piece)) <= set(done)
    else:
        assert done == list(range(1, piece + (step == "after")))


@pytest.mark.parametrize("free", [None, 0, 10**9, 10**10, 10**11])
@pytest.mark.parametrize("cores", [1, 2, 4, 16, 64])
def test_slices_in_flight_fit_into_a_quarter_of_the_memory(cores, free):
    flight, piece = pieces_in_flight(cores, 400_000_000, free), 400_000_000
    assert 1 <= flight.ahead <= 2
    assert 1 <= flight.behind <= 4
    assert flight.pieces <= max(3, cores // 2 + 1)
    assert free is None or flight.pieces == 3 or flight.pieces * piece <= free / 4


@pytest.mark.parametrize("planes", ["z", "zyx"])
def test_a_volume_is_the_same_with_several_chunks_in_flight(tmp_path, monkeypatch, planes):
    model, volume = toy_model(tmp_path / "model"), tmp_path / "volume"
    write_stack(volume, grey_values((11, 36, 41)), voxel_um=5.0)
    config = StainConfig(patch_px=32, stride_px=16, z_chunk=2, planes=planes)
    expected = stain_volume(model, volume, config=config, intensity=LEVELS)
    # Through the code of a GPU, where several chunks are in flight.
    monkeypatch.setattr(StainJob, "is_batched", True)
    monkeypatch.setattr("tomostain.stain.job.available_cores", lambda: 16)
    flights = []
    monkeypatch.setattr(
        "tomostain.stain.volume.overlapped",
        lambda *a, in_flight, **k: (flights.append(in_flight), overlapped(*a, in_flight=in_flight, **k)),
    )
    stain_volume(model, volume, tmp_path / "out.ome.zarr", config=config, intensity=LEVELS)
    assert flights == [InFlight(ahead=2, behind=4)]
    assert not check_stained(tmp_path / "out.ome.zarr")
    difference = np.abs(colours(tmp_path / "out.ome.zarr").astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001


@pytest.mark.parametrize("number", [0, 3, 5])
def test_an_interrupted_volume_with_several_chunks_in_flight_is_continued(tmp_path, monkeypatch, number):
    """An error in any chunk leaves whole chunks only, and the same call completes them to the same volume."""
    model, volume, out = toy_model(tmp_path / "model"), tmp_path / "volume", tmp_path / "out.ome.zarr"
    write_stack(volume, grey_values((12, 36, 41)), voxel_um=5.0)
    config = StainConfig(patch_px=32, stride_px=16, z_chunk=2)
    expected = stain_volume(model, volume, config=config, intensity=LEVELS)
    monkeypatch.setattr(StainJob, "in_flight", InFlight(ahead=2, behind=4))
    with monkeypatch.context() as patch:

        def broken(job, chunk, report):
            if chunk.start == 2 * number:
                raise MemoryError("of a chunk")
            return begin_chunk(job, chunk, report)

        patch.setattr("tomostain.stain.volume.begin_chunk", broken)
        with pytest.raises(MemoryError, match="of a chunk"):
            stain_volume(model, volume, out, config=config, intensity=LEVELS)
    written = {2 * n for n in range(number)}
    assert {int(p.stem[2:]) for p in (out / ".tomostain-progress").glob("0-*.done")} == written
    assert not list((out / ".tomostain-progress").glob("0-*.lock"))
    stain_volume(model, volume, out, config=config, intensity=LEVELS)
    assert check_stained(out) == []
    np.testing.assert_array_equal(colours(out), expected)


@pytest.mark.gpu
def test_on_a_gpu_the_volume_does_not_depend_on_what_is_in_flight(tmp_path, monkeypatch):
    model, volume = toy_model(tmp_path / "model"), tmp_path / "volume"
    write_stack(volume, grey_values((24, 130, 150)), voxel_um=5.0)
    results = []
    for number, flight in enumerate([InFlight(), InFlight(ahead=2, behind=4)]):
        monkeypatch.setattr(StainJob, "in_flight", flight)
        out = tmp_path / f"{number}.ome.zarr"
        stain_volume(model, volume, out, config=StainConfig(z_chunk=4), intensity=LEVELS, device="cuda")
        assert check_stained(out) == []
        results.append(colours(out))
    np.testing.assert_array_equal(*results)
