"""Reading, computing and writing run at the same time and in order; every claim is released also after an error."""

import threading
from contextlib import contextmanager

import pytest

from tomostain.stain.pipeline import overlapped

PATIENCE_S = 20.0


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

    def do(self, pieces=range(1, 6)):
        steps = {name: getattr(self, name) for name in ("claim", "read", "make", "write", "after")}
        overlapped(pieces, **steps)


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
    """Each step of the middle waits for the other two to have begun: one after the other, they would wait for ever."""
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


def test_what_others_have_is_left_to_them():
    work = Work(taken=(1, 3, 5))
    work.do()
    assert work.written == made(2, 4)
    assert work.told == [1, 2, 3, 4, 5]
    assert not work.held


@pytest.mark.parametrize("step", ["read", "make", "after"])
def test_what_was_made_before_an_error_is_written_and_nothing_is_kept(step):
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
