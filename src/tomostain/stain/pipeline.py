"""Read, compute and write at the same time: while a piece is computed, the next is read and the previous is written.

Reading and writing have a thread each, with one piece in work. Networks, decoders, compressors and disks release the
global interpreter lock while they work.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from typing import TypeVar

T = TypeVar("T")
Read = TypeVar("Read")
Made = TypeVar("Made")


def overlapped(
    pieces: Iterable[T],
    *,
    claim: Callable[[T], AbstractContextManager[bool]],
    read: Callable[[T], Read],
    make: Callable[[T, Read], Made],
    write: Callable[[T, Made], None],
    after: Callable[[T], None],
) -> None:
    """Lock, read, make and write pieces of work: each in this order, and three of them at the same time.

    While a piece is made, the next one is locked and read, and the previous one is written. Other pieces are left
    to other processes. At the end, also after an error, the piece that was made is written, and the one that was read
    ahead is unlocked.

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

    with _one_behind(put) as behind, closing(_one_ahead(fetch, pieces)) as fetched:
        for piece, values, claims in fetched:
            with claims:
                if values:
                    made = make(piece, values.pop())
                    behind(piece, made, claims)
                    del made  # Otherwise it would stay in memory while the next one is made.
            after(piece)


def _one_ahead(
    fetch: Callable[[T], tuple[T, list[Read], ExitStack]], pieces: Iterable[T]
) -> Generator[tuple[T, list[Read], ExitStack]]:
    """Yield the fetched pieces in order, while a thread fetches the next one."""
    waiting: deque[Future[tuple[T, list[Read], ExitStack]]] = deque()
    with ThreadPoolExecutor(1, "tomostain-read") as thread:
        try:
            for piece in pieces:
                waiting.append(thread.submit(fetch, piece))
                if len(waiting) > 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                if not future.cancel() and future.exception() is None:
                    future.result()[2].close()


@contextmanager
def _one_behind(put: Callable[[T, Made, ExitStack], None]) -> Iterator[Callable[[T, Made, ExitStack], None]]:
    """Yield a function that calls `put` in a thread, after the previous call has ended, and takes over the locks.

    An exception of `put` is raised at the next call, or at the end of the block.
    """
    last: list[Future[None]] = []

    def call(piece: T, made: Made, claims: ExitStack) -> None:
        while last:
            last.pop().result()
        last.append(thread.submit(put, piece, made, claims.pop_all()))

    with ThreadPoolExecutor(1, "tomostain-write") as thread:
        try:
            yield call
        finally:
            while last:
                last.pop().result()
