"""Read, compute and write at the same time: while a piece is computed, the next is read and the previous is written.

Reading and writing have a thread for each piece that is in work at the same time. Networks, decoders, compressors and
disks release the global interpreter lock while they work.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
Read = TypeVar("Read")
Made = TypeVar("Made")


@dataclass(frozen=True)
class InFlight:
    """How many pieces of work are in memory at the same time, in addition to the one that is made.

    Attributes
    ----------
    ahead : int
        Pieces that are read while another is made.
    behind : int
        Pieces that are written while another is made.
    """

    ahead: int = 1
    behind: int = 1

    @property
    def pieces(self) -> int:
        """Pieces in memory, with the one that is made."""
        return self.ahead + 1 + self.behind

    def at_most(self, other: "InFlight") -> "InFlight":
        """Return the smaller number of each kind."""
        return InFlight(min(self.ahead, other.ahead), min(self.behind, other.behind))


ONE_EACH = InFlight()


@dataclass(frozen=True)
class PiecesInFlight:
    """The pieces of work that are in memory at the same time, and what one of them takes.

    Attributes
    ----------
    flight : InFlight
    host_bytes, device_bytes : int
        Memory of one piece on the host and on a GPU.
    """

    flight: InFlight
    host_bytes: int
    device_bytes: int = 0

    @property
    def on_host(self) -> int:
        """Bytes of all pieces on the host."""
        return self.flight.pieces * self.host_bytes

    @property
    def on_device(self) -> int:
        """Bytes of all pieces on a GPU."""
        return self.flight.pieces * self.device_bytes


def pieces_in_flight(cores: int, piece_bytes: int, free_bytes: int | None) -> InFlight:
    """Return how many pieces are read and written at the same time where making one is as fast as reading it.

    Parameters
    ----------
    cores : int
        Processor cores: one more piece each for every four of them, up to two that are read and four that are written.
    piece_bytes : int
        Memory of one piece.
    free_bytes : int or None
        Free memory. All pieces together take at most a quarter of it.

    Examples
    --------
    >>> pieces_in_flight(16, 400 * 2**20, 100 * 2**30), pieces_in_flight(2, 400 * 2**20, 8 * 2**30)
    (InFlight(ahead=2, behind=4), InFlight(ahead=1, behind=1))
    >>> pieces_in_flight(16, 400 * 2**20, 8 * 2**30)
    InFlight(ahead=2, behind=2)
    """
    ahead, behind = max(1, min(2, cores // 4)), max(1, min(4, cores // 4))
    while free_bytes is not None and (ahead + 1 + behind) * piece_bytes > free_bytes // 4 and ahead + behind > 2:
        ahead, behind = (ahead, behind - 1) if behind > ahead or ahead == 1 else (ahead - 1, behind)
    return InFlight(ahead, behind)


def overlapped(
    pieces: Iterable[T],
    *,
    claim: Callable[[T], AbstractContextManager[bool]],
    read: Callable[[T], Read],
    make: Callable[[T, Read], Made],
    write: Callable[[T, Made], None],
    after: Callable[[T], None],
    in_flight: InFlight = ONE_EACH,
) -> None:
    """Lock, read, make and write pieces of work: each in this order, and several of them at the same time.

    While a piece is made, the next ones are locked and read, and the previous ones are written. Other pieces are left
    to other processes. At the end, also after an error, the pieces that were made are written, and those that were read
    ahead are unlocked.

    Parameters
    ----------
    pieces : iterable
        The work, in order.
    claim : function
        Piece → context manager that locks it and yields whether it succeeded; held until after `write`.
    read : function
        Piece → input of `make`; called in a thread.
    make : function
        Piece and input → result; called in the thread of the caller.
    write : function
        Writes the result of a piece; called in a thread.
    after : function
        Called after each piece that was made or skipped, in the thread of the caller. An exception ends the work.
    in_flight : InFlight
        Numbers of pieces that are read and written at the same time, each in a thread; by default one each.

    Examples
    --------
    >>> from contextlib import nullcontext
    >>> overlapped(
    ...     [1, 2, 3],
    ...     claim=lambda n: nullcontext(n != 2),
    ...     read=lambda n: 10 * n,
    ...     make=lambda n, values: values + n,
    ...     write=lambda n, made: print(f"{n}: {made}"),
    ...     after=lambda n: None,
    ... )
    1: 11
    3: 33
    """

    def fetch(piece: T) -> tuple[T, list[Read], ExitStack]:
        with ExitStack() as claims:
            is_locked = claims.enter_context(claim(piece))
            return piece, [read(piece)] if is_locked else [], claims.pop_all()

    def put(piece: T, made: Made, claims: ExitStack) -> None:
        with claims:
            write(piece, made)

    with _behind(put, in_flight.behind) as behind, closing(_ahead(fetch, pieces, in_flight.ahead)) as fetched:
        for piece, values, claims in fetched:
            with claims:
                if values:
                    made = make(piece, values.pop())
                    behind(piece, made, claims)
                    del made  # Otherwise it would stay in memory while the next one is made.
            after(piece)


def _ahead(
    fetch: Callable[[T], tuple[T, list[Read], ExitStack]], pieces: Iterable[T], number: int
) -> Generator[tuple[T, list[Read], ExitStack]]:
    """Yield the fetched pieces in order, while threads fetch the next ones."""
    waiting: deque[Future[tuple[T, list[Read], ExitStack]]] = deque()
    with ThreadPoolExecutor(number, "tomostain-read") as threads:
        try:
            for piece in pieces:
                waiting.append(threads.submit(fetch, piece))
                if len(waiting) > number:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            for future in waiting:
                if not future.cancelled() and future.exception() is None:
                    future.result()[2].close()


@contextmanager
def _behind(put: Callable[[T, Made, ExitStack], None], number: int) -> Iterator[Callable[[T, Made, ExitStack], None]]:
    """Yield a function that calls `put` in a thread, while fewer than `number` calls run, and takes over the locks.

    An exception of `put` is raised at the next call after it, or at the end of the block.
    """
    running: deque[Future[None]] = deque()

    def call(piece: T, made: Made, claims: ExitStack) -> None:
        while len(running) >= number or (running and running[0].done()):
            running.popleft().result()
        running.append(threads.submit(put, piece, made, claims.pop_all()))

    with ThreadPoolExecutor(number, "tomostain-write") as threads:
        try:
            yield call
        finally:
            while running:
                running.popleft().result()
