"""Reading, computing and writing at the same time: the next piece is read and the last one written meanwhile.

Two threads beside the one that computes, each with one piece in hand: networks, decoders, compressors and disks all let
go of Python's lock while they work.
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
    """Claim, read, make and write pieces of work: each in this order, but three of them at the same time.

    While a piece is made the next one is claimed and read and the one before is written. No more are claimed, so that
    other processes find something to do. At the end, be it an error, what was made is written and what was read ahead
    is let go.

    Parameters
    ----------
    pieces : iterable
        What to do, in order.
    claim : function
        Piece to a context that says whether it is ours to do; it is held from before `read` until after `write`.
    read : function
        Piece to what `make` needs; in a thread.
    make : function
        Piece and what was read to what `write` needs; in the caller's thread.
    write : function
        Piece and what was made to disk; in a thread.
    after : function
        Told of each piece that was made, or was not ours; in the caller's thread. What it raises ends the work.

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
            ours = claims.enter_context(claim(piece))
            return piece, [read(piece)] if ours else [], claims.pop_all()

    def put(piece: T, made: Made, claims: ExitStack) -> None:
        with claims:
            write(piece, made)

    with _one_behind(put) as behind, closing(_one_ahead(fetch, pieces)) as fetched:
        for piece, values, claims in fetched:
            with claims:
                if values:
                    made = make(piece, values.pop())
                    behind(piece, made, claims)
                    del made  # else it would stay while the next one is made
            after(piece)


def _one_ahead(
    fetch: Callable[[T], tuple[T, list[Read], ExitStack]], pieces: Iterable[T]
) -> Generator[tuple[T, list[Read], ExitStack]]:
    """Yield what is fetched, in order, while a thread fetches the next."""
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
    """Yield a function that has `put` called in a thread, after the call before has ended, and takes over the claims.

    What that raises is raised at the next call, or at the end of the block.
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
