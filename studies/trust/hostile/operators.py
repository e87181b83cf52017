"""Damages that any file can have."""

import os
from collections.abc import Callable
from pathlib import Path

from studies.trust.hostile.case import Expectation, Rng

Operator = Callable[[Path, Rng], None]


def truncated(share: float) -> Operator:
    """Keep the first part of a file."""

    def apply(path: Path, rng: Rng) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: min(int(len(content) * share), len(content) - 1)])

    return apply


def one_byte_less(path: Path, rng: Rng) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flipped(count: int, first: int | None = None) -> Operator:
    """Flip bits, anywhere or in the first bytes."""

    def apply(path: Path, rng: Rng) -> None:
        content = bytearray(path.read_bytes())
        for place in rng.integers(0, min(first or len(content), len(content)), count):
            content[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)

    return apply


def overwritten(value: int, share: float = 0.1) -> Operator:
    """Set a block to one byte."""

    def apply(path: Path, rng: Rng) -> None:
        content = bytearray(path.read_bytes())
        size = max(1, int(len(content) * share))
        start = int(rng.integers(0, len(content) - size + 1))
        content[start : start + size] = bytes([value]) * size
        path.write_bytes(content)

    return apply


def shuffled(path: Path, rng: Rng) -> None:
    """Replace the content by random bytes of the same length."""
    path.write_bytes(rng.bytes(path.stat().st_size))


def emptied(path: Path, rng: Rng) -> None:
    path.write_bytes(b"")


def as_text(path: Path, rng: Rng) -> None:
    path.write_text("This is not the file you are looking for.\n" * 20)


def as_fifo(path: Path, rng: Rng) -> None:
    path.unlink()
    os.mkfifo(path)


def as_folder(path: Path, rng: Rng) -> None:
    path.unlink()
    path.mkdir()


def as_link_loop(path: Path, rng: Rng) -> None:
    path.unlink()
    path.symlink_to(path.name)


def as_endless(path: Path, rng: Rng) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def as_broken_link(path: Path, rng: Rng) -> None:
    path.unlink()
    path.symlink_to("nowhere/at-all")


def missing(path: Path, rng: Rng) -> None:
    path.unlink()


def appended(path: Path, rng: Rng) -> None:
    path.write_bytes(path.read_bytes() + rng.bytes(97))


# Name, operator, and what is expected where the file has to be complete.
OPERATORS: tuple[tuple[str, Operator, Expectation], ...] = (
    ("truncated to 0.1", truncated(0.1), "same"),
    ("truncated to 0.5", truncated(0.5), "same"),
    ("truncated to 0.9", truncated(0.9), "same"),
    ("one byte less", one_byte_less, "same"),
    ("1 bit flipped", flipped(1), "any"),
    ("16 bits flipped", flipped(16), "any"),
    ("8 bits of the first 64 bytes flipped", flipped(8, 64), "any"),
    ("8 bits of the first 512 bytes flipped", flipped(8, 512), "any"),
    ("a tenth set to 0", overwritten(0), "any"),
    ("a tenth set to 255", overwritten(255), "any"),
    ("random bytes", shuffled, "any"),
    ("bytes appended", appended, "any"),
    ("empty", emptied, "refuse"),
    ("text", as_text, "refuse"),
    ("a FIFO", as_fifo, "refuse"),
    ("a folder", as_folder, "refuse"),
    ("a link to itself", as_link_loop, "refuse"),
    ("a link to /dev/zero", as_endless, "refuse"),
    ("a broken link", as_broken_link, "refuse"),
    ("missing", missing, "refuse"),
)
